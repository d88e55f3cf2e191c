package spool_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/backscatterd/backscatterd/queuesweep/spool"
)

// large is a batch of which several cores do their part.
const large = 200

// patchyDisk fails every nth link, rename and unlink; 0 is none.
type patchyDisk struct {
	spool.System
	every int64
	n     atomic.Int64
}

func (d *patchyDisk) fails() bool { return d.every > 0 && d.n.Add(1)%d.every == 0 }

func (d *patchyDisk) Linkat(olddirfd int, oldname string, newdirfd int, newname string) error {
	if d.fails() {
		return unix.EIO
	}
	return d.System.Linkat(olddirfd, oldname, newdirfd, newname)
}

func (d *patchyDisk) Renameat(olddirfd int, oldname string, newdirfd int, newname string, replace bool) error {
	if d.fails() {
		return unix.EIO
	}
	return d.System.Renameat(olddirfd, oldname, newdirfd, newname, replace)
}

func (d *patchyDisk) Unlinkat(dirfd int, name string, flags int) error {
	if d.fails() {
		return unix.EIO
	}
	return d.System.Unlinkat(dirfd, name, flags)
}

// What is said of each message of a large batch is true of it, also where some
// of its calls fail, and so is what the next start makes of it.
func TestLargeBatch(t *testing.T) {
	for _, l := range []layout{layouts[0], layouts[3]} {
		g := newGround(t, l.two)
		for _, op := range operations {
			for _, every := range []int64{0, 7, 50} {
				noLeak(t)
				w := g.world(l, op, large)
				said, err := w.run(&patchyDisk{every: every}, op)
				for _, v := range said {
					if every == 0 && v.err != nil {
						t.Errorf("without a fault: %v", v.err)
					}
				}
				w.checkThrough(op, said, err, "", false)
				g.drop(w)
				if t.Failed() {
					t.Fatalf("%s, %s, one of %d calls fails", l.name, op, every)
				}
			}
		}
	}
}

// mortalDisk kills its process at the nth call that changes names or makes them
// durable.
type mortalDisk struct {
	spool.System
	n    int64
	seen atomic.Int64
}

func (d *mortalDisk) live() {
	if d.seen.Add(1) == d.n {
		_ = unix.Kill(os.Getpid(), unix.SIGKILL)
		select {}
	}
}

func (d *mortalDisk) Fsync(fd int) error {
	d.live()
	return d.System.Fsync(fd)
}

func (d *mortalDisk) Linkat(olddirfd int, oldname string, newdirfd int, newname string) error {
	d.live()
	return d.System.Linkat(olddirfd, oldname, newdirfd, newname)
}

func (d *mortalDisk) Renameat(olddirfd int, oldname string, newdirfd int, newname string, replace bool) error {
	d.live()
	return d.System.Renameat(olddirfd, oldname, newdirfd, newname, replace)
}

func (d *mortalDisk) Unlinkat(dirfd int, name string, flags int) error {
	d.live()
	return d.System.Unlinkat(dirfd, name, flags)
}

// die is the process that TestLargeBatchKilled starts: it makes a change to all
// messages, and is killed at a call.
func die(what string) error {
	w := new(world)
	d := new(mortalDisk)
	var op string
	if _, err := fmt.Sscan(what, &d.n, &op, &w.queue, &w.queue2, &w.target, &w.store); err != nil {
		return err
	}
	for i := range large {
		w.letters = append(w.letters, letter{id: fmt.Sprintf("6AO0lZlY01448%d", i)})
	}
	_, err := w.run(d, op)
	return err
}

// Killed while several cores are at it, and started again, each message is whole
// and in one place.
func TestLargeBatchKilled(t *testing.T) {
	kills := 0
	for _, l := range []layout{layouts[0], layouts[3]} {
		g := newGround(t, l.two)
		for _, op := range []string{"move", "delete", "hold"} {
			for n, dead := 1, true; dead; n += 37 {
				w := g.world(l, op, large)
				cmd := exec.Command("/proc/self/exe")
				cmd.Env = append(os.Environ(), helperVariable+"="+fmt.Sprintln("die", n, op, w.queue, w.queue2, w.target, w.store))
				out, err := cmd.CombinedOutput()
				if dead = cmd.ProcessState.ExitCode() == -1; dead {
					kills++
				} else if err != nil {
					t.Fatalf("%v: %s", err, out)
				}
				w.recover()
				if err := errors.Join(w.whereItEnded(op), w.tidy()); err != nil {
					t.Fatalf("%s, %s, killed at call %d: %v", l.name, op, n, err)
				}
				g.drop(w)
			}
		}
	}
	if kills < 100 {
		t.Errorf("killed only %d times", kills)
	}
	t.Logf("%d kills", kills)
}
