package frame

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

const (
	// A frame that is kept: 65,535 bytes of data as negotiated, and some room.
	maxFrame = 70_000
	// A frame that is read past. Postfix sends headers of up to 100 kB, and more
	// where told to; a longer length is no milter frame at all.
	maxSkipped = 64 << 20
)

var errDrained = errors.New("server is stopping")

// conn is the connection that go-milter reads from and writes to. Reading and
// writing happen in go-milter's goroutine for it; only drain and Close of the
// embedded Conn come from others.
type conn struct {
	net.Conn
	server *Server
	state  State
	talk   conversation

	in    *input
	serve []byte  // of the current frame, what go-milter has not read yet
	used  int     // bytes of in to discard when it has
	large *[]byte // the current frame, when it does not fit in

	out     []byte // written by go-milter, not yet a whole frame
	changes []byte // modifications that wait for the final answer
	lost    bool   // the MTA is gone: nothing more is read or written

	mu        sync.Mutex
	draining  bool
	inMessage bool
	closing   sync.Once
}

func newConn(s *Server, nc net.Conn) *conn {
	c := &conn{Conn: nc, server: s, in: newInput(nc)}
	c.state.conn = c
	return c
}

// largeFrames are buffers for frames that do not fit the read buffer.
var largeFrames = sync.Pool{New: func() any {
	b := make([]byte, 4+maxFrame)
	return &b
}}

// Read gives go-milter the frames that it shall see. The end of the connection,
// for whatever reason, is io.EOF, for go-milter writes anything else to the
// standard logger.
func (c *conn) Read(p []byte) (int, error) {
	for len(c.serve) == 0 {
		if err := c.next(); err != nil {
			return 0, io.EOF
		}
	}
	n := copy(p, c.serve)
	c.serve = c.serve[n:]
	return n, nil
}

// next is called when go-milter has dealt with a frame and wants another.
func (c *conn) next() error {
	c.settle()
	if c.talk.idle() {
		c.release()
		if c.lost {
			return io.EOF
		}
		if err := c.readFrame(); err != nil {
			c.lost = true
			c.note(err)
			c.endMessage() // the handler learns of it in the same way as ever
		}
	}
	if c.talk.idle() {
		return nil
	}
	c.talk.advance()
	if c.talk.now.apply != nil {
		c.talk.now.apply()
	}
	c.serve = c.talk.now.frame
	return nil
}

// note reports how a connection ended, where it did not end as it should.
func (c *conn) note(err error) {
	if errors.Is(err, io.EOF) || errors.Is(err, errDrained) || errors.Is(err, net.ErrClosed) {
		return
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = errors.New("timed out")
	}
	c.broke(err)
}

// broke counts and reports what was against the protocol.
func (c *conn) broke(err error) {
	c.server.broken.Add(1)
	c.server.opts.Report(fmt.Errorf("milter connection of client %s: %w", c.state.client, err))
}

// readFrame reads one frame and decides what becomes of it.
func (c *conn) readFrame() error {
	if err := c.waitForFrame(); err != nil {
		return err
	}
	head, err := c.peek(5)
	if err != nil {
		return err
	}
	size, code := int(binary.BigEndian.Uint32(head)), head[4]
	switch {
	case size == 0:
		return errors.New("frame without a code")
	case size > maxSkipped:
		return fmt.Errorf("frame of %d bytes: that is no milter client", size)
	case size > maxFrame:
		return c.skipFrame(code, size)
	}
	frame, err := c.readWhole(4 + size)
	if err != nil {
		return err
	}
	return c.receive(code, frame)
}

// waitForFrame waits for the first byte, if need be.
func (c *conn) waitForFrame() error {
	if c.in.buffered() > 0 {
		return nil
	}
	c.in.release()
	c.mu.Lock()
	if c.draining && !c.inMessage {
		c.mu.Unlock()
		return errDrained
	}
	c.Conn.SetReadDeadline(time.Now().Add(c.server.opts.IdleTimeout))
	c.mu.Unlock()
	_, err := c.in.peek(1)
	if err != nil && c.mayClose() {
		return errDrained
	}
	return err
}

func (c *conn) mayClose() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.draining && !c.inMessage
}

// peek returns the next n bytes, which fit the buffer.
func (c *conn) peek(n int) ([]byte, error) {
	if c.in.buffered() < n {
		c.Conn.SetReadDeadline(time.Now().Add(c.server.opts.FrameTimeout))
	}
	b, err := c.in.peek(n)
	return b, truncated(err)
}

// readWhole returns a frame with its length; it is valid until release.
func (c *conn) readWhole(n int) ([]byte, error) {
	if n <= readBuffer {
		b, err := c.peek(n)
		if err == nil {
			c.used = n
		}
		return b, err
	}
	c.large = largeFrames.Get().(*[]byte)
	b := (*c.large)[:n]
	c.Conn.SetReadDeadline(time.Now().Add(c.server.opts.FrameTimeout))
	return b, truncated(c.in.readFull(b))
}

// release gives back what the last frame was read into.
func (c *conn) release() {
	c.in.discard(c.used)
	c.used = 0
	if c.large != nil {
		largeFrames.Put(c.large)
		c.large = nil
	}
}

// skipFrame reads past a frame that is too large to keep. The handler learns
// that the message is not whole.
func (c *conn) skipFrame(code byte, size int) error {
	if !c.talk.negotiated || code != codeHeader && code != codeBody && code != codeUnknown {
		return fmt.Errorf("frame %q of %d bytes; at most %d are read", code, size, maxFrame)
	}
	const timed = 1 << 20 // what FrameTimeout is for, of a frame that is larger
	for left, until := 4+size, 4+size; left > 0; {
		if left <= until {
			until = left - timed
			c.Conn.SetReadDeadline(time.Now().Add(c.server.opts.FrameTimeout))
		}
		if _, err := c.in.peek(1); err != nil {
			return truncated(err)
		}
		n := min(left, c.in.buffered())
		c.in.discard(n)
		left -= n
	}
	c.state.cut = c.state.cut || code != codeUnknown
	c.skip(code)
	return nil
}

func truncated(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("connection ended within a frame")
	}
	return err
}

// drain asks the connection to end when it has no message in hand.
func (c *conn) drain() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.draining = true
	if !c.inMessage {
		c.Conn.SetReadDeadline(time.Unix(1, 0))
	}
}

func (c *conn) setInMessage(v bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.inMessage = v
}

// Close is called by go-milter when it is done.
func (c *conn) Close() error {
	err := c.Conn.Close()
	c.closing.Do(func() {
		c.release()
		c.in.close()
		c.server.forget(c)
	})
	return err
}
