package spool_test

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/backscatterd/backscatterd/queuesweep/qf"
	"github.com/backscatterd/backscatterd/queuesweep/spool"
)

// open opens the queues of a world until the test ends.
func (w *world) open(disk spool.Disk) *spool.Spool {
	w.t.Helper()
	sp, err := spool.Open(disk, w.places())
	w.must(err)
	w.t.Cleanup(func() { sp.Close() })
	return sp
}

func flat(t *testing.T, n int) *world {
	dir := t.TempDir()
	return newWorld(t, layout{}, dir, dir, n, false)
}

func (w *world) first() string { return w.control(w.queue, "qf", w.letters[0].id) }

// A message that another process holds, by either lock, is left alone; it is
// free as soon as that one ends.
func TestLockedByAnotherProcess(t *testing.T) {
	for _, kind := range []string{"flock", "fcntl"} {
		t.Run(kind, func(t *testing.T) {
			noLeak(t)
			w := flat(t, 1)
			e, err := w.open(spool.System{}).Find(w.letters[0].id)
			w.must(err)
			if e.Locked() {
				t.Error("shown as locked before anybody locked it")
			}
			release := otherProcess(t, kind, w.first())
			if _, err := e.Claim(); !errors.Is(err, spool.ErrLocked) {
				t.Errorf("claimed although locked: %v", err)
			}
			if !e.Locked() {
				t.Error("not shown as locked")
			}
			if data, err := e.Read(nil, 1<<20); err != nil || string(data) != string(w.letters[0].control) {
				t.Errorf("a locked message can be read all the same: %q, %v", data, err)
			}
			release()
			c, err := e.Claim()
			if err != nil {
				t.Fatalf("still not free: %v", err)
			}
			c.Release()
			c.Release() // twice does no harm
		})
	}
}

// A claim keeps others out, by both kinds of lock.
func TestClaimLocksBothWays(t *testing.T) {
	noLeak(t)
	w := flat(t, 1)
	e, err := w.open(spool.System{}).Find(w.letters[0].id)
	w.must(err)
	c, err := e.Claim()
	w.must(err)
	defer c.Release()
	if _, err := e.Claim(); !errors.Is(err, spool.ErrLocked) {
		t.Errorf("claimed twice: %v", err)
	}
	f, err := os.OpenFile(w.first(), os.O_RDWR, 0)
	w.must(err)
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != unix.EWOULDBLOCK {
		t.Errorf("flock of a claimed file: %v", err)
	}
	if err := unix.FcntlFlock(f.Fd(), unix.F_SETLK, &unix.Flock_t{Type: unix.F_WRLCK}); err != unix.EAGAIN {
		t.Errorf("fcntl lock of a claimed file: %v", err)
	}
	f.Close() // which drops the process's POSIX locks, not the claim's
	f, err = os.OpenFile(w.first(), os.O_RDWR, 0)
	w.must(err)
	defer f.Close()
	if err := unix.FcntlFlock(f.Fd(), unix.F_SETLK, &unix.Flock_t{Type: unix.F_WRLCK}); err != unix.EAGAIN {
		t.Errorf("the claim's fcntl lock fell when another descriptor was closed: %v", err)
	}
}

// A file that sendmail has just made is not locked, not for an instant: it
// would fail to queue the mail.
func TestEmptyFileIsNeverLocked(t *testing.T) {
	noLeak(t)
	w := flat(t, 1)
	w.must(os.Truncate(w.first(), 0))
	disk := newFaultyDisk(func(_ int, call string, _ class) error {
		if strings.HasPrefix(call, "flock") || strings.HasPrefix(call, "ofd") {
			t.Errorf("locked: %s", call)
		}
		return nil
	})
	e, err := w.open(disk).Find(w.letters[0].id)
	w.must(err)
	if _, err := e.Claim(); !errors.Is(err, qf.ErrEmpty) {
		t.Errorf("got %v", err)
	}
	if e.Locked() {
		t.Error("shown as locked")
	}
	if data, err := e.Read(nil, 100); err != nil || len(data) != 0 {
		t.Errorf("read %q, %v", data, err)
	}
}

// between does something once, between a claim's open and its lock.
func between(do func()) *faultyDisk {
	done := false
	return newFaultyDisk(func(_ int, call string, _ class) error {
		if !done && strings.HasPrefix(call, "flock") {
			done = true
			do()
		}
		return nil
	})
}

