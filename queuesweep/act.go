package queuesweep

import (
	"context"
	"errors"

	"github.com/backscatterd/backscatterd/queuesweep/internal/abreast"
	"github.com/backscatterd/backscatterd/queuesweep/qf"
	"github.com/backscatterd/backscatterd/queuesweep/rule"
	"github.com/backscatterd/backscatterd/queuesweep/spool"
)

// act does to a batch of messages what their rules say. The error means that the
// run cannot go on.
func (r *run) act(ctx context.Context, messages []candidate) error {
	var batch []candidate
	for _, c := range messages {
		switch {
		case r.dry:
			if err := r.rehearse(ctx, &c); err != nil {
				return err
			}
		case c.result.Action == Verb(rule.Log):
			c.result.Result = Done
		default:
			batch = append(batch, c)
			continue
		}
		if err := r.tell(c.result); err != nil {
			return err
		}
	}
	if len(batch) == 0 {
		return nil
	}
	follow, err := r.change(ctx, batch)
	err = errors.Join(err, r.payBatch(ctx, follow.owing))
	if err != nil {
		return errors.Join(err, r.keepAll(follow.expiring, err))
	}
	return r.returnAll(ctx, follow.expiring)
}

// rehearse finds out what would be done.
func (r *run) rehearse(ctx context.Context, c *candidate) error {
	c.result.Result = DryRun
	if c.result.Action != Verb(rule.Bounce) {
		return nil
	}
	why, err := r.rationed(ctx, c.result.Sender)
	if err != nil {
		return err
	}
	if r.moveInstead(&c.result, why); why != "" {
		return nil
	}
	if err := r.previewBounce(*c); err != nil {
		c.result = c.result.fail(err)
	}
	return nil
}

// decide takes back what must not be done to this message: a null sender is
// never bounced, since that goes to somebody who has sent neither; nor is what
// would make backscatter.
func (r *run) decide(res *Result, f *qf.File) {
	switch why := ""; rule.Action(res.Action) {
	case rule.Expire:
		if f.NullSender() {
			why = "null sender: a bounce is never bounced"
		}
		r.moveInstead(res, why)
	case rule.Bounce:
		r.moveInstead(res, r.Bounce.refuse(f))
	}
}

func (r *run) moveInstead(res *Result, why string) {
	if why != "" {
		res.Note = "moved instead of " + string(res.Action) + ": " + why
		res.Action = Verb(rule.Move)
	}
}

// following are the messages of a batch that something is still to be done for,
// with the store's lock given back. Their results are not told yet.
type following struct {
	owing    []Result // a bounce is owed
	expiring []Result // sendmail is to return it
}

// change makes a batch of changes to queue files and tells the results, but for
// those of messages that something follows for.
func (r *run) change(ctx context.Context, messages []candidate) (follow following, err error) {
	wait, cancel := context.WithTimeout(ctx, r.LockWait)
	b, err := r.store.Begin(wait, r.Now())
	cancel()
	if err != nil {
		return follow, errors.Join(err, r.tellAll(messages, err))
	}
	defer b.End()
	r.bounced = nil // other processes may have sent some before this batch began
	all := r.claimAll(messages)
	defer releaseAll(all)
	var added []Result
	for i, c := range messages {
		err := all[i].err
		if err == nil {
			err = r.add(ctx, b, c, &all[i])
		}
		if err == nil {
			added = append(added, all[i].res)
			continue
		}
		if err := r.tell(all[i].res.fail(err)); err != nil {
			return follow, err
		}
	}
	var audit error
	for i, o := range b.Commit() {
		res := r.outcome(added[i], o)
		switch {
		case res.Result == Done && res.Action == Verb(rule.Bounce):
			follow.owing = append(follow.owing, res)
		case res.Result == Done && res.Action == Verb(rule.Expire):
			follow.expiring = append(follow.expiring, res)
		default:
			audit = errors.Join(audit, r.tell(res))
		}
	}
	if audit != nil {
		return follow, audit // the journal keeps the changes until they can be told
	}
	return follow, b.Forget()
}

// outcome is the result that a change's outcome stands for. One that is
// unfinished is done, and yet makes the run end with an error: somebody has to
// look at what kept it.
func (r *run) outcome(res Result, o spool.Outcome) Result {
	res.Result = Done
	switch {
	case o.Unfinished:
		r.unfinished++
		res.note("made, but not all that follows from it; the next start does the rest: " + o.Err.Error())
		r.Log.Error("a change was made, but not all that follows from it: the next start does the rest",
			"run", r.id, "id", res.ID, "action", string(res.Action), "error", o.Err)
	case o.Err != nil:
		res = res.fail(o.Err)
	}
	return res
}

func (r *run) tellAll(messages []candidate, err error) error {
	for _, c := range messages {
		if err := r.tell(c.result.fail(err)); err != nil {
			return err
		}
	}
	return nil
}

