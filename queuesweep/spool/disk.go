package spool

import (
	"errors"
	"fmt"
	"io"

	"golang.org/x/sys/unix"
)

// Disk is every call that this package makes on a file system: the seam at
// which a test injects a fault. System is the real one. Errors are
// unix.Errno values. Calls may come from several goroutines.
type Disk interface {
	Openat(dirfd int, name string, flags int, mode uint32) (int, error)
	Close(fd int) error
	Read(fd int, p []byte) (int, error)
	Pread(fd int, p []byte, offset int64) (int, error)
	Write(fd int, p []byte) (int, error)
	Fsync(fd int) error
	Ftruncate(fd int, size int64) error
	Fstat(fd int) (unix.Stat_t, error)
	Fstatat(dirfd int, name string) (unix.Stat_t, error)
	Fchown(fd, uid, gid int) error
	Fchmod(fd int, mode uint32) error
	Utimes(dirfd int, name string, atime, mtime unix.Timespec) error
	Linkat(olddirfd int, oldname string, newdirfd int, newname string) error
	Renameat(olddirfd int, oldname string, newdirfd int, newname string, replace bool) error
	Unlinkat(dirfd int, name string, flags int) error
	Mkdirat(dirfd int, name string, mode uint32) error
	ReadDirent(fd int, p []byte) (int, error)
	Flock(fd, how int) error
	LockOFD(fd int) error
	LockedOFD(fd int) (bool, error)
}

// System is the operating system's Disk.
type System struct{}

// retry calls again what a signal has interrupted.
func retry[T any](call func() (T, error)) (T, error) {
	for {
		v, err := call()
		if err != unix.EINTR {
			return v, err
		}
	}
}

func retryErr(call func() error) error {
	for {
		if err := call(); err != unix.EINTR {
			return err
		}
	}
}

func (System) Openat(dirfd int, name string, flags int, mode uint32) (int, error) {
	for {
		fd, err := unix.Openat(dirfd, name, flags|unix.O_CLOEXEC, mode)
		if err != unix.EINTR {
			return fd, err
		}
	}
}

// Close is not called again after EINTR, and that is no error: Linux has closed
// the descriptor.
func (System) Close(fd int) error {
	if err := unix.Close(fd); err != unix.EINTR {
		return err
	}
	return nil
}

func (System) Read(fd int, p []byte) (int, error) {
	for {
		n, err := unix.Read(fd, p)
		if err != unix.EINTR {
			return n, err
		}
	}
}

func (System) Pread(fd int, p []byte, offset int64) (int, error) {
	return retry(func() (int, error) { return unix.Pread(fd, p, offset) })
}

func (System) Write(fd int, p []byte) (int, error) {
	return retry(func() (int, error) { return unix.Write(fd, p) })
}

func (System) Fsync(fd int) error { return retryErr(func() error { return unix.Fsync(fd) }) }

func (System) Ftruncate(fd int, size int64) error {
	return retryErr(func() error { return unix.Ftruncate(fd, size) })
}

func (System) Fstat(fd int) (st unix.Stat_t, err error) {
	err = retryErr(func() error { return unix.Fstat(fd, &st) })
	return st, err
}