func TestChangedBetweenOpenAndLock(t *testing.T) {
	for _, c := range []struct {
		name string
		do   func(w *world)
		want error
	}{
		{"written anew", func(w *world) {
			w.put(w.first()+".tmp", w.letters[0].control, now)
			w.must(os.Rename(w.first()+".tmp", w.first()))
		}, spool.ErrChanged},
		{"delivered", func(w *world) { w.must(os.Remove(w.first())) }, spool.ErrGone},
		{"quarantined", func(w *world) { w.must(os.Rename(w.first(), w.control(w.queue, "hf", w.letters[0].id))) }, spool.ErrGone},
		{"given a second name", func(w *world) { w.must(os.Link(w.first(), w.first()+".x")) }, spool.ErrChanged},
	} {
		t.Run(c.name, func(t *testing.T) {
			noLeak(t)
			w := flat(t, 1)
			e, err := w.open(between(func() { c.do(w) })).Find(w.letters[0].id)
			w.must(err)
			if cl, err := e.Claim(); !errors.Is(err, c.want) {
				t.Errorf("got %v, %v; want %v", cl, err, c.want)
			}
		})
	}
}

// What is no plain control file of sendmail's is neither read nor claimed, by
// whichever way it is found, and nothing waits for the other end of a fifo.
func TestHostileFiles(t *testing.T) {
	const id = "6AO0lZlY014499"
	for _, c := range []struct {
		name, odd string
		make      func(w *world, path string) error
		readable  bool
	}{
		{"symbolic link", "symbolic link", func(w *world, path string) error { return os.Symlink(w.first(), path) }, false},
		{"broken link", "symbolic link", func(w *world, path string) error { return os.Symlink("nowhere", path) }, false},
		{"fifo", "fifo", func(_ *world, path string) error { return unix.Mkfifo(path, 0o600) }, false},
		{"socket", "socket", func(_ *world, path string) error {
			fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
			if err != nil {
				return err
			}
			defer unix.Close(fd)
			return unix.Bind(fd, &unix.SockaddrUnix{Name: path})
		}, false},
		{"device", "device", func(_ *world, path string) error {
			return unix.Mknod(path, unix.S_IFCHR|0o600, int(unix.Mkdev(1, 5))) // /dev/zero
		}, false},
		{"folder", "folder", func(_ *world, path string) error { return os.Mkdir(path, 0o700) }, false},
		{"two names", "", func(w *world, path string) error { return os.Link(w.first(), path) }, true},
		{"writable for the group", "", func(w *world, path string) error {
			w.put(path, w.letters[0].control, now)
			return os.Chmod(path, 0o660)
		}, true},
		{"writable for all", "", func(w *world, path string) error {
			w.put(path, w.letters[0].control, now)
			return os.Chmod(path, 0o602)
		}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			noLeak(t)
			dir, err := os.MkdirTemp("", "q") // a short path, for the socket
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { os.RemoveAll(dir) })
			w := newWorld(t, layout{}, dir, dir, 1, false)
			w.must(c.make(w, w.control(w.queue, "qf", id)))
			sp := w.open(spool.System{})
			var listed spool.Entry
			w.must(sp.Folders()[0].Entries(context.Background(), func(e spool.Entry) error {
				if e.ID == id {
					listed = e
				}
				return nil
			}))
			if listed.ID == "" || (c.odd == "") != (listed.Odd == "") || !strings.Contains(listed.Odd, c.odd) {
				t.Errorf("listed as %+v; want it called a %q", listed, c.odd)
			}
			found, err := sp.Find(id)
			w.must(err)
			for _, e := range []spool.Entry{listed, found} {
				if _, err := e.Claim(); !errors.Is(err, spool.ErrUnsafe) {
					t.Errorf("claim: %v", err)
				}
				_, err := e.Read(nil, 1<<20)
				if c.readable != (err == nil) || err != nil && !errors.Is(err, spool.ErrUnsafe) {
					t.Errorf("read: %v", err)
				}
				if e.Locked() {
					t.Error("shown as locked")
				}
			}
		})
	}
}

