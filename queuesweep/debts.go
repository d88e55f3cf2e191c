package queuesweep

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/backscatterd/backscatterd/queuesweep/qf"
	"github.com/backscatterd/backscatterd/queuesweep/rule"
	"github.com/backscatterd/backscatterd/queuesweep/spool"
)

// maxPay bounds how long a run hands over bounces. What is not reached stays
// owed.
const maxPay = 10 * time.Minute

// Settle ends what a killed process has left, has sendmail return what is held
// for that, and sends the bounces that are still owed, as every run does that
// acts.
func (s *Sweeper) Settle(ctx context.Context) error {
	r := s.newRun(nil, false, nil)
	_, err := r.prepare(ctx)
	if err != nil {
		return err
	}
	defer r.close()
	return r.settle(ctx)
}

// payBatch sends the bounces of messages that have just left the queue, and
// tells their results.
func (r *run) payBatch(ctx context.Context, owing []Result) error {
	if len(owing) == 0 {
		return nil
	}
	const again = "the bounce is still owed and is tried again at the next sweep"
	index := make(map[string]int, len(owing))
	for i, res := range owing {
		index[res.ID] = i
		owing[i].note(again)
	}
	err := r.pay(ctx, func(id string) bool { _, ok := index[id]; return ok }, func(o spool.Owed, _ *qf.File, outcome error) error {
		res := &owing[index[o.ID]]
		res.Note = ""
		if outcome != nil {
			res.note(again + ": " + outcome.Error())
		}
		return nil
	})
	for _, res := range owing {
		err = errors.Join(err, r.tell(res))
	}
	return err
}

// payDebts sends the bounces that are owed from earlier. It comes last in a run:
// who restores a message does not want its bounce sent first. Each that is
// settled has a line in the audit log; it is no message of this run.
func (r *run) payDebts(ctx context.Context) error {
	return r.pay(ctx, func(id string) bool { return !r.tried[id] }, func(o spool.Owed, f *qf.File, outcome error) error {
		if outcome != nil {
			return nil
		}
		res := Result{
			ID: o.ID, Queue: o.Record.Queue, Rule: o.Record.Rule, Action: Verb(rule.Bounce), Result: Done, Recipients: []string{},
			Note: "the bounce that was owed since " + o.Record.Time.Format(time.RFC3339) + " has been handed over",
		}
		if why := r.Bounce.refuse(f); why != "" {
			res.Note = "the bounce that was owed since " + o.Record.Time.Format(time.RFC3339) + " is not sent any more: " + why
		}
		res.describe(f, r.Now())
		return r.Audit.result(r.Now(), r.id, res)
	})
}

// pay hands over owed bounces and tells what became of each. Those that fail
// stay owed; that is logged, and no error: there is more to a run than this. An
// error is that the audit log cannot be written.
func (r *run) pay(ctx context.Context, only func(id string) bool, tell func(spool.Owed, *qf.File, error) error) error {
	if r.Bounce == nil || ctx.Err() != nil {
		return nil
	}
	wait, cancel := context.WithTimeout(ctx, maxPay)
	defer cancel()
	var untold error
	err := r.store.EachOwed(wait, only, func(ctx context.Context, o spool.Owed) (paid bool) {
		r.tried[o.ID] = true
		if a := o.Record.Action; a != "" && a != string(rule.Bounce) {
			return true // restored, and removed again for another reason
		}
		f, err := r.sendBounce(ctx, o)
		if err != nil {
			r.Log.Error("a bounce could not be handed over and stays owed: it is tried again at the next sweep",
				"run", r.id, "id", o.ID, "to", o.Record.Sender, "since", o.Record.Time, "error", err)
		} else {
			r.Log.Info("bounce settled", "run", r.id, "id", o.ID, "to", o.Record.Sender)
		}
		untold = errors.Join(untold, tell(o, f, err))
		return err == nil
	})
	if err != nil {
		r.Log.Error("not all bounces that are owed were tried: the next sweep does", "run", r.id, "error", err)
	}
	return untold
}

// sendBounce hands one bounce over. Where it must not be sent any more, since a
// pattern was added to never_bounce, that settles it.
func (r *run) sendBounce(ctx context.Context, o spool.Owed) (*qf.File, error) {
	control, err := o.Read(nil, r.MaxControlFile)
	if err != nil {
		return nil, err
	}
	f, err := qf.Parse(control)
	if err != nil {
		return nil, err
	}
	if why := r.Bounce.refuse(f); why != "" {
		r.Log.Warn("a bounce that was owed is not sent", "run", r.id, "id", o.ID, "why", why)
		return f, nil
	}
	body, err := bodyOf(o.Entry, f)
	if err != nil {
		return f, err
	}
	when := o.Record.Time
	if when.IsZero() { // the record is damaged
		when = f.Created()
	}
	n, err := r.Bounce.notice(o.ID, f, body, when)
	if err != nil {
		return f, err
	}
	pr, pw := io.Pipe()
	written := make(chan error, 1)
	go func() {
		err := n.Write(pw)
		pw.CloseWithError(err)
		written <- err
	}()
	err = r.Bounce.Submit(ctx, n.To, n.UTF8, pr)
	pr.CloseWithError(errors.New("not read to its end"))
	if werr := <-written; err == nil && werr != nil {
		err = fmt.Errorf("it was handed over only in part: %w", werr)
	}
	return f, err
}

// previewBounce gives the bounce that would be sent to whoever asked for it.
func (r *run) previewBounce(c candidate) error {
	if r.preview == nil {
		return nil
	}
	control, err := c.entry.Read(nil, r.MaxControlFile)
	if err != nil {
		return err
	}
	f, err := qf.Parse(control)
	if err != nil {
		return err
	}
	body, err := bodyOf(c.entry, f)
	if err != nil {
		return err
	}
	n, err := r.Bounce.notice(c.entry.ID, f, body, r.began)
	if err != nil {
		return err
	}
	return r.preview(c.result, n.Write)
}

// rationed says why a bounce that may be sent is not sent, "" if its domain has
// room left in this hour; then it counts one more. What was sent is in the
// store's records, so that the limit holds over all processes that use it.
func (r *run) rationed(ctx context.Context, sender string) (string, error) {
	if r.Bounce.PerHour <= 0 {
		return "", nil
	}
	if r.bounced == nil {
		if err := r.countBounces(ctx); err != nil {
			return "", err
		}
	}
	domain := domainOf(sender)
	if r.bounced[domain] >= r.Bounce.PerHour {
		return fmt.Sprintf("%s has been sent %d bounces this hour (bounce.per_hour)", domain, r.Bounce.PerHour), nil
	}
	r.bounced[domain]++
	return "", nil
}

func (r *run) countBounces(ctx context.Context) error {
	store := r.store
	if store == nil { // a dry run
		var err error
		store, err = spool.ExistingStore(r.Disk, r.Store)
		if errors.Is(err, spool.ErrNoStore) {
			r.bounced = make(map[string]int)
			return nil
		}
		if err != nil {
			return err
		}
		defer store.Close()
	}
	counts := make(map[string]int)
	err := store.RecordsSince(ctx, r.Now().Add(-time.Hour), func(rec *spool.Record) {
		if rec.Action == string(rule.Bounce) {
			counts[domainOf(rec.Sender)]++
		}
	})
	if err == nil {
		r.bounced = counts
	}
	return err
}
