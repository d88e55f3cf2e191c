package spool_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/backscatterd/backscatterd/queuesweep/spool"
)

// A message in the store has a record of where it came from and why.
func TestRecord(t *testing.T) {
	noLeak(t)
	w := flat(t, 2)
	_, err := w.run(spool.System{}, "move")
	w.must(err)
	st, err := spool.OpenStore(spool.System{}, w.store)
	w.must(err)
	defer st.Close()
	var got []spool.Record
	w.must(st.Messages(context.Background(), func(m spool.Stored) error {
		if m.Day != day || m.Record == nil {
			t.Fatalf("%s: day %q, record %v", m.ID, m.Day, m.Record)
		}
		got = append(got, *m.Record)
		return nil
	}))
	slices.SortFunc(got, func(a, b spool.Record) int { return strings.Compare(a.ID, b.ID) })
	want := spool.Record{Time: now, Queue: w.queue, Action: "move", Rule: "a rule", Status: "Deferred: 452 4.1.0 temporary failure"}
	for i, l := range w.letters {
		want.ID = l.id
		if d := cmp.Diff(want, got[i]); d != "" {
			t.Error(d)
		}
	}
}

// There and back again: what is restored is what was moved, and can be moved
// again on the same day.
func TestMoveRestoreMove(t *testing.T) {
	for _, l := range layouts {
		g := newGround(t, l.two)
		t.Run(l.name, func(t *testing.T) {
			noLeak(t)
			w := g.world(l, "move", 2)
			defer g.drop(w)
			for _, op := range []string{"move", "restore", "move", "restore", "hold", "move", "restore", "release"} {
				said, err := w.run(spool.System{}, op)
				w.must(err)
				for id, v := range said {
					if v.err != nil {
						t.Fatalf("%s of %s: %v", op, id, v.err)
					}
				}
			}
			for _, l := range w.letters {
				if err := w.whole(l, at{w.queue, "qf"}, ""); err != nil {
					t.Error(err)
				}
			}
			if err := w.tidy(); err != nil {
				t.Error(err)
			}
		})
	}
}

// A split envelope shares its df with another by a hard link: to move, hold or
// delete one leaves the other whole.
func TestSharedBody(t *testing.T) {
	for _, two := range []bool{false, true} {
		g := newGround(t, two)
		for _, op := range []string{"move", "delete", "hold", "moveto"} {
			noLeak(t)
			w := g.world(layout{two: two}, op, 1)
			other := "6AO0lZlY014489"
			w.put(w.control(w.queue, "qf", other), w.letters[0].control, now)
			w.must(os.Link(w.data(w.queue, w.letters[0].id), w.data(w.queue, other)))
			said, err := w.run(spool.System{}, op)
			w.must(err)
			w.must(said[w.letters[0].id].err)
			if err := w.whole(w.letters[0], w.goal(op), op); err != nil {
				t.Errorf("%s, two file systems %v: %v", op, two, err)
			}
			twin := letter{other, w.letters[0].control, w.letters[0].body}
			if err := w.whole(twin, at{w.queue, "qf"}, ""); err != nil {
				t.Errorf("%s, two file systems %v: the other envelope: %v", op, two, err)
			}
			g.drop(w)
		}
	}
}

// The transcript goes with its message where that is one rename, else it is
// removed: it is never left behind.
func TestTranscript(t *testing.T) {
	for _, c := range []struct {
		layout
		op, at string
	}{
		{layout{}, "move", "store/" + day}, {layout{split: true}, "move", "store/" + day},
		{layout{two: true}, "move", ""}, {layout{}, "delete", ""}, {layout{}, "moveto", "t1"}, {layout{}, "hold", "q1"},
	} {
		g := newGround(t, c.two)
		w := g.world(c.layout, c.op, 1)
		xf := "xf" + w.letters[0].id
		w.put(filepath.Join(w.part(w.queue, "xf"), xf), []byte("220 hello\n"), now)
		said, err := w.run(spool.System{}, c.op)
		w.must(err)
		w.must(said[w.letters[0].id].err)
		var found []string
		for _, folder := range []string{"q1", "q1/xf", "t1", "store/" + day} {
			for _, root := range []string{filepath.Dir(w.queue), filepath.Dir(w.store)} {
				if exists(filepath.Join(root, folder, xf)) && !slices.Contains(found, folder) {
					found = append(found, folder)
				}
			}
		}
		if strings.Join(found, " ") != c.at {
			t.Errorf("%s: the transcript is at %q, want %q", c.op, found, c.at)
		}
		g.drop(w)
	}
}

