package spool_test

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/backscatterd/backscatterd/queuesweep/spool"
)

// killed is what a faulty disk panics with in place of the process's end.
type killed struct{}

// class is what a call on the disk does, as far as faults go.
type class int

const (
	reads   class = iota // changes nothing
	opens                // opens what is there
	changes              // changes names, contents or attributes
	syncs                // makes them durable
)

// faultyDisk is the real disk until a given call. Then it ends the process, or
// the call fails: before it was made, or after.
type faultyDisk struct {
	spool.System
	// fault decides on the call with this number, the first being 1. It may
	// panic with killed{}.
	fault func(n int, call string, c class) error
	// late makes the call first and says afterwards that it has failed.
	late bool
	// after is called after each link, rename and unlink.
	after func(call string)

	n    int
	dead bool
	open map[int]string
	// begun are the descriptors that something was written to.
	begun map[int]bool
}

func newFaultyDisk(fault func(n int, call string, c class) error) *faultyDisk {
	return &faultyDisk{fault: fault, open: make(map[int]string), begun: make(map[int]bool)}
}

// end closes all descriptors, as the kernel does for a process that is killed.
func (d *faultyDisk) end() {
	for fd := range d.open {
		_ = unix.Close(fd)
	}
	d.open = nil
}

func (d *faultyDisk) call(c class, name string, do func() error) error {
	if d.dead {
		panic(killed{})
	}
	d.n++
	if err := d.ask(name, c); err != nil {
		if d.late && do() == nil {
			d.look(name)
		}
		return err
	}
	err := do()
	if err == nil {
		d.look(name)
	}
	return err
}

func (d *faultyDisk) look(call string) {
	switch verb, _, _ := strings.Cut(call, " "); verb {
	case "link", "rename", "unlink":
		if d.after != nil {
			d.after(call)
		}
	}
}

func (d *faultyDisk) ask(name string, c class) error {
	defer func() {
		if p := recover(); p != nil {
			d.dead = true
			panic(p)
		}
	}()
	return d.fault(d.n, name, c)
}

func (d *faultyDisk) Openat(dirfd int, name string, flags int, mode uint32) (int, error) {
	c := opens
	if flags&unix.O_CREAT != 0 {
		c = changes
	}
	fd := -1
	err := d.call(c, "open "+name, func() (err error) {
		if fd, err = d.System.Openat(dirfd, name, flags, mode); err == nil {
			d.open[fd] = name
		}
		return err
	})
	if err != nil && fd >= 0 { // made late
		_ = d.Close(fd)
		fd = -1
	}
	return fd, err
}

func (d *faultyDisk) Close(fd int) error {
	if d.dead {
		return nil
	}
	delete(d.open, fd)
	delete(d.begun, fd)
	return d.System.Close(fd)
}

func (d *faultyDisk) Read(fd int, p []byte) (n int, err error) {
	err = d.call(reads, "read "+d.open[fd], func() (err error) { n, err = d.System.Read(fd, p); return err })
	return n, err
}

func (d *faultyDisk) Pread(fd int, p []byte, offset int64) (n int, err error) {
	err = d.call(reads, "pread "+d.open[fd], func() (err error) { n, err = d.System.Pread(fd, p, offset); return err })
	return n, err
}

func (d *faultyDisk) Write(fd int, p []byte) (n int, err error) {
	err = d.call(changes, "write "+d.open[fd], func() (err error) {
		// In two parts, so that a process can die between them.
		if !d.begun[fd] {
			p = p[:(len(p)+1)/2]
		}
		n, err = d.System.Write(fd, p)
		d.begun[fd] = true
		return err
	})
	return n, err
}

func (d *faultyDisk) Fsync(fd int) error {
	return d.call(syncs, "fsync "+d.open[fd], func() error { return d.System.Fsync(fd) })
}

func (d *faultyDisk) Ftruncate(fd int, size int64) error {
	return d.call(changes, "truncate "+d.open[fd], func() error { return d.System.Ftruncate(fd, size) })
}

func (d *faultyDisk) Fstat(fd int) (st unix.Stat_t, err error) {
	err = d.call(reads, "fstat "+d.open[fd], func() (err error) { st, err = d.System.Fstat(fd); return err })
	return st, err
}

