package spool

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/backscatterd/backscatterd/queuesweep/qf"
)

var (
	// ErrLocked: sendmail, or another tool, has the message in hand.
	ErrLocked = errors.New("locked: sendmail or another tool is working on it")
	// ErrGone: there is no such control file any more.
	ErrGone = errors.New("not in the queue (any more)")
	// ErrChanged: the control file changed hands between open and lock.
	ErrChanged = errors.New("changed by sendmail meanwhile")
	// ErrTooLarge: the control file is larger than the limit.
	ErrTooLarge = errors.New("the control file is too large")
	// ErrUnsafe: the control file is none that sendmail would trust.
	ErrUnsafe = errors.New("not a safe control file")
	// ErrNoBody: the df is missing, so there is no whole message to act on.
	ErrNoBody = errors.New("its body (the df file) is missing")
)

// Read reads a control file into buf, which grows as needed, and returns the
// bytes. No lock is taken: what is read may be old by the time it is looked at,
// and whoever wants to act reads it again from a Claim. limit bounds the size.
// Errors are ErrGone, ErrTooLarge, ErrUnsafe or what the disk says.
func (e Entry) Read(buf []byte, limit int64) ([]byte, error) {
	disk := e.Folder.spool.disk
	if e.Odd != "" {
		return nil, fmt.Errorf("%w: %s", ErrUnsafe, e.Odd)
	}
	if !e.regular {
		// To open a device may do something by itself.
		if st, err := disk.Fstatat(e.Folder.qf.fd, e.name()); err == nil && st.Mode&unix.S_IFMT != unix.S_IFREG {
			return nil, fmt.Errorf("%w: it is no regular file but a %s", ErrUnsafe, typeName(uint8(st.Mode&unix.S_IFMT>>12)))
		}
	}
	fd, err := disk.Openat(e.Folder.qf.fd, e.name(), unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, e.openError(err)
	}
	defer disk.Close(fd)
	if !e.regular {
		if st, err := disk.Fstat(fd); err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
			return nil, errors.Join(err, fmt.Errorf("%w: it is no regular file", ErrUnsafe))
		}
	}
	return e.readAll(fd, slices.Grow(buf[:0], 16<<10), limit)
}

// readAll costs one call for a file that fits into buf, as nearly all do: a
// regular file reads short only at its end. For a larger one it asks for the
// size, so that buf grows once, and not at all for what is too large.
func (e Entry) readAll(fd int, buf []byte, limit int64) ([]byte, error) {
	disk := e.Folder.spool.disk
	for {
		n, err := disk.Read(fd, buf[len(buf):cap(buf)])
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", e.Path(), err)
		}
		buf = buf[:len(buf)+n]
		size := int64(len(buf))
		if len(buf) == cap(buf) {
			st, err := disk.Fstat(fd)
			if err != nil {
				return nil, fmt.Errorf("stat %s: %w", e.Path(), err)
			}
			size = st.Size
		}
		if size > limit {
			return nil, fmt.Errorf("%w: %d bytes, the limit is %d (queue.max_control_file)", ErrTooLarge, size, limit)
		}
		if len(buf) < cap(buf) {
			return buf, nil
		}
		buf = slices.Grow(buf, max(1, int(size)-len(buf)+1))
	}
}

func (e Entry) openError(err error) error {
	switch err {
	case unix.ENOENT:
		return ErrGone
	case unix.ELOOP:
		return fmt.Errorf("%w: it is a symbolic link", ErrUnsafe)
	case unix.ENXIO, unix.EISDIR, unix.ENODEV:
		return fmt.Errorf("%w: it is no regular file", ErrUnsafe)
	}
	return fmt.Errorf("open %s: %w%s", e.Path(), err, hint(err))
}

// Locked tells whether somebody holds the message's lock at this moment, as
// mailq's asterisk does. Like mailq it takes a shared lock for an instant; a
// file of no bytes is left alone.
func (e Entry) Locked() bool {
	disk := e.Folder.spool.disk
	fd, err := disk.Openat(e.Folder.qf.fd, e.name(), unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return false
	}
	defer disk.Close(fd)
	if st, err := disk.Fstat(fd); err != nil || st.Size == 0 || st.Mode&unix.S_IFMT != unix.S_IFREG {
		return false
	}
	if disk.Flock(fd, unix.LOCK_SH|unix.LOCK_NB) == unix.EWOULDBLOCK {
		return true
	}
	locked, err := disk.LockedOFD(fd)
	return err == nil && locked
}

// Claim is the lock on one message, of both kinds that a sendmail may use. Its
// holder must call Release. Not safe for concurrent use.
type Claim struct {
	Entry
	fd   int
	stat unix.Stat_t
}

// Claim locks a message. Errors are ErrLocked, ErrGone, ErrChanged, ErrUnsafe,
// qf.ErrEmpty, or what the disk says. It never waits.
func (e Entry) Claim() (*Claim, error) {
	if e.Odd != "" {
		return nil, fmt.Errorf("%w: %s", ErrUnsafe, e.Odd)
	}
	return claimIn(e.Folder.spool.disk, e.Folder.qf, e)
}

func claimIn(disk Disk, in *dir, e Entry) (*Claim, error) {
	fd, err := disk.Openat(in.fd, e.name(), unix.O_RDWR|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, e.openError(err)
	}
	c := &Claim{Entry: e, fd: fd}
	if err := c.lock(disk, in); err != nil {
		disk.Close(fd)
		return nil, err
	}
	return c, nil
}