// What cannot be done to a message is said, and the message stays.
func TestRefused(t *testing.T) {
	other := func(w *world, folder, name string) {
		w.put(filepath.Join(folder, name+w.letters[0].id), []byte("x"), now)
	}
	for _, c := range []struct {
		name, op string
		before   func(w *world)
		want     string
	}{
		{"move without a df", "move", func(w *world) { w.must(os.Remove(w.data(w.queue, w.letters[0].id))) }, "(the df file) is missing"},
		{"release without a df", "release", func(w *world) { w.must(os.Remove(w.data(w.queue, w.letters[0].id))) }, "(the df file) is missing"},
		{"target has the qf", "moveto", func(w *world) { other(w, w.target, "qf") }, "exists already; nothing was done"},
		{"target has the hf", "moveto", func(w *world) { other(w, w.target, "hf") }, "exists already; nothing was done"},
		{"target has the Qf", "moveto", func(w *world) { other(w, w.target, "Qf") }, "exists already; nothing was done"},
		{"target has the df", "moveto", func(w *world) { other(w, w.target, "df") }, "exists already; nothing was done"},
		{"queue has the qf again", "restore", func(w *world) { other(w, w.queue, "qf") }, "exists already; nothing was done"},
		{"queue has the df still", "restore", func(w *world) { other(w, w.queue, "df") }, "exists already; nothing was done"},
		{"hold beside an hf", "hold", func(w *world) { other(w, w.queue, "hf") }, "exists already; nothing was done"},
		{"release of what is not held", "release", func(w *world) {
			w.must(os.Rename(w.control(w.queue, "hf", w.letters[0].id), w.first()))
		}, "is not held"},
		{"hold of what is held", "hold", func(w *world) {
			w.must(os.Rename(w.first(), w.control(w.queue, "hf", w.letters[0].id)))
		}, "is held already"},
		{"delete of a df that cannot be seen", "delete", func(w *world) {
			df := w.data(w.queue, w.letters[0].id)
			w.must(os.Remove(df))
			w.must(os.Mkdir(df, 0o700))
		}, "is no regular file"},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := newGround(t, false)
			noLeak(t)
			w := g.world(layout{}, c.op, 1)
			c.before(w)
			before := tree(t, w.queue) + tree(t, w.target)
			said, err := w.run(spool.System{}, c.op)
			w.must(err)
			v := said[w.letters[0].id]
			if v.err == nil || v.unfinished || !strings.Contains(v.err.Error(), c.want) || !strings.Contains(v.err.Error(), w.letters[0].id) {
				t.Errorf("got %+v, want an error about the message that says %q", v, c.want)
			}
			if after := tree(t, w.queue) + tree(t, w.target); after != before {
				t.Errorf("something was changed.\nbefore:\n%s\nafter:\n%s", before, after)
			}
		})
	}
}

// tree lists all names below a folder.
func tree(t *testing.T, root string) string {
	t.Helper()
	var b strings.Builder
	_ = filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if err == nil {
			b.WriteString(strings.TrimPrefix(path, filepath.Dir(root)) + "\n")
		}
		return nil
	})
	return b.String()
}

// A missing df does not keep a message from being deleted.
func TestDeleteWithoutBody(t *testing.T) {
	noLeak(t)
	w := flat(t, 1)
	w.must(os.Remove(w.data(w.queue, w.letters[0].id)))
	said, err := w.run(spool.System{}, "delete")
	w.must(err)
	w.must(said[w.letters[0].id].err)
	if found := w.find(w.letters[0].id); len(found) > 0 {
		t.Errorf("still at %v", found)
	}
	if err := w.tidy(); err != nil {
		t.Error(err)
	}
}

