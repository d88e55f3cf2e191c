// Package uring reads many small files with one system call, by Linux's
// io_uring.
//
// Each file is a chain of three requests: open it into a slot of the ring, read
// it into a buffer of the ring, close the slot. What comes out is the content of
// a file that could be opened, was read without an error and is shorter than the
// buffer. Of all others nothing is said: who wants to know reads them by the
// plain calls, which tell why. So this package has no opinion on errors, and is
// allowed to fail.
package uring

import (
	"fmt"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// Depth is how many files are read at once. More of them gain nothing.
	Depth = 64
	// Size is that of a file's buffer in bytes: one that fills it is not told.
	Size = 16 << 10

	maxName = 64 // of a file, with the NUL at its end
	steps   = 3  // requests for a file
)

// Flags with which files are opened. A descriptor that is a slot of the ring is
// in no table that exec could hand on, so there is no O_CLOEXEC.
const openFlags = unix.O_RDONLY | unix.O_NOFOLLOW | unix.O_NONBLOCK

// From <linux/io_uring.h>.
const (
	opOpenat, opClose, opRead = 18, 19, 22

	fixedFile = 1 << 0 // IOSQE_FIXED_FILE: fd is a slot
	link      = 1 << 2 // IOSQE_IO_LINK: the next waits for this one, and is cancelled if it fails
	hardlink  = 1 << 3 // IOSQE_IO_HARDLINK: the next waits, and is done all the same

	getEvents      = 1 // IORING_ENTER_GETEVENTS
	registerFiles2 = 13
	sparse         = 1 // IORING_RSRC_REGISTER_SPARSE, Linux 5.19
	offSQEs        = 0x10000000
)

type params struct {
	sqEntries, cqEntries, flags, cpu, idle, features, wq uint32
	_                                                    [3]uint32
	sq, cq                                               offsets
}

// offsets are those of struct io_sqring_offsets and io_cqring_offsets, which
// have the same size.
type offsets struct {
	head, tail, mask, entries, a, b, c, _ uint32 // flags, dropped, array; overflow, cqes, flags
	_                                     uint64
}

type sqe struct {
	op, flags uint8
	_         uint16
	fd        int32
	_         uint64 // offset
	addr      uint64
	len       uint32
	opFlags   uint32
	user      uint64
	_         uint32
	slot      uint32 // of open and close, counted from 1
	_         [2]uint64
}

type cqe struct {
	user   uint64
	result int32
	_      uint32
}

// Ring reads files. One goroutine uses it at a time.
type Ring struct {
	fd             int
	rings, entries []byte // shared with the kernel
	memory         []byte // names and buffers: not Go's, so that nothing moves or frees it
	sqes           []sqe
	cqes           []cqe
	sqHead, sqTail *uint32
	cqHead, cqTail *uint32
	sqMask, cqMask uint32
	files          int
	length         [Depth]int32 // of what was read; negative where it is not told
	broken         bool
}

// New makes a ring, or says why the system has none: an old kernel, a filter of
// system calls, kernel.io_uring_disabled.
func New() (*Ring, error) {
	var p params
	fd, _, errno := unix.Syscall(unix.SYS_IO_URING_SETUP, Depth*steps, uintptr(unsafe.Pointer(&p)), 0)
	if errno != 0 {
		return nil, fmt.Errorf("io_uring_setup: %w", errno)
	}
	r := &Ring{fd: int(fd)}
	if err := r.init(&p); err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}

func (r *Ring) init(p *params) error {
	// One mapping for both rings has been there since Linux 5.4, sparse slots
	// since 5.19.
	slots := struct {
		count, flags     uint32
		_, data, tagging uint64
	}{count: Depth, flags: sparse}
	if _, _, errno := unix.Syscall6(unix.SYS_IO_URING_REGISTER, uintptr(r.fd), registerFiles2, uintptr(unsafe.Pointer(&slots)), unsafe.Sizeof(slots), 0, 0); errno != 0 {
		return fmt.Errorf("io_uring_register: %w", errno)
	}
	const access = unix.PROT_READ | unix.PROT_WRITE
	size := max(int(p.sq.c)+int(p.sqEntries)*4, int(p.cq.b)+int(p.cqEntries)*int(unsafe.Sizeof(cqe{})))
	var err error
	if r.rings, err = unix.Mmap(r.fd, 0, size, access, unix.MAP_SHARED|unix.MAP_POPULATE); err != nil {
		return fmt.Errorf("map the rings: %w", err)
	}
	if r.entries, err = unix.Mmap(r.fd, offSQEs, int(p.sqEntries)*int(unsafe.Sizeof(sqe{})), access, unix.MAP_SHARED|unix.MAP_POPULATE); err != nil {
		return fmt.Errorf("map the requests: %w", err)
	}
	if r.memory, err = unix.Mmap(-1, 0, Depth*(Size+maxName), access, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS); err != nil {
		return fmt.Errorf("map the buffers: %w", err)
	}
	at := func(offset uint32) *uint32 { return (*uint32)(unsafe.Pointer(&r.rings[offset])) }
	r.sqHead, r.sqTail, r.sqMask = at(p.sq.head), at(p.sq.tail), *at(p.sq.mask)
	r.cqHead, r.cqTail, r.cqMask = at(p.cq.head), at(p.cq.tail), *at(p.cq.mask)
	r.sqes = unsafe.Slice((*sqe)(unsafe.Pointer(&r.entries[0])), p.sqEntries)
	r.cqes = unsafe.Slice((*cqe)(unsafe.Pointer(&r.rings[p.cq.b])), p.cqEntries)
	for i, array := 0, unsafe.Slice(at(p.sq.c), p.sqEntries); i < len(array); i++ {
		array[i] = uint32(i)
	}
	return nil
}

