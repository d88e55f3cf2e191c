package spool

import "golang.org/x/sys/unix"

// Identity tells one state of a control file from every other: a file that is
// put in its place has another inode, one that is written to another time of
// change, which nobody can set.
type Identity struct {
	Device, Inode     uint64
	Size              int64
	Modified, Changed int64 // nanoseconds since 1970
}

// Identity looks at the file, without opening it. ok is false where it is gone
// or no regular file.
func (e Entry) Identity() (id Identity, ok bool) {
	if e.Odd != "" {
		return id, false
	}
	st, err := e.Folder.spool.disk.Fstatat(e.Folder.qf.fd, e.name())
	if err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
		return id, false
	}
	return Identity{
		Device: st.Dev, Inode: st.Ino, Size: st.Size,
		Modified: st.Mtim.Nano(), Changed: st.Ctim.Nano(),
	}, true
}
