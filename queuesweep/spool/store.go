package spool

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Store is the removed store: a folder a day, each with the messages moved that
// day (qf, df and xf as they were) and records.jsonl, which says of each where
// it came from and why. It also holds the journal of changes under way and the
// lock that lets one process at a time make changes. Safe for concurrent use.
type Store struct {
	Path string
	// Ended, if set, is called for each interrupted change that was finished
	// or undone, before the journal forgets it.
	Ended func(Ended)

	disk Disk
	top  *dir
	// named are the paths of files and folders whose names are known to be on
	// the disk. One that is merely there may have been made by a process that
	// was killed before its fsync.
	named sync.Map
}

const (
	lockName  = "lock"
	dayFormat = "2006-01-02"
)

// OpenStore opens the removed store, and makes the folder where its parent
// exists. It must belong to the caller and be closed to everybody else: who can
// write there could have files put into the queue.
func OpenStore(disk Disk, path string) (*Store, error) {
	path = filepath.Clean(path)
	return openStore(disk, path, makeDirDurably)
}

// ErrNoStore: nothing is there where the removed store is said to be.
var ErrNoStore = errors.New("there is none: nothing has been removed yet, or store.directory names another")

// ExistingStore opens the removed store for looking; it makes nothing. ErrNoStore
// where there is none.
func ExistingStore(disk Disk, path string) (*Store, error) {
	s, err := openStore(disk, path, (*dir).sub)
	if errors.Is(err, unix.ENOENT) {
		return nil, fmt.Errorf("removed store %s: %w", path, ErrNoStore)
	}
	return s, err
}

func openStore(disk Disk, path string, open func(parent *dir, name string) (*dir, error)) (*Store, error) {
	parent, err := openPath(disk, filepath.Dir(path))
	if err != nil {
		return nil, fmt.Errorf("removed store %s: %w (make that folder, or name another in store.directory)", path, err)
	}
	defer parent.close()
	top, err := open(parent, filepath.Base(path))
	if err != nil {
		return nil, fmt.Errorf("removed store %s: %w%s", path, err, hint(err))
	}
	st, err := disk.Fstat(top.fd)
	if err == nil && (int(st.Uid) != os.Geteuid() || st.Mode&0o022 != 0) {
		err = fmt.Errorf("it belongs to user %d with mode %04o: it must be yours and closed to others (chown, chmod 700)", st.Uid, st.Mode&0o7777)
	}
	if err != nil {
		top.close()
		return nil, fmt.Errorf("removed store %s: %w", path, err)
	}
	return &Store{Path: path, disk: disk, top: top}, nil
}

// makeDir opens a folder and makes it before if it is not there. Its name is on
// the disk only when fsync of parent has been called.
func makeDir(parent *dir, name string) (d *dir, made bool, err error) {
	d, err = parent.sub(name)
	if !errors.Is(err, unix.ENOENT) {
		return d, false, err
	}
	if err := parent.disk.Mkdirat(parent.fd, name, 0o700); err != nil && err != unix.EEXIST {
		return nil, false, fmt.Errorf("make folder %s/%s: %w", parent.path, name, err)
	}
	d, err = parent.sub(name)
	return d, true, err
}

// makeDirDurably is makeDir for a folder that nothing is known of.
func makeDirDurably(parent *dir, name string) (*dir, error) {
	d, _, err := makeDir(parent, name)
	if err != nil {
		return nil, err
	}
	if err := parent.fsync(); err != nil {
		return nil, errors.Join(err, d.close())
	}
	return d, nil
}

// makeDir opens a folder of the store, made if it is not there, its name durable.
func (s *Store) makeDir(name string) (*dir, error) {
	d, made, err := makeDir(s.top, name)
	if err != nil {
		return nil, err
	}
	if err := s.durable(s.top, name, made); err != nil {
		return nil, errors.Join(err, d.close())
	}
	return d, nil
}

// durable makes a name in a folder durable: where it was made just now, and
// where it is met for the first time.
func (s *Store) durable(d *dir, name string, made bool) error {
	path := d.path + "/" + name
	if _, known := s.named.Load(path); known && !made {
		return nil
	}
	if err := d.fsync(); err != nil {
		s.named.Delete(path)
		return err
	}
	s.named.Store(path, true)
	return nil
}

// Close closes the store.
func (s *Store) Close() error { return s.top.close() }

// lock waits for the store's lock, as long as ctx allows.
func (s *Store) lock(ctx context.Context) (fd int, err error) {
	fd, err = s.disk.Openat(s.top.fd, lockName, unix.O_RDWR|unix.O_CREAT|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return -1, fmt.Errorf("open %s/%s: %w%s", s.Path, lockName, err, hint(err))
	}
	for {
		err := s.disk.Flock(fd, unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return fd, nil
		}
		if err == unix.EWOULDBLOCK {
			select {
			case <-time.After(20 * time.Millisecond):
				continue
			case <-ctx.Done():
				err = fmt.Errorf("another backscatterd is changing queues with this store (%w): try again when it is done", ctx.Err())
			}
		}
		s.disk.Close(fd)
		return -1, fmt.Errorf("removed store %s: %w", s.Path, err)
	}
}

