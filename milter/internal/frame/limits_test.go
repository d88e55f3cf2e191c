package frame

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/emersion/go-milter"

	"github.com/backscatterd/backscatterd/milter/internal/milterclient"
)

// A handler that fails costs nobody his mail, and changes nothing by half.
func TestAHandlerThatFailsIsAnsweredFor(t *testing.T) {
	for _, onError := range []milter.SimpleResponse{milter.RespAccept, milter.RespTempFail} {
		for _, event := range []string{"connect", "helo", "mail", "rcpt", "header", "headers", "body", "end", "abort"} {
			for how, fail := range map[string]func(){"error": nil, "panic": func() { panic("a bug") }} {
				for _, protocol := range []uint32{0, milterclient.AllProtocol} {
					name := fmt.Sprintf("%s at %s, on error %c, protocol %x", how, event, onError, protocol)
					b := serve(t, func(_ *recorder, name, _ string, m *milter.Modifier) (milter.Response, error) {
						if name == "end" {
							m.AddHeader("X-Half", "done")
						}
						if name != event {
							return nil, nil
						}
						if fail != nil {
							fail()
						}
						return nil, errors.New("a bug")
					}, func(o *Options) { o.OnError = onError })
					c := b.raw()
					if err := c.Negotiate(6, milterclient.AllActions, protocol); err != nil {
						t.Fatal(err)
					}
					a := b.must(c.Connect("mx.remote.example", '4', 25, "192.0.2.1", "mx"))
					if want := byte(onError); (event == "connect" || event == "helo") && protocol == 0 {
						if a.Code != want {
							t.Errorf("%s: answered %v", name, a)
						}
						continue
					}
					if a = b.must(c.Deliver(letter)); event != "abort" && event != "connect" && event != "helo" {
						want := byte(onError)
						if event == "rcpt" && protocol == 0 && onError == milter.RespTempFail {
							want = 'c' // each recipient was deferred by itself
						}
						if a.Code != want || event == "end" && len(a.Changes) > 0 {
							t.Errorf("%s: answered %v; want %c and no change", name, a, want)
						}
					}
					// The connection lives, and the handler is told that the message is over.
					b.eventsUntil("abort")
					if _, err := c.Deliver(letter); err != nil {
						t.Errorf("%s: next message: %v", name, err)
					}
					counts := b.server.Counts()
					if (how == "panic") != (counts.Panics > 0) || (how == "error") != (counts.Errors > 0) {
						t.Errorf("%s: %+v", name, counts)
					}
					if !strings.Contains(b.reported(), "a bug") {
						t.Errorf("%s: reported %q", name, b.reported())
					}
				}
			}
		}
	}
}

