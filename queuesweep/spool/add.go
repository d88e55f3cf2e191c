package spool

import (
	"fmt"

	"github.com/backscatterd/backscatterd/queuesweep/qf"
)

// Each of these adds a change to the batch. Where it returns nil the batch owns
// the claim; otherwise nothing was begun and the caller still has it. f is what
// the claim has read under the lock.

// Move takes a message out of the queue into the store.
func (b *Batch) Move(c *Claim, f *qf.File, r Record) error {
	data, err := c.Folder.dataFolder(f.DataFolder())
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
	if b.records == nil {
		b.records = make(map[string]Record)
	}
	b.records[c.ID] = r
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
	data, err := c.Folder.dataFolder(f.DataFolder())
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
	data, err := c.Folder.dataFolder(f.DataFolder())
	if err != nil {
		return fmt.Errorf("message %s: %w", c.ID, err)
	}
	return b.add(&removal{held: c, data: Body{in: data}})
}

// Hold quarantines a message: qf becomes hf, with the reason in its q line.
func (b *Batch) Hold(c *Claim, f *qf.File, reason string) error {
	if c.Kind != Active {
		return fmt.Errorf("message %s is held already", c.ID)
	}
	return b.rewrite(&rewriting{op: "hold", held: c, content: f.WithQuarantine(reason)}, Held)
}

// Release gives a held message back to sendmail: hf becomes qf again.
func (b *Batch) Release(c *Claim, f *qf.File) error {
	if c.Kind != Held {
		return fmt.Errorf("message %s is not held", c.ID)
	}
	data, err := c.Folder.dataFolder(f.DataFolder())
	if err != nil {
		return fmt.Errorf("message %s: %w", c.ID, err)
	}
	return b.rewrite(&rewriting{op: "release", held: c, content: f.WithoutQuarantine(), data: data}, Active)
}

func (b *Batch) rewrite(r *rewriting, kind Kind) error {
	r.after = Entry{Folder: r.held.Folder, Kind: kind, ID: r.held.ID}
	return b.add(r)
}
