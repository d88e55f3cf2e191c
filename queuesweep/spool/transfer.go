package spool

import (
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"
)

// transfer carries a message from one folder to another: from a queue to the
// store, back, or from queue to queue.
//
// On one file system the df is linked to its new place, then the control file
// is renamed: that is the commit. Across file systems both are copied, the
// control file under a name of ours; the commit is the rename of the old
// control file to a name of ours in its own folder, which takes the message out
// of the queue while its only lock is held; then the new one gets its name. So
// after a crash the names alone tell whether the commit was made.
type transfer struct {
	op       string
	held     *Claim
	from, to *Folder
	data     Body
	toData   *dir // where the df goes; may be where it is
	copied   bool // across file systems
	made     []func() error
	touched  []*dir
}

func newTransfer(op string, c *Claim, data *dir, to *Folder, toData *dir) (*transfer, error) {
	if c.Folder.Path == to.Path {
		return nil, fmt.Errorf("message %s is in %s already", c.ID, to.Path)
	}
	return &transfer{op: op, held: c, from: c.Folder, to: to, data: Body{in: data}, toData: toData}, nil
}

// check refuses what would meet files of the same id at the other end; so what
// lies there after a crash is this transfer's.
func (t *transfer) check() (err error) {
	if t.data, err = bodyIn(t.data.in, t.held.ID); err != nil {
		return err
	}
	type place struct {
		in   *dir
		name string
	}
	to, id := t.to.qf, t.held.ID
	taken := []place{{to, "qf" + id}, {to, "hf" + id}, {to, "Qf" + id}}
	if t.toData != t.data.in {
		taken = append(taken, place{t.toData, t.data.name})
	}
	for _, at := range taken {
		switch there, err := at.in.exists(at.name); {
		case err != nil:
			return err
		case there:
			return fmt.Errorf("%s/%s exists already; nothing was done", at.in.path, at.name)
		}
	}
	return nil
}

func (t *transfer) claim() *Claim   { return t.held }
func (t *transfer) touches() []*dir { return t.touched }
func (t *transfer) release()        { t.held.Release() }

func (t *transfer) intent() intent {
	return intent{
		Op: t.op, ID: t.held.ID, Control: t.held.name(),
		From:    placesOf(t.from.qf, t.data.in, t.from.xf),
		To:      placesOf(t.to.qf, t.toData, t.to.xf),
		DataIno: t.data.stat.Ino,
	}
}

func (t *transfer) prepare() error {
	t.copied = t.from.qf.dev != t.to.qf.dev
	if t.toData != t.data.in {
		if err := t.carryData(); err != nil {
			return err
		}
	}
	if t.copied {
		return t.copy(t.from.qf, t.held.name(), t.held.stat.Ino, t.to.qf, newName(t.held.ID))
	}
	return nil
}

// carryData links the df to its new place, or copies it there.
func (t *transfer) carryData() error {
	name, ino := t.data.name, t.data.stat.Ino
	t.touched = append(t.touched, t.toData)
	// A link can be taken back whatever the call says: the inode tells it.
	t.made = append(t.made, func() error { return t.toData.removeInode(name, ino) })
	switch err := t.from.spool.disk.Linkat(t.data.in.fd, name, t.toData.fd, name); err {
	case nil:
		return nil
	case unix.ENOENT:
		return ErrNoBody
	case unix.EXDEV:
		t.copied = true
	case unix.EPERM, unix.EMLINK, unix.EOPNOTSUPP: // no links there, or none more
	default:
		return fmt.Errorf("link %s/%s to %s: %w", t.data.in.path, name, t.toData.path, err)
	}
	return t.copy(t.data.in, name, ino, t.toData, name)
}

// copy copies a file and remembers how to take that back.
func (t *transfer) copy(from *dir, name string, ino uint64, to *dir, newname string) error {
	if err := copyFile(from, name, ino, to, newname); err != nil {
		return err
	}
	t.made = append(t.made, func() error { return to.remove(newname) })
	t.touched = append(t.touched, to)
	return nil
}

func (t *transfer) undo() error {
	var errs []error
	for _, remove := range slices.Backward(t.made) {
		errs = append(errs, remove())
	}
	t.made = nil
	return errors.Join(errs...)
}

