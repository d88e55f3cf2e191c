package spool

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/backscatterd/backscatterd/queuesweep/qf"
)

// Ended is an interrupted change that was finished or undone.
type Ended struct {
	ID, Op string
	From   string // the folder that the message was in
}

// unended are changes that a killed process has left and that could not be
// ended, and why.
type unended struct {
	intents []intent
	why     []error
	ended   int // how many were
}

// need tells whether one of the changes needs a folder.
func (u unended) need(path string) bool {
	return slices.ContainsFunc(u.intents, func(in intent) bool {
		return in.From.Control == path || in.To.Control == path
	})
}

// UnendedError tells of interrupted changes that cannot be ended yet. They stay
// in the journal, and their messages are not changed until they are; all others
// may be.
type UnendedError struct{ Changes []Unended }

// Unended is one of them, and what keeps it.
type Unended struct {
	Ended
	Err error // says what a person can do
}

func (e *UnendedError) Error() string {
	errs := make([]error, len(e.Changes))
	for i, u := range e.Changes {
		errs[i] = u.Err
	}
	return errors.Join(errs...).Error()
}

// Recover finishes or undoes what a killed process has left, and returns how
// many changes that were. What it cannot end is an *UnendedError, unless the
// message is just locked.
func (s *Store) Recover(ctx context.Context) (ended int, err error) {
	fd, err := s.lock(ctx)
	if err != nil {
		return 0, err
	}
	defer s.disk.Close(fd)
	left, err := s.recover()
	if err != nil {
		return left.ended, err
	}
	var e UnendedError
	for i, in := range left.intents {
		if errors.Is(left.why[i], ErrLocked) {
			continue
		}
		e.Changes = append(e.Changes, Unended{Ended{ID: in.ID, Op: in.Op, From: in.From.Control}, fmt.Errorf(
			"message %s: a %s that was interrupted cannot be ended yet: %w (each run tries again, and leaves this message alone until then; where that folder is gone for good, put the message's files right by hand and take its line out of %s/%s)",
			in.ID, in.Op, left.why[i], s.Path, journalName)})
	}
	if len(e.Changes) > 0 {
		return left.ended, &e
	}
	return left.ended, nil
}

// recover is called under the store's lock. Every case is told apart by which
// names are there, so it may itself be killed and repeated.
func (s *Store) recover() (left unended, err error) {
	j := journal{s}
	intents, empty, err := j.read()
	if err != nil || empty {
		return left, err
	}
	for _, in := range intents {
		if err := s.end(in); err != nil {
			left.intents, left.why = append(left.intents, in), append(left.why, err)
			continue
		}
		left.ended++
		if s.Ended != nil {
			s.Ended(Ended{ID: in.ID, Op: in.Op, From: in.From.Control})
		}
	}
	return left, j.keep(left.intents)
}

// end brings one interrupted change to its end.
func (s *Store) end(in intent) error {
	from, err := s.reopen(in.From)
	defer from.close()
	if err != nil {
		return err
	}
	var to recovering
	opened := from.dirs()
	if in.Op == "move" || in.Op == "restore" {
		to, err = s.reopen(in.To)
		defer to.close()
		if err != nil {
			return err
		}
		opened = append(opened, to.dirs()...)
	}
	// The names that are seen here may not be on the disk yet: the process was
	// killed before its fsync. What follows from them must not get there first.
	if err := fsyncAll(opened); err != nil {
		return err
	}
	switch in.Op {
	case "move", "restore":
		err = recoverTransfer(in, from, to)
	case "delete":
		err = recoverDelete(in, from)
	case "hold":
		err = recoverHold(in, from.qf)
	case "release":
		err = recoverRelease(in, from.qf)
	default:
		err = fmt.Errorf("unknown operation %q", in.Op)
	}
	return errors.Join(err, fsyncAll(opened))
}

// fsyncAll fsyncs each folder once, however often it was opened.
func fsyncAll(dirs []*dir) error {
	type file struct{ dev, ino uint64 }
	var errs []error
	done := make(map[file]bool)
	for _, d := range dirs {
		if at := (file{d.dev, d.ino}); !done[at] {
			done[at] = true
			errs = append(errs, d.fsync())
		}
	}
	return errors.Join(errs...)
}

