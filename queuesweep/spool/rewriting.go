package spool

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// rewriting holds or releases a message: a new control file under the old name,
// then a rename between qf and hf.
//
// sendmail's queue runs do not deliver a file named qf that has a q line, though
// they may write it anew (gatherq, HAS_QUARANTINE), nor an hf whatever it says. So
// both ways the q line is there whenever the name is qf and the change is not
// complete, and the message is held until then.
type rewriting struct {
	op      string // hold or release
	held    *Claim
	after   Entry
	content []byte
	data    *dir // where a df must be; nil if that is not asked
	newfd   int
	newIno  uint64
	touched []*dir
}

func (r *rewriting) claim() *Claim   { return r.held }
func (r *rewriting) touches() []*dir { return r.touched }
func (r *rewriting) dir() *dir       { return r.held.Folder.qf }

func (r *rewriting) release() {
	r.closeNew()
	r.held.Release()
}

func (r *rewriting) intent() intent {
	f := r.held.Folder
	return intent{
		Op: r.op, ID: r.held.ID, Control: r.held.name(),
		From:       placesOf(f.qf, f.df, f.xf),
		ControlIno: r.held.stat.Ino,
	}
}

func (r *rewriting) check() error {
	if r.data != nil {
		if _, err := bodyIn(r.data, r.held.ID); err != nil {
			return err
		}
	}
	there, err := r.dir().exists(r.after.name())
	if err == nil && there {
		err = fmt.Errorf("%s exists already; nothing was done", r.after.Path())
	}
	return err
}

// prepare writes the new file and locks it: it takes the name over from a
// locked one.
func (r *rewriting) prepare() (err error) {
	d := r.dir()
	r.touched = []*dir{d}
	name := newName(r.held.ID)
	fd, err := createLike(d, name, r.held.stat)
	if err != nil {
		return err
	}
	r.newfd = fd
	st, err := d.disk.Fstat(fd)
	if err != nil {
		return fmt.Errorf("stat %s/%s: %w", d.path, name, err)
	}
	r.newIno = st.Ino
	if err := lockBoth(d.disk, fd); err != nil {
		return err
	}
	if err := writeAll(d.disk, fd, r.content); err != nil {
		return fmt.Errorf("write %s/%s: %w", d.path, name, err)
	}
	if err := d.disk.Fsync(fd); err != nil {
		return fmt.Errorf("fsync %s/%s: %w", d.path, name, err)
	}
	return nil
}

func (r *rewriting) undo() error {
	return errors.Join(r.closeNew(), r.dir().remove(newName(r.held.ID)))
}

func (r *rewriting) closeNew() error {
	if r.newfd == 0 {
		return nil
	}
	err := r.dir().disk.Close(r.newfd)
	r.newfd = 0
	return err
}

// commit makes the first of two renames. A hold puts the reason into the qf; a
// release gives the hf its old name, with the q line still in it.
func (r *rewriting) commit() error {
	r.touched = []*dir{r.dir()}
	if r.op == "hold" {
		return r.dir().renameInode(r.newIno, newName(r.held.ID), r.dir(), r.held.name(), true)
	}
	return r.dir().renameInode(r.held.stat.Ino, r.held.name(), r.dir(), r.after.name(), false)
}

func (r *rewriting) land() error {
	r.touched = []*dir{r.dir()}
	if r.op == "hold" {
		return r.dir().rename(r.held.name(), r.dir(), r.after.name(), false)
	}
	return r.dir().rename(newName(r.held.ID), r.dir(), r.after.name(), true)
}

// clean lets go of the new file's lock, which nobody needs to wait for longer.
func (r *rewriting) clean() error {
	r.touched = nil
	return r.closeNew()
}

// recoverHold ends a hold: once the qf has its q line, it becomes hf; before
// that, nothing has happened.
func recoverHold(in intent, qf *dir) error {
	waiting, err := qf.exists(newName(in.ID))
	if err != nil {
		return err
	}
	if waiting {
		return qf.remove(newName(in.ID))
	}
	return underLock(qf, "qf"+in.ID, func(uint64) error {
		control, err := readFile(qf, "qf"+in.ID)
		if err != nil || !hasQuarantine(control) {
			return err
		}
		return qf.rename("qf"+in.ID, qf, "hf"+in.ID, false)
	})
}

// recoverRelease ends a release: once the hf has become qf, it loses its q
// line; before that, nothing has happened. A qf that is another inode has been
// written by sendmail since, and what waits for it is old.
func recoverRelease(in intent, qf *dir) error {
	err := underLock(qf, "qf"+in.ID, func(ino uint64) error {
		waiting, err := qf.exists(newName(in.ID))
		if err != nil || !waiting || ino != in.ControlIno {
			return err
		}
		return qf.rename(newName(in.ID), qf, "qf"+in.ID, true)
	})
	if err != nil {
		return err
	}
	return qf.remove(newName(in.ID))
}

// underLock does something to a control file while it is locked, nothing where
// it is not there. ErrLocked: somebody else holds the lock.
func underLock(d *dir, name string, do func(ino uint64) error) error {
	fd, err := d.disk.Openat(d.fd, name, unix.O_RDWR|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err == unix.ENOENT {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open %s/%s: %w", d.path, name, err)
	}
	defer d.disk.Close(fd)
	if err := lockBoth(d.disk, fd); err != nil {
		return err
	}
	st, err := d.disk.Fstat(fd)
	if err != nil {
		return fmt.Errorf("stat %s/%s: %w", d.path, name, err)
	}
	switch same, err := d.isInode(name, st.Ino); {
	case err != nil:
		return err
	case !same:
		return ErrLocked // sendmail has just written it anew
	}
	return do(st.Ino)
}
