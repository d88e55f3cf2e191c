package frame

import (
	"context"
	"errors"
	"io"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/emersion/go-milter"

	"github.com/backscatterd/backscatterd/milter/internal/milterclient"
)

func TestConnectionsBeyondTheLimitAreClosed(t *testing.T) {
	b := serve(t, nil, func(o *Options) { o.MaxConns = 2 })
	first, second := b.dial(), b.dial()
	third := b.raw()
	if p, err := third.Read(); err == nil {
		t.Errorf("third connection: %v", p)
	}
	for range 6000 { // it is counted and reported once the connection is closed
		if b.reported() != "" {
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	if counts := b.server.Counts(); counts.Open != 2 || counts.Refused != 1 || counts.Accepted != 2 {
		t.Errorf("%+v", counts)
	}
	if !strings.Contains(b.reported(), "limit") {
		t.Errorf("reports: %q", b.reported())
	}
	first.Close()
	for range 6000 {
		if b.server.Counts().Open == 1 {
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	b.must(b.dial().Deliver(letter))
	b.must(second.Deliver(letter))
}

func TestShutdownFinishesMessagesInHand(t *testing.T) {
	b := serve(t, nil)
	idle, busy := b.dial(), b.dial()
	b.must(idle.Deliver(letter))
	b.must(busy.Command('M', "<a@b>\x00"))
	b.must(busy.Command('R', "<c@d>\x00"))
	for range 6000 {
		b.mu.Lock()
		ready := len(b.log) > 0 && b.log[len(b.log)-1] == "rcpt c@d"
		b.mu.Unlock()
		if ready {
			break
		}
		time.Sleep(time.Millisecond)
	}
	ended := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		ended <- b.server.Shutdown(ctx)
	}()
	// The idle one is closed, which shows that the stop has begun.
	if p, err := idle.Read(); err != io.EOF {
		t.Errorf("idle connection: %v, %v", p, err)
	}
	if c, err := milterclient.Dial("unix", b.address); err == nil {
		c.Close()
		t.Error("a new connection was taken")
	}
	select {
	case err := <-ended:
		t.Fatalf("did not wait for the message in hand: %v", err)
	default:
	}
	b.must(busy.Command('N', ""))
	if a := b.must(busy.Command('E', "")); a.Code != 'c' {
		t.Errorf("the message in hand was answered %v", a)
	}
	if p, err := busy.Read(); err != io.EOF {
		t.Errorf("after its message: %v, %v", p, err)
	}
	if err := <-ended; err != nil {
		t.Errorf("Shutdown: %v", err)
	}
}

func TestShutdownHasALimit(t *testing.T) {
	b := serve(t, nil)
	busy := b.dial()
	b.must(busy.Command('M', "<a@b>\x00"))
	b.eventsUntil("mail a@b")
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	if err := b.server.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "1 connections") {
		t.Errorf("Shutdown: %v", err)
	}
	wantEvents(t, b.eventsUntil("abort"), "abort")
}

// failing is a listener with errors to come before its connections.
type failing struct {
	net.Listener
	mu     sync.Mutex
	errors []error
}

func (f *failing) Accept() (net.Conn, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.errors) > 0 {
		err := f.errors[0]
		f.errors = f.errors[1:]
		return nil, &net.OpError{Op: "accept", Net: "unix", Err: err}
	}
	return f.Listener.Accept()
}

func TestAcceptOutlastsErrorsThatPass(t *testing.T) {
	open := func() (net.Listener, string) {
		path := filepath.Join(t.TempDir(), "s")
		ln, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		return ln, path
	}
	var reports []error
	s := NewServer(Options{
		New:    func(*State) milter.Milter { return milter.NoOpMilter{} },
		Report: func(err error) { reports = append(reports, err) },
	})
	ln, path := open()
	ended := make(chan error, 1)
	go func() {
		ended <- s.Serve(&failing{Listener: ln, errors: []error{syscall.EMFILE, syscall.ECONNABORTED, syscall.ENFILE}})
	}()
	c, err := milterclient.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Negotiate(6, 0, 0); err != nil {
		t.Fatalf("not served after the errors: %v", err)
	}
	if err := s.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != ErrClosed || len(reports) != 3 {
		t.Errorf("Serve: %v; reports %v", err, reports)
	}
	other, _ := open()
	if err := NewServer(Options{}).Serve(&failing{Listener: other, errors: []error{syscall.EBADF}}); !errors.Is(err, syscall.EBADF) {
		t.Errorf("an error that stays: %v", err)
	}
	third, _ := open()
	if err := s.Serve(third); err != ErrClosed {
		t.Errorf("Serve after Shutdown: %v", err)
	}
}
