package frame

import (
	"context"
	"fmt"
	"net"
	"net/textproto"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-milter"
	"go.uber.org/goleak"

	"github.com/backscatterd/backscatterd/milter/internal/milterclient"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// recorder is a handler that writes down what it sees, and answers as it is
// told to.
type recorder struct {
	state *State
	mu    *sync.Mutex
	log   *[]string
	// answer is asked for each event, by the name of its callback.
	answer func(r *recorder, event, detail string, m *milter.Modifier) (milter.Response, error)
}

func (r *recorder) event(name, detail string, m *milter.Modifier) (milter.Response, error) {
	r.mu.Lock()
	*r.log = append(*r.log, strings.TrimSpace(name+" "+detail))
	r.mu.Unlock()
	if r.answer != nil {
		return r.answer(r, name, detail, m)
	}
	return nil, nil
}

func (r *recorder) Connect(host, family string, port uint16, addr net.IP, m *milter.Modifier) (milter.Response, error) {
	return r.event("connect", fmt.Sprintf("%s %s %d %v", host, family, port, addr), m)
}
func (r *recorder) Helo(name string, m *milter.Modifier) (milter.Response, error) {
	return r.event("helo", name, m)
}
func (r *recorder) MailFrom(from string, m *milter.Modifier) (milter.Response, error) {
	return r.event("mail", from, m)
}
func (r *recorder) RcptTo(to string, m *milter.Modifier) (milter.Response, error) {
	return r.event("rcpt", to, m)
}
func (r *recorder) Header(name, value string, m *milter.Modifier) (milter.Response, error) {
	return r.event("header", name+"="+value, m)
}
func (r *recorder) Headers(h textproto.MIMEHeader, m *milter.Modifier) (milter.Response, error) {
	n := 0
	for _, v := range h {
		n += len(v)
	}
	return r.event("headers", fmt.Sprint(n), m)
}
func (r *recorder) BodyChunk(chunk []byte, m *milter.Modifier) (milter.Response, error) {
	return r.event("body", fmt.Sprint(len(chunk)), m)
}
func (r *recorder) Body(m *milter.Modifier) (milter.Response, error) { return r.event("end", "", m) }
func (r *recorder) Abort(m *milter.Modifier) error {
	_, err := r.event("abort", "", m)
	return err
}

type answerFunc = func(r *recorder, event, detail string, m *milter.Modifier) (milter.Response, error)

// at answers one event, and leaves the others.
func at(event string, resp milter.Response) answerFunc {
	return func(_ *recorder, name, _ string, _ *milter.Modifier) (milter.Response, error) {
		if name == event {
			return resp, nil
		}
		return nil, nil
	}
}

// bench is a server on a unix socket.
type bench struct {
	t       *testing.T
	server  *Server
	address string
	mu      sync.Mutex
	log     []string
	reports []string
}

// Replies are asked for where they cost most, and left out where they can be.
const (
	allActions = milter.OptAddHeader | milter.OptChangeHeader | milter.OptQuarantine | milter.OptChangeFrom |
		milter.OptAddRcpt | milter.OptRemoveRcpt | milter.OptSetSymList
	quietProtocol = milter.OptNoUnknown | milter.OptNoData | milter.OptSkip | milter.OptNoHeaderReply |
		milter.OptNoConnReply | milter.OptNoHeloReply | milter.OptNoMailReply | milter.OptNoEOHReply | milter.OptNoRcptReply
)

func serve(t *testing.T, answer answerFunc, change ...func(*Options)) *bench {
	t.Helper()
	b := &bench{t: t, address: filepath.Join(t.TempDir(), "milter.sock")}
	opts := Options{
		Actions:  allActions,
		Protocol: quietProtocol,
		Report: func(err error) {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.reports = append(b.reports, err.Error())
		},
		New: func(s *State) milter.Milter { return &recorder{state: s, mu: &b.mu, log: &b.log, answer: answer} },
	}
	for _, f := range change {
		f(&opts)
	}
	b.server = NewServer(opts)
	ln, err := net.Listen("unix", b.address)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- b.server.Serve(ln) }()
	t.Cleanup(func() {
		b.shutdown()
		if err := <-ended; err != ErrClosed {
			t.Errorf("Serve: %v; want %v", err, ErrClosed)
		}
	})
	return b
}

func (b *bench) shutdown() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := b.server.Shutdown(ctx); err != nil {
		b.t.Errorf("Shutdown: %v", err)
	}
}

// dial connects, and negotiates with all that sendmail offers.
func (b *bench) dial() *milterclient.Client {
	b.t.Helper()
	c := b.raw()
	if err := c.Negotiate(6, milterclient.AllActions, milterclient.AllProtocol); err != nil {
		b.t.Fatal(err)
	}
	return c
}

func (b *bench) raw() *milterclient.Client {
	b.t.Helper()
	c, err := milterclient.Dial("unix", b.address)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { c.Close() })
	return c
}

// events returns what the handlers have seen, and starts anew.
func (b *bench) events() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	log := b.log
	b.log = nil
	return log
}

// eventsUntil waits for an event that comes without an answer to wait for.
func (b *bench) eventsUntil(last string) []string {
	b.t.Helper()
	for range 6000 {
		b.mu.Lock()
		done := len(b.log) > 0 && b.log[len(b.log)-1] == last
		b.mu.Unlock()
		if done {
			return b.events()
		}
		time.Sleep(5 * time.Millisecond)
	}
	b.t.Fatalf("no %q, but %v", last, b.events())
	return nil
}

func (b *bench) reported() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return strings.Join(b.reports, "\n")
}

func (b *bench) must(a milterclient.Answer, err error) milterclient.Answer {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
	return a
}

func wantEvents(t *testing.T, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("the handler saw\n  %s\nwant\n  %s", strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
}

var letter = milterclient.Message{
	From:   "<joe@example.org>",
	To:     []string{"<ann@remote.example>", "<bob@remote.example>"},
	Header: [][2]string{{"From", "joe"}, {"To", "ann"}, {"Subject", ""}},
	Body:   "hello\r\n",
}

var letterEvents = []string{
	"mail joe@example.org", "rcpt ann@remote.example", "rcpt bob@remote.example",
	"header From=joe", "header To=ann", "header Subject=", "headers 3", "body 7", "end", "abort",
}