func (System) Fstatat(dirfd int, name string) (st unix.Stat_t, err error) {
	for {
		if err = unix.Fstatat(dirfd, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != unix.EINTR {
			return st, err
		}
	}
}

func (System) Fchown(fd, uid, gid int) error {
	return retryErr(func() error { return unix.Fchown(fd, uid, gid) })
}

func (System) Fchmod(fd int, mode uint32) error {
	return retryErr(func() error { return unix.Fchmod(fd, mode) })
}

func (System) Utimes(dirfd int, name string, atime, mtime unix.Timespec) error {
	return retryErr(func() error {
		return unix.UtimesNanoAt(dirfd, name, []unix.Timespec{atime, mtime}, unix.AT_SYMLINK_NOFOLLOW)
	})
}

func (System) Linkat(olddirfd int, oldname string, newdirfd int, newname string) error {
	return retryErr(func() error { return unix.Linkat(olddirfd, oldname, newdirfd, newname, 0) })
}

// Renameat does not replace unless it is told to; where the file system cannot
// promise that (EINVAL), it looks first.
func (System) Renameat(olddirfd int, oldname string, newdirfd int, newname string, replace bool) error {
	if replace {
		return retryErr(func() error { return unix.Renameat(olddirfd, oldname, newdirfd, newname) })
	}
	err := retryErr(func() error {
		return unix.Renameat2(olddirfd, oldname, newdirfd, newname, unix.RENAME_NOREPLACE)
	})
	if err != unix.EINVAL && err != unix.ENOSYS {
		return err
	}
	var st unix.Stat_t
	if err := unix.Fstatat(newdirfd, newname, &st, unix.AT_SYMLINK_NOFOLLOW); err == nil {
		return unix.EEXIST
	}
	return retryErr(func() error { return unix.Renameat(olddirfd, oldname, newdirfd, newname) })
}

func (System) Unlinkat(dirfd int, name string, flags int) error {
	return retryErr(func() error { return unix.Unlinkat(dirfd, name, flags) })
}

func (System) Mkdirat(dirfd int, name string, mode uint32) error {
	return retryErr(func() error { return unix.Mkdirat(dirfd, name, mode) })
}

func (System) ReadDirent(fd int, p []byte) (int, error) {
	return retry(func() (int, error) { return unix.ReadDirent(fd, p) })
}

func (System) Flock(fd, how int) error {
	return retryErr(func() error { return unix.Flock(fd, how) })
}

// LockOFD takes an exclusive lock of the open file description on the whole
// file. Unlike a process's POSIX lock it does not fall when another descriptor
// of the file is closed, and it conflicts with one all the same.
func (System) LockOFD(fd int) error {
	lock := unix.Flock_t{Type: unix.F_WRLCK, Whence: io.SeekStart}
	return retryErr(func() error { return unix.FcntlFlock(uintptr(fd), unix.F_OFD_SETLK, &lock) })
}

// LockedOFD tells whether an fcntl lock of somebody else, of either kind, would
// keep LockOFD from succeeding. It takes none itself.
func (System) LockedOFD(fd int) (bool, error) {
	lock := unix.Flock_t{Type: unix.F_WRLCK, Whence: io.SeekStart}
	err := retryErr(func() error { return unix.FcntlFlock(uintptr(fd), unix.F_OFD_GETLK, &lock) })
	return err == nil && lock.Type != unix.F_UNLCK, err
}

// dir is an open folder.
type dir struct {
	disk Disk
	fd   int
	path string
	dev  uint64
	ino  uint64
	uid  uint32
	gid  uint32
	mode uint32
}

const openDirFlags = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_NONBLOCK

// openPath opens a folder by its path. The last element may be a link, as a
// queue folder may be for sendmail.
func openPath(disk Disk, path string) (*dir, error) {
	fd, err := disk.Openat(unix.AT_FDCWD, path, openDirFlags&^unix.O_NOFOLLOW, 0)
	return newDir(disk, fd, path, err)
}

// sub opens a folder in d; a link there is refused.
func (d *dir) sub(name string) (*dir, error) {
	fd, err := d.disk.Openat(d.fd, name, openDirFlags, 0)
	return newDir(d.disk, fd, d.path+"/"+name, err)
}

func newDir(disk Disk, fd int, path string, err error) (*dir, error) {
	if err != nil {
		return nil, fmt.Errorf("open folder %s: %w", path, err)
	}
	st, err := disk.Fstat(fd)
	if err != nil {
		disk.Close(fd)
		return nil, fmt.Errorf("stat folder %s: %w", path, err)
	}
	return &dir{disk: disk, fd: fd, path: path, dev: st.Dev, ino: st.Ino, uid: st.Uid, gid: st.Gid, mode: st.Mode}, nil
}

func (d *dir) close() error { return d.disk.Close(d.fd) }

func (d *dir) fsync() error {
	if err := d.disk.Fsync(d.fd); err != nil {
		return fmt.Errorf("fsync folder %s: %w", d.path, err)
	}
	return nil
}

func (d *dir) exists(name string) (bool, error) {
	switch _, err := d.disk.Fstatat(d.fd, name); err {
	case nil:
		return true, nil
	case unix.ENOENT:
		return false, nil
	default:
		return false, fmt.Errorf("stat %s/%s: %w", d.path, name, err)
	}
}

// remove unlinks a name; one that is not there is no error.
func (d *dir) remove(name string) error {
	if err := d.disk.Unlinkat(d.fd, name, 0); err != nil && err != unix.ENOENT {
		return fmt.Errorf("remove %s/%s: %w", d.path, name, err)
	}
	return nil
}

// isInode tells whether a name of the folder is that inode. The device is not
// asked for: another start may give it another number, and in an overlay a file
// may have another one than its folder.
func (d *dir) isInode(name string, ino uint64) (bool, error) {
	switch st, err := d.disk.Fstatat(d.fd, name); err {
	case nil:
		return st.Ino == ino, nil
	case unix.ENOENT:
		return false, nil
	default:
		return false, fmt.Errorf("stat %s/%s: %w", d.path, name, err)
	}
}

// removeInode unlinks a name while it is still that inode.
func (d *dir) removeInode(name string, ino uint64) error {
	same, err := d.isInode(name, ino)
	if err != nil || !same {
		return err
	}
	return d.remove(name)
}

// renameInode renames, and where the call fails it looks whether it was made
// all the same: a network file system may report a request that it repeats as
// failed after the first one came through.
//
// Where the call succeeds it looks what was renamed. Who may write to the folder
// can have put something else under the name since the file was locked, a link for
// one: that is put back, and the error is ErrChanged.
func (d *dir) renameInode(ino uint64, name string, to *dir, newname string, replace bool) error {
	err := d.rename(name, to, newname, replace)
	if err != nil {
		if made, _ := to.isInode(newname, ino); made {
			return nil
		}
		return err
	}
	st, lookErr := d.disk.Fstatat(to.fd, newname)
	if lookErr != nil || st.Ino == ino {
		return nil
	}
	return errors.Join(fmt.Errorf("%s/%s: %w: it was replaced by somebody who takes no lock", d.path, name, ErrChanged), to.rename(newname, d, name, false))
}

func (d *dir) rename(name string, to *dir, newname string, replace bool) error {
	if err := d.disk.Renameat(d.fd, name, to.fd, newname, replace); err != nil {
		return fmt.Errorf("rename %s/%s to %s/%s: %w", d.path, name, to.path, newname, err)
	}
	return nil
}
