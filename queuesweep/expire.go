package queuesweep

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"github.com/backscatterd/backscatterd/queuesweep/spool"
)

// maxExpire bounds one queue run of sendmail for one message.
const maxExpire = 10 * time.Minute

// expireAll has sendmail bounce messages as timed out.
func (r *run) expireAll(ctx context.Context, messages []candidate) error {
	for _, c := range messages {
		if err := ctx.Err(); err != nil {
			return err
		}
		res, err := r.expire(ctx, c)
		if err != nil {
			res = res.fail(err)
		} else {
			res.Result = Done
		}
		if err := r.tell(res); err != nil {
			return err
		}
	}
	return nil
}

// expire judges a message again under its lock, gives the lock back, since
// sendmail takes it itself, and has sendmail run this one message with a queue
// life that is over.
func (r *run) expire(ctx context.Context, c candidate) (Result, error) {
	if c.entry.Kind != spool.Active {
		return c.result, fmt.Errorf("message %s is held: release it first", c.entry.ID)
	}
	cl := r.claimAll([]candidate{c})[0]
	if cl.err != nil {
		return cl.res, cl.err
	}
	cl.claim.Release()
	if cl.res.Action != c.result.Action {
		return cl.res, errNoMatch
	}
	run := r.RunExpired
	if run == nil {
		run = func(ctx context.Context, cf, id string) ([]byte, error) { return RunExpired(ctx, r.Sendmail, cf, id) }
	}
	out, err := run(ctx, c.entry.Folder.CF, c.entry.ID)
	if err != nil {
		return cl.res, fmt.Errorf("message %s: %w", c.entry.ID, err)
	}
	return cl.res, r.expired(c, out)
}

// RunExpired has sendmail, the command at this path, run the queue of a
// sendmail.cf ("" for its own) for one message with a life that is over, and
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
	args = append(args, "-qf", "-qI"+id, "-OTimeout.queuereturn=now", "-OTimeout.queuereturn.dsn=5d")
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

// expired looks whether sendmail has done it.
func (r *run) expired(c candidate, output []byte) error {
	_, err := c.entry.Read(nil, r.MaxControlFile)
	switch {
	case errors.Is(err, spool.ErrGone):
		return nil
	case err != nil:
		return err
	}
	why := firstLine(output)
	if why == "" {
		why = "it said nothing; MinQueueAge, a load above QueueLA, a lock, or a queue that is none of its own keeps it from trying"
	}
	return fmt.Errorf("message %s: sendmail has left it in the queue: %s", c.entry.ID, why)
}

func firstLine(b []byte) string {
	line, _, _ := bytes.Cut(bytes.TrimSpace(b), []byte("\n"))
	return string(line)
}