// The client queue is shared by a group, and its control files are as sendmail
// wants them there: QueueFileMode says so, or the folder's own mode.
func TestGroupWritableWhereItIsMeantToBe(t *testing.T) {
	for name, c := range map[string]struct {
		place  uint32
		folder os.FileMode
		ok     bool
	}{
		"QueueFileMode 0660":                    {0o660, 0o770, true},
		"QueueFileMode 0600":                    {0o600, 0o770, false},
		"not known, folder shared with a group": {0, 0o770, true},
		"not known, folder of one user":         {0, 0o700, false},
	} {
		t.Run(name, func(t *testing.T) {
			noLeak(t)
			w := flat(t, 1)
			w.must(os.Chmod(w.queue, c.folder))
			w.must(os.Chmod(w.first(), 0o660))
			sp, err := spool.Open(spool.System{}, []spool.Place{{Path: w.queue, Root: w.queue, FileMode: c.place}})
			w.must(err)
			defer sp.Close()
			e, err := sp.Find(w.letters[0].id)
			w.must(err)
			cl, err := e.Claim()
			if cl != nil {
				defer cl.Release()
			}
			if c.ok != (err == nil) || err != nil && !errors.Is(err, spool.ErrUnsafe) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// A control file that belongs to neither root, nor the folder's owner, nor the
// trusted user is left alone, as sendmail would.
func TestOwnersThatAreTrusted(t *testing.T) {
	for name, c := range map[string]struct {
		owner   int
		trusted uint32
		ok      bool
	}{
		"the folder's owner": {owner, 0, true},
		"root":               {0, 0, true},
		"the trusted user":   {4711, 4711, true},
		"somebody else":      {4711, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			noLeak(t)
			w := flat(t, 1)
			w.must(os.Chown(w.first(), c.owner, group))
			sp, err := spool.Open(spool.System{}, []spool.Place{{Path: w.queue, Root: w.queue, Trusted: c.trusted}})
			w.must(err)
			defer sp.Close()
			e, err := sp.Find(w.letters[0].id)
			w.must(err)
			cl, err := e.Claim()
			if cl != nil {
				defer cl.Release()
			}
			if c.ok != (err == nil) || err != nil && !errors.Is(err, spool.ErrUnsafe) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// The size of a control file is bounded, whatever buffer it is read into.
func TestReadIsBounded(t *testing.T) {
	noLeak(t)
	w := flat(t, 1)
	e, err := w.open(spool.System{}).Find(w.letters[0].id)
	w.must(err)
	size := int64(len(w.letters[0].control))
	for _, buf := range [][]byte{nil, make([]byte, 0, 1), make([]byte, 0, size), make([]byte, 0, 1<<20)} {
		if data, err := e.Read(buf, size); err != nil || string(data) != string(w.letters[0].control) {
			t.Errorf("buffer of %d, just at the limit: %d bytes, %v", cap(buf), len(data), err)
		}
		if _, err := e.Read(buf, size-1); !errors.Is(err, spool.ErrTooLarge) {
			t.Errorf("buffer of %d, one byte too many: %v", cap(buf), err)
		}
	}
	c, err := e.Claim()
	w.must(err)
	defer c.Release()
	if _, err := c.Read(size - 1); !errors.Is(err, spool.ErrTooLarge) {
		t.Errorf("under the lock: %v", err)
	}
	if data, err := c.Read(size); err != nil || string(data) != string(w.letters[0].control) {
		t.Errorf("under the lock, just at the limit: %q, %v", data, err)
	}
	w.must(os.Truncate(w.first(), 10))
	if _, err := c.Read(size); !errors.Is(err, spool.ErrChanged) {
		t.Errorf("cut short under the lock: %v", err)
	}
}

// The df is found where the message has it, and is a regular file.
func TestBody(t *testing.T) {
	noLeak(t)
	w := flat(t, 1)
	sp := w.open(spool.System{})
	e, err := sp.Find(w.letters[0].id)
	w.must(err)
	f, err := qf.Parse(w.letters[0].control)
	w.must(err)
	b, err := e.Body(f)
	w.must(err)
	if b.Size() != int64(len(w.letters[0].body)) || !b.Modified().Equal(sent) {
		t.Errorf("size %d, time %v", b.Size(), b.Modified())
	}
	r, err := b.Open()
	w.must(err)
	got := make([]byte, 100)
	n, err := r.Read(got)
	w.must(err)
	w.must(r.Close())
	if string(got[:n]) != string(w.letters[0].body) {
		t.Errorf("read %q", got[:n])
	}
	df := w.data(w.queue, w.letters[0].id)
	w.must(os.Remove(df))
	if _, err := e.Body(f); !errors.Is(err, spool.ErrNoBody) {
		t.Errorf("missing: %v", err)
	}
	if _, err := b.Open(); !errors.Is(err, spool.ErrNoBody) {
		t.Errorf("gone since: %v", err)
	}
	if _, err := (spool.Body{}).Open(); !errors.Is(err, spool.ErrNoBody) {
		t.Errorf("none: %v", err)
	}
	w.must(os.Symlink(w.first(), df))
	if _, err := e.Body(f); !errors.Is(err, spool.ErrUnsafe) {
		t.Errorf("a link: %v", err)
	}
	for _, outside := range []string{"../../etc", "/etc", "..", "q1/../q2", "nowhere"} {
		f, err := qf.Parse([]byte("V8\nd" + outside + "\nS<a@b>\n.\n"))
		w.must(err)
		want := "no name of a queue folder"
		if outside == "nowhere" {
			want = "none of the queue folders"
		}
		if _, err := e.Body(f); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("d line %s: %v; want: %s", outside, err, want)
		}
	}
}
