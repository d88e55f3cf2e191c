package frame

import (
	"errors"
	"log"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/emersion/go-milter"

	"github.com/backscatterd/backscatterd/milter/internal/milterclient"
)

// These tests hold go-milter v0.5.0 to its defects. One that fails is good news:
// the workaround that it names can go.

// upstream serves go-milter by itself. It makes a handler for each message.
func upstream(t *testing.T, answer answerFunc) (*bench, *int) {
	t.Helper()
	log.SetOutput(&strings.Builder{})
	b := &bench{t: t, address: filepath.Join(t.TempDir(), "milter.sock")}
	handlers := new(int)
	s := milter.Server{Actions: allActions, Protocol: 0, NewMilter: func() milter.Milter {
		b.mu.Lock()
		defer b.mu.Unlock()
		*handlers++
		return &recorder{mu: &b.mu, log: &b.log, answer: func(r *recorder, event, detail string, m *milter.Modifier) (milter.Response, error) {
			if answer != nil {
				if resp, err := answer(r, event, detail, m); resp != nil || err != nil {
					return resp, err
				}
			}
			if event == "end" {
				return milter.RespAccept, nil
			}
			return milter.RespContinue, nil
		}}
	}}
	ln, err := net.Listen("unix", b.address)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.Serve(ln)
	}()
	t.Cleanup(func() {
		ln.Close()
		<-ended
		log.SetOutput(os.Stderr)
	})
	return b, handlers
}

func negotiated(b *bench) *milterclient.Client {
	b.t.Helper()
	c := b.raw()
	if err := c.Negotiate(6, milterclient.AllActions, milterclient.AllProtocol); err != nil {
		b.t.Fatal(err)
	}
	return c
}

// endMessage in receive.go.
func TestUpstreamShowsTheHeadersOfTheMessageBefore(t *testing.T) {
	b, _ := upstream(t, nil)
	c := negotiated(b)
	b.must(c.Deliver(letter))
	b.must(c.Deliver(letter))
	if events := strings.Join(b.events(), "\n"); !strings.Contains(events, "headers 6") {
		t.Errorf("mended: the second message has its own headers only\n%s", events)
	}
}

// NewMilter in server.go.
func TestUpstreamForgetsTheClientAfterAFinalAnswer(t *testing.T) {
	b, handlers := upstream(t, nil)
	c := negotiated(b)
	b.must(c.Connect("a.example", '4', 25, "192.0.2.1", "a"))
	b.must(c.Deliver(letter))
	b.must(c.Deliver(letter))
	b.mu.Lock()
	defer b.mu.Unlock()
	if *handlers != 3 {
		t.Errorf("mended: %d handlers for one connection", *handlers)
	}
}

// parseClient in state.go.
func TestUpstreamDoesNotKnowIPv6AsSendmailWritesIt(t *testing.T) {
	b, _ := upstream(t, nil)
	c := negotiated(b)
	b.must(c.Connect("a.example", '6', 25, "IPv6:2001:db8::1", "a"))
	if events := b.events(); events[0] != "connect a.example tcp6 25 <nil>" {
		t.Errorf("mended: %s", events[0])
	}
}

// State.Macro in state.go.
func TestUpstreamForgetsTheMacrosOfTheStageBefore(t *testing.T) {
	var macros map[string]string
	b, _ := upstream(t, func(_ *recorder, event, _ string, m *milter.Modifier) (milter.Response, error) {
		if event == "rcpt" {
			macros = m.Macros
		}
		return nil, nil
	})
	c := negotiated(b)
	m := letter
	m.Macros = map[byte][]string{'M': {"{auth_authen}", "joe"}, 'R': {"{rcpt_host}", "x"}}
	b.must(c.Deliver(m))
	if macros["{rcpt_host}"] != "x" || macros["{auth_authen}"] != "" {
		t.Errorf("mended: %v", macros)
	}
}

// State.Mail and State.Rcpt in state.go.
func TestUpstreamDropsESMTPArguments(t *testing.T) {
	b, _ := upstream(t, nil)
	c := negotiated(b)
	b.must(c.Command('M', "<a@b>\x00SIZE=100\x00"))
	if events := b.events(); events[0] != "mail a@b" {
		t.Errorf("mended: %s", events[0])
	}
}

// negotiation in reply.go.
func TestUpstreamIgnoresTheOffer(t *testing.T) {
	b, _ := upstream(t, nil)
	c := b.raw()
	if err := c.Negotiate(2, 0x3F, 0x7F); err == nil {
		t.Errorf("mended: asked for %x of what was offered", c.Actions)
	}
	c = b.raw()
	if err := c.Negotiate(6, milterclient.AllActions, milterclient.AllProtocol); err != nil || c.Version != 2 {
		t.Errorf("mended: version %d, %v", c.Version, err)
	}
}

// receive in receive.go.
func TestUpstreamEndsTheConnectionForACommandItDoesNotKnow(t *testing.T) {
	for _, command := range []string{"UXYZZY\x00", "K", "Z", "D", "Cx\x00"} {
		b, _ := upstream(t, nil)
		c := negotiated(b)
		if err := c.Send(command[0], command[1:]); err != nil {
			t.Fatal(err)
		}
		// The connection may end under what we write.
		if a, err := c.Deliver(letter); err == nil {
			t.Errorf("mended: after %q, a message is answered %v", command, a)
		}
	}
}

