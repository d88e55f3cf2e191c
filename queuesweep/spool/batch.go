package spool

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/backscatterd/backscatterd/queuesweep/internal/abreast"
)

// MaxBatch is how many messages a batch has at most: enough for its fsyncs to
// cost little a message, few enough for their locks to be held for an instant.
const MaxBatch = 512

// BatchSize is how many it has where this process may open only so many files. A
// message takes up to two of them, and half of all are left to others.
func BatchSize() int {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return MaxBatch / 4
	}
	return int(min(MaxBatch, max(limit.Cur/4, 16)))
}

// ownPrefix starts every name that this package makes for itself in a queue
// folder. It must not look like "?f...": Debian's cron job renames an orphan
// tf to qf, and sendmail waits for one.
const ownPrefix = ".backscatterd."

func newName(id string) string { return ownPrefix + id + ".new" }
func oldName(id string) string { return ownPrefix + id + ".old" }

// change is one message's way from here to there, in steps between which the
// process may die. Each step leaves the message whole.
type change interface {
	// check looks whether it can be made. Nothing is made before intent is written.
	check() error
	// intent is what the journal says of it, after check.
	intent() intent
	// prepare makes all that is needed without anything showing in a queue.
	prepare() error
	// commit is the one call after which the message has changed place.
	commit() error
	// land and clean do what is left; they can be repeated at the next start.
	land() error
	clean() error
	// undo takes back what prepare has made.
	undo() error
	// touches are the folders whose entries the last step has changed.
	touches() []*dir
	claim() *Claim
	// release lets go of all descriptors, and so of the locks.
	release()
}

// Batch makes changes to claimed messages under the store's lock. Changes are
// added, then made together by Commit. Not safe for concurrent use.
type Batch struct {
	store    *Store
	lockfd   int
	now      time.Time
	changes  []change
	pending  unended           // of earlier processes
	records  map[string]Record // of messages that are moved to the store, by id
	owed     map[string]note   // bounces to be sent for messages that are moved
	expiring map[string]expiry // messages that are held for sendmail to return them
	day      *Folder
	left     []intent // what the journal is to keep after Commit
}

// Begin takes the store's lock, waiting for another process as long as ctx
// allows, and ends what a killed process has left. The caller must End it.
func (s *Store) Begin(ctx context.Context, now time.Time) (*Batch, error) {
	fd, err := s.lock(ctx)
	if err != nil {
		return nil, err
	}
	b := &Batch{store: s, lockfd: fd, now: now}
	if b.pending, err = s.recover(); err != nil {
		s.disk.Close(fd)
		return nil, err
	}
	return b, nil
}

// End gives the locks back, the store's and those of the messages.
func (b *Batch) End() {
	for _, c := range b.changes {
		c.release()
	}
	b.changes = nil
	if b.day != nil {
		b.day.qf.close()
		b.day = nil
	}
	if b.lockfd >= 0 {
		b.store.disk.Close(b.lockfd)
		b.lockfd = -1
	}
}

// add takes a change. Recovery tells changes apart by the names of a message's
// files, so there is never more than one under way for an id.
func (b *Batch) add(c change) error {
	id := c.claim().ID
	for _, other := range b.changes {
		if other.claim().ID == id {
			return fmt.Errorf("message %s: another message of this id, in %s, is being changed: try again when that is done", id, other.claim().Folder.Path)
		}
	}
	for _, in := range b.pending.intents {
		if in.ID == id {
			return fmt.Errorf("message %s: a %s that was interrupted must be ended first: see %s/%s", id, in.Op, b.store.Path, journalName)
		}
	}
	b.changes = append(b.changes, c)
	return nil
}

// Len is the number of changes added so far.
func (b *Batch) Len() int { return len(b.changes) }

// Outcome is what became of one change.
type Outcome struct {
	ID string
	// Err is nil where the change was made. Otherwise the message is as it
	// was, unless Unfinished is set.
	Err error
	// Unfinished tells that the change was made, but not all that follows from
	// it; the next start does the rest.
	Unfinished bool

	journaled bool // something is left to do or to undo
}

