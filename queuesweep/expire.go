package queuesweep

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"github.com/backscatterd/backscatterd/queuesweep/qf"
	"github.com/backscatterd/backscatterd/queuesweep/spool"
)

// maxExpire bounds one queue run of sendmail for one message.
const maxExpire = 10 * time.Minute

// returnReason is the reason for which a message is held until sendmail has
// returned it. The bounce inherits it, and is found by it.
func returnReason(id string) string { return "backscatterd: sendmail returns " + id + " as timed out" }

// keepAll tells of messages that are held for sendmail to return them, and that it
// is not asked about in this run, since their journal is not in order.
func (r *run) keepAll(held []Result, why error) error {
	var errs []error
	for _, res := range held {
		r.tried[res.ID] = true
		errs = append(errs, r.tell(res.fail(fmt.Errorf("message %s: it is held until the next run that acts has it returned: %w", res.ID, why))))
	}
	return errors.Join(errs...)
}

// returnAll has sendmail return messages that are held for that, and tells their
// results. Those that it does not come to any more go back into the queue.
func (r *run) returnAll(ctx context.Context, held []Result) error {
	if len(held) == 0 {
		return nil
	}
	var ended []spool.Expiring
	var stop error
	for _, res := range held {
		e := r.expiring(res)
		r.tried[e.ID] = true
		if stop == nil {
			stop = context.Cause(ctx)
		}
		var over bool
		var err error
		if stop == nil {
			over, err = r.sendBack(ctx, e)
		} else {
			over, err = r.giveBack(ctx, e, fmt.Errorf("message %s: sendmail was not asked to return it: %w", e.ID, stop))
		}
		if over {
			ended = append(ended, e)
		}
		if err != nil {
			res = res.fail(err)
		}
		if err := r.tell(res); err != nil {
			stop = err // nothing is done that cannot be told
		}
	}
	r.endExpiries(ctx, ended)
	return errors.Join(stop, ctx.Err())
}

func (r *run) expiring(res Result) spool.Expiring {
	e := spool.Expiring{ID: res.ID, Queue: res.Queue}
	if f := r.spool.Folder(res.Queue); f != nil {
		e.CF = f.CF
	}
	return e
}

// sendBack has sendmail return a held message, and looks whether it has. One that
// sendmail has left goes back into the queue. Over tells that it is held no longer;
// where it still is, the next run goes on.
func (r *run) sendBack(ctx context.Context, e spool.Expiring) (over bool, err error) {
	run := r.RunExpired
	if run == nil {
		run = func(ctx context.Context, cf, id string) ([]byte, error) { return RunExpired(ctx, r.Sendmail, cf, id) }
	}
	out, failure := run(ctx, e.CF, e.ID)
	what, err := r.became(ctx, e)
	switch {
	case err != nil:
		return false, errors.Join(failure, err)
	case what != spool.StillHeld:
		return true, notReturned(e, what)
	case ctx.Err() != nil:
		return false, fmt.Errorf("message %s: stopped while sendmail was at it (%w): it is held until the next run that acts has it returned", e.ID, context.Cause(ctx))
	case failure == nil:
		failure = errors.New("sendmail has left it in the queue: " + whyLeft(out))
	}
	return r.giveBack(ctx, e, fmt.Errorf("message %s: %w", e.ID, failure))
}

// became looks what became of a message that sendmail was to return. It waits for
// a sendmail that a killed process has left.
func (r *run) became(ctx context.Context, e spool.Expiring) (spool.Expiry, error) {
	wait, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.LockWait)
	defer cancel()
	return r.store.Expired(wait, e.ID)
}

// notReturned is nil for a message that was.
func notReturned(e spool.Expiring, what spool.Expiry) error {
	switch what {
	case spool.Forgotten:
		return fmt.Errorf("message %s: %w: another process has seen to it; its line in the audit log says how it ended", e.ID, spool.ErrChanged)
	case spool.InQueue:
		return fmt.Errorf("message %s: %w: it is in the queue again", e.ID, spool.ErrChanged)
	case spool.SetAside:
		return fmt.Errorf("message %s: sendmail could not return it, and has set it aside as %s/Qf%s: look at it (mailq -qL)", e.ID, e.Queue, e.ID)
	}
	return nil
}

func whyLeft(output []byte) string {
	if why := firstLine(output); why != "" {
		return why
	}
	return "it said nothing; MinQueueAge, a load above QueueLA, a lock, or a queue that is none of its own keeps it from trying"
}

// giveBack releases a message that sendmail was to return, and has not, for this
// reason.
func (r *run) giveBack(ctx context.Context, e spool.Expiring, why error) (over bool, err error) {
	folder := r.spool.Folder(e.Queue)
	if folder == nil {
		return false, fmt.Errorf("%w; it is held, since its folder is none of the queues of this run: backscatterd queue release --queue %s %s gives it back", why, e.Queue, e.ID)
	}
	if err := r.changeHeld(ctx, []spool.Entry{{Folder: folder, Kind: spool.Held, ID: e.ID}}, (*spool.Batch).Release); err != nil {
		return false, fmt.Errorf("%w; it is held until the next run that acts has it returned: %w", why, err)
	}
	return true, why
}

// changeHeld changes messages that were held only for sendmail to return one. It
// goes to its end once it is begun: who cancels does not want them held.
func (r *run) changeHeld(ctx context.Context, entries []spool.Entry, add func(*spool.Batch, *spool.Claim, *qf.File) error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.LockWait)
	defer cancel()
	b, err := r.store.Begin(ctx, r.Now())
	if err != nil {
		return err
	}
	defer b.End()
	var errs []error
	for _, e := range entries {
		claim, f, err := r.lock(e)
		if err == nil {
			if err = add(b, claim, f); err != nil {
				claim.Release()
			}
		}
		errs = append(errs, err)
	}
	for _, o := range b.Commit() {
		errs = append(errs, o.Err)
	}
	return errors.Join(append(errs, b.Forget())...)
}

// RunExpired has sendmail, the command at this path, run the queue of a
// sendmail.cf ("" for its own) for one held message with a life that is over, and
// returns what it says.
//
// Timeout.queuereturn=now alone would also time out the bounce that this makes:
// where its receiver answers 4xx, it went to dead.letter and nobody was told.
// The option for DSNs, in this order, keeps it for five days. Without -qf
// sendmail would go into the background and return before it has begun.
func RunExpired(ctx context.Context, sendmail, cf, id string) (output []byte, err error) {
	args := []string{}
	if cf != "" {
		args = append(args, "-C", cf)
	}
	args = append(args, "-qf", "-qQ", "-qI"+id, "-OTimeout.queuereturn=now", "-OTimeout.queuereturn.dsn=5d")
	ctx, cancel := context.WithTimeout(ctx, maxExpire)
	defer cancel()
	cmd := exec.CommandContext(ctx, sendmail, args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args, " "), err, firstLine(out.Bytes()))
	}
	return out.Bytes(), nil
}

func firstLine(b []byte) string {
	line, _, _ := bytes.Cut(bytes.TrimSpace(b), []byte("\n"))
	return string(line)
}
