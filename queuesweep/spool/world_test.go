package spool_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/backscatterd/backscatterd/queuesweep/qf"
	"github.com/backscatterd/backscatterd/queuesweep/spool"
)

var (
	now = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	// sent is when the mail of these tests came; a df keeps it.
	sent = time.Date(2026, 11, 20, 3, 4, 5, 678, time.UTC)
)

const (
	day    = "2026-11-24"
	reason = "held by a test"
	// owner and group of the files, other than the one who runs the test.
	owner, group = 8, 12
)

// mountTmpfs mounts a small file system of its own for one test.
func mountTmpfs(t testing.TB, options string) string {
	t.Helper()
	path := t.TempDir()
	if err := unix.Mount("tmpfs", path, "tmpfs", 0, options); err != nil {
		t.Fatalf("this test needs a file system of its own and cannot mount a tmpfs on %s: %v (run it as root, in a container with CAP_SYS_ADMIN)", path, err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(path, 0); err != nil {
			t.Errorf("unmount %s: %v (was a descriptor left open?)", path, err)
			_ = unix.Unmount(path, unix.MNT_DETACH)
		}
	})
	return path
}

// noLeak checks that the test leaves no descriptor open.
func noLeak(t *testing.T) {
	t.Helper()
	before := descriptors(t)
	t.Cleanup(func() {
		if after := descriptors(t); after != before {
			t.Errorf("%d descriptors are open after the test, %d were before", after, before)
		}
	})
}

func descriptors(t testing.TB) int {
	t.Helper()
	names, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(names)
}

// layout is how a world's queues lie.
type layout struct {
	name string
	// split has the files in qf/, df/ and xf/.
	split bool
	// apart has each df in another queue folder, which a d line names.
	apart bool
	// two puts the store and the target on another file system than the queue.
	two bool
}

// letter is one message, as it must be found again whatever happens.
type letter struct {
	id      string
	control []byte
	body    []byte
}

// world is a queue, a second one, a target and a place for the store.
type world struct {
	t testing.TB
	layout
	queue, queue2, target, store string
	letters                      []letter
}

// newWorld makes folders below a and b, which are one file system or two, and
// puts n messages into the queue, held ones if held.
func newWorld(t testing.TB, l layout, a, b string, n int, held bool) *world {
	t.Helper()
	w := &world{
		t: t, layout: l,
		queue: filepath.Join(a, "q1"), queue2: filepath.Join(a, "q2"),
		target: filepath.Join(b, "t1"), store: filepath.Join(b, "store"),
	}
	for _, q := range []string{w.queue, w.queue2, w.target} {
		for _, part := range []string{"", "qf", "df", "xf"} {
			if part == "" || l.split {
				w.must(os.Mkdir(filepath.Join(q, part), 0o700))
				w.must(os.Chown(filepath.Join(q, part), owner, group)) // the user that sendmail runs as
			}
		}
	}
	for i := range n {
		w.addLetter(fmt.Sprintf("6AO0lZlY01448%d", i), held)
	}
	return w
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) addLetter(id string, held bool) {
	w.t.Helper()
	l := w.letter(id, held)
	w.letters = append(w.letters, l)
	kind := "qf"
	if held {
		kind = "hf"
	}
	w.put(w.control(w.queue, kind, id), l.control, now)
	w.put(w.data(w.queue, id), l.body, sent)
}

// letter is a message of this world, in no folder yet.
func (w *world) letter(id string, held bool) letter {
	control := "V8\nT1795481255\nK1795481255\nN1\nP31258\n"
	if w.apart {
		control += "dq2\n"
	}
	if held {
		control += "qheld before\n"
	}
	control += "MDeferred: 452 4.1.0 temporary failure\nFrs\n$_localhost\nS<a@lab.example>\nMDeferred\nRPFD:<u@" + id + ".example>\nH??Subject: caf\xc3\xa9 \xff\x89\n\tand more\n.\n"
	return letter{id: id, control: []byte(control), body: []byte("the body of " + id + "\n")}
}

// put writes a file as sendmail has it.
func (w *world) put(path string, data []byte, at time.Time) {
	w.t.Helper()
	w.must(os.WriteFile(path, data, 0o600))
	w.must(os.Chown(path, owner, group))
	w.must(os.Chmod(path, 0o640))
	w.must(os.Chtimes(path, at, at))
}

func (w *world) part(folder, part string) string {
	if w.split && folder != w.day() {
		return filepath.Join(folder, part)
	}
	return folder
}

func (w *world) day() string { return filepath.Join(w.store, day) }

