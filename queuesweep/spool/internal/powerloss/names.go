package powerloss

// The calls that make, change and list names.

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

func (fs *FS) Linkat(olddirfd int, oldname string, newdirfd int, newname string) error {
	n, err := fs.lookup(olddirfd, oldname)
	if err != nil {
		return err
	}
	dir, err := fs.dir(newdirfd)
	switch {
	case err != nil:
		return err
	case n.folder:
		return unix.EPERM
	case dir.dev != n.dev:
		return unix.EXDEV
	case dir.names[newname] != nil:
		return unix.EEXIST
	}
	fs.change(set{dir, newname, n})
	fs.called("link " + newname)
	return nil
}

func (fs *FS) Renameat(olddirfd int, oldname string, newdirfd int, newname string, replace bool) error {
	n, err := fs.lookup(olddirfd, oldname)
	if err != nil {
		return err
	}
	from, err := fs.dir(olddirfd)
	if err != nil {
		return err
	}
	to, err := fs.dir(newdirfd)
	switch {
	case err != nil:
		return err
	case from.dev != to.dev:
		return unix.EXDEV
	case to.names[newname] != nil && !replace:
		return unix.EEXIST
	case to.names[newname] == n:
		return nil // two names of one file: POSIX does nothing
	}
	fs.change(set{from, oldname, nil}, set{to, newname, n})
	fs.called("rename " + oldname + " " + newname)
	return nil
}

func (fs *FS) Unlinkat(dirfd int, name string, flags int) error {
	n, err := fs.lookup(dirfd, name)
	if err != nil {
		return err
	}
	dir, err := fs.dir(dirfd)
	switch {
	case err != nil:
		return err
	case n.folder != (flags&unix.AT_REMOVEDIR != 0):
		return unix.EISDIR
	case len(n.names) > 0:
		return unix.ENOTEMPTY
	}
	fs.change(set{dir, name, nil})
	fs.called("unlink " + name)
	return nil
}

func (fs *FS) Mkdirat(dirfd int, name string, mode uint32) error {
	if _, err := fs.lookup(dirfd, name); err != unix.ENOENT {
		return unix.EEXIST
	}
	dir, err := fs.dir(dirfd)
	if err != nil {
		return err
	}
	fs.change(set{dir, name, fs.newNode(dir.dev, unix.S_IFDIR|mode)})
	fs.called("mkdir " + name)
	return nil
}

// ReadDirent writes records as getdents64(2) does.
func (fs *FS) ReadDirent(fd int, p []byte) (int, error) {
	h := fs.handles[fd]
	if h == nil || !h.at.folder {
		return 0, unix.EBADF
	}
	if !h.listing {
		h.listing, h.listed = true, sorted(h.at.names)
	}
	done := 0
	for len(h.listed) > 0 {
		name := h.listed[0]
		size := (19 + len(name) + 1 + 7) &^ 7
		if done+size > len(p) {
			break
		}
		h.listed = h.listed[1:]
		n := h.at.names[name]
		if n == nil {
			continue
		}
		record := p[done : done+size]
		clear(record)
		binary.NativeEndian.PutUint64(record, n.ino)
		binary.NativeEndian.PutUint16(record[16:], uint16(size))
		if record[18] = unix.DT_REG; n.folder {
			record[18] = unix.DT_DIR
		}
		copy(record[19:], name)
		done += size
	}
	return done, nil
}
