//go:build linux

package device

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// Event is a write to a device, or a flush of it.
type Event struct {
	Device int
	Flush  bool
	Offset int64
	Data   []byte
}

// Recorder serves the files that the devices lie on. Safe for concurrent use.
type Recorder struct {
	t   testing.TB
	dir string
	fd  int

	mu     sync.Mutex
	images [][]byte
	events []Event
}

// The kernel's protocol, include/uapi/linux/fuse.h.
const (
	opLookup      = 1
	opForget      = 2
	opGetattr     = 3
	opOpen        = 14
	opRead        = 15
	opWrite       = 16
	opStatfs      = 17
	opRelease     = 18
	opFsync       = 20
	opFlush       = 25
	opInit        = 26
	opAccess      = 34
	opInterrupt   = 36
	opDestroy     = 38
	opBatchForget = 42

	inHeader  = 40
	maxWrite  = 128 << 10
	bigWrites = 1 << 5
	rootNode  = 1
	firstNode = 2 // of the first image
)

// NewRecorder serves images, which it takes over. It needs root.
func NewRecorder(t testing.TB, images ...[]byte) *Recorder {
	t.Helper()
	r := &Recorder{t: t, dir: t.TempDir(), images: images}
	fd, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err == nil {
		err = unix.Mount("device", r.dir, "fuse", unix.MS_NOSUID|unix.MS_NODEV, fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0", fd))
	}
	if err != nil {
		t.Fatalf("this test serves a file system of its own (FUSE): %v (run it as root, where /dev/fuse is)", err)
	}
	r.fd = fd
	stop, stopped, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		r.serve(int(stop.Fd()))
	}()
	t.Cleanup(func() {
		// A loop device lets go of its file only after the unmount of what lies on
		// it; and another process may have made a namespace of mounts meanwhile,
		// where this one stays. It ends with the descriptor.
		if err := unix.Unmount(r.dir, unix.MNT_DETACH); err != nil {
			t.Errorf("unmount %s: %v", r.dir, err)
		}
		stopped.Close()
		<-ended
		stop.Close()
		unix.Close(fd)
	})
	return r
}

// Path is the file that a device is to lie on.
func (r *Recorder) Path(device int) string { return filepath.Join(r.dir, strconv.Itoa(device)) }

// Begin forgets what was recorded, and returns copies of the images as they are.
func (r *Recorder) Begin() (images [][]byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = nil
	for _, i := range r.images {
		images = append(images, append([]byte(nil), i...))
	}
	return images
}

// Events are those since Begin.
func (r *Recorder) Events() []Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]Event(nil), r.events...)
}

// serve answers the kernel until stop is closed at its other end.
func (r *Recorder) serve(stop int) {
	buf := make([]byte, maxWrite+inHeader+4096)
	for {
		wait := []unix.PollFd{{Fd: int32(r.fd), Events: unix.POLLIN}, {Fd: int32(stop), Events: unix.POLLIN}}
		if _, err := unix.Poll(wait, -1); err == nil && wait[1].Revents != 0 {
			return
		}
		n, err := unix.Read(r.fd, buf)
		switch {
		case err == unix.EINTR || err == unix.ENOENT || err == unix.EAGAIN:
			continue
		case err == unix.ENODEV:
			return
		case err != nil || n < inHeader:
			r.t.Errorf("FUSE: read %d bytes: %v", n, err)
			return
		}
		op, unique, node := le.Uint32(buf[4:]), le.Uint64(buf[8:]), le.Uint64(buf[16:])
		answer, errno, reply := r.answer(op, node, buf[inHeader:n])
		if !reply {
			continue
		}
		out := le.AppendUint32(nil, uint32(16+len(answer)))
		out = le.AppendUint32(out, uint32(-int32(errno)))
		out = append(le.AppendUint64(out, unique), answer...)
		if _, err := unix.Write(r.fd, out); err != nil && err != unix.ENOENT { // ENOENT: interrupted
			r.t.Errorf("FUSE: answer to %d: %v", op, err)
		}
	}
}

var le = binary.LittleEndian

