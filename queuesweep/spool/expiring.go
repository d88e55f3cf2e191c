package spool

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/backscatterd/backscatterd/queuesweep/qf"
)

// Of a message that sendmail returns as timed out, it removes the df before the
// control file (dropenvelope), and no fsync is between: power that is lost there
// leaves a control file without a body, which the next queue run delivers. So the
// message is held for as long: a queue run passes over an hf, unless it is asked
// for those (-qQ). A note in the store tells the next start to go on.

const expiringName = "expiring"

// expiry is what a note of a message that is being returned holds.
type expiry struct {
	CF    string `json:"cf,omitempty"`
	Queue string `json:"queue"` // Folder.Path
	From  places `json:"from"`
	// DataIno is the df's inode; 0 where the message never had one.
	DataIno uint64 `json:"df_ino,omitempty"`
}

// Expiring is a message that is held until sendmail has returned it.
type Expiring struct {
	ID    string
	Queue string // the path of its queue folder
	CF    string // the sendmail.cf that names the folder, "" if a person did
}

// Expiry is what became of such a message.
type Expiry int

const (
	Forgotten Expiry = iota // another process has seen to it
	Returned                // nothing of it is left
	StillHeld               // sendmail has not returned it
	InQueue                 // somebody has released it meanwhile
	SetAside                // sendmail could neither return it nor keep it, and left a Qf
)

// Expire holds a message, with this reason, so that sendmail returns it: from
// Commit on Expiring has it, until ForgetExpiring.
func (b *Batch) Expire(c *Claim, f *qf.File, reason string) error {
	if c.Kind != Active {
		return fmt.Errorf("message %s is held: release it first", c.ID)
	}
	data, err := c.Folder.dataFolder(f.DataFolder())
	if err != nil {
		return fmt.Errorf("message %s: %w", c.ID, err)
	}
	body, err := bodyIn(data, c.ID)
	if err != nil && !errors.Is(err, ErrNoBody) {
		return fmt.Errorf("message %s: %w", c.ID, err)
	}
	if err := b.Hold(c, f, reason); err != nil {
		return err
	}
	if b.expiring == nil {
		b.expiring = make(map[string]expiry)
	}
	in := c.Folder
	b.expiring[c.ID] = expiry{CF: in.CF, Queue: in.Path, From: placesOf(in.qf, data, in.xf), DataIno: body.stat.Ino}
	return nil
}

// Expiring are the messages that are held for sendmail to return them, by this
// process or by one that was killed.
func (s *Store) Expiring(ctx context.Context) (all []Expiring, err error) {
	d, err := s.notesIn(expiringName)
	if d == nil {
		return nil, err
	}
	defer d.close()
	fd, err := s.lock(ctx) // a note that is being written is none that was cut short
	if err != nil {
		return nil, err
	}
	defer s.disk.Close(fd)
	ids, err := s.notes(ctx, d)
	if err != nil {
		return nil, err
	}
	for _, id := range ids {
		e, ok, err := readExpiry(d, id)
		if err == nil && !ok { // the message was never held
			err = errors.Join(d.remove(id), d.fsync())
		}
		if err != nil {
			return all, err
		}
		if ok {
			all = append(all, Expiring{ID: id, Queue: e.Queue, CF: e.CF})
		}
	}
	return all, nil
}

func readExpiry(d *dir, id string) (e expiry, ok bool, err error) {
	data, err := readFile(d, id)
	if errors.Is(err, unix.ENOENT) {
		return e, false, nil
	}
	if err != nil {
		return e, false, err
	}
	return e, json.Unmarshal(data, &e) == nil && e.Queue != "", nil
}

// Expired looks what became of a message that Expiring has. Where sendmail
// was stopped between df and control file, it has returned the message, and the
// rest is removed. While sendmail has the message, Expired waits for as long as
// ctx allows, and then it is ErrLocked.
func (s *Store) Expired(ctx context.Context, id string) (Expiry, error) {
	for {
		what, err := s.expired(ctx, id)
		if !errors.Is(err, ErrLocked) {
			return what, err
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return what, fmt.Errorf("message %s: %w: sendmail is at it; the next run looks again", id, err)
		}
	}
}

func (s *Store) expired(ctx context.Context, id string) (what Expiry, err error) {
	err = s.underNotes(ctx, func(notes *dir, under []intent) error {
		what, err = s.look(notes, under, id)
		return err
	})
	return what, err
}

// underNotes takes the store's lock to look at the notes.
func (s *Store) underNotes(ctx context.Context, do func(notes *dir, under []intent) error) error {
	notes, err := s.notesIn(expiringName)
	if notes == nil {
		return err
	}
	defer notes.close()
	fd, err := s.lock(ctx)
	if err != nil {
		return err
	}
	defer s.disk.Close(fd)
	under, _, err := journal{s}.read()
	if err != nil {
		return err
	}
	return do(notes, under)
}

func (s *Store) look(notes *dir, under []intent, id string) (Expiry, error) {
	if slices.ContainsFunc(under, func(in intent) bool { return in.ID == id }) {
		return StillHeld, fmt.Errorf("message %s: a change that was interrupted must be ended first: see %s/%s", id, s.Path, journalName)
	}
	e, ok, err := readExpiry(notes, id)
	if err != nil {
		return StillHeld, err
	}
	if !ok {
		return Forgotten, nil
	}
	what, err := s.whatBecame(id, e)
	if err != nil {
		return StillHeld, fmt.Errorf("message %s: %w", id, err)
	}
	return what, nil
}

// ForgetExpiring removes the notes of messages that nothing is to be done for any
// more: not those that have been held anew since.
func (s *Store) ForgetExpiring(ctx context.Context, ended []Expiring) error {
	return s.underNotes(ctx, func(notes *dir, under []intent) error {
		var errs []error
		for _, e := range ended {
			what, err := s.look(notes, under, e.ID)
			if err == nil && what != StillHeld {
				err = notes.remove(e.ID)
			}
			errs = append(errs, err)
		}
		return errors.Join(append(errs, notes.fsync())...)
	})
}

// whatBecame looks at the message's files, and at those folders only that they
// lay in: of a file system that is not mounted nothing can be told.
func (s *Store) whatBecame(id string, e expiry) (what Expiry, err error) {
	from, err := s.reopen(e.From)
	defer from.close()
	if err != nil {
		return StillHeld, err
	}
	what = Returned
	err = underLock(from.qf, "hf"+id, func(uint64) error {
		there, err := from.df.exists("df" + id)
		if err == nil && (there || e.DataIno == 0) {
			what = StillHeld
		}
		if err != nil || what == StillHeld {
			return err
		}
		return errors.Join(removeTranscript(from.xf, id), from.qf.remove("hf"+id))
	})
	if err != nil || what == StillHeld {
		return StillHeld, err
	}
	controlled, err := hasControl(from.qf, id)
	if err == nil && controlled {
		what = InQueue
		var aside bool
		if aside, err = from.qf.exists("Qf" + id); aside {
			what = SetAside
		}
	}
	if err == nil && !controlled { // a loss of power may have given it back
		err = from.df.removeInode("df"+id, e.DataIno)
	}
	// The note must not go before what it tells of is on the disk.
	return what, errors.Join(err, fsyncAll(from.dirs()))
}
