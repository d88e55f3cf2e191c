package frame

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// readBuffer is how much is read at once: a message of usual size, but for a
// large body, in one system call.
const readBuffer = 16 << 10

// buffers are shared by the connections that have something to read: one that
// waits holds none.
var buffers = sync.Pool{New: func() any {
	b := make([]byte, readBuffer)
	return &b
}}

// input reads from a connection. The kernel is asked for data before a buffer is
// taken for good, so that the buffer is given back before the wait for more.
type input struct {
	conn net.Conn
	raw  syscall.RawConn    // nil of a connection that is no file
	try  func(uintptr) bool // read, made once
	buf  *[]byte            // nil while nothing is held
	held []byte             // of buf: what was read and not discarded

	n   int // what read gave
	err error
}

func newInput(nc net.Conn) *input {
	in := &input{conn: nc}
	in.try = in.read
	if file, ok := nc.(syscall.Conn); ok {
		in.raw, _ = file.SyscallConn()
	}
	return in
}

func (in *input) buffered() int { return len(in.held) }

// peek returns the next n bytes, at most readBuffer, which stay until discard.
// An end in the midst of them is io.ErrUnexpectedEOF.
func (in *input) peek(n int) ([]byte, error) {
	for len(in.held) < n {
		if err := in.fill(); err != nil {
			if errors.Is(err, io.EOF) && len(in.held) > 0 {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
	}
	return in.held[:n], nil
}

// discard forgets the next n bytes, which have been peeked at.
func (in *input) discard(n int) { in.held = in.held[n:] }

// release gives the buffer back, if nothing is in it.
func (in *input) release() {
	if in.buf != nil && len(in.held) == 0 {
		buffers.Put(in.buf)
		in.buf, in.held = nil, nil
	}
}

// close gives the buffer back with what is in it.
func (in *input) close() {
	in.held = nil
	in.release()
}

// readFull fills b, which need not fit the buffer.
func (in *input) readFull(b []byte) error {
	n := copy(b, in.held)
	in.discard(n)
	_, err := io.ReadFull(in.conn, b[n:])
	return err
}

// fill reads what there is, and waits for something first.
func (in *input) fill() error {
	if in.raw == nil {
		in.n, in.err = in.conn.Read(in.room())
	} else if err := in.raw.Read(in.try); err != nil {
		in.release()
		return err
	}
	in.held = in.held[:len(in.held)+in.n]
	if in.n == 0 && in.err == nil {
		in.err = io.EOF
	}
	err := in.err
	in.n, in.err = 0, nil
	if err != nil {
		in.release()
	}
	return err
}

// read is one attempt. It reports false when it has to be repeated once there is
// something to read.
func (in *input) read(fd uintptr) bool {
	for {
		in.n, in.err = unix.Read(int(fd), in.room())
		switch in.err {
		case nil:
			return true
		case unix.EINTR:
			continue
		}
		in.n = 0
		if in.err == unix.EAGAIN {
			in.err = nil
			in.release()
			return false
		}
		in.err = fmt.Errorf("read: %w", in.err)
		return true
	}
}

// room is what of the buffer is free, behind what it holds.
func (in *input) room() []byte {
	if in.buf == nil {
		in.buf = buffers.Get().(*[]byte)
		in.held = (*in.buf)[:0]
	}
	if cap(in.held) < readBuffer {
		in.held = (*in.buf)[:copy(*in.buf, in.held)]
	}
	return in.held[len(in.held):readBuffer]
}