// Commit makes all changes added and returns their outcomes in that order. An
// error of one does not keep the others from being made. Every step is on the
// disk before the next one begins. Forget comes next.
func (b *Batch) Commit() []Outcome {
	if len(b.changes) == 0 {
		return nil
	}
	out := make([]Outcome, len(b.changes))
	for i, c := range b.changes {
		out[i].ID = c.claim().ID
	}
	b.check(out)
	j := journal{b.store}
	if err := b.announce(j, out); err != nil {
		b.left = b.pending.intents
		for i := range out {
			if out[i].Err == nil {
				out[i].Err = err
			}
		}
		return out
	}
	b.step(out, change.prepare, reversible)
	b.step(out, change.commit, deciding)
	b.step(out, change.land, decided)
	b.step(out, change.clean, decided)

	b.left = slices.Clone(b.pending.intents)
	for i, c := range b.changes {
		if out[i].journaled {
			b.left = append(b.left, c.intent())
		}
	}
	return out
}

// Forget empties the journal of the changes that Commit has made. Before it,
// the caller writes down what was made: a process that dies in between leaves
// the next one to look at them again and to write them down.
func (b *Batch) Forget() error {
	if len(b.changes) == 0 {
		return nil
	}
	return journal{b.store}.keep(b.left)
}

// check finds the changes that cannot be made. Of those nothing is said anywhere
// but in their outcomes.
func (b *Batch) check(out []Outcome) {
	abreast.Each(len(b.changes), func(_, i int) {
		if err := b.changes[i].check(); err != nil {
			out[i].Err = fmt.Errorf("message %s: %w", out[i].ID, err)
		}
	})
}

// announce writes records, notes, and the journal, before anything
// is done. A note that cannot be written keeps one message where it is; the
// others are announced.
func (b *Batch) announce(j journal, out []Outcome) error {
	var records []Record
	for _, o := range out {
		if r, ok := b.records[o.ID]; ok && o.Err == nil {
			records = append(records, r)
		}
	}
	if len(records) > 0 {
		if err := b.store.writeRecords(b.day, records); err != nil {
			return err
		}
	}
	intents := make([]intent, 0, len(b.changes))
	for i, c := range b.changes {
		if out[i].Err != nil {
			continue
		}
		if err := b.note(out[i].ID); err != nil {
			out[i].Err = fmt.Errorf("message %s: %w", out[i].ID, err)
			continue
		}
		intents = append(intents, c.intent())
	}
	if len(intents) == 0 {
		return nil
	}
	return j.write(intents)
}

// note writes down what is still to come once the message has been changed.
func (b *Batch) note(id string) error {
	if n, bounces := b.owed[id]; bounces {
		return b.store.writeNote(owedName, id, n)
	}
	if n, expires := b.expiring[id]; expires {
		return b.store.writeNote(expiringName, id, n)
	}
	return nil
}

// phase tells what an error means for a change.
type phase int

const (
	reversible phase = iota // undo it
	deciding                // undo it if the call failed; if only its fsync did, it may have been made
	decided                 // it is made, the rest is left for the next start
)

// step takes one step of all changes that are under way, then fsyncs the
// folders that it has touched.
func (b *Batch) step(out []Outcome, do func(change) error, p phase) {
	errs := make([]error, len(b.changes))
	abreast.Each(len(b.changes), func(_, i int) {
		if out[i].Err == nil {
			errs[i] = do(b.changes[i])
		}
	})
	touched := make(map[*dir][]int)
	for i, c := range b.changes {
		switch {
		case out[i].Err != nil:
			continue
		case errs[i] != nil:
			b.fail(&out[i], c, errs[i], p != decided)
			continue
		}
		for _, d := range c.touches() {
			touched[d] = append(touched[d], i)
		}
	}
	for d, whose := range touched {
		err := d.fsync()
		if err == nil {
			continue
		}
		for _, i := range whose {
			if out[i].Err == nil {
				b.fail(&out[i], b.changes[i], err, p == reversible)
			}
		}
	}
}

func (b *Batch) fail(o *Outcome, c change, err error, undo bool) {
	o.Err = fmt.Errorf("message %s: %w%s", o.ID, err, hint(err))
	o.Unfinished, o.journaled = !undo, !undo
	if undo {
		if err := c.undo(); err != nil {
			o.Err = errors.Join(o.Err, err)
			o.journaled = true
		}
	}
}
