package spool

import (
	"errors"
	"fmt"

	"github.com/backscatterd/backscatterd/queuesweep/qf"
)

// Each of these adds a change to the batch. Where it returns nil the batch owns
// the claim; otherwise nothing was begun and the caller still has it. f is what
// the claim has read under the lock.

// Move takes a message out of the queue into the store.
func (b *Batch) Move(c *Claim, f *qf.File, r Record) error {
	data, err := c.Body(f)
	if err != nil {
		return fmt.Errorf("message %s: %w", c.ID, err)
	}
	if b.day == nil {
		day, err := b.store.day(b.now.UTC().Format(dayFormat), true)
		if err != nil {
			return fmt.Errorf("removed store: %w%s", err, hint(err))
		}
		b.day = day
	}
	t, err := newTransfer("move", c, data, b.day, b.day.df)
	if err != nil {
		return err
	}
	if err := b.add(t); err != nil {
		return err
	}
	r.ID, r.Time, r.Queue = c.ID, b.now, c.Folder.Path
	b.records = append(b.records, r)
	return nil
}

// MoveOwing takes a message out of the queue into the store, with a note that
// its sender is owed a bounce: see EachOwed.
func (b *Batch) MoveOwing(c *Claim, f *qf.File, r Record) error {
	if err := b.Move(c, f, r); err != nil {
		return err
	}
	if b.owed == nil {
		b.owed = make(map[string]note)
	}
	b.owed[c.ID] = note{Day: b.now.UTC().Format(dayFormat), Control: c.name()}
	return nil
}

// MoveTo takes a message to another folder, which may be a queue.
func (b *Batch) MoveTo(c *Claim, f *qf.File, target *Folder) error {
	return b.carry("move", c, f, target)
}

// Restore takes a message of the store back to a queue folder.
func (b *Batch) Restore(c *Claim, f *qf.File, queue *Folder) error {
	return b.carry("restore", c, f, queue)
}

// carry puts the df where the control file's d line will look for it. Where
// that folder is not known the message stays: sendmail may know the folder, and
// would deliver the message without its body.
func (b *Batch) carry(op string, c *Claim, f *qf.File, target *Folder) error {
	data, err := c.Body(f)
	if err != nil {
		return fmt.Errorf("message %s: %w", c.ID, err)
	}
	toData, err := target.dataFolder(f.DataFolder())
	if err != nil {
		return fmt.Errorf("message %s cannot go to %s: %w (name all queue folders of that sendmail)", c.ID, target.Path, err)
	}
	t, err := newTransfer(op, c, data, target, toData)
	if err != nil {
		return err
	}
	return b.add(t)
}

// Delete removes a message for good. A df that is missing is no error.
func (b *Batch) Delete(c *Claim, f *qf.File) error {
	data, err := c.Body(f)
	if err != nil && !errors.Is(err, ErrNoBody) {
		return fmt.Errorf("message %s: %w", c.ID, err)
	}
	return b.add(&removal{held: c, data: data})
}

// Hold quarantines a message: qf becomes hf, with the reason in its q line.
func (b *Batch) Hold(c *Claim, f *qf.File, reason string) error {
	if c.Kind != Active {
		return fmt.Errorf("message %s is held already", c.ID)
	}
	return b.rewrite("hold", c, f.WithQuarantine(reason), Held)
}

// Release gives a held message back to sendmail: hf becomes qf again.
func (b *Batch) Release(c *Claim, f *qf.File) error {
	if c.Kind != Held {
		return fmt.Errorf("message %s is not held", c.ID)
	}
	if _, err := c.Body(f); err != nil {
		return fmt.Errorf("message %s: %w", c.ID, err)
	}
	return b.rewrite("release", c, f.WithoutQuarantine(), Active)
}

func (b *Batch) rewrite(op string, c *Claim, content []byte, kind Kind) error {
	after := Entry{Folder: c.Folder, Kind: kind, ID: c.ID}
	switch there, err := c.Folder.qf.exists(after.name()); {
	case err != nil:
		return err
	case there:
		return fmt.Errorf("message %s: %s exists already; nothing was done", c.ID, after.Path())
	}
	return b.add(&rewriting{op: op, held: c, after: after, content: content})
}
