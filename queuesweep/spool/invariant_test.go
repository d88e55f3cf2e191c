package spool_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/backscatterd/backscatterd/queuesweep/spool"
)

var operations = []string{"move", "moveto", "restore", "delete", "hold", "release", "expire"}

var layouts = []layout{
	{name: "flat"},
	{name: "flat, two file systems", two: true},
	{name: "split", split: true},
	{name: "split, two file systems", split: true, two: true},
	{name: "df elsewhere", apart: true},
	{name: "df elsewhere, split, two file systems", apart: true, split: true, two: true},
}

// ground hands out fresh pairs of folders in memory, for many short worlds.
type ground struct {
	t    *testing.T
	a, b string
	n    int
}

func newGround(t *testing.T, two bool) *ground {
	t.Helper()
	g := &ground{t: t, a: mountTmpfs(t, "size=64m,mode=755")}
	if g.b = g.a; two {
		g.b = mountTmpfs(t, "size=64m,mode=755")
	}
	return g
}

// world makes a world in which op can begin, n messages in it.
func (g *ground) world(l layout, op string, n int) *world {
	g.t.Helper()
	g.n++
	a, b := filepath.Join(g.a, fmt.Sprint("a", g.n)), filepath.Join(g.b, fmt.Sprint("b", g.n))
	for _, dir := range []string{a, b} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			g.t.Fatal(err)
		}
	}
	w := newWorld(g.t, l, a, b, n, op == "release")
	if op == "restore" {
		said, err := w.run(spool.System{}, "move")
		w.must(err)
		for _, l := range w.letters {
			w.must(said[l.id].err)
		}
	}
	return w
}

func (g *ground) drop(w *world) {
	for _, dir := range []string{filepath.Dir(w.queue), filepath.Dir(w.store)} {
		if err := os.RemoveAll(dir); err != nil {
			g.t.Fatal(err)
		}
	}
}

// whereItEnded checks that each message is whole at its origin or its goal.
func (w *world) whereItEnded(op string) error {
	for _, l := range w.letters {
		before, after := w.whole(l, w.origin(op), op), w.whole(l, w.goal(op), op)
		if before != nil && after != nil {
			return fmt.Errorf("%s is neither as it was (%w) nor where it was to go (%w)", l.id, before, after)
		}
	}
	return nil
}