// fail gives the result the code that an error stands for.
func (r Result) fail(err error) Result {
	switch {
	case errors.Is(err, spool.ErrLocked):
		r.Result = Locked
	case errors.Is(err, spool.ErrChanged), errors.Is(err, errNoMatch), errors.Is(err, qf.ErrEmpty), errors.Is(err, qf.ErrIncomplete):
		r.Result = Changed
	case errors.Is(err, spool.ErrGone):
		r.Result = Gone
	default:
		r.Result = Failed
	}
	r.Error = err.Error()
	return r
}

// errNoMatch: under the lock, the message is not what it was.
var errNoMatch = errors.New("changed meanwhile: judged again under the lock, another rule or none matches")

// claimed is a message that was locked and read again; err tells what kept it
// from being.
type claimed struct {
	claim *spool.Claim
	file  *qf.File
	res   Result
	err   error
}

// releaseAll gives back all locks, those of changes that were made too: closing a
// deleted file is what frees it, and takes its time.
func releaseAll(all []claimed) {
	abreast.Each(len(all), func(_, i int) {
		if all[i].claim != nil {
			all[i].claim.Release()
		}
	})
}

// claimAll claims messages, each from a goroutine with a judge of its own.
func (r *run) claimAll(messages []candidate) []claimed {
	for r.judging && len(r.judges) < abreast.Workers(len(messages)) {
		r.judges = append(r.judges, r.set.Judge())
	}
	all := make([]claimed, len(messages))
	abreast.Each(len(messages), func(worker, i int) {
		var judge *rule.Judge
		if r.judging {
			judge = r.judges[worker]
		}
		all[i] = r.claim(messages[i], judge)
	})
	return all
}

// claim locks a message, reads it again and judges it again. Where a person
// named it there is nothing to judge.
func (r *run) claim(c candidate, judge *rule.Judge) claimed {
	cl := claimed{res: c.result}
	cl.claim, cl.file, cl.err = r.lock(c.entry)
	if cl.err != nil {
		return cl
	}
	if judge != nil {
		cl.err = r.judgeAgain(c, cl.file, judge)
	}
	if cl.err != nil {
		cl.claim.Release()
		return cl
	}
	cl.res.describe(cl.file, r.Now())
	r.decide(&cl.res, cl.file)
	return cl
}

// lock claims a message and reads it. Where it fails, nothing is held.
func (r *run) lock(e spool.Entry) (*spool.Claim, *qf.File, error) {
	claim, err := e.Claim()
	if err != nil {
		return nil, nil, err
	}
	data, err := claim.Read(r.MaxControlFile)
	var f *qf.File
	if err == nil {
		f, err = qf.Parse(data)
	}
	if err != nil {
		claim.Release()
		return nil, nil, err
	}
	return claim, f, nil
}

func (r *run) judgeAgain(c candidate, f *qf.File, judge *rule.Judge) error {
	body := &lazyBody{entry: c.entry, file: f}
	state := stateOf(c.entry, f, nil)
	i, err := judge.First(&rule.Message{
		ID: c.entry.ID, Queue: c.entry.Folder.Path, State: string(state), File: f, Now: r.began, Body: body,
	})
	if err != nil {
		return err
	}
	if i != c.rule {
		return errNoMatch
	}
	return nil
}

// add adds what is to be done to a claimed message to the batch.
func (r *run) add(ctx context.Context, b *spool.Batch, c candidate, cl *claimed) error {
	if rule.Action(cl.res.Action) == rule.Bounce {
		why, err := r.rationed(ctx, cl.res.Sender)
		if err != nil {
			return err
		}
		r.moveInstead(&cl.res, why)
	}
	switch rule.Action(cl.res.Action) {
	case rule.Delete:
		return b.Delete(cl.claim, cl.file)
	case rule.Hold:
		reason := r.reason(c.rule)
		if reason != "" {
			cl.res.Note = "reason: " + reason
		}
		return b.Hold(cl.claim, cl.file, reason)
	case rule.Release:
		return b.Release(cl.claim, cl.file)
	case rule.Bounce:
		return b.MoveOwing(cl.claim, cl.file, r.record(cl.res))
	case rule.Expire:
		return b.Expire(cl.claim, cl.file, returnReason(c.entry.ID))
	}
	if r.target != nil {
		return b.MoveTo(cl.claim, cl.file, r.target)
	}
	return b.Move(cl.claim, cl.file, r.record(cl.res))
}

func (r *run) reason(i int) string {
	rl := r.rules[i]
	switch {
	case rl.Reason != "":
		return rl.Reason
	case rl.Name != "":
		return "backscatterd: rule " + rl.Name
	}
	return ""
}

func (r *run) record(res Result) spool.Record {
	return spool.Record{
		Action: string(res.Action), Rule: res.Rule, Reason: res.Note, Run: r.id,
		Sender: res.Sender, Recipients: res.Recipients, Status: res.Status,
	}
}
