//go:build linux && amd64

package crash

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/backscatterd/backscatterd/queuesweep/qf"
)

// act runs the action, until the program has said that it is done.
func (b *bench) act() error {
	b.deferring(true)
	if b.action.name == "expire" {
		// Bounces that were delivered before the power failed are not to be counted.
		b.putOff("user-", "sender-")
	}
	if b.action.name != "purge" {
		_, _, err := b.run.must(b.action.args...)
		return err
	}
	return b.purge()
}

// purge has the daemon purge the store.
func (b *bench) purge() error {
	at := attempt{run: b.run}
	if err := at.trace(); err != nil {
		return err
	}
	if status, said := at.record.Status, at.read("err"); status.ExitStatus() != 0 || !strings.Contains(said, "purged the removed store") {
		return fmt.Errorf("a purge: status %v; it says\n%s", status, said)
	}
	return nil
}

// started starts the program, finds the messages, and has sendmail deliver what is
// left.
func (b *bench) started() (at [letters]place, err error) {
	if err := b.headless(); err != nil {
		return at, fmt.Errorf("before the next start: %w", err)
	}
	from := len(b.lab.Stub.Deliveries()) // to return a message is to deliver its bounce
	if _, _, err := b.run.must(sweep("nothing")...); err != nil {
		return at, err
	}
	if b.action.name == "purge" {
		return b.purgedAgain()
	}
	if at, err = b.look(); err != nil {
		return at, err
	}
	for i, p := range at {
		if p != b.action.origin && p != b.action.goal {
			err = errors.Join(err, fmt.Errorf("message %d is %s", i, p))
		}
	}
	if err == nil && b.action.sends {
		err = b.accounted(at, from)
	}
	return at, err
}

// purgedAgain finds what a purge has left, and has the next one end it.
func (b *bench) purgedAgain() (at [letters]place, err error) {
	if at, err = b.purged(); err != nil {
		return at, err
	}
	if _, err := os.Stat(filepath.Join(b.store, oldDay)); err == nil {
		if err := b.purge(); err != nil {
			return at, err
		}
	}
	after, err := b.look()
	if err == nil && after != [letters]place{gone, gone, gone} {
		err = fmt.Errorf("after the next purge: %v", after)
	}
	return at, err
}

// notice notes what senders are told where no power is lost.
func (b *bench) notice(at [letters]place) error {
	t, err := b.delivered(at, len(b.lab.Stub.Deliveries()))
	if err != nil {
		return err
	}
	for i, all := range t.bounces {
		if len(all) != 1 || t.delivered[i] > 0 {
			return fmt.Errorf("without a loss of power, message %d was delivered %d times and bounced %d times", i, t.delivered[i], len(all))
		}
		b.notices[i] = all[0]
	}
	return nil
}

// accounted has sendmail deliver what it has: each message that has left the queue
// has its bounce, and that whole; each other one is delivered, and nobody is told.
// From is the first delivery since the power came back.
func (b *bench) accounted(at [letters]place, from int) error {
	t, err := b.delivered(at, from)
	for i, p := range at {
		for _, notice := range t.bounces[i] {
			if b.action.name == "expire" { // sendmail's have each an id of its own
				err = errors.Join(err, b.returns(notice, i))
			} else if !bytes.Equal(afterTrace(notice), afterTrace(b.notices[i])) {
				err = errors.Join(err, fmt.Errorf("message %d: its bounce is not the one that was sent without a loss of power:\n%.2000s", i, notice))
			}
		}
		delivered, bounces := t.delivered[i], len(t.bounces[i])
		if queued := p == atQueue; queued && (delivered != 1 || bounces > 0) || !queued && (delivered > 0 || bounces == 0) {
			err = errors.Join(err, fmt.Errorf("message %d was found %s; then it was delivered %d times, and its sender told %d times", i, p, delivered, bounces))
		}
	}
	return err
}

// torn tells whether sendmail has set aside a control file of its own that was
// not whole, and tells of it by its exit status: where others sync, the disk may
// have the size of a file that sendmail was writing, and not yet its text. It had
// not taken that message, so who handed it over does so again.
func (b *bench) torn() bool {
	aside, _ := filepath.Glob(filepath.Join(b.queue, "Qf*"))
	return slices.ContainsFunc(aside, func(path string) bool {
		id := filepath.Base(path)[len("Qf"):]
		if slices.ContainsFunc(b.templates[:], func(tm template) bool { return tm.id == id }) {
			return false
		}
		data, err := os.ReadFile(path)
		if err == nil {
			_, err = qf.Parse(data)
		}
		if err != nil {
			b.ground.t.Logf("sendmail had not finished %s when the power failed, and sets it aside: %v", path, err)
		}
		return err != nil
	})
}

// delivered is what has come to the stub from that delivery on, when sendmail has
// delivered all that it has; the messages had been at these places.
func (b *bench) delivered(at [letters]place, from int) (*tally, error) {
	b.deferring(false)
	for range 2 { // a bounce made by the first run is sent by the second
		if _, err := b.lab.RunQueue(b.ctx, b.queues("")); err != nil && !b.torn() {
			return new(tally), err
		}
	}
	t := b.tallies(from)[b.tag]
	if t == nil {
		t = new(tally)
	}
	err := t.err
	// What sendmail had not yet taken when the power failed may lie about: a df or a
	// tf, a qf that is empty, or an hf that is not whole. A message it must not.
	left, listed := filepath.Glob(filepath.Join(b.queue, "[qh]f*"))
	for _, control := range left {
		text, rerr := os.ReadFile(control)
		if _, torn := qf.Parse(text); rerr != nil || torn == nil || len(text) > 0 && filepath.Base(control)[0] == 'q' {
			err = errors.Join(err, rerr, fmt.Errorf("sendmail has left %s in the queue", control))
		}
	}
	now, looked := b.look()
	for i, p := range at {
		if stored := p == atStore; stored != (now[i] == atStore) {
			err = errors.Join(err, fmt.Errorf("message %d was %s, and is %s", i, p, now[i]))
		}
	}
	return t, errors.Join(err, listed, looked)
}