// Reset forgets the files of the last Run, and what was read of them.
func (r *Ring) Reset() { r.files = 0 }

// Add has a file of a folder read by the next Run. It is false where the ring
// cannot: it is full, or the name is too long.
func (r *Ring) Add(folder int, name []byte) bool {
	if r.broken || r.files == Depth || len(name) >= maxName {
		return false
	}
	i := r.files
	text, buf := r.name(i), r.buffer(i)
	text[copy(text, name)] = 0
	slot := uint32(i + 1)
	r.put(i, 0, sqe{op: opOpenat, flags: link, fd: int32(folder), addr: address(text), opFlags: openFlags, slot: slot})
	r.put(i, 1, sqe{op: opRead, flags: fixedFile | hardlink, fd: int32(i), addr: address(buf), len: Size})
	r.put(i, 2, sqe{op: opClose, slot: slot})
	r.length[i] = -1
	r.files++
	return true
}

func (r *Ring) put(file, step int, e sqe) {
	n := uint32(file*steps + step)
	e.user = uint64(n)
	r.sqes[(*r.sqTail+n)&r.sqMask] = e
}

func (r *Ring) name(i int) []byte { return r.memory[Depth*Size+i*maxName:][:maxName] }

func (r *Ring) buffer(i int) []byte { return r.memory[i*Size:][:Size] }

func address(b []byte) uint64 { return uint64(uintptr(unsafe.Pointer(&b[0]))) }

// Run reads the files that were added, returns when all requests are done, and
// says how many files were read. After an error the ring is of no use any more.
func (r *Ring) Run() (read int, err error) {
	if r.broken {
		return 0, fmt.Errorf("io_uring: the ring is broken")
	}
	open := r.files * steps
	tail := *r.sqTail + uint32(open)
	atomic.StoreUint32(r.sqTail, tail)
	for open > 0 {
		_, _, errno := unix.Syscall6(unix.SYS_IO_URING_ENTER, uintptr(r.fd), uintptr(tail-atomic.LoadUint32(r.sqHead)), uintptr(open), getEvents, 0, 0)
		if errno != 0 && errno != unix.EINTR {
			// Requests may be under way: their memory is left to them.
			r.broken = true
			return 0, fmt.Errorf("io_uring_enter: %w", errno)
		}
		open -= r.reap()
	}
	for _, n := range r.length[:r.files] {
		if n >= 0 {
			read++
		}
	}
	return read, nil
}

// reap takes what is done from the ring of completions.
func (r *Ring) reap() (n int) {
	head, tail := *r.cqHead, atomic.LoadUint32(r.cqTail)
	for ; head != tail; head++ {
		c := r.cqes[head&r.cqMask]
		if c.user%steps == 1 && c.result < Size {
			r.length[c.user/steps] = c.result
		}
		n++
	}
	atomic.StoreUint32(r.cqHead, head)
	return n
}

// Data is the content of the i-th file that was added, until the next Add or
// Close; ok is false where it could not be read to its end.
func (r *Ring) Data(i int) (data []byte, ok bool) {
	n := r.length[i]
	if n < 0 {
		return nil, false
	}
	return r.buffer(i)[:n], true
}

// Close gives the ring and its memory back.
func (r *Ring) Close() {
	unix.Close(r.fd)
	for _, m := range [][]byte{r.rings, r.entries, r.memory} {
		if m != nil && !r.broken {
			unix.Munmap(m)
		}
	}
	r.rings, r.entries, r.memory, r.broken = nil, nil, nil, true
}
