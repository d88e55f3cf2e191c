// Package powerloss is a file system in memory that forgets, as a disk does,
// what was not fsynced when the power goes. It is for tests: an FS is a
// spool.Disk, and Survivors are all the file systems that a loss of power at
// this moment may leave.
//
// It promises no more than POSIX does:
//
//   - What is written to a file, its length, owner, mode and times are on the
//     disk after an fsync of that file. Before, the file may be found as it was
//     at its last fsync, as it was after any call since, cut in half, or full of
//     zeros.
//   - A name that is made, changed or removed is on the disk after an fsync of
//     its folder, not by an fsync of the file. Before, any set of such changes
//     may have reached the disk, whatever their order was.
//   - A rename is one change, across two folders too: an fsync of either makes
//     it durable. POSIX asks for that only of what other processes see, but
//     every file system with a journal or a log writes both halves in one
//     transaction: ext3, ext4, XFS, btrfs, ZFS, F2FS with fsync_mode=strict. On
//     one that does not (ext2, FAT) a power loss may undo one half of any
//     program's renames.
//
// Real ones are stricter. ext4 commits its transactions in order, so what
// survives is a prefix of the changes of names, and an fsync of any file commits
// all that was done before it; data=ordered writes a new file's data before its
// length. XFS's log is in order too. btrfs writes an fsynced file or folder to
// a log of its own, out of order with others: that is the case the model is
// close to.
package powerloss