// recovering are a message's folders, opened again.
type recovering struct{ qf, df, xf *dir }

func (s *Store) reopen(p places) (r recovering, err error) {
	for i, at := range []struct {
		d    **dir
		path string
	}{{&r.qf, p.Control}, {&r.df, p.Data}, {&r.xf, p.Xscript}} {
		if *at.d, err = openPath(s.disk, at.path); err != nil {
			return r, fmt.Errorf("%w%s", err, hint(err))
		}
		if (*at.d).ino != p.Inodes[i] {
			return r, fmt.Errorf("folder %s is not the one that it was: is its file system mounted?", at.path)
		}
	}
	return r, nil
}

func (r recovering) dirs() []*dir { return []*dir{r.qf, r.df, r.xf} }

func (r recovering) close() {
	for _, d := range r.dirs() {
		if d != nil {
			d.close()
		}
	}
}

// recoverTransfer looks where the message is. Out of its old folder, under a
// name of ours, or in its new one, it has been committed; then the rest is
// done. Still in its old folder it has not, and what was prepared is taken back.
// In neither it has been delivered, or renamed by sendmail, before or after.
func recoverTransfer(in intent, from, to recovering) error {
	names := map[string]bool{}
	for _, at := range []struct {
		label string
		in    *dir
		name  string
	}{
		{"source", from.qf, in.Control},
		{"parked", from.qf, oldName(in.ID)},
		{"copy", to.qf, newName(in.ID)},
		{"target", to.qf, in.Control},
	} {
		there, err := at.in.exists(at.name)
		if err != nil {
			return err
		}
		names[at.label] = there
	}
	// Nobody but us takes a message out of the store: a restore whose copy alone
	// is left was committed.
	committed := names["parked"] || in.Op == "restore" && !names["source"] && !names["target"]
	switch {
	case committed && names["copy"]:
		if err := to.qf.rename(newName(in.ID), to.qf, in.Control, false); err != nil {
			return err
		}
		if err := to.qf.fsync(); err != nil {
			return err
		}
		return finishTransfer(in, from, to)
	case names["parked"], names["target"] && !names["source"]:
		return finishTransfer(in, from, to)
	}
	if err := to.qf.remove(newName(in.ID)); err != nil {
		return err
	}
	if in.From.Data == in.To.Data {
		return nil
	}
	if controlled, err := hasControl(to.qf, in.ID); err != nil {
		return err
	} else if !controlled {
		if err := to.df.remove("df" + in.ID); err != nil {
			return err
		}
	}
	if controlled, err := hasControl(from.qf, in.ID); err != nil || controlled {
		return err
	}
	return from.df.removeInode("df"+in.ID, in.DataIno)
}

// hasControl tells whether a message has a control file, by whatever name
// sendmail gives it. It asks for qf twice, since a quarantined message may be
// released in between.
func hasControl(d *dir, id string) (bool, error) {
	for _, prefix := range []string{"qf", "hf", "Qf", "qf"} {
		if there, err := d.exists(prefix + id); err != nil || there {
			return there, err
		}
	}
	return false, nil
}

func finishTransfer(in intent, from, to recovering) error {
	if err := carryTranscript(from.xf, to.xf, in.ID); err != nil {
		return err
	}
	if err := from.qf.remove(oldName(in.ID)); err != nil {
		return err
	}
	if in.From.Data == in.To.Data {
		return nil
	}
	return from.df.removeInode("df"+in.ID, in.DataIno)
}

func hasQuarantine(control []byte) bool {
	f, err := qf.Parse(control)
	return err == nil && f.Quarantined()
}

// DefaultStorePath is the removed store's place for a queue: beside its root,
// or, where the root is a mount point and beside it is another file system,
// below it under a name that sendmail passes over.
func DefaultStorePath(root string) string {
	root = filepath.Clean(root)
	beside := filepath.Join(filepath.Dir(root), "backscatterd")
	var a, b unix.Stat_t
	if unix.Stat(root, &a) == nil && unix.Stat(filepath.Dir(root), &b) == nil && a.Dev != b.Dev {
		return filepath.Join(root, ".backscatterd")
	}
	return beside
}
