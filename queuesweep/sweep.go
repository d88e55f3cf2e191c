package queuesweep

import (
	"context"
	"errors"
	"io"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/backscatterd/backscatterd/queuesweep/rule"
	"github.com/backscatterd/backscatterd/queuesweep/spool"
)

// SweepOptions are what one sweep does differently.
type SweepOptions struct {
	DryRun bool
	// Unlimited leaves max_share and max_messages aside, as for what a person
	// asks for by hand.
	Unlimited bool
	// Target is a queue folder to move to instead of the removed store.
	Target string
	// Only narrows the sweep, or Restore, to some messages; nil is all. It is
	// called from several goroutines.
	Only func(spool.Entry) bool
	// Removed narrows Restore to messages whose record it takes; nil is all. A
	// message without a record is not asked about, and stays.
	Removed func(*spool.Record) bool
	// Preview is called in a dry run for each bounce that would be sent, before
	// Emit; write writes it as it would be sent, with CRLF.
	Preview func(r Result, write func(io.Writer) error) error
	// Memory, if set, spares reading again what an earlier sweep with the same
	// rules and this memory has read.
	Memory *Memory
	// Emit is called for each message that a rule matches, one at a time.
	Emit func(Result)
	// Survey, if set, is told what the queues were like, once all was read and
	// before anything is done.
	Survey func(Survey)
}

// Sweep judges every message of the queues by the rules, the first that matches
// deciding, and acts. The error tells what kept it from looking at all messages
// or from going on; what became of single messages is in their results.
//
// With limits, it looks at the whole queue before it acts, since a share can
// only be told of a whole.
func (s *Sweeper) Sweep(ctx context.Context, set *rule.Set, o SweepOptions) (Summary, error) {
	r := s.newRun(set, o.DryRun, o.Emit)
	r.limited, r.preview = !o.Unlimited, o.Preview
	if o.Survey != nil {
		r.surveyor = newSurveyor(r.began)
	}
	r.judging = true
	partial, err := r.prepare(ctx)
	if err != nil {
		return Summary{}, err
	}
	defer r.close()
	if err := r.aim(o.Target); err != nil {
		return Summary{}, &SetupError{err}
	}

	found := make(chan []candidate, s.Workers)
	var scanned atomic.Int64
	g, scanCtx := errgroup.WithContext(ctx)
	g.Go(func() error {
		defer close(found)
		return r.look(scanCtx, o, found, &scanned)
	})
	p := plan{run: r}
	// Not scanCtx: a folder that cannot be read must not keep what was found in
	// the others from being done.
	g.Go(func() error { return p.collect(ctx, found) })
	err = g.Wait()
	r.sum.Scanned = int(scanned.Load())
	if r.surveyor != nil && ctx.Err() == nil && (err == nil || p.complete) {
		o.Survey(r.surveyor.survey(r.Now()))
	}
	if err == nil || p.complete {
		err = errors.Join(err, p.carryOut(ctx))
	}
	sum, auditErr := r.finish(ctx)
	return sum, errors.Join(partial, err, auditErr)
}

// aim opens the folder that messages are to be moved to.
func (r *run) aim(target string) error {
	if target == "" {
		return nil
	}
	if f := r.spool.Folder(target); f != nil {
		r.target = f
		return nil
	}
	places, err := spool.PlacesAt([]string{target})
	if err != nil {
		return err
	}
	sp, err := spool.Open(r.Disk, places)
	if err != nil {
		return err
	}
	r.elsewhere, r.target = sp, sp.Folders()[0]
	return nil
}

// plan is what a sweep is going to do.
type plan struct {
	*run
	messages []candidate
	complete bool // the queue was looked at to its end
}

// collect takes what is found. Without limits it acts at once, batch by batch;
// with them it keeps at most max_messages, and tells the rest.
func (p *plan) collect(ctx context.Context, found <-chan []candidate) error {
	for some := range found {
		for _, c := range some {
			if err := p.take(ctx, c); err != nil {
				return err
			}
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	p.complete = true
	return nil
}

func (p *plan) take(ctx context.Context, c candidate) error {
	if done, err := p.aside(c); done {
		return err
	}
	if p.limited && p.MaxMessages > 0 && len(p.messages) >= p.MaxMessages {
		p.sum.Limit = limitText("max_messages", p.MaxMessages)
		c.result.Result = Limit
		return p.tell(c.result)
	}
	p.messages = append(p.messages, c)
	if p.limited || len(p.messages) < p.batch {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	err := p.act(ctx, p.messages)
	p.messages = p.messages[:0]
	return err
}

// aside deals with messages that no limit is about, since nothing is done to
// them: those that a rule only tells of, and those that it failed on.
func (p *plan) aside(c candidate) (done bool, err error) {
	switch {
	case c.err != nil:
		return true, p.tell(c.result.fail(c.err))
	case c.result.Action == Verb(rule.Log):
		c.result.Result = Done
		if p.dry {
			c.result.Result = DryRun
		}
		return true, p.tell(c.result)
	}
	return false, nil
}

// carryOut acts on what was planned, as far as max_share allows.
func (p *plan) carryOut(ctx context.Context) error {
	allowed := len(p.messages)
	if p.limited && p.MaxShare > 0 {
		// At least one, so that a queue of one message can be swept.
		if share := max(1, int(p.MaxShare*float64(p.sum.Scanned))); share < allowed {
			allowed = share
			p.sum.Limit = limitText("max_share", p.MaxShare)
		}
	}
	messages, rest := p.messages[:allowed], p.messages[allowed:]
	for len(messages) > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		n := min(len(messages), p.batch)
		if err := p.act(ctx, messages[:n]); err != nil {
			return err
		}
		messages = messages[n:]
	}
	for _, c := range rest {
		c.result.Result = Limit
		if err := p.tell(c.result); err != nil {
			return err
		}
	}
	return nil
}
