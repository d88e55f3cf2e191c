package queuesweep

import (
	"context"
	"errors"
	"slices"

	"github.com/backscatterd/backscatterd/queuesweep/qf"
	"github.com/backscatterd/backscatterd/queuesweep/rule"
	"github.com/backscatterd/backscatterd/queuesweep/spool"
)

// endReturns goes on where a killed process held messages for sendmail to return
// them. It comes last in a run, as the bounces that are owed do. Each has a line
// in the audit log; it is no message of this run.
func (r *run) endReturns(ctx context.Context) error {
	if ctx.Err() != nil {
		return nil
	}
	wait, cancel := context.WithTimeout(ctx, r.LockWait)
	left, err := r.store.Expiring(wait)
	cancel()
	if err != nil {
		r.Log.Error("not all messages were looked at that sendmail is to return: the next run does", "run", r.id, "error", err)
	}
	var told error
	var ended []spool.Expiring
	for _, e := range left {
		if r.tried[e.ID] {
			continue
		}
		if ctx.Err() != nil || told != nil {
			break
		}
		over, err := r.endReturn(ctx, e)
		if over {
			ended = append(ended, e)
		}
		told = errors.Join(told, r.tellReturn(e, err))
	}
	r.endExpiries(ctx, ended)
	return told
}

func (r *run) endReturn(ctx context.Context, e spool.Expiring) (over bool, err error) {
	what, err := r.became(ctx, e)
	if err != nil {
		return false, err
	}
	if what == spool.StillHeld {
		return r.sendBack(ctx, e)
	}
	return true, notReturned(e, what)
}

func (r *run) tellReturn(e spool.Expiring, err error) error {
	res := Result{
		ID: e.ID, Queue: e.Queue, Action: Verb(rule.Expire), Result: Done, Recipients: []string{},
		Note: "begun by a run that was interrupted: it has left the queue",
	}
	if err != nil {
		res = res.fail(err)
		res.Note = "begun by a run that was interrupted"
	}
	r.logResult(res)
	return r.Audit.result(r.Now(), r.id, res)
}

// endExpiries releases the bounces of messages that are held no longer, and
// forgets these. Where it does not come to that, the next run does.
func (r *run) endExpiries(ctx context.Context, ended []spool.Expiring) {
	if len(ended) == 0 {
		return
	}
	// To the end, once it is begun: who cancels does not want them held.
	ctx = context.WithoutCancel(ctx)
	err := r.releaseBounces(ctx, ended)
	if err == nil {
		wait, cancel := context.WithTimeout(ctx, r.LockWait)
		defer cancel()
		err = r.store.ForgetExpiring(wait, ended)
	}
	if err != nil {
		r.unfinished++
		r.Log.Error("bounces that sendmail has just made may be held yet: the next run that acts releases them", "run", r.id, "error", err)
	}
}

// releaseBounces releases what sendmail holds though nobody told it to: a bounce
// that it makes in a run of held messages, and cannot deliver at once, is held for
// the same reason as the message that it is about (newenvelope, queue_letter). It
// may lie in any queue of that sendmail.
func (r *run) releaseBounces(ctx context.Context, of []spool.Expiring) error {
	reasons := make(map[string]bool, len(of))
	for _, e := range of {
		reasons[returnReason(e.ID)] = true
	}
	folders := slices.Clone(r.spool.Folders())
	if others := r.otherQueues(of); others != nil {
		defer others.Close()
		folders = append(folders, others.Folders()...)
	}
	var held []spool.Entry
	seen := make(map[string]bool) // a folder may be named in two ways
	for _, f := range folders {
		err := f.Entries(ctx, func(e spool.Entry) error {
			if e.Kind != spool.Held {
				return nil
			}
			reason, err := r.reasonOf(e)
			if reasons[reason] && !seen[e.ID] {
				seen[e.ID] = true
				held = append(held, e)
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	var errs []error
	for some := range slices.Chunk(held, r.batch) {
		errs = append(errs, r.changeHeld(ctx, some, releaseBounce))
	}
	return errors.Join(errs...)
}

// releaseBounce releases a bounce, or ends what sendmail was stopped in when it had
// delivered it: then its df is gone.
func releaseBounce(b *spool.Batch, claim *spool.Claim, f *qf.File) error {
	if _, err := claim.Body(f); errors.Is(err, spool.ErrNoBody) {
		return b.Delete(claim, f)
	}
	return b.Release(claim, f)
}

// otherQueues are those that a sendmail.cf has and the configuration has not; nil
// where there are none.
func (r *run) otherQueues(of []spool.Expiring) *spool.Spool {
	var places []spool.Place
	read := map[string]bool{"": true}
	for _, e := range of {
		if read[e.CF] {
			continue
		}
		read[e.CF] = true
		all, err := spool.PlacesOf(e.CF)
		if err != nil {
			r.Log.Warn("a bounce that sendmail has just made may be held in a queue that is not in the configuration: sendmail -bp -qQ lists those", "run", r.id, "error", err)
		}
		for _, p := range all {
			if r.spool.Folder(p.Path) == nil {
				places = append(places, p)
			}
		}
	}
	if len(places) == 0 {
		return nil
	}
	sp, err := spool.Open(r.Disk, places)
	if err != nil {
		r.Log.Warn("a bounce that sendmail has just made may be held in a queue that is not in the configuration: sendmail -bp -qQ lists those", "run", r.id, "error", err)
	}
	return sp
}

// reasonOf is why a message is held, "" where that is not to be known.
func (r *run) reasonOf(e spool.Entry) (string, error) {
	data, err := e.Read(nil, r.MaxControlFile)
	switch {
	case errors.Is(err, spool.ErrGone), errors.Is(err, spool.ErrUnsafe), errors.Is(err, spool.ErrTooLarge):
		return "", nil
	case err != nil:
		return "", err
	}
	f, err := qf.Parse(data)
	if err != nil {
		return "", nil // none that sendmail has just written
	}
	return f.Quarantine(), nil
}