func TestWhatIsNoMilterClientIsCutOff(t *testing.T) {
	for name, c := range map[string]struct {
		bytes string
		want  string
	}{
		"HTTP":                  {"GET / HTTP/1.0\r\n\r\n", "no milter client"},
		"zero length":           {"\x00\x00\x00\x00O", "without a code"},
		"before negotiation":    {string(milterclient.Frame('M', "<a@b>\x00")), "before option negotiation"},
		"short negotiation":     {string(milterclient.Frame('O', "\x00\x00")), "cut short"},
		"giant negotiation":     {"\x00\x20\x00\x00O", "at most"},
		"giant header at first": {"\x00\x20\x00\x00L", "at most"},
		"cut within a length":   {"\x00\x00", "within a frame"},
		"cut within a frame":    {"\x00\x00\x00\x0dO\x00\x00", "within a frame"},
	} {
		b := serve(t, nil)
		conn := b.raw()
		if _, err := conn.Write([]byte(c.bytes)); err != nil {
			t.Fatal(err)
		}
		if err := conn.Conn.(*net.UnixConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if rest, err := io.ReadAll(conn.Conn); len(rest) > 0 {
			t.Errorf("%s: answered %q, %v", name, rest, err)
		}
		b.shutdown()
		if !strings.Contains(b.reported(), c.want) || b.server.Counts().Broken != 1 {
			t.Errorf("%s: reported %q; want %q", name, b.reported(), c.want)
		}
	}
}

// Commands out of order are answered, and the handler never sees them.
func TestCommandsOutOfOrder(t *testing.T) {
	b := serve(t, nil)
	c := b.raw()
	if err := c.Negotiate(6, milterclient.AllActions, 0); err != nil {
		t.Fatal(err)
	}
	for _, command := range []string{
		"E", "Bbody", "N", "La\x00b\x00", "T", "R<x@y>\x00", "A",
		"M<a@b>\x00", "M<a2@b>\x00", "R<c@d>\x00", "N", "Llate\x00x\x00", "N", "R<late@x>\x00", "Bx", "T", "E", "E", "Bx",
		"D", "DX", "DMi", "L", "Lx", "M", "R", "H", "E",
	} {
		if a, err := c.Command(command[0], command[1:]); err != nil || a.Code != 'c' {
			t.Fatalf("%q answered %v, %v", command, a, err)
		}
	}
	wantEvents(t, b.eventsUntil("helo"), "mail a@b", "abort", "mail a2@b", "rcpt c@d", "headers 0", "body 1", "end", "abort",
		"mail", "rcpt", "abort", "helo")
}

func TestHeadersBeyondTheLimitAreNotShown(t *testing.T) {
	incomplete := []bool{}
	b := serve(t, func(r *recorder, event, _ string, _ *milter.Modifier) (milter.Response, error) {
		if event == "end" {
			incomplete = append(incomplete, r.state.Incomplete())
		}
		return nil, nil
	}, func(o *Options) { o.HeaderLimit = 100_000 })
	for _, protocol := range []uint32{0, milterclient.AllProtocol} {
		c := b.raw()
		if err := c.Negotiate(6, milterclient.AllActions, protocol); err != nil {
			t.Fatal(err)
		}
		for _, h := range [][][2]string{
			{{"Subject", "x"}},
			{{"Subject", strings.Repeat("x", 60_000)}, {"A", strings.Repeat("x", 30_000)}},
			{{"Subject", strings.Repeat("x", 60_000)}, {"A", strings.Repeat("x", 60_000)}, {"B", "x"}},
			{{"Subject", strings.Repeat("x", 10<<20)}, {"A", "x"}},
			{{"Subject", "x"}},
		} {
			m := letter
			m.Header = h
			if a := b.must(c.Deliver(m)); a.Code != 'c' {
				t.Errorf("answered %v", a)
			}
		}
	}
	if got, want := fmt.Sprint(incomplete), "[false false true true false false false true true false]"; got != want {
		t.Errorf("incomplete: %s; want %s", got, want)
	}
	var headers []string
	for _, e := range b.eventsUntil("abort") {
		if n, ok := strings.CutPrefix(e, "headers "); ok {
			headers = append(headers, n)
		}
	}
	if got := strings.Join(headers, " "); got != "1 2 1 1 1 1 2 1 1 1" {
		t.Errorf("headers shown: %s", got)
	}
}

func TestASlowClientIsCutOff(t *testing.T) {
	b := serve(t, nil, func(o *Options) { o.FrameTimeout = 50 * time.Millisecond })
	c := b.dial()
	for _, octet := range milterclient.Frame('M', "<a@b>"+strings.Repeat("\x00", 200)) {
		if _, err := c.Write([]byte{octet}); err != nil {
			break // cut off already
		}
		time.Sleep(5 * time.Millisecond)
	}
	if p, err := c.Read(); err == nil {
		t.Errorf("answered %v", p)
	}
	b.shutdown()
	if !strings.Contains(b.reported(), "timed out") {
		t.Errorf("reports: %q", b.reported())
	}
	wantEvents(t, b.events())
}

func TestASilentClientIsCutOff(t *testing.T) {
	b := serve(t, nil, func(o *Options) { o.IdleTimeout = 50 * time.Millisecond })
	c := b.dial()
	b.must(c.Command('M', "<a@b>\x00"))
	if p, err := c.Read(); err != io.EOF {
		t.Errorf("read %v, %v", p, err)
	}
	wantEvents(t, b.eventsUntil("abort"), "mail a@b", "abort")
}

func TestAClientThatReadsNothingIsCutOff(t *testing.T) {
	b := serve(t, func(r *recorder, event, _ string, m *milter.Modifier) (milter.Response, error) {
		if event == "end" {
			for range 100 {
				if err := m.AddHeader("X-Big", strings.Repeat("x", 60_000)); err != nil {
					return nil, err
				}
			}
		}
		return nil, nil
	}, func(o *Options) { o.WriteTimeout = 50 * time.Millisecond })
	c := b.dial()
	b.must(c.Command('M', "<a@b>\x00"))
	b.must(c.Command('R', "<c@d>\x00"))
	b.must(c.Command('N', ""))
	if err := c.Send('E', ""); err != nil {
		t.Fatal(err)
	}
	b.eventsUntil("abort")
	b.shutdown()
	if !strings.Contains(b.reported(), "timed out") {
		t.Errorf("reports: %q", b.reported())
	}
}

func TestConnectionsBeyondTheLimitAreClosed(t *testing.T) {
	b := serve(t, nil, func(o *Options) { o.MaxConns = 2 })
	first, second := b.dial(), b.dial()
	third := b.raw()
	if p, err := third.Read(); err == nil {
		t.Errorf("third connection: %v", p)
	}
	if counts := b.server.Counts(); counts.Open != 2 || counts.Refused != 1 || counts.Accepted != 2 {
		t.Errorf("%+v", counts)
	}
	if !strings.Contains(b.reported(), "limit") {
		t.Errorf("reports: %q", b.reported())
	}
	first.Close()
	for range 1000 {
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
	for range 1000 {
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

// The promise is a few kilobytes; the limit here has room for goroutine stacks.
func TestIdleConnectionsAreCheap(t *testing.T) {
	const n, limit = 500, 24 << 10
	b := serve(t, nil, func(o *Options) {
		o.New = func(*State) milter.Milter { return milter.NoOpMilter{} }
	})
	inUse := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapInuse + m.StackInuse
	}
	clients := make([]*milterclient.Client, n)
	before := inUse()
	large := letter
	large.Body = strings.Repeat("x", 200_000)
	for i := range clients {
		c := b.dial()
		b.must(c.Connect("mx.remote.example", '4', 25, "192.0.2.1", "mx"))
		b.must(c.Deliver(large))
		clients[i] = c
	}
	each := (int64(inUse()) - int64(before)) / n
	t.Logf("%d bytes a connection, both ends", each)
	if each > limit {
		t.Errorf("%d idle connections hold %d bytes each, client's end included; limit %d", n, each, limit)
	}
	runtime.KeepAlive(clients)
}

// Frames of any size that is kept arrive whole, however they are cut up.
func TestFramesArriveWhole(t *testing.T) {
	b := serve(t, nil, func(o *Options) { o.HeaderLimit = 1 << 30 })
	c := b.dial()
	for _, size := range []int{0, 1, readBuffer - 6, readBuffer - 5, readBuffer - 4, readBuffer, 65_000, maxFrame - 10} {
		b.must(c.Command('M', "<a@b>\x00"))
		value := strings.Repeat("v", size)
		frame := milterclient.Frame('L', "N\x00"+value+"\x00")
		if size == maxFrame-10 && binary.BigEndian.Uint32(frame) > maxFrame {
			t.Fatal("meant to be the largest frame that is kept")
		}
		for rest := frame; len(rest) > 0; {
			n := min(len(rest), 1500)
			if _, err := c.Write(rest[:n]); err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
		}
		b.must(c.Command('N', ""))
		b.must(c.Command('E', ""))
		events := b.eventsUntil("abort")
		if events[1] != "header N="+value {
			t.Errorf("value of %d bytes: %.60q", size, events[1])
		}
	}
}