// receiveMessage in receive.go.
func TestUpstreamDropsTheChunkInTheEndOfAMessage(t *testing.T) {
	b, _ := upstream(t, nil)
	c := negotiated(b)
	b.must(c.Command('M', "<a@b>\x00"))
	b.must(c.Command('E', "the rest"))
	wantEvents(t, b.events(), "mail a@b", "end")
}

// settle in reply.go.
func TestUpstreamLeavesTheMTAWithoutAnAnswerWhereAHandlerHasNone(t *testing.T) {
	s := milter.Server{NewMilter: func() milter.Milter { return silentMilter{} }}
	address := filepath.Join(t.TempDir(), "s")
	ln, err := net.Listen("unix", address)
	if err != nil {
		t.Fatal(err)
	}
	var ended sync.WaitGroup
	ended.Go(func() { s.Serve(ln) })
	defer ended.Wait()
	defer ln.Close()
	c, err := milterclient.Dial("unix", address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Negotiate(6, milterclient.AllActions, 0); err != nil {
		t.Fatal(err)
	}
	if err := c.Send('M', "<a@b>\x00"); err != nil {
		t.Fatal(err)
	}
	// What comes next is the answer to RCPT.
	if a, err := c.Command('R', "<c@d>\x00"); err != nil || a.Code != 'a' {
		t.Errorf("mended: %v, %v", a, err)
	}
}

// guarded.go.
func TestUpstreamEndsTheConnectionWhenAHandlerFails(t *testing.T) {
	for name, fail := range map[string]answerFunc{
		"error": func(*recorder, string, string, *milter.Modifier) (milter.Response, error) {
			return nil, errors.New("a bug")
		},
		"panic": func(*recorder, string, string, *milter.Modifier) (milter.Response, error) { panic("a bug") },
	} {
		b, _ := upstream(t, fail)
		c := negotiated(b)
		if a, err := c.Command('M', "<a@b>\x00"); err == nil {
			t.Errorf("mended: %s is answered %v", name, a)
		}
	}
}

// Serve in server.go.
func TestUpstreamStopsServingWithTheFirstErrorOfAccept(t *testing.T) {
	ln, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	s := milter.Server{NewMilter: func() milter.Milter { return milter.NoOpMilter{} }}
	time.AfterFunc(5*time.Second, func() { ln.Close() })
	if err := s.Serve(&failing{Listener: ln, errors: []error{syscall.EMFILE}}); !errors.Is(err, syscall.EMFILE) {
		t.Errorf("mended: %v", err)
	}
}

// waitForFrame and send in conn.go and reply.go.
func TestUpstreamSetsNoDeadline(t *testing.T) {
	here, there := net.Pipe()
	defer here.Close()
	counted := &deadlines{Conn: there}
	s := milter.Server{NewMilter: func() milter.Milter { return milter.NoOpMilter{} }}
	s.Serve(&listenerOf{conn: counted})
	c := milterclient.New(here)
	if err := c.Negotiate(6, milterclient.AllActions, milterclient.AllProtocol); err != nil {
		t.Fatal(err)
	}
	counted.mu.Lock()
	defer counted.mu.Unlock()
	if counted.set > 0 {
		t.Errorf("mended: %d deadlines", counted.set)
	}
}

type deadlines struct {
	net.Conn
	mu  sync.Mutex
	set int
}

func (d *deadlines) count() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.set++
	return nil
}
func (d *deadlines) SetDeadline(time.Time) error      { return d.count() }
func (d *deadlines) SetReadDeadline(time.Time) error  { return d.count() }
func (d *deadlines) SetWriteDeadline(time.Time) error { return d.count() }

type listenerOf struct{ conn net.Conn }

func (l *listenerOf) Accept() (net.Conn, error) {
	if l.conn == nil {
		return nil, net.ErrClosed
	}
	c := l.conn
	l.conn = nil
	return c, nil
}
func (l *listenerOf) Close() error   { return nil }
func (l *listenerOf) Addr() net.Addr { return &net.UnixAddr{} }

// silentMilter has no answer to MAIL.
type silentMilter struct{ milter.NoOpMilter }

func (silentMilter) MailFrom(string, *milter.Modifier) (milter.Response, error) { return nil, nil }
func (silentMilter) RcptTo(string, *milter.Modifier) (milter.Response, error) {
	return milter.RespAccept, nil
}

// receiveHeader in receive.go.
func TestUpstreamPassesOverAHeaderWithANUL(t *testing.T) {
	b, _ := upstream(t, nil)
	m := letter
	m.Header = [][2]string{{"Subject", "a\x00b"}}
	b.must(negotiated(b).Deliver(m))
	if events := strings.Join(b.events(), "\n"); strings.Contains(events, "header ") {
		t.Errorf("mended: a header with a NUL in its value is shown\n%s", events)
	}
}
