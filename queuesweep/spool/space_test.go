package spool_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/backscatterd/backscatterd/queuesweep/spool"
)

// The store's file system is full in the middle of a move: the large message
// stays, the small ones beside it go.
func TestDiskFull(t *testing.T) {
	noLeak(t)
	small := mountTmpfs(t, "size=64k,mode=755")
	w := newWorld(t, layout{two: true}, t.TempDir(), small, 3, false)
	big := &w.letters[1]
	big.body = bytes.Repeat([]byte("x"), 200<<10)
	w.put(w.data(w.queue, big.id), big.body, sent)
	said, err := w.run(spool.System{}, "move")
	w.must(err)
	for i, l := range w.letters {
		where := at{w.day(), "qf"}
		if i == 1 {
			where = at{w.queue, "qf"}
			if err := said[l.id].err; !errors.Is(err, unix.ENOSPC) || !strings.Contains(err.Error(), "make room") || said[l.id].unfinished {
				t.Errorf("said of the large one: %+v", said[l.id])
			}
		} else if said[l.id].err != nil {
			t.Errorf("said of a small one: %v", said[l.id].err)
		}
		if err := w.whole(l, where, ""); err != nil {
			t.Error(err)
		}
	}
	if err := w.tidy(); err != nil {
		t.Error(err)
	}
}

// Not a block is free in the store: nothing is done, nothing is lost, and as
// soon as there is room it works.
func TestStoreWithoutRoom(t *testing.T) {
	noLeak(t)
	small := mountTmpfs(t, "size=64k,mode=755")
	w := newWorld(t, layout{two: true}, t.TempDir(), small, 2, false)
	filler := filepath.Join(small, "filler")
	if err := os.WriteFile(filler, make([]byte, 128<<10), 0o600); !errors.Is(err, unix.ENOSPC) {
		t.Fatalf("the file system is not full: %v", err)
	}
	for _, op := range []string{"move", "hold", "delete"} {
		said, err := w.run(spool.System{}, op)
		if err == nil {
			err = said[w.letters[0].id].err
		}
		if !errors.Is(err, unix.ENOSPC) || !strings.Contains(err.Error(), "make room") {
			t.Errorf("%s: %v", op, err)
		}
		for _, l := range w.letters {
			if err := w.whole(l, at{w.queue, "qf"}, ""); err != nil {
				t.Errorf("%s: %v", op, err)
			}
		}
	}
	w.must(os.Remove(filler))
	said, err := w.run(spool.System{}, "move")
	w.must(err)
	for _, l := range w.letters {
		if err := errors.Join(said[l.id].err, w.whole(l, at{w.day(), "qf"}, "")); err != nil {
			t.Error(err)
		}
	}
	if err := w.tidy(); err != nil {
		t.Error(err)
	}
}

// A file system that is read-only, the store's or the queue's, gives a clear
// error and loses nothing.
func TestReadOnly(t *testing.T) {
	for _, c := range []struct{ name, op string }{
		{"store", "move"}, {"store", "restore"}, {"queue", "move"}, {"queue", "delete"}, {"queue", "hold"}, {"queue", "restore"},
	} {
		t.Run(c.name+"/"+c.op, func(t *testing.T) {
			noLeak(t)
			a, b := mountTmpfs(t, "size=1m,mode=755"), mountTmpfs(t, "size=1m,mode=755")
			g := &ground{t: t, a: a, b: b}
			w := g.world(layout{two: true}, c.op, 1)
			if c.op != "restore" {
				st, err := spool.OpenStore(spool.System{}, w.store)
				w.must(err)
				b, err := st.Begin(context.Background(), now)
				w.must(err)
				b.End()
				w.must(st.Close())
			}
			mount := b
			if c.name == "queue" {
				mount = a
			}
			w.must(unix.Mount("", mount, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""))
			said, err := w.run(spool.System{}, c.op)
			if err == nil {
				err = said[w.letters[0].id].err
			}
			if !errors.Is(err, unix.EROFS) || !strings.Contains(err.Error(), "read-only") || said[w.letters[0].id].unfinished {
				t.Errorf("got %v", err)
			}
			if err := w.whole(w.letters[0], w.origin(c.op), ""); err != nil {
				t.Error(err)
			}
			w.must(unix.Mount("", mount, "", unix.MS_REMOUNT, ""))
			w.recover()
			if err := w.tidy(); err != nil {
				t.Error(err)
			}
			said, err = w.run(spool.System{}, c.op)
			w.must(err)
			if err := errors.Join(said[w.letters[0].id].err, w.whole(w.letters[0], w.goal(c.op), c.op)); err != nil {
				t.Errorf("writable again: %v", err)
			}
		})
	}
}