func (t *transfer) commit() error {
	name, ino := t.held.name(), t.held.stat.Ino
	if t.copied {
		t.touched = []*dir{t.from.qf}
		return t.from.qf.renameInode(ino, name, t.from.qf, oldName(t.held.ID), true)
	}
	t.touched = []*dir{t.to.qf, t.from.qf}
	return t.from.qf.renameInode(ino, name, t.to.qf, name, false)
}

func (t *transfer) land() error {
	t.touched = nil
	if !t.copied {
		return nil
	}
	t.touched = []*dir{t.to.qf}
	return t.to.qf.rename(newName(t.held.ID), t.to.qf, t.held.name(), false)
}

func (t *transfer) clean() error {
	t.touched = []*dir{t.data.in}
	if t.copied {
		t.touched = append(t.touched, t.from.qf)
	}
	if err := carryTranscript(t.from.xf, t.to.xf, t.held.ID); err != nil {
		return err
	}
	if t.copied {
		if err := t.from.qf.remove(oldName(t.held.ID)); err != nil {
			return err
		}
	}
	if t.toData == t.data.in {
		return nil
	}
	return t.data.in.removeInode(t.data.name, t.data.stat.Ino)
}

// carryTranscript takes the xf along where that is one rename, else removes it:
// it is sendmail's scratch paper.
func carryTranscript(from, to *dir, id string) error {
	err := from.rename("xf"+id, to, "xf"+id, false)
	if err == nil || errors.Is(err, unix.ENOENT) {
		return nil
	}
	return removeTranscript(from, id)
}

// removeTranscript removes the xf. A folder of that name is nobody's transcript
// and stays: it must not keep a change from being ended.
func removeTranscript(from *dir, id string) error {
	if err := from.remove("xf" + id); !errors.Is(err, unix.EISDIR) {
		return err
	}
	return nil
}

// copyFile makes an exact copy of that inode, durable under its new name but for
// its folder: bytes, owner, group, mode and times.
func copyFile(from *dir, name string, ino uint64, to *dir, newname string) (err error) {
	disk := from.disk
	in, err := disk.Openat(from.fd, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err == unix.ENOENT {
		return ErrNoBody
	}
	if err != nil {
		return fmt.Errorf("open %s/%s: %w", from.path, name, err)
	}
	defer disk.Close(in)
	st, err := disk.Fstat(in)
	if err != nil {
		return fmt.Errorf("stat %s/%s: %w", from.path, name, err)
	}
	if st.Ino != ino || st.Mode&unix.S_IFMT != unix.S_IFREG {
		return fmt.Errorf("%s/%s: %w", from.path, name, ErrChanged)
	}
	out, err := createLike(to, newname, st)
	if err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, disk.Close(out))
		if err != nil {
			err = errors.Join(err, to.remove(newname))
		}
	}()
	buf := make([]byte, 256<<10)
	for {
		n, err := disk.Read(in, buf)
		if err != nil {
			return fmt.Errorf("read %s/%s: %w", from.path, name, err)
		}
		if n == 0 {
			break
		}
		if err := writeAll(disk, out, buf[:n]); err != nil {
			return fmt.Errorf("write %s/%s: %w", to.path, newname, err)
		}
	}
	if err := disk.Utimes(to.fd, newname, st.Atim, st.Mtim); err != nil {
		return fmt.Errorf("set the times of %s/%s: %w", to.path, newname, err)
	}
	if err := disk.Fsync(out); err != nil {
		return fmt.Errorf("fsync %s/%s: %w", to.path, newname, err)
	}
	return nil
}

// createLike makes a new file with the owner, group and mode of another, as a
// rewritten control file must have them to be trusted by sendmail.
func createLike(d *dir, name string, like unix.Stat_t) (fd int, err error) {
	fd, err = d.disk.Openat(d.fd, name, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return -1, fmt.Errorf("create %s/%s: %w", d.path, name, err)
	}
	if err = d.disk.Fchown(fd, int(like.Uid), int(like.Gid)); err == nil {
		err = d.disk.Fchmod(fd, like.Mode&0o7777)
	}
	if err != nil {
		err = fmt.Errorf("give %s/%s the owner and mode of the old file: %w", d.path, name, err)
		return -1, errors.Join(err, d.disk.Close(fd), d.remove(name))
	}
	return fd, nil
}