// Without a fault, every operation does what it says, in every layout.
func TestOperations(t *testing.T) {
	for _, l := range layouts {
		g := newGround(t, l.two)
		for _, op := range operations {
			t.Run(l.name+"/"+op, func(t *testing.T) {
				noLeak(t)
				w := g.world(l, op, 3)
				defer g.drop(w)
				disk := newFaultyDisk(func(int, string, class) error { return nil })
				disk.after = func(call string) {
					if err := w.headless(); err != nil {
						t.Errorf("after %s: %v", call, err)
					}
				}
				said, err := w.run(disk, op)
				if err != nil {
					t.Fatal(err)
				}
				if len(disk.open) > 0 {
					t.Errorf("descriptors left open: %v", disk.open)
				}
				for _, l := range w.letters {
					if v := said[l.id]; v.err != nil {
						t.Errorf("%s: %v", l.id, v.err)
					}
					if err := w.whole(l, w.goal(op), op); err != nil {
						t.Error(err)
					}
				}
				if err := w.tidy(); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// Killed at any call that changes something, and started again, everything is
// whole and in one place.
func TestKilledAtEveryCall(t *testing.T) {
	points := 0
	for _, l := range layouts {
		g := newGround(t, l.two)
		for _, op := range operations {
			for _, n := range []int{1, 3} {
				if l.apart && n == 3 {
					continue // the same calls as in the other layouts, on other folders
				}
				t.Run(fmt.Sprintf("%s/%s/%d", l.name, op, n), func(t *testing.T) {
					noLeak(t)
					points += killEverywhere(t, g, l, op, n, func(w *world) {
						w.recover()
						if err := w.whereItEnded(op); err != nil {
							t.Error(err)
						}
					})
				})
			}
		}
	}
	t.Logf("%d kill points", points)
}

// killEverywhere kills op at its first call, then its second, and so on, has
// then do what follows in a world so left, and checks what must always hold.
func killEverywhere(t *testing.T, g *ground, l layout, op string, n int, then func(w *world)) (points int) {
	t.Helper()
	for ; ; points++ {
		w := g.world(l, op, n)
		var reached string
		disk := newFaultyDisk(killAt(points+1, &reached))
		disk.after = func(call string) {
			if err := w.headless(); err != nil {
				t.Errorf("after %s: %v", call, err)
			}
		}
		if !survive(disk, func() { _, _ = w.run(disk, op) }) {
			if err := w.whole(w.letters[0], w.goal(op), op); err != nil {
				t.Errorf("not killed: %v", err)
			}
			g.drop(w)
			break
		}
		then(w)
		if err := w.headless(); err != nil {
			t.Error(err)
		}
		if err := w.tidy(); err != nil {
			t.Error(err)
		}
		g.drop(w)
		if t.Failed() {
			t.Fatalf("killed at call %d: %s", points+1, reached)
		}
	}
	if points < 6 {
		t.Errorf("only %d calls were seen: the faults do not reach the operation", points)
	}
	return points
}

// Killed again while it ends what the first kill left, at any call, the next
// start ends it.
func TestKilledDuringRecovery(t *testing.T) {
	points := 0
	for _, l := range []layout{layouts[0], layouts[3]} {
		g := newGround(t, l.two)
		for _, op := range operations {
			t.Run(l.name+"/"+op, func(t *testing.T) {
				noLeak(t)
				// The nth kill of the operation is tried with every kill of the
				// recovery, until one recovery runs through.
				for m, more := 1, true; more; m++ {
					more = false
					killEverywhere(t, g, l, op, 1, func(w *world) {
						var reached string
						disk := newFaultyDisk(killAt(m, &reached))
						disk.after = func(call string) {
							if err := w.headless(); err != nil {
								t.Errorf("in the recovery, after %s: %v", call, err)
							}
						}
						if survive(disk, func() { recoverWith(disk, w) }) {
							more = true
							points++
						}
						w.recover()
						if err := w.whereItEnded(op); err != nil {
							t.Errorf("recovery killed at call %d, %s: %v", m, reached, err)
						}
					})
				}
			})
		}
	}
	t.Logf("%d kill points", points)
}

// An error at any call: the messages that are said to be done are done, the
// others are as they were, and those that the call was not about went on.
func TestErrorAtEveryCall(t *testing.T) {
	points := 0
	for _, l := range []layout{layouts[0], layouts[3]} {
		g := newGround(t, l.two)
		for _, op := range operations {
			t.Run(l.name+"/"+op, func(t *testing.T) {
				noLeak(t)
				for _, errno := range []unix.Errno{unix.ENOSPC, unix.EIO, unix.EACCES, unix.EROFS, unix.EMFILE} {
					points += failEverywhere(t, g, l, op, 3, errno, once)
					points += failEverywhere(t, g, l, op, 2, errno, sticky)
				}
				points += failEverywhere(t, g, l, op, 3, unix.EIO, late)
			})
		}
	}
	t.Logf("%d failed calls", points)
}

type manner string

const (
	once   manner = "once"
	sticky manner = "from then on"
	late   manner = "although it was made"
)

func failEverywhere(t *testing.T, g *ground, l layout, op string, n int, errno unix.Errno, how manner) (points int) {
	t.Helper()
	for ; ; points++ {
		w := g.world(l, op, n)
		var reached string
		disk := newFaultyDisk(failAt(points+1, errno, how == sticky, &reached))
		if how == late {
			disk = newFaultyDisk(lateAt(points+1, &reached))
			disk.late = true
		}
		disk.after = func(call string) {
			if err := w.headless(); err != nil {
				t.Errorf("after %s: %v", call, err)
			}
		}
		said, err := w.run(disk, op)
		if reached == "" {
			g.drop(w)
			return points
		}
		if len(disk.open) > 0 {
			t.Errorf("descriptors left open: %v", disk.open)
			disk.end()
		}
		w.checkThrough(op, said, err, reached, how == once)
		g.drop(w)
		if t.Failed() {
			t.Fatalf("%v at call %d (%s), %s; said %v, %v", errno, points+1, reached, how, said, err)
		}
	}
}

// lateAt makes calls fail that a network file system may report as failed
// although they came through.
func lateAt(n int, reached *string) func(int, string, class) error {
	seen := 0
	return func(_ int, call string, c class) error {
		verb, _, _ := strings.Cut(call, " ")
		if verb != "link" && verb != "rename" && verb != "unlink" && verb != "fsync" {
			return nil
		}
		if seen++; seen == n {
			*reached = call
			return unix.EIO
		}
		return nil
	}
}

// checkThrough looks at what a run has left, and at what the next start makes of it.
func (w *world) checkThrough(op string, said map[string]verdict, failure error, reached string, single bool) {
	w.t.Helper()
	w.checkSaid(op, said, failure, reached, single)
	w.recover()
	w.checkAfterwards(op, said)
	if err := w.tidy(); err != nil {
		w.t.Error(err)
	}
}

// checkSaid compares what was said of the messages with where they are.
func (w *world) checkSaid(op string, said map[string]verdict, failure error, reached string, single bool) {
	w.t.Helper()
	for _, l := range w.letters {
		v, ok := said[l.id]
		if !ok && failure == nil && op != "restore" {
			w.t.Errorf("%s: nothing was said of it", l.id)
		}
		switch {
		case ok && v.err == nil:
			if err := w.whole(l, w.goal(op), op); err != nil {
				w.t.Errorf("said to be done: %v", err)
			}
		case !ok || !v.unfinished:
			if err := w.whole(l, w.origin(op), op); err != nil {
				w.t.Errorf("said not to be done: %v", err)
			}
		}
		if ok && single && failure == nil && strings.Contains(reached, "6AO0l") && !strings.Contains(reached, l.id) && v.err != nil {
			w.t.Errorf("%s did not go on, though the call was about another message: %v", l.id, v.err)
		}
	}
}

// checkAfterwards looks again after the next start.
func (w *world) checkAfterwards(op string, said map[string]verdict) {
	w.t.Helper()
	for _, l := range w.letters {
		where := w.origin(op)
		if v, ok := said[l.id]; ok && v.done() {
			where = w.goal(op)
		}
		if err := w.whole(l, where, op); err != nil {
			w.t.Errorf("after the next start, %v was said: %v", said[l.id], err)
		}
	}
}
