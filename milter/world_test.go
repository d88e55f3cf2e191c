package milter

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/backscatterd/backscatterd/milter/batv"
	"github.com/backscatterd/backscatterd/milter/evidence"
	"github.com/backscatterd/backscatterd/milter/internal/milterclient"
	"github.com/backscatterd/backscatterd/milter/ledger"
	"github.com/backscatterd/backscatterd/milter/token"
)

const (
	outside = "198.51.100.7"
	inside  = "192.0.2.7"
)

// world is a filter with a ledger that is warm: its clock began a month ago.
type world struct {
	tb     testing.TB
	filter *Filter
	policy Policy
	ledger ledger.Ledger
	socket string
	clock  *clock
	log    *safeBuffer
	stop   func() error
}

// clock is the time that filter and ledger see.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// memoryLedger is a ledger without a file, that has run for a month.
type memoryLedger struct {
	mu     sync.Mutex
	sent   map[string]time.Time
	wrote  map[string]time.Time
	uses   map[string]int
	missed int
	clock  *clock
	since  time.Time
	fail   error
}

func newMemoryLedger(c *clock) *memoryLedger {
	return &memoryLedger{sent: map[string]time.Time{}, wrote: map[string]time.Time{}, uses: map[string]int{}, clock: c, since: c.now().AddDate(0, -1, 0)}
}

func (l *memoryLedger) Record(m ledger.Message) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sent[strings.Trim(m.MessageID, "<>")] = l.clock.now()
	l.wrote[m.Sender] = l.clock.now()
	for _, to := range m.Recipients {
		l.wrote[m.Sender+" "+to] = l.clock.now()
	}
}

func (l *memoryLedger) Missed() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.missed++
}

func (l *memoryLedger) look(in map[string]time.Time, key string) (ledger.Hit, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	at, found := in[key]
	return ledger.Hit{Found: found, At: at}, l.fail
}

func (l *memoryLedger) Sent(_ context.Context, id, _ string) (ledger.Hit, error) {
	return l.look(l.sent, strings.Trim(id, "<>"))
}

func (l *memoryLedger) Wrote(_ context.Context, sender, to string) (ledger.Hit, error) {
	return l.look(l.wrote, strings.TrimSuffix(sender+" "+to, " "))
}

func (l *memoryLedger) Use(_ context.Context, proof string) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.uses[proof]++
	return l.uses[proof], l.fail
}

func (l *memoryLedger) Coverage() ledger.Coverage {
	return ledger.Coverage{Since: l.since, Until: l.clock.now().Add(time.Minute)}
}

// newWorld starts a filter; change may alter what it is started with.
func newWorld(tb testing.TB, change func(*Options, *Policy, *evidence.Options)) *world {
	tb.Helper()
	w := &world{tb: tb, clock: &clock{t: time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)}, log: &safeBuffer{}}
	w.ledger = newMemoryLedger(w.clock)
	signer, err := token.New(14, token.Key{ID: "k1", Secret: []byte("secret")})
	if err != nil {
		tb.Fatal(err)
	}
	scheme, err := batv.New(batv.Options{Lifetime: 14, Keys: []batv.Key{{Number: 3, Secret: []byte("secret")}}})
	if err != nil {
		tb.Fatal(err)
	}
	p := Policy{Domains: []string{"example.org", "Batv.example"}, Networks: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")},
		Token: signer, BATV: scheme, BATVDomains: []string{"batv.example"}}
	o := Options{Ledger: w.ledger, Log: slog.New(slog.NewTextHandler(w.log, nil)), Now: w.clock.now, FrameTimeout: 5 * time.Second}
	e := evidence.Options{Domains: p.Domains, Networks: p.Networks, Hosts: []string{"mx.example.org"}, Token: signer, BATV: scheme}
	if change != nil {
		change(&o, &p, &e)
	}
	if e.Ledger == nil {
		e.Ledger = w.ledger
	}
	if e.Uses == nil {
		e.Uses = w.ledger
	}
	if p.Evidence, err = evidence.New(e); err != nil {
		tb.Fatal(err)
	}
	w.policy = p
	if w.filter, err = New(o, p); err != nil {
		tb.Fatal(err)
	}
	w.serve()
	return w
}