// The df of a message lies in a folder that only sendmail knows: to put the
// message back into a queue would have it delivered without its body.
func TestBodyElsewhereMustBeKnown(t *testing.T) {
	g := newGround(t, false)
	noLeak(t)
	l := layout{apart: true}
	w := g.world(l, "restore", 1)
	sp, err := spool.Open(spool.System{}, []spool.Place{{Path: w.queue, Root: w.queue}})
	w.must(err)
	defer sp.Close()
	st, err := spool.OpenStore(spool.System{}, w.store)
	w.must(err)
	defer st.Close()
	said := map[string]verdict{}
	w.must(w.restore(sp, st, said))
	if v := said[w.letters[0].id]; v.err == nil || !strings.Contains(v.err.Error(), `folder "q2"`) || !strings.Contains(v.err.Error(), "name all queue folders") {
		t.Errorf("got %v", v.err)
	}
	if err := w.whole(w.letters[0], at{w.day(), "qf"}, ""); err != nil {
		t.Error(err)
	}
	e, err := sp.Find(w.letters[0].id)
	if !errors.Is(err, spool.ErrGone) {
		t.Errorf("found at %v, %v", e, err)
	}
}

// Two queue folders hold the same id, as after a copy by hand: one goes, the
// other waits for its turn and then finds its place taken.
func TestSameIDTwice(t *testing.T) {
	noLeak(t)
	w := flat(t, 1)
	l := w.letters[0]
	w.put(w.control(w.queue2, "qf", l.id), l.control, now)
	w.put(w.data(w.queue2, l.id), l.body, sent)
	sp := w.open(spool.System{})
	st, err := spool.OpenStore(spool.System{}, w.store)
	w.must(err)
	defer st.Close()
	b, err := st.Begin(context.Background(), now)
	w.must(err)
	defer b.End()
	for i, want := range []string{"", "another message of this id"} {
		e := spool.Entry{Folder: sp.Folders()[i], Kind: spool.Active, ID: l.id}
		err := w.add(b, sp, e, "move")
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("message %d: %v", i, err)
		}
	}
	for _, o := range b.Commit() {
		w.must(o.Err)
	}
	w.must(b.Forget())
	if found := w.find(l.id); !slices.Equal(found, []at{{w.queue2, "qf"}, {w.day(), "qf"}}) {
		t.Errorf("found at %v", found)
	}
}

// The claims of a batch last until its end.
func TestClaimsOfABatch(t *testing.T) {
	noLeak(t)
	w := flat(t, 1)
	sp := w.open(spool.System{})
	st, err := spool.OpenStore(spool.System{}, w.store)
	w.must(err)
	defer st.Close()
	b, err := st.Begin(context.Background(), now)
	w.must(err)
	e, err := sp.Find(w.letters[0].id)
	w.must(err)
	w.must(w.add(b, sp, e, "hold"))
	if b.Len() != 1 {
		t.Errorf("%d changes", b.Len())
	}
	if _, err := e.Claim(); !errors.Is(err, spool.ErrLocked) {
		t.Errorf("claimed by another while the batch has it: %v", err)
	}
	b.End() // without Commit: nothing was done
	b.End() // and twice does no harm
	if err := w.whole(w.letters[0], at{w.queue, "qf"}, ""); err != nil {
		t.Error(err)
	}
	if err := w.tidy(); err != nil {
		t.Error(err)
	}
	c, err := e.Claim()
	w.must(err)
	c.Release()
}

// A new control file is locked before it takes the old one's name, so that
// nobody comes in between.
func TestHeldFileIsLockedThroughout(t *testing.T) {
	for _, op := range []string{"hold", "release"} {
		noLeak(t)
		dir := t.TempDir()
		w := newWorld(t, layout{}, dir, dir, 1, op == "release")
		disk := newFaultyDisk(func(int, string, class) error { return nil })
		seen := 0
		disk.after = func(call string) {
			for _, kind := range []string{"qf", "hf"} {
				sp, err := spool.Open(spool.System{}, w.places())
				w.must(err)
				e := spool.Entry{Folder: sp.Folders()[0], Kind: spool.Kind(kind[0]), ID: w.letters[0].id}
				if c, err := e.Claim(); err == nil {
					t.Errorf("after %s, %s could be claimed", call, kind)
					c.Release()
				} else if errors.Is(err, spool.ErrLocked) {
					seen++
				}
				w.must(sp.Close())
			}
		}
		said, err := w.run(disk, op)
		w.must(err)
		w.must(said[w.letters[0].id].err)
		if seen < 2 {
			t.Errorf("%s: the locked file was seen %d times: the test looks at the wrong moments", op, seen)
		}
	}
}
