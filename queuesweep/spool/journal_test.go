package spool_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/backscatterd/backscatterd/queuesweep/spool"
)

// killedMove leaves a world in which a move was killed just before this call.
func killedMove(t *testing.T, g *ground, l layout, op, before string) *world {
	t.Helper()
	w := g.world(l, op, 1)
	disk := newFaultyDisk(func(_ int, call string, _ class) error {
		if strings.HasPrefix(call, before) {
			panic(killed{})
		}
		return nil
	})
	if !survive(disk, func() { _, _ = w.run(disk, op) }) {
		t.Fatalf("there was no call %q", before)
	}
	return w
}

func (w *world) journal() string { return filepath.Join(w.store, "journal") }

// A last line that was cut short was never acted on; the lines before it are
// ended.
func TestJournalCutShort(t *testing.T) {
	g := newGround(t, false)
	for _, tail := range []string{`{"op":"move","id":"6AO0lZlY0144`, "\x00\x00\x00\x00", "{"} {
		noLeak(t)
		w := killedMove(t, g, layout{}, "move", "rename qf")
		data, err := os.ReadFile(w.journal())
		w.must(err)
		w.must(os.WriteFile(w.journal(), append(data, tail...), 0o600))
		w.recover()
		if err := w.whole(w.letters[0], at{w.queue, "qf"}, ""); err != nil {
			t.Errorf("tail %q: %v", tail, err)
		}
		if err := w.tidy(); err != nil {
			t.Errorf("tail %q: %v", tail, err)
		}
		g.drop(w)
	}
}

// A whole line that is no intent is not ours to guess at: nothing is done with
// this store until somebody has looked.
func TestJournalWithGarbage(t *testing.T) {
	g := newGround(t, false)
	noLeak(t)
	w := killedMove(t, g, layout{}, "move", "rename qf")
	data, err := os.ReadFile(w.journal())
	w.must(err)
	w.must(os.WriteFile(w.journal(), append([]byte("garbage\n"), data...), 0o600))
	st, err := spool.OpenStore(spool.System{}, w.store)
	w.must(err)
	defer st.Close()
	_, err = st.Recover(context.Background())
	if err == nil || !strings.Contains(err.Error(), w.journal()) || !strings.Contains(err.Error(), "look at it") {
		t.Errorf("recover: %v", err)
	}
	if _, err := st.Begin(context.Background(), now); err == nil {
		t.Error("begun all the same")
	}
	if err := w.headless(); err != nil {
		t.Error(err)
	}
	w.must(os.WriteFile(w.journal(), data, 0o600))
	w.recover()
	if err := w.whole(w.letters[0], at{w.queue, "qf"}, ""); err != nil {
		t.Error(err)
	}
}

// An operation that this version does not know stays in the journal.
func TestJournalOfALaterVersion(t *testing.T) {
	g := newGround(t, false)
	noLeak(t)
	w := killedMove(t, g, layout{}, "move", "rename qf")
	data, err := os.ReadFile(w.journal())
	w.must(err)
	later := strings.Replace(string(data), `"op":"move"`, `"op":"fold"`, 1)
	w.must(os.WriteFile(w.journal(), []byte(later), 0o600))
	st, err := spool.OpenStore(spool.System{}, w.store)
	w.must(err)
	defer st.Close()
	if ended, err := st.Recover(context.Background()); ended != 0 || err == nil || !strings.Contains(err.Error(), `unknown operation "fold"`) {
		t.Errorf("recover: %d, %v", ended, err)
	}
	if after, err := os.ReadFile(w.journal()); err != nil || !strings.Contains(string(after), "fold") {
		t.Errorf("the journal has forgotten it: %s, %v", after, err)
	}
}

// While the other file system is not there, what was killed waits for it: the
// empty folder below the mount point is not mistaken for it. Meanwhile other
// messages are moved, this one is not touched.
func TestRecoveryWaitsForTheFileSystem(t *testing.T) {
	for _, c := range []struct{ op, before, missing string }{
		{"moveto", "rename .backscatterd", "target"}, // parked, its copy on the target
		{"moveto", "unlink", "target"},               // landed
		{"move", "rename .backscatterd", "queue"},
		{"restore", "rename .backscatterd", "queue"},
		{"move", "rename qf", "queue"}, // not yet out of the queue
		{"moveto", "rename qf", "target"},
	} {
		t.Run(c.op+" "+c.before+" "+c.missing, func(t *testing.T) {
			noLeak(t)
			a, b := mountTmpfs(t, "size=8m,mode=755"), mountTmpfs(t, "size=8m,mode=755")
			l := layout{two: true}
			if c.op == "moveto" { // the store stays with the queue
				l.name = "store beside the queue"
			}
			g := &ground{t: t, a: a, b: b}
			w := killedMoveOn(t, g, l, c.op, c.before)
			missing := filepath.Dir(w.queue)
			if c.missing == "target" {
				missing = filepath.Dir(w.target)
			}
			kept := missing + ".kept"
			w.must(os.Rename(missing, kept))
			w.must(os.MkdirAll(w.queue, 0o700)) // what is seen instead
			w.must(os.MkdirAll(w.target, 0o700))
			st, err := spool.OpenStore(spool.System{}, w.store)
			w.must(err)
			if ended, err := st.Recover(context.Background()); ended != 0 || err == nil || !strings.Contains(err.Error(), "is its file system mounted?") {
				t.Errorf("recover: %d, %v", ended, err)
			}
			bt, err := st.Begin(context.Background(), now)
			w.must(err)
			bt.End()
			w.must(st.Close())
			w.must(os.RemoveAll(missing))
			w.must(os.Rename(kept, missing))
			w.recover()
			if err := w.whereItEnded(c.op); err != nil {
				t.Error(err)
			}
			if err := w.tidy(); err != nil {
				t.Error(err)
			}
		})
	}
}

// killedMoveOn is killedMove with the store beside the queue if the layout's
// name says so.
func killedMoveOn(t *testing.T, g *ground, l layout, op, before string) *world {
	t.Helper()
	if op != "moveto" {
		return killedMove(t, g, l, op, before)
	}
	w := g.world(l, op, 1)
	w.store = filepath.Join(filepath.Dir(w.queue)+".store", "store")
	w.must(os.Mkdir(filepath.Dir(w.store), 0o700))
	disk := newFaultyDisk(func(_ int, call string, _ class) error {
		if strings.HasPrefix(call, before) {
			panic(killed{})
		}
		return nil
	})
	if !survive(disk, func() { _, _ = w.run(disk, op) }) {
		t.Fatalf("there was no call %q", before)
	}
	return w
}

// A message whose change waits in the journal is not changed again.
func TestPendingMessageIsLeftAlone(t *testing.T) {
	g := newGround(t, false)
	noLeak(t)
	w := killedMove(t, g, layout{}, "hold", "rename qf") // the qf has its q line already
	release := otherProcess(t, "flock", w.first())
	said, err := w.run(spool.System{}, "delete")
	w.must(err)
	if v := said[w.letters[0].id]; v.err == nil {
		t.Error("deleted although locked")
	}
	st, err := spool.OpenStore(spool.System{}, w.store)
	w.must(err)
	if _, err := st.Recover(context.Background()); err != nil {
		t.Errorf("that the message is locked just now is no error: %v", err)
	}
	w.must(st.Close())
	release()
	w.recover()
	if err := w.whole(w.letters[0], w.goal("hold"), "hold"); err != nil {
		t.Error(err)
	}
}
