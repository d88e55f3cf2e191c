package queuesweep

import (
	"context"
	"errors"
	"fmt"

	"github.com/backscatterd/backscatterd/queuesweep/internal/abreast"
	"github.com/backscatterd/backscatterd/queuesweep/rule"
	"github.com/backscatterd/backscatterd/queuesweep/spool"
)

// Act does one thing to messages that a person has named by their ids. No
// limits hold.
func (s *Sweeper) Act(ctx context.Context, ids []string, do rule.Rule, o SweepOptions) (Summary, error) {
	do.When = "true"
	set, err := rule.Compile([]rule.Rule{do})
	if err != nil {
		return Summary{}, err
	}
	r := s.newRun(set, o.DryRun, o.Emit)
	r.preview = o.Preview
	partial, err := r.prepare(ctx)
	if err != nil {
		return Summary{}, err
	}
	defer r.close()
	if err := r.aim(o.Target); err != nil {
		return Summary{}, &SetupError{err}
	}
	var messages []candidate
	rd := s.reader()
	named := make(map[string]bool, len(ids))
	for _, id := range ids {
		if named[id] {
			continue
		}
		named[id] = true
		r.sum.Scanned++
		c, err := r.named(id, rd)
		if err != nil {
			if err := r.tell(c.result.fail(err)); err != nil {
				return r.sum, err
			}
			continue
		}
		messages = append(messages, c)
		if len(messages) == r.batch {
			if err := r.act(ctx, messages); err != nil {
				return r.sum, err
			}
			messages = messages[:0]
		}
	}
	err = r.act(ctx, messages)
	sum, auditErr := r.finish(ctx)
	return sum, errors.Join(partial, err, auditErr)
}

// named finds the message of an id. What could not be read or understood is
// refused: nobody can say what would be lost.
func (r *run) named(id string, rd *reader) (candidate, error) {
	do := r.rules[0]
	c := candidate{result: Result{ID: id, Action: Verb(do.Do), Recipients: []string{}}}
	e, err := r.spool.Find(id)
	if err != nil {
		return c, err
	}
	c = candidate{entry: e, result: resultFor(e, do)}
	if e.Kind == spool.Lost {
		return c, fmt.Errorf("message %s is set aside by sendmail as Qf, since it found it bad: look at %s and rename it to qf%s when it is mended", id, e.Path(), id)
	}
	msg, _, err := rd.read(e, r.began)
	if err != nil {
		return c, err
	}
	c.result.describe(msg.File, r.began)
	r.decide(&c.result, msg.File)
	return c, nil
}

// Restore brings messages of the removed store back into the queues that they
// came from: those with these ids, or, where where is set, those that it holds
// for.
func (s *Sweeper) Restore(ctx context.Context, ids []string, where *rule.Set, o SweepOptions) (Summary, error) {
	r := s.newRun(where, o.DryRun, o.Emit)
	partial, err := r.prepare(ctx)
	if err != nil {
		return Summary{}, err
	}
	defer r.close()
	store := r.store
	if store == nil { // a dry run
		if store, err = spool.ExistingStore(s.Disk, s.Store); err != nil {
			return Summary{}, &SetupError{err}
		}
		defer store.Close()
	}
	missing := make(map[string]bool, len(ids))
	for _, id := range ids {
		missing[id] = true
	}
	err = r.restoreFrom(ctx, store, missing, o)
	for _, id := range ids {
		if err == nil && missing[id] {
			res := Result{ID: id, Action: Restore, Recipients: []string{}}
			err = r.tell(res.fail(fmt.Errorf("message %s: not in the removed store %s (queue list --removed shows what is)", id, s.Store)))
		}
	}
	sum, auditErr := r.finish(ctx)
	return sum, errors.Join(partial, err, auditErr)
}

// returning is a message of the store that is going back to its queue.
type returning struct {
	stored spool.Stored
	res    Result
}

// restoreFrom acts batch by batch. A batch holds messages of one day: their
// folder is open for as long as that day is read.
func (r *run) restoreFrom(ctx context.Context, store *spool.Store, missing map[string]bool, o SweepOptions) error {
	rd := r.reader()
	var judge *rule.Judge
	if r.set != nil {
		judge = r.set.Judge()
	}
	var batch []returning
	flush := func() error {
		some := batch
		batch = batch[:0]
		if len(some) == 0 || ctx.Err() != nil {
			return ctx.Err()
		}
		return r.restore(ctx, some)
	}
	return store.MessagesByDay(ctx, func(m spool.Stored) error {
		if judge == nil && !missing[m.ID] || o.Only != nil && !o.Only(m.Entry) ||
			o.Removed != nil && (m.Record == nil || !o.Removed(m.Record)) {
			return nil
		}
		r.sum.Scanned++
		res := Result{ID: m.ID, Action: Restore, Recipients: []string{}}
		if m.Record != nil {
			res.Queue = m.Record.Queue
		}
		msg, _, err := rd.read(m.Entry, r.began)
		if err != nil {
			delete(missing, m.ID)
			return r.tell(res.fail(err))
		}
		if judge != nil {
			i, err := judge.First(msg)
			if err != nil {
				return errors.Join(err, flush()) // those before it are restored
			}
			if i < 0 {
				return nil
			}
		}
		delete(missing, m.ID)
		res.describe(msg.File, r.began)
		if r.dry {
			res.Result = DryRun
			return r.tell(res)
		}
		if batch = append(batch, returning{m, res}); len(batch) < r.batch {
			return nil
		}
		return flush()
	}, flush)
}

// restore brings a batch of messages back and tells what became of
// them.
func (r *run) restore(ctx context.Context, messages []returning) error {
	wait, cancel := context.WithTimeout(ctx, r.LockWait)
	b, err := r.store.Begin(wait, r.Now())
	cancel()
	if err != nil {
		for _, m := range messages {
			if err := r.tell(m.res.fail(err)); err != nil {
				return err
			}
		}
		return nil
	}
	defer b.End()
	all := make([]claimed, len(messages))
	abreast.Each(len(all), func(_, i int) {
		all[i].claim, all[i].file, all[i].err = r.lock(messages[i].stored.Entry)
	})
	defer releaseAll(all)
	var added []Result
	for i, m := range messages {
		err := all[i].err
		if err == nil {
			err = r.addRestore(b, m.stored, all[i])
		}
		if err == nil {
			added = append(added, m.res)
			continue
		}
		if err := r.tell(m.res.fail(err)); err != nil {
			return err
		}
	}
	var audit error
	for i, o := range b.Commit() {
		audit = errors.Join(audit, r.tell(r.outcome(added[i], o)))
	}
	if audit != nil {
		return audit // the journal keeps the changes until they can be told
	}
	return b.Forget()
}

// origin is the queue folder that a message of the store came from.
func (r *run) origin(m spool.Stored) (*spool.Folder, error) {
	if m.Record == nil {
		return nil, fmt.Errorf("message %s: the store has no record of the queue that it came from: move %s and its df there by hand, df first", m.ID, m.Path())
	}
	queue := r.spool.Folder(m.Record.Queue)
	if queue == nil {
		return nil, fmt.Errorf("message %s came from %s, which is none of the queue folders now: name it with --queue, or in queue.directories", m.ID, m.Record.Queue)
	}
	return queue, nil
}

func (r *run) addRestore(b *spool.Batch, m spool.Stored, cl claimed) error {
	queue, err := r.origin(m)
	if err != nil {
		return err
	}
	return b.Restore(cl.claim, cl.file, queue)
}
