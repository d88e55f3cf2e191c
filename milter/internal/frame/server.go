// Package frame is what stands between an MTA and go-milter: it reads whole
// frames of the milter protocol, keeps what go-milter drops, and shows it a
// conversation without the cases that go-milter v0.5.0 does not handle. Each
// such case is named where it is worked around, with the word "go-milter", and
// upstream_test.go fails on the day that it is mended there.
//
// It promises the handler: callbacks in the order of the protocol, each message
// ended by Abort, whatever happened; and that what it answers fits what was
// negotiated. It promises the MTA: an answer to every command that wants one,
// also when the handler returns an error or panics. It promises the host: limits
// on connections, frames, header bytes and time, and no more than a few kilobytes
// for an idle connection.
package frame

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/emersion/go-milter"
)

// Options of a Server. Actions, Protocol and Macros are asked for as far as the
// MTA offers them.
type Options struct {
	// New returns the handler of one connection. It is called from one goroutine
	// at a time, and may use the State within its callbacks.
	New func(*State) milter.Milter

	Actions  milter.OptAction
	Protocol milter.OptProtocol
	Macros   map[milter.Stage][]string

	// OnError answers for a handler that failed: milter.RespAccept, the default,
	// or milter.RespTempFail.
	OnError milter.Response
	// Report is told of panics, errors, and connections that broke the protocol
	// or a limit. May be nil. Called concurrently.
	Report func(error)

	// The following have defaults.
	MaxConns     int           // further ones are closed at once: 4,000
	HeaderLimit  int           // bytes of header a message; more is cut: 1 MiB
	IdleTimeout  time.Duration // without a frame: 7,210 s, as in libmilter
	FrameTimeout time.Duration // from the first byte of a frame to its last: 60 s
	WriteTimeout time.Duration // 60 s
}

// Counts are what a server has seen since it began, but for Open.
type Counts struct {
	Open     int64 // connections now
	Accepted int64
	Refused  int64 // beyond MaxConns
	Panics   int64 // of handlers
	Errors   int64 // returned by handlers
	Broken   int64 // frames against the protocol or a limit
}

// ErrClosed is returned by Serve after Shutdown.
var ErrClosed = errors.New("milter server closed")

// Server serves milter connections.
type Server struct {
	opts Options

	mu        sync.Mutex
	listeners map[net.Listener]struct{}
	conns     map[*conn]struct{}
	closed    bool
	done      sync.WaitGroup // of connections

	accepted, refused, panics, errors, broken atomic.Int64
}

// NewServer returns a server; Serve starts it.
func NewServer(opts Options) *Server {
	fallback(&opts.MaxConns, 4000)
	fallback(&opts.HeaderLimit, 1<<20)
	fallback(&opts.IdleTimeout, 7210*time.Second)
	fallback(&opts.FrameTimeout, time.Minute)
	fallback(&opts.WriteTimeout, time.Minute)
	if opts.OnError == nil {
		opts.OnError = milter.RespAccept
	}
	if opts.Report == nil {
		opts.Report = func(error) {}
	}
	return &Server{opts: opts, listeners: map[net.Listener]struct{}{}, conns: map[*conn]struct{}{}}
}

func fallback[T comparable](v *T, or T) {
	var zero T
	if *v == zero {
		*v = or
	}
}

// Serve accepts connections until Shutdown, and returns ErrClosed then. It
// outlasts errors that pass, such as a want of file descriptors, and closes the
// listener when it returns.
//
// go-milter's own accept loop ends with the first error, knows no limit, and its
// Close races with Serve; it gets one connection at a time from this one.
func (s *Server) Serve(ln net.Listener) error {
	defer ln.Close()
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return ErrClosed
	}
	s.listeners[ln] = struct{}{}
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.listeners, ln)
	}()

	const shortest, longest = 5 * time.Millisecond, time.Second
	wait := shortest
	for {
		nc, err := ln.Accept()
		if s.isClosed() {
			if err == nil {
				nc.Close()
			}
			return ErrClosed
		}
		if err != nil {
			if !passes(err) {
				return fmt.Errorf("accept milter connections: %w", err)
			}
			s.opts.Report(fmt.Errorf("accept milter connections, trying again in %v: %w", wait, err))
			time.Sleep(wait)
			wait = min(2*wait, longest)
			continue
		}
		wait = shortest
		s.start(nc)
	}
}