import (
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// node is a file or a folder.
type node struct {
	ino, dev uint64
	now      state   // as processes see it
	durable  state   // as of its last fsync
	since    []state // after each call since then
	nlink    int
	folder   bool
	names    map[string]*node // as processes see it
	slots    map[string]slot  // as the disk has it
	lock     *handle
}

// state is a file's contents and attributes. data is never changed in place.
type state struct {
	data     []byte
	mode     uint32 // without the type
	uid, gid uint32
	atime    unix.Timespec
	mtime    unix.Timespec
}

func (s state) same(o state) bool {
	return string(s.data) == string(o.data) && s.mode == o.mode && s.uid == o.uid && s.gid == o.gid && s.mtime == o.mtime
}

// slot is one name as the disk has it, by the change with that number. A nil
// node: removed.
type slot struct {
	at  *node
	seq int
}

// change is one call's change to names. It reaches the disk as a whole.
type change struct {
	seq  int
	sets []set
}

type set struct {
	dir  *node
	name string
	to   *node // nil: removed
}

// handle is an open descriptor.
type handle struct {
	at      *node
	offset  int
	append  bool
	written bool
	listed  []string
	listing bool
}

// FS is the file system, together with the one process that uses it. Not safe
// for concurrent use.
type FS struct {
	// Called, if set, is called after each call that has changed something or
	// made it durable, with the number of such calls so far and what it was. It
	// may panic to end the process.
	Called func(n int, call string)

	root    *node
	nextIno uint64
	seq     int
	pending []*change
	handles map[int]*handle
	nextFD  int
	calls   int
}

// New is an empty file system.
func New() *FS {
	fs := &FS{nextIno: 1, handles: make(map[int]*handle), nextFD: 3}
	fs.root = fs.newNode(0, unix.S_IFDIR|0o755)
	fs.root.nlink = 1
	return fs
}

func (fs *FS) newNode(dev uint64, mode uint32) *node {
	n := &node{ino: fs.nextIno, dev: dev, folder: mode&unix.S_IFMT == unix.S_IFDIR}
	fs.nextIno++
	n.now = state{mode: mode &^ unix.S_IFMT, uid: uint32(os.Geteuid()), gid: uint32(os.Getegid())}
	n.durable = n.now
	if n.folder {
		n.names, n.slots = make(map[string]*node), make(map[string]slot)
	}
	return n
}

// sorted are the names, in order.
func sorted[T any](names map[string]T) []string {
	all := make([]string, 0, len(names))
	for name := range names {
		all = append(all, name)
	}
	slices.Sort(all)
	return all
}

// File is what a test puts into the file system and finds there.
type File struct {
	Data     []byte
	Mode     uint32
	UID, GID uint32
	Mtime    unix.Timespec
}

// Mkdir makes a folder, durably, and those above it. A folder made with a
// device is the root of another file system; 0 is that of the folder above.
func (fs *FS) Mkdir(name string, mode uint32, uid, gid uint32, device uint64) {
	dir := fs.root
	for part := range strings.SplitSeq(strings.Trim(name, "/"), "/") {
		next := dir.names[part]
		if next == nil {
			next = fs.newNode(dir.dev, unix.S_IFDIR|0o755)
			fs.put(dir, part, next)
		}
		dir = next
	}
	dir.now.mode, dir.now.uid, dir.now.gid = mode, uid, gid
	if device != 0 {
		dir.dev = device
	}
	dir.durable = dir.now
}

// Put makes a file, durably, in a folder that is there.
func (fs *FS) Put(name string, f File) {
	dir := fs.at(path.Dir(name))
	n := fs.newNode(dir.dev, unix.S_IFREG)
	n.now = state{data: slices.Clone(f.Data), mode: f.Mode, uid: f.UID, gid: f.GID, atime: f.Mtime, mtime: f.Mtime}
	n.durable = n.now
	fs.put(dir, path.Base(name), n)
}

func (fs *FS) put(dir *node, name string, n *node) {
	n.nlink++
	dir.names[name] = n
	fs.seq++
	dir.slots[name] = slot{n, fs.seq}
}

// at finds a node by its path; nil if there is none.
func (fs *FS) at(name string) *node {
	n := fs.root
	for part := range strings.SplitSeq(strings.Trim(name, "/"), "/") {
		if n = n.names[part]; n == nil {
			return nil
		}
	}
	return n
}

// File returns a file by its path, as processes see it.
func (fs *FS) File(name string) (File, bool) {
	n := fs.at(name)
	if n == nil || n.folder {
		return File{}, false
	}
	return File{n.now.data, n.now.mode, n.now.uid, n.now.gid, n.now.mtime}, true
}

// Names are the names in a folder, sorted; none where there is no folder.
func (fs *FS) Names(name string) []string {
	n := fs.at(name)
	if n == nil || !n.folder {
		return nil
	}
	return sorted(n.names)
}

// Dump lists everything, a line each, as processes see it: for messages, and to
// compare two file systems.
func (fs *FS) Dump() string {
	var b strings.Builder
	fs.root.dump(&b, "")
	return b.String()
}

func (n *node) dump(b *strings.Builder, at string) {
	for _, name := range sorted(n.names) {
		sub := n.names[name]
		if sub.folder {
			fmt.Fprintf(b, "%s/%s/ %o %d:%d\n", at, name, sub.now.mode, sub.now.uid, sub.now.gid)
			sub.dump(b, at+"/"+name)
			continue
		}
		fmt.Fprintf(b, "%s/%s %o %d:%d %q\n", at, name, sub.now.mode, sub.now.uid, sub.now.gid, sub.now.data)
	}
}

// Kill ends the process: its descriptors are closed and its locks fall. What it
// has done is there for the next one, on the disk or not.
func (fs *FS) Kill() {
	for _, h := range fs.handles {
		if h.at.lock == h {
			h.at.lock = nil
		}
	}
	clear(fs.handles)
	fs.Called, fs.calls = nil, 0
}

// Sync makes everything durable.
func (fs *FS) Sync() {
	for _, c := range fs.pending {
		c.apply()
	}
	fs.pending = nil
	fs.each(func(n *node) { n.durable, n.since = n.now, nil })
}

// each visits every node that processes or the disk know of.
func (fs *FS) each(visit func(*node)) {
	seen := make(map[*node]bool)
	var walk func(n *node)
	walk = func(n *node) {
		if n == nil || seen[n] {
			return
		}
		seen[n] = true
		visit(n)
		for _, name := range sorted(n.names) {
			walk(n.names[name])
		}
		for _, name := range sorted(n.slots) {
			walk(n.slots[name].at)
		}
	}
	walk(fs.root)
	for _, c := range fs.pending {
		for _, s := range c.sets {
			walk(s.dir)
			walk(s.to)
		}
	}
}

// apply writes a change to the disk. An older one never wins over a newer one
// of the same name that is there already.
func (c *change) apply() {
	for _, s := range c.sets {
		if s.dir.slots[s.name].seq < c.seq {
			s.dir.slots[s.name] = slot{s.to, c.seq}
		}
	}
}

// Clone is a copy without descriptors: what a process that is killed leaves.
func (fs *FS) Clone() *FS {
	copies := make(map[*node]*node)
	var of func(n *node) *node
	of = func(n *node) *node {
		if n == nil {
			return nil
		}
		if c := copies[n]; c != nil {
			return c
		}
		c := &node{ino: n.ino, dev: n.dev, now: n.now, durable: n.durable, since: slices.Clone(n.since), nlink: n.nlink, folder: n.folder}
		copies[n] = c
		if n.folder {
			c.names, c.slots = make(map[string]*node, len(n.names)), make(map[string]slot, len(n.slots))
			for name, sub := range n.names {
				c.names[name] = of(sub)
			}
			for name, s := range n.slots {
				c.slots[name] = slot{of(s.at), s.seq}
			}
		}
		return c
	}
	c := &FS{root: of(fs.root), nextIno: fs.nextIno, seq: fs.seq, handles: make(map[int]*handle), nextFD: 3}
	for _, p := range fs.pending {
		q := &change{seq: p.seq}
		for _, s := range p.sets {
			q.sets = append(q.sets, set{of(s.dir), s.name, of(s.to)})
		}
		c.pending = append(c.pending, q)
	}
	return c
}