func (w *world) control(folder, kind, id string) string {
	return filepath.Join(w.part(folder, "qf"), kind+id)
}

// data is where the df of a message belongs whose control file is in folder.
func (w *world) data(folder, id string) string {
	if w.apart && folder != w.day() {
		folder = w.queue2
	}
	return filepath.Join(w.part(folder, "df"), "df"+id)
}

func (w *world) folders() []string { return []string{w.queue, w.queue2, w.target, w.day()} }

func (w *world) places() []spool.Place {
	var all []spool.Place
	for _, q := range []string{w.queue, w.queue2, w.target} {
		all = append(all, spool.Place{Path: q, Root: filepath.Dir(w.queue), FileMode: 0o600})
	}
	return all
}

// verdict is what a run said of one message.
type verdict struct {
	err        error
	unfinished bool
}

func (v verdict) done() bool { return v.err == nil || v.unfinished }

// run does one thing to all letters, as a sweep does, with this disk.
func (w *world) run(disk spool.Disk, op string) (said map[string]verdict, err error) {
	said = make(map[string]verdict)
	sp, err := spool.Open(disk, w.places())
	if sp == nil {
		return said, err
	}
	defer sp.Close()
	if err != nil {
		return said, err
	}
	st, err := spool.OpenStore(disk, w.store)
	if err != nil {
		return said, err
	}
	defer st.Close()
	if op == "restore" {
		return said, w.restore(sp, st, said)
	}
	b, err := st.Begin(context.Background(), now)
	if err != nil {
		return said, err
	}
	defer b.End()
	var added []string
	for _, l := range w.letters {
		e, err := sp.Find(l.id)
		if err == nil {
			err = w.add(b, sp, e, op)
		}
		if err != nil {
			said[l.id] = verdict{err: err}
			continue
		}
		added = append(added, l.id)
	}
	for i, o := range b.Commit() {
		if o.ID != added[i] {
			w.t.Errorf("outcome %d is of %s, want %s", i, o.ID, added[i])
		}
		said[o.ID] = verdict{o.Err, o.Unfinished}
	}
	if err := b.Forget(); err != nil {
		for _, id := range added {
			v := said[id]
			said[id] = verdict{errors.Join(v.err, err), v.unfinished || v.err == nil}
		}
	}
	return said, nil
}

// restore goes through the store one message at a time.
func (w *world) restore(sp *spool.Spool, st *spool.Store, said map[string]verdict) error {
	return st.Messages(context.Background(), func(m spool.Stored) error {
		b, err := st.Begin(context.Background(), now)
		if err != nil {
			said[m.ID] = verdict{err: err}
			return nil
		}
		defer b.End()
		if err := w.add(b, sp, m.Entry, "restore"); err != nil {
			said[m.ID] = verdict{err: err}
			return nil
		}
		o := b.Commit()[0]
		err = b.Forget()
		said[m.ID] = verdict{errors.Join(o.Err, err), o.Unfinished || o.Err == nil && err != nil}
		return nil
	})
}

func (w *world) add(b *spool.Batch, sp *spool.Spool, e spool.Entry, op string) error {
	c, err := e.Claim()
	if err != nil {
		return err
	}
	data, err := c.Read(1 << 20)
	var f *qf.File
	if err == nil {
		f, err = qf.Parse(data)
	}
	if err == nil {
		switch op {
		case "move":
			err = b.Move(c, f, spool.Record{Action: "move", Rule: "a rule", Sender: f.Sender(), Status: f.Status()})
		case "bounce":
			err = b.MoveOwing(c, f, spool.Record{Action: "bounce", Sender: f.Sender(), Status: f.Status()})
		case "moveto":
			err = b.MoveTo(c, f, sp.Folder(w.target))
		case "restore":
			err = b.Restore(c, f, sp.Folder(w.queue))
		case "delete":
			err = b.Delete(c, f)
		case "hold":
			err = b.Hold(c, f, reason)
		case "expire":
			err = b.Expire(c, f, reason)
		case "release":
			err = b.Release(c, f)
		default:
			err = fmt.Errorf("no operation %q", op)
		}
	}
	if err != nil {
		c.Release()
	}
	return err
}

// recover ends what was left, with the real disk.
func (w *world) recover() {
	w.t.Helper()
	st, err := spool.OpenStore(spool.System{}, w.store)
	if err != nil {
		w.t.Errorf("open the store again: %v", err)
		return
	}
	defer st.Close()
	if _, err := st.Recover(context.Background()); err != nil {
		w.t.Errorf("recover: %v", err)
	}
}