func (w *world) serve() {
	w.socket = filepath.Join(w.tb.TempDir(), "s")
	ln, err := net.Listen("unix", w.socket)
	if err != nil {
		w.tb.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.filter.Serve(ctx, []net.Listener{ln}) }()
	w.stop = sync.OnceValue(func() error {
		cancel()
		return <-ended
	})
	w.tb.Cleanup(func() {
		if err := w.stop(); err != nil {
			w.tb.Errorf("Serve: %v", err)
		}
	})
}

// dial connects, as sendmail does for a client of this address.
func (w *world) dial(address string) *milterclient.Client {
	w.tb.Helper()
	c, err := milterclient.Dial("unix", w.socket)
	if err != nil {
		w.tb.Fatal(err)
	}
	w.tb.Cleanup(func() { c.Close() })
	if err := c.Negotiate(6, milterclient.AllActions, milterclient.AllProtocol); err != nil {
		w.tb.Fatal(err)
	}
	if _, err := c.Connect("client.example", '4', 25, address, "client.example"); err != nil {
		w.tb.Fatal(err)
	}
	return c
}

// deliver sends one message from an address, and returns how it was answered.
func (w *world) deliver(address string, m milterclient.Message) milterclient.Answer {
	w.tb.Helper()
	c := w.dial(address)
	defer c.Close()
	a, err := c.Deliver(m)
	if err != nil {
		w.tb.Fatalf("%v\n%s", err, w.log)
	}
	return a
}

// changes are those of an answer, one a line: h Name: value, and the like.
func changes(a milterclient.Answer) string {
	lines := []string{}
	for _, p := range a.Changes {
		data := p.Data
		if p.Code == 'm' {
			data = fmt.Sprint(data[3], " ", data[4:])
		}
		lines = append(lines, string(p.Code)+" "+strings.ReplaceAll(strings.TrimSuffix(data, "\x00"), "\x00", "|"))
	}
	return strings.Join(lines, "\n")
}

func letterHeader(from, id string, more ...string) [][2]string {
	h := [][2]string{
		{"Received", "from a.example (a.example [198.51.100.9])\n\tby mx.remote.example with ESMTP id 6AOMSHAk000014;\n\tTue, 24 Nov 2026 11:00:00 +0000"},
		{"From", "<" + from + ">"}, {"To", "<ann@remote.example>"}, {"Subject", "hello"}, {"Date", "Tue, 24 Nov 2026 11:00:00 +0000"},
		{"Message-ID", "<" + id + ">"}, {"MIME-Version", "1.0"},
	}
	for i := 0; i+1 < len(more); i += 2 {
		h = append(h, [2]string{more[i], more[i+1]})
	}
	return h
}

// bounceOf is the bounce of a message with this sender and Message-ID.
func bounceOf(user, id string, size int, more ...string) milterclient.Message {
	var returned strings.Builder
	for _, h := range letterHeader(user, id, more...) {
		returned.WriteString(h[0] + ": " + strings.ReplaceAll(h[1], "\n", "\r\n") + "\r\n")
	}
	body := strings.Join([]string{
		"--x", "Content-Type: text/plain", "", "It could not be delivered.", "",
		"--x", "Content-Type: message/delivery-status", "", "Reporting-MTA: dns; mx.remote.example", "",
		"Final-Recipient: rfc822; nobody@remote.example", "Action: failed", "Status: 5.1.1", "",
		"--x", "Content-Type: message/rfc822", "", returned.String(), strings.Repeat("A line of the message that came back, as it was.\r\n", size/50), "--x--", "",
	}, "\r\n")
	return milterclient.Message{
		From: "<>", To: []string{"<" + user + ">"}, Body: body,
		Header: [][2]string{
			{"From", "Mail Delivery Subsystem <MAILER-DAEMON@mx.remote.example>"}, {"To", "<" + user + ">"},
			{"Subject", "Returned mail: see transcript for details"}, {"Message-ID", "<b@mx.remote.example>"},
			{"Date", "Tue, 24 Nov 2026 11:01:00 +0000"}, {"Auto-Submitted", "auto-generated (failure)"}, {"MIME-Version", "1.0"},
			{"Content-Type", "multipart/report; report-type=delivery-status;\n\tboundary=x"},
		},
	}
}
