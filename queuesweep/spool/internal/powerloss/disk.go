package powerloss

import (
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// The calls of spool.Disk. They answer as Linux does for the flags and files
// that package spool uses; a flag that is none of these panics, so that nothing
// is tested on a model that does not know it.

const knownFlags = unix.O_RDONLY | unix.O_WRONLY | unix.O_RDWR | unix.O_CREAT | unix.O_EXCL | unix.O_TRUNC |
	unix.O_APPEND | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_CLOEXEC

// clock is the time that everything happens at.
var clock = unix.Timespec{Sec: 1795521600}

func (fs *FS) called(call string) {
	fs.calls++
	if fs.Called != nil {
		fs.Called(fs.calls, call)
	}
}

// dir is the folder of an *at call.
func (fs *FS) dir(fd int) (*node, error) {
	h := fs.handles[fd]
	switch {
	case h == nil:
		return nil, unix.EBADF
	case !h.at.folder:
		return nil, unix.ENOTDIR
	}
	return h.at, nil
}

func (fs *FS) lookup(dirfd int, name string) (*node, error) {
	if dirfd == unix.AT_FDCWD {
		if n := fs.at(name); n != nil {
			return n, nil
		}
		return nil, unix.ENOENT
	}
	dir, err := fs.dir(dirfd)
	if err != nil {
		return nil, err
	}
	if name == "." {
		return dir, nil
	}
	if strings.Contains(name, "/") {
		panic("powerloss: a path where package spool uses plain names: " + name)
	}
	if n := dir.names[name]; n != nil {
		return n, nil
	}
	return nil, unix.ENOENT
}

// rename, link, unlink and create are one change each.
func (fs *FS) change(sets ...set) {
	fs.seq++
	fs.pending = append(fs.pending, &change{fs.seq, sets})
	for _, s := range sets {
		if old := s.dir.names[s.name]; old != nil {
			old.nlink--
		}
		if s.to == nil {
			delete(s.dir.names, s.name)
			continue
		}
		s.dir.names[s.name] = s.to
		s.to.nlink++
	}
}

func (fs *FS) alter(n *node, to state) {
	n.now = to
	n.since = append(n.since, to)
}

func (fs *FS) Openat(dirfd int, name string, flags int, mode uint32) (int, error) {
	if flags&^knownFlags != 0 {
		panic("powerloss: open with flags that the model does not know")
	}
	n, err := fs.lookup(dirfd, name)
	made := ""
	switch {
	case err == unix.ENOENT && flags&unix.O_CREAT != 0:
		dir, err := fs.dir(dirfd)
		if err != nil {
			return -1, err
		}
		n = fs.newNode(dir.dev, unix.S_IFREG|mode)
		n.now.atime, n.now.mtime = clock, clock
		n.durable = n.now
		fs.change(set{dir, name, n})
		made = "create " + name
	case err != nil:
		return -1, err
	case flags&(unix.O_CREAT|unix.O_EXCL) == unix.O_CREAT|unix.O_EXCL:
		return -1, unix.EEXIST
	case flags&unix.O_DIRECTORY != 0 && !n.folder:
		return -1, unix.ENOTDIR
	case n.folder && flags&(unix.O_WRONLY|unix.O_RDWR) != 0:
		return -1, unix.EISDIR
	case flags&unix.O_TRUNC != 0 && len(n.now.data) > 0:
		to := n.now
		to.data = nil
		fs.alter(n, to)
		made = "truncate " + name
	}
	fd := fs.nextFD
	fs.nextFD++
	fs.handles[fd] = &handle{at: n, append: flags&unix.O_APPEND != 0}
	if made != "" {
		fs.called(made)
	}
	return fd, nil
}

func (fs *FS) Close(fd int) error {
	h := fs.handles[fd]
	if h == nil {
		return unix.EBADF
	}
	if h.at.lock == h {
		h.at.lock = nil
	}
	delete(fs.handles, fd)
	return nil
}

func (fs *FS) Read(fd int, p []byte) (int, error) {
	h := fs.handles[fd]
	if h == nil {
		return 0, unix.EBADF
	}
	n, err := fs.Pread(fd, p, int64(h.offset))
	h.offset += n
	return n, err
}

func (fs *FS) Pread(fd int, p []byte, offset int64) (int, error) {
	h := fs.handles[fd]
	switch {
	case h == nil:
		return 0, unix.EBADF
	case h.at.folder:
		return 0, unix.EISDIR
	case offset >= int64(len(h.at.now.data)):
		return 0, nil
	}
	return copy(p, h.at.now.data[offset:]), nil
}

// Write takes the first half of what a descriptor is first given, as a kernel
// may, so that a process can die between two parts.
func (fs *FS) Write(fd int, p []byte) (int, error) {
	h := fs.handles[fd]
	if h == nil || h.at.folder {
		return 0, unix.EBADF
	}
	if !h.written {
		p = p[:(len(p)+1)/2]
	}
	h.written = true
	if h.append {
		h.offset = len(h.at.now.data)
	}
	to := h.at.now
	data := make([]byte, max(len(to.data), h.offset+len(p)))
	copy(data, to.data)
	copy(data[h.offset:], p)
	to.data, to.mtime = data, clock
	h.offset += len(p)
	fs.alter(h.at, to)
	fs.called("write")
	return len(p), nil
}

func (fs *FS) Fsync(fd int) error {
	h := fs.handles[fd]
	if h == nil {
		return unix.EBADF
	}
	h.at.durable, h.at.since = h.at.now, nil
	if !h.at.folder {
		fs.called("fsync")
		return nil
	}
	fs.pending = slices.DeleteFunc(fs.pending, func(c *change) bool {
		mine := slices.ContainsFunc(c.sets, func(s set) bool { return s.dir == h.at })
		if mine {
			c.apply()
		}
		return mine
	})
	fs.called("fsync of a folder")
	return nil
}

func (fs *FS) Ftruncate(fd int, size int64) error {
	h := fs.handles[fd]
	if h == nil || h.at.folder {
		return unix.EBADF
	}
	to := h.at.now
	data := make([]byte, size)
	copy(data, to.data)
	to.data = data
	fs.alter(h.at, to)
	fs.called("truncate")
	return nil
}

func (n *node) stat() unix.Stat_t {
	st := unix.Stat_t{
		Dev: n.dev, Ino: n.ino, Nlink: uint64(n.nlink), Mode: n.now.mode | unix.S_IFREG, Uid: n.now.uid, Gid: n.now.gid,
		Size: int64(len(n.now.data)), Atim: n.now.atime, Mtim: n.now.mtime,
	}
	if n.folder {
		st.Mode = n.now.mode | unix.S_IFDIR
	}
	return st
}

func (fs *FS) Fstat(fd int) (unix.Stat_t, error) {
	h := fs.handles[fd]
	if h == nil {
		return unix.Stat_t{}, unix.EBADF
	}
	return h.at.stat(), nil
}

func (fs *FS) Fstatat(dirfd int, name string) (unix.Stat_t, error) {
	n, err := fs.lookup(dirfd, name)
	if err != nil {
		return unix.Stat_t{}, err
	}
	return n.stat(), nil
}

func (fs *FS) Fchown(fd, uid, gid int) error {
	return fs.attribute(fd, "chown", func(s *state) { s.uid, s.gid = uint32(uid), uint32(gid) })
}

func (fs *FS) Fchmod(fd int, mode uint32) error {
	return fs.attribute(fd, "chmod", func(s *state) { s.mode = mode })
}

func (fs *FS) attribute(fd int, call string, change func(*state)) error {
	h := fs.handles[fd]
	if h == nil {
		return unix.EBADF
	}
	to := h.at.now
	change(&to)
	fs.alter(h.at, to)
	fs.called(call)
	return nil
}

func (fs *FS) Utimes(dirfd int, name string, atime, mtime unix.Timespec) error {
	n, err := fs.lookup(dirfd, name)
	if err != nil {
		return err
	}
	to := n.now
	to.atime, to.mtime = atime, mtime
	fs.alter(n, to)
	fs.called("utimes " + name)
	return nil
}

func (fs *FS) Flock(fd, how int) error {
	h := fs.handles[fd]
	switch {
	case h == nil:
		return unix.EBADF
	case how&^unix.LOCK_NB != unix.LOCK_EX:
		panic("powerloss: a lock that the model does not know")
	case h.at.lock != nil && h.at.lock != h:
		return unix.EWOULDBLOCK
	}
	h.at.lock = h
	return nil
}

// LockOFD is of no consequence where Flock is held: one process uses the file
// system.
func (fs *FS) LockOFD(fd int) error {
	if fs.handles[fd] == nil {
		return unix.EBADF
	}
	return nil
}

func (fs *FS) LockedOFD(fd int) (bool, error) { return false, fs.LockOFD(fd) }