func (d *faultyDisk) Fstatat(dirfd int, name string) (st unix.Stat_t, err error) {
	err = d.call(reads, "stat "+name, func() (err error) { st, err = d.System.Fstatat(dirfd, name); return err })
	return st, err
}

func (d *faultyDisk) Fchown(fd, uid, gid int) error {
	return d.call(changes, "chown "+d.open[fd], func() error { return d.System.Fchown(fd, uid, gid) })
}

func (d *faultyDisk) Fchmod(fd int, mode uint32) error {
	return d.call(changes, "chmod "+d.open[fd], func() error { return d.System.Fchmod(fd, mode) })
}

func (d *faultyDisk) Utimes(dirfd int, name string, atime, mtime unix.Timespec) error {
	return d.call(changes, "utimes "+name, func() error { return d.System.Utimes(dirfd, name, atime, mtime) })
}

func (d *faultyDisk) Linkat(olddirfd int, oldname string, newdirfd int, newname string) error {
	return d.call(changes, "link "+newname, func() error { return d.System.Linkat(olddirfd, oldname, newdirfd, newname) })
}

func (d *faultyDisk) Renameat(olddirfd int, oldname string, newdirfd int, newname string, replace bool) error {
	return d.call(changes, "rename "+oldname+" "+newname, func() error {
		return d.System.Renameat(olddirfd, oldname, newdirfd, newname, replace)
	})
}

func (d *faultyDisk) Unlinkat(dirfd int, name string, flags int) error {
	return d.call(changes, "unlink "+name, func() error { return d.System.Unlinkat(dirfd, name, flags) })
}

func (d *faultyDisk) Mkdirat(dirfd int, name string, mode uint32) error {
	return d.call(changes, "mkdir "+name, func() error { return d.System.Mkdirat(dirfd, name, mode) })
}

func (d *faultyDisk) ReadDirent(fd int, p []byte) (n int, err error) {
	err = d.call(reads, "readdir "+d.open[fd], func() (err error) { n, err = d.System.ReadDirent(fd, p); return err })
	return n, err
}

func (d *faultyDisk) Flock(fd, how int) error {
	return d.call(reads, "flock "+d.open[fd], func() error { return d.System.Flock(fd, how) })
}

func (d *faultyDisk) LockOFD(fd int) error {
	return d.call(reads, "ofd "+d.open[fd], func() error { return d.System.LockOFD(fd) })
}

// killAt ends the process at the nth call that changes something or makes it
// durable. reached tells whether there was one.
func killAt(n int, reached *string) func(int, string, class) error {
	seen := 0
	return func(_ int, call string, c class) error {
		if c != changes && c != syncs {
			return nil
		}
		if seen++; seen == n {
			*reached = call
			panic(killed{})
		}
		return nil
	}
}

// failAt makes the nth of the calls fail that can fail with this error; sticky,
// all that follow too.
func failAt(n int, errno unix.Errno, sticky bool, reached *string) func(int, string, class) error {
	seen := 0
	return func(_ int, call string, c class) error {
		if !canFail(errno, call, c) {
			return nil
		}
		if seen++; seen == n || sticky && seen > n {
			if seen == n {
				*reached = call
			}
			return errno
		}
		return nil
	}
}

// canFail tells whether a call can fail so.
func canFail(errno unix.Errno, call string, c class) bool {
	verb, _, _ := strings.Cut(call, " ")
	switch errno {
	case unix.ENOSPC:
		return c == syncs || c == changes && verb != "unlink" && verb != "chown" && verb != "chmod" && verb != "utimes"
	case unix.EACCES:
		return verb == "open" || verb == "link" || verb == "rename" || verb == "unlink" || verb == "mkdir" || verb == "chown"
	case unix.EROFS:
		return c == changes && verb != "write"
	case unix.EMFILE:
		return verb == "open"
	case unix.EIO:
		return true
	}
	panic(fmt.Sprintf("no rule for %v", errno))
}

// survive calls do and tells whether the disk's process was killed in it.
func survive(d *faultyDisk, do func()) (dead bool) {
	defer func() {
		switch p := recover(); p {
		case nil:
		case killed{}:
			dead = true
		default:
			panic(p)
		}
	}()
	defer d.end()
	do()
	return d.dead
}