// day opens the folder of a day, as a queue folder that messages move to.
func (s *Store) day(name string, create bool) (*Folder, error) {
	open := s.top.sub
	if create {
		open = s.makeDir
	}
	d, err := open(name)
	if err != nil {
		return nil, err
	}
	path := s.Path + "/" + name
	f := &Folder{Path: path, Name: ".", Root: path, qf: d, df: d, xf: d, fileMode: unix.S_IWGRP, together: true}
	f.spool = &Spool{disk: s.disk, folders: []*Folder{f}}
	return f, nil
}

// Stored is one message of the store.
type Stored struct {
	Entry
	Day string
	// Record is nil where the store has none of this message.
	Record *Record
}

// Messages calls yield for every message of the store, the newest day first.
func (s *Store) Messages(ctx context.Context, yield func(Stored) error) error {
	return s.MessagesByDay(ctx, yield, func() error { return nil })
}

// MessagesByDay is Messages for who keeps some of a day's messages to act on
// them together: after the last of each day, unless yield has failed, it calls
// dayDone, until whose end their folder is open.
func (s *Store) MessagesByDay(ctx context.Context, yield func(Stored) error, dayDone func() error) error {
	days, err := s.days(ctx)
	if err != nil {
		return err
	}
	for _, day := range slices.Backward(days) {
		if err := s.messagesOf(ctx, day, yield, dayDone); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) messagesOf(ctx context.Context, day string, yield func(Stored) error, dayDone func() error) error {
	f, err := s.day(day, false)
	if errors.Is(err, unix.ENOENT) { // purged meanwhile
		return nil
	}
	if err != nil {
		return fmt.Errorf("removed store: %w", err)
	}
	defer f.qf.close()
	records, err := openRecords(ctx, f.qf)
	if err != nil {
		return err
	}
	defer records.close()
	var stopped error
	err = f.Entries(ctx, func(e Entry) error {
		record, err := records.of(e.ID)
		if err != nil {
			return err
		}
		stopped = yield(Stored{Entry: e, Day: day, Record: record})
		return stopped
	})
	if stopped != nil {
		return stopped
	}
	return errors.Join(err, dayDone())
}

// days are the names of the store's day folders, oldest first.
func (s *Store) days(ctx context.Context) ([]string, error) {
	var days []string
	err := s.top.each(ctx, func(name []byte, typ byte) error {
		if typ != unix.DT_DIR && typ != unix.DT_UNKNOWN {
			return nil
		}
		if _, err := time.Parse(dayFormat, string(name)); err == nil {
			days = append(days, string(name))
		}
		return nil
	})
	slices.Sort(days)
	return days, err
}

// Purged tells what Purge has removed.
type Purged struct {
	Days     []string
	Messages int
}

// Purge removes the day folders whose last moment lies more than keep before
// now, for good. What it does not know as its own stays, and its folder too; so
// does a day that a change left by a killed process needs, or that a bounce is
// owed from.
func (s *Store) Purge(ctx context.Context, now time.Time, keep time.Duration) (Purged, error) {
	var done Purged
	fd, err := s.lock(ctx)
	if err != nil {
		return done, err
	}
	defer s.disk.Close(fd)
	pending, err := s.recover()
	if err != nil {
		return done, err
	}
	days, err := s.days(ctx)
	if err != nil {
		return done, err
	}
	owed, err := s.owedDays(ctx)
	if err != nil {
		return done, err
	}
	for _, day := range days {
		if owed[day] || pending.need(s.top.path+"/"+day) {
			continue
		}
		began, _ := time.Parse(dayFormat, day)
		if now.Sub(began.AddDate(0, 0, 1)) <= keep {
			break
		}
		n, gone, err := s.purgeDay(ctx, day)
		done.Messages += n
		if err != nil {
			return done, fmt.Errorf("purge of %s/%s: %w", s.Path, day, err)
		}
		if gone || n > 0 {
			done.Days = append(done.Days, day)
		}
	}
	return done, nil
}

// purgeDay removes control files first: a df alone is no message.
func (s *Store) purgeDay(ctx context.Context, day string) (messages int, gone bool, err error) {
	d, err := s.top.sub(day)
	if err != nil {
		return 0, false, err
	}
	defer d.close()
	var control, rest []string
	err = d.each(ctx, func(name []byte, typ byte) error {
		n := string(name)
		prefix, id := n[:min(2, len(n))], name[min(2, len(n)):]
		switch {
		case typ == unix.DT_DIR:
		case (prefix == "qf" || prefix == "hf" || prefix == "Qf") && validID(id):
			control = append(control, n)
		case (prefix == "df" || prefix == "xf") && validID(id), n == recordsName, strings.HasPrefix(n, ownPrefix):
			rest = append(rest, n)
		}
		return nil
	})
	if err != nil {
		return 0, false, err
	}
	for _, n := range control {
		if err := errors.Join(ctx.Err(), d.remove(n)); err != nil {
			return messages, false, err
		}
		messages++
	}
	if err := d.fsync(); err != nil {
		return messages, false, err
	}
	for _, n := range rest {
		if err := errors.Join(ctx.Err(), d.remove(n)); err != nil {
			return messages, false, err
		}
	}
	err = s.disk.Unlinkat(s.top.fd, day, unix.AT_REMOVEDIR)
	if err != nil && err != unix.ENOTEMPTY {
		return messages, false, fmt.Errorf("remove folder: %w", err)
	}
	return messages, err == nil, nil
}