// lock follows readqf(): lock, then see whether the name still is this file, as
// it was before the lock.
// A file of no bytes must not be locked: its maker opens it before it locks it
// and fails to queue the mail if somebody else was faster.
func (c *Claim) lock(disk Disk, in *dir) error {
	before, err := disk.Fstat(c.fd)
	if err != nil {
		return fmt.Errorf("stat %s: %w", c.name(), err)
	}
	if before.Mode&unix.S_IFMT != unix.S_IFREG {
		return fmt.Errorf("%w: it is no regular file", ErrUnsafe)
	}
	if before.Size == 0 {
		return qf.ErrEmpty
	}
	if err := lockBoth(disk, c.fd); err != nil {
		return err
	}
	named, err := disk.Fstatat(in.fd, c.name())
	if err == unix.ENOENT {
		return ErrGone
	}
	if err != nil {
		return fmt.Errorf("stat %s: %w", c.name(), err)
	}
	if !sameFile(before, named) {
		return ErrChanged
	}
	c.stat = named
	return c.checkSafe()
}

// lockBoth takes flock, which sendmail uses where it is built with HASFLOCK
// (Debian, the BSDs), and an fcntl lock, which it uses elsewhere.
func lockBoth(disk Disk, fd int) error {
	switch err := disk.Flock(fd, unix.LOCK_EX|unix.LOCK_NB); err {
	case nil:
	case unix.EWOULDBLOCK:
		return ErrLocked
	default:
		return fmt.Errorf("flock: %w", err)
	}
	switch err := disk.LockOFD(fd); err {
	case nil, unix.EINVAL: // a file system without fcntl locks has no holder of one
		return nil
	case unix.EAGAIN, unix.EACCES:
		return ErrLocked
	default:
		return fmt.Errorf("fcntl lock: %w", err)
	}
}

func sameFile(a, b unix.Stat_t) bool {
	return a.Dev == b.Dev && a.Ino == b.Ino && a.Nlink == b.Nlink && a.Size == b.Size && a.Uid == b.Uid && a.Gid == b.Gid
}

// checkSafe refuses what readqf() would call bogus by its owner or mode, and a
// file that has another name elsewhere, which a rename would not take along.
func (c *Claim) checkSafe() error {
	if c.Folder != nil && !c.Folder.trusts(c.stat) {
		return fmt.Errorf("%w: it belongs to user %d, whom sendmail would not trust with it", ErrUnsafe, c.stat.Uid)
	}
	unsafe := uint32(unix.S_IWOTH | unix.S_IWGRP)
	if c.Folder != nil && c.Folder.fileMode&unix.S_IWGRP != 0 {
		unsafe &^= unix.S_IWGRP
	}
	if c.stat.Mode&unsafe != 0 {
		return fmt.Errorf("%w: others may write to it (mode %04o), sendmail would call it bogus", ErrUnsafe, c.stat.Mode&0o7777)
	}
	if c.stat.Nlink != 1 {
		return fmt.Errorf("%w: it has %d names (hard links)", ErrUnsafe, c.stat.Nlink)
	}
	return nil
}

// Read reads the control file again, under the lock.
func (c *Claim) Read(limit int64) ([]byte, error) {
	if c.stat.Size > limit {
		return nil, fmt.Errorf("%w: %d bytes, the limit is %d (queue.max_control_file)", ErrTooLarge, c.stat.Size, limit)
	}
	disk := c.Folder.spool.disk
	buf := make([]byte, c.stat.Size)
	for done := 0; done < len(buf); {
		n, err := disk.Pread(c.fd, buf[done:], int64(done))
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", c.Path(), err)
		}
		if n == 0 {
			return nil, ErrChanged
		}
		done += n
	}
	return buf, nil
}

// Release gives the lock back.
func (c *Claim) Release() {
	if c.fd >= 0 {
		c.Folder.spool.disk.Close(c.fd)
		c.fd = -1
	}
}

// Body is a message's df.
type Body struct {
	in   *dir
	name string
	stat unix.Stat_t
}

// Body finds the df of a message. The control file tells where it is. ErrNoBody
// where there is none.
func (e Entry) Body(f *qf.File) (Body, error) {
	in, err := e.Folder.dataFolder(f.DataFolder())
	if err != nil {
		return Body{}, err
	}
	return bodyIn(in, e.ID)
}

func bodyIn(in *dir, id string) (Body, error) {
	b := Body{in: in, name: "df" + id}
	st, err := in.disk.Fstatat(in.fd, b.name)
	if err == unix.ENOENT {
		return b, ErrNoBody
	}
	if err != nil {
		return b, fmt.Errorf("stat %s/%s: %w", in.path, b.name, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return b, fmt.Errorf("%w: %s/%s is no regular file", ErrUnsafe, in.path, b.name)
	}
	b.stat = st
	return b, nil
}

// Size is the df's, in bytes.
func (b Body) Size() int64 { return b.stat.Size }

// Modified is when the df was last written, which is when the message came.
func (b Body) Modified() time.Time { return time.Unix(b.stat.Mtim.Unix()) }

// Open opens the df for reading.
func (b Body) Open() (*BodyReader, error) {
	if b.in == nil {
		return nil, ErrNoBody
	}
	fd, err := b.in.disk.Openat(b.in.fd, b.name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err == unix.ENOENT {
		return nil, ErrNoBody
	}
	if err != nil {
		return nil, fmt.Errorf("open %s/%s: %w%s", b.in.path, b.name, err, hint(err))
	}
	return &BodyReader{b.in.disk, fd}, nil
}

// BodyReader reads a df.
type BodyReader struct {
	disk Disk
	fd   int
}

// Close closes the df.
func (r *BodyReader) Close() error { return r.disk.Close(r.fd) }

func (r *BodyReader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	n, err := r.disk.Read(r.fd, p)
	if err != nil {
		return 0, fmt.Errorf("read df: %w", err)
	}
	if n == 0 {
		return 0, io.EOF
	}
	return n, nil
}
