package spool_test

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"
)

// A note of a bounce that cannot be written keeps its message in the queue, and
// no other.
func TestNoteThatCannotBeWritten(t *testing.T) {
	g := newGround(t, false)
	w := g.world(layouts[0], "bounce", 3)
	defer g.drop(w)
	bad := w.letters[1]
	disk := newFaultyDisk(func(_ int, call string, _ class) error {
		if call == "open "+bad.id { // a note has its message's id for a name
			return unix.ENOSPC
		}
		return nil
	})
	said, err := w.run(disk, "bounce")
	w.must(err)
	for _, l := range w.letters {
		v, where := said[l.id], w.goal("bounce")
		if l.id == bad.id {
			where = w.origin("bounce")
			if !errors.Is(v.err, unix.ENOSPC) || v.unfinished {
				t.Errorf("%s: %v, unfinished %v; want the error of its note", l.id, v.err, v.unfinished)
			}
		} else if v.err != nil {
			t.Errorf("%s: %v", l.id, v.err)
		}
		if err := w.whole(l, where, "bounce"); err != nil {
			t.Error(err)
		}
	}
}