func (r *Recorder) answer(op uint32, node uint64, body []byte) (answer []byte, errno unix.Errno, reply bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch op {
	case opInit:
		return initAnswer(), 0, true
	case opForget, opBatchForget, opInterrupt:
		return nil, 0, false
	case opLookup:
		i, err := strconv.Atoi(strings.TrimRight(string(body), "\x00"))
		if err != nil || i < 0 || i >= len(r.images) {
			return nil, unix.ENOENT, true
		}
		node = firstNode + uint64(i)
		out := le.AppendUint64(nil, node)
		return append(append(out, make([]byte, 32)...), r.attributes(node)...), 0, true
	case opGetattr:
		return append(make([]byte, 16), r.attributes(node)...), 0, true
	case opOpen:
		return make([]byte, 16), 0, true
	case opRead:
		from, size := le.Uint64(body[8:]), le.Uint32(body[16:])
		image := r.images[node-firstNode]
		from = min(from, uint64(len(image)))
		return image[from:min(from+uint64(size), uint64(len(image)))], 0, true
	case opWrite:
		at, size, data := le.Uint64(body[8:]), le.Uint32(body[16:]), body[40:]
		image := r.images[node-firstNode]
		if uint64(size) != uint64(len(data)) || at+uint64(size) > uint64(len(image)) {
			return nil, unix.EIO, true
		}
		copy(image[at:], data)
		r.events = append(r.events, Event{Device: int(node - firstNode), Offset: int64(at), Data: append([]byte(nil), data...)})
		return le.AppendUint32(le.AppendUint32(nil, size), 0), 0, true
	case opFsync:
		r.events = append(r.events, Event{Device: int(node - firstNode), Flush: true})
		return nil, 0, true
	case opStatfs:
		return make([]byte, 80), 0, true
	case opRelease, opFlush, opAccess, opDestroy:
		return nil, 0, true
	}
	return nil, unix.ENOSYS, true
}

func initAnswer() []byte {
	out := le.AppendUint32(nil, 7)
	out = le.AppendUint32(out, 31)
	out = le.AppendUint32(out, 128<<10) // read ahead
	out = le.AppendUint32(out, bigWrites)
	out = le.AppendUint16(out, 12) // in the background
	out = le.AppendUint16(out, 9)
	out = le.AppendUint32(out, maxWrite)
	return append(out, make([]byte, 64-len(out))...)
}

// attributes is struct fuse_attr.
func (r *Recorder) attributes(node uint64) []byte {
	var size uint64
	mode := uint32(unix.S_IFDIR | 0o700)
	if node != rootNode {
		size, mode = uint64(len(r.images[node-firstNode])), unix.S_IFREG|0o600
	}
	out := le.AppendUint64(nil, node)
	out = le.AppendUint64(out, size)
	out = le.AppendUint64(out, size/512)
	out = append(out, make([]byte, 3*8+3*4)...) // times
	out = le.AppendUint32(out, mode)
	out = le.AppendUint32(out, 1) // names
	out = append(out, make([]byte, 3*4)...)
	out = le.AppendUint32(out, 4096)
	return le.AppendUint32(out, 0)
}

// Mount mounts the ext4 that lies on a file. The loop device goes with it. The
// caller unmounts it.
func Mount(file, path string) error {
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("loop devices: %w", err)
	}
	defer control.Close()
	backing, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer backing.Close()
	for {
		n, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
		if err != nil {
			return fmt.Errorf("a free loop device: %w", err)
		}
		loop := "/dev/loop" + strconv.Itoa(n)
		device, err := os.OpenFile(loop, os.O_RDWR, 0)
		if err != nil {
			return err
		}
		config := unix.LoopConfig{Fd: uint32(backing.Fd()), Info: unix.LoopInfo64{Flags: unix.LO_FLAGS_AUTOCLEAR}}
		err = unix.IoctlLoopConfigure(int(device.Fd()), &config)
		if err == unix.EBUSY { // somebody was faster
			device.Close()
			continue
		}
		if err == nil {
			err = unix.Mount(loop, path, "ext4", unix.MS_NOATIME, "")
		}
		device.Close() // without a mount, it goes with this
		if err != nil {
			return fmt.Errorf("mount %s on %s: %w", file, path, err)
		}
		return nil
	}
}