// passes reports whether an error of accept is of the moment, as accept(2) has
// it: of one connection, or a want of descriptors or memory.
func passes(err error) bool {
	var temporary interface{ Temporary() bool }
	return errors.As(err, &temporary) && temporary.Temporary()
}

// start hands a connection to go-milter, whose Serve starts a goroutine for it
// and returns with the second Accept. That goroutine closes the connection at
// its end, and Shutdown waits for that.
func (s *Server) start(nc net.Conn) {
	s.mu.Lock()
	full, closed := len(s.conns) >= s.opts.MaxConns, s.closed
	if full || closed {
		s.mu.Unlock()
		nc.Close()
		if !closed && s.refused.Add(1)%1000 == 1 {
			s.opts.Report(fmt.Errorf("refused a milter connection: %d are open, which is the limit", s.opts.MaxConns))
		}
		return
	}
	c := newConn(s, nc)
	s.conns[c] = struct{}{}
	s.done.Add(1)
	s.mu.Unlock()
	s.accepted.Add(1)

	handler := &guarded{conn: c, inner: s.opts.New(&c.state)}
	upstream := milter.Server{
		// go-milter makes a new handler after every final answer, and with it
		// forgets the client; it gets the same one again.
		NewMilter: func() milter.Milter { return handler },
		Actions:   s.opts.Actions,
		Protocol:  s.opts.Protocol,
	}
	if err := upstream.Serve(&oneConn{c: c}); err != errOneConn {
		s.opts.Report(fmt.Errorf("start a milter connection: %w", err))
	}
}

func (s *Server) forget(c *conn) {
	s.mu.Lock()
	delete(s.conns, c)
	s.mu.Unlock()
	s.done.Done()
}

func (s *Server) isClosed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed
}

// Shutdown stops accepting, closes the connections that have no message in
// hand, and waits for the others to finish theirs. When the context ends first
// they are closed as they are, and its error is returned. The MTA then passes
// their messages or defers them, as its configuration says.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	s.closed = true
	for ln := range s.listeners {
		ln.Close()
	}
	for c := range s.conns {
		c.drain()
	}
	s.mu.Unlock()

	finished := make(chan struct{})
	go func() {
		s.done.Wait()
		close(finished)
	}()
	select {
	case <-finished:
		return nil
	case <-ctx.Done():
	}
	s.mu.Lock()
	left := len(s.conns)
	for c := range s.conns {
		c.Conn.Close()
	}
	s.mu.Unlock()
	// Handlers see their connection end at the next frame.
	select {
	case <-finished:
	case <-time.After(time.Second):
	}
	if left == 0 {
		return nil
	}
	return fmt.Errorf("milter: %d connections cut off with a message in hand: %w", left, ctx.Err())
}

// Counts returns the counters.
func (s *Server) Counts() Counts {
	s.mu.Lock()
	open := int64(len(s.conns))
	s.mu.Unlock()
	return Counts{open, s.accepted.Load(), s.refused.Load(), s.panics.Load(), s.errors.Load(), s.broken.Load()}
}

// oneConn is a listener with a single connection.
type oneConn struct{ c *conn }

var errOneConn = fmt.Errorf("the one connection was taken: %w", io.EOF)

func (o *oneConn) Accept() (net.Conn, error) {
	if o.c == nil {
		return nil, errOneConn
	}
	c := o.c
	o.c = nil
	return c, nil
}

func (o *oneConn) Close() error   { return nil }
func (o *oneConn) Addr() net.Addr { return &net.UnixAddr{} }
