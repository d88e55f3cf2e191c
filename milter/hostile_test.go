package milter

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/emersion/go-milter"

	"github.com/backscatterd/backscatterd/milter/evidence"
	"github.com/backscatterd/backscatterd/milter/internal/frame"
	"github.com/backscatterd/backscatterd/milter/internal/milterclient"
	"github.com/backscatterd/backscatterd/milter/ledger"
)

// Whatever a message is made of, it is answered, what is answered is made here,
// and the next message is as good as any.
func TestHostileMessages(t *testing.T) {
	w := newWorld(t, nil)
	bomb := bounceOf("info@example.org", "forged@example.org", 100)
	bomb.Body = strings.Repeat("--x\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n", 20_000)
	deep := bounceOf("info@example.org", "forged@example.org", 100)
	deep.Body = ""
	for i := range 3000 {
		deep.Body += fmt.Sprintf("--x%d\r\nContent-Type: multipart/mixed; boundary=x%d\r\n\r\n", i, i+1)
	}
	long := bounceOf("info@example.org", "forged@example.org", 100)
	for range 160 { // 10 MB
		long.Header = append(long.Header, [2]string{"X-Long", strings.Repeat("x", 65_000)})
	}
	huge := bounceOf("info@example.org", "forged@example.org", 20_000_000)
	cut := bounceOf("info@example.org", "forged@example.org", 5000)
	cut.Body = cut.Body[:strings.Index(cut.Body, "Message-ID")] // within the header that came back
	nuls := bounceOf("info@example.org", "forged@example.org", 100)
	nuls.Body = strings.ReplaceAll(nuls.Body, " ", "\x00")
	nuls.Header = append(nuls.Header, [2]string{"X-\x00-Backscatter-Flag", "a\x00b"})
	for name, m := range map[string]milterclient.Message{
		"MIME bomb": bomb, "deep MIME": deep, "header of 10 MB": long, "bounce of 20 MB": huge, "cut short": cut, "NULs": nuls,
		"nothing": {From: "<>", To: []string{"<info@example.org>"}},
	} {
		began := time.Now()
		a := w.deliver(outside, m)
		if got := changes(a); a.Code != 'a' && a.Code != 'c' || strings.Contains(got, "suspect") && name != "bounce of 20 MB" {
			t.Errorf("%s: answered %q, %q", name, a.Code, got)
		}
		t.Logf("%s: %v: %q", name, time.Since(began).Round(time.Millisecond), changes(a))
	}
	if got := changes(w.deliver(outside, bounceOf("info@example.org", "forged@example.org", 100))); !strings.HasPrefix(got, "h X-Backscatter-Flag|YES") {
		t.Errorf("afterwards: %q", got)
	}
	if c := w.filter.Counts(); c.Panics+c.Errors > 0 {
		t.Errorf("%+v\n%s", c, w.log)
	}
}

// Addresses and header values with line ends in them get into no header, address
// or reply of ours.
func TestNothingIsInjected(t *testing.T) {
	w := newWorld(t, func(_ *Options, p *Policy, _ *evidence.Options) {
		p.Actions = Actions{Suspect: Quarantine}
		p.NullSpamSenders = true
	})
	const evil = "x\r\nX-Evil: 1\r\n"
	outgoing := letter("joe"+evil+"@batv.example", "ann@remote.example", evil+"@batv.example", "X-Backscatter-Flag", evil)
	incoming := bounceOf("info@example.org", "forged"+evil+"@example.org", 100, "X-Backscatter-Token", evil, "Received", evil)
	incoming.To = append(incoming.To, "<prvs=3345abcdef="+evil+"@example.org>", "<"+evil+"@example.org>")
	incoming.Header = append(incoming.Header, [2]string{"X-Backscatter-Status" + evil, evil}, [2]string{"X-Backscatter-Status", evil})
	spam := letter("a"+evil+"@remote.example", "joe@example.org", evil, "X-Spam-Flag", "YES"+evil)
	for client, m := range map[string][]milterclient.Message{inside: {outgoing}, outside: {incoming, spam}} {
		for _, one := range m {
			a := w.deliver(client, one)
			if len(a.Changes) == 0 {
				t.Errorf("%q was not changed", one.From)
			}
			for _, c := range append(a.Changes, a.Packet) {
				if strings.Contains(c.Data, "vil") || strings.ContainsAny(c.Data, "\r\n") {
					t.Errorf("%q", c)
				}
			}
		}
	}
	for line := range strings.Lines(w.log.String()) {
		if strings.HasPrefix(line, "X-Evil") {
			t.Errorf("in the log: %s", w.log)
		}
	}
}

// Commands in no order, and cut off anywhere: the filter goes on, and nothing of
// one connection is left.
func TestOutOfOrderAndCutOff(t *testing.T) {
	w := newWorld(t, nil)
	m := bounceOf("info@example.org", "forged@example.org", 200_000)
	for _, commands := range []string{"E", "NE", "BBE", "MNE", "MRNBM", "MRNBBBBB", "MNBA", "MNBK", "LLN", "MRTLNBE", "MMMM", "RN", "MNBQ"} {
		c := w.dial(outside)
		for _, code := range []byte(commands) {
			data := map[byte]string{'M': "<>\x00", 'R': m.To[0] + "\x00", 'L': "Content-Type\x00multipart/report\x00", 'B': m.Body[:60_000]}[code]
			if _, err := c.Command(code, data); err != nil && code != 'Q' {
				t.Errorf("%s: %v", commands, err)
			}
		}
		c.Write([]byte{0, 0, 0, 100, 'B', 'x'}) // and half a frame
		c.Close()
	}
	for range 6000 {
		if w.filter.Counts().Open == 0 {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if c := w.filter.Counts(); c.Open != 0 || c.Panics+c.Errors > 0 {
		t.Errorf("%+v\n%s", c, w.log)
	}
}

// A client that sends a byte at a time, slower than a frame may take, is cut off,
// and others do not wait for it.
func TestAByteAtATime(t *testing.T) {
	w := newWorld(t, func(o *Options, _ *Policy, _ *evidence.Options) { o.FrameTimeout = 500 * time.Millisecond })
	slow := w.dial(outside)
	for _, b := range milterclient.Frame('M', "<ann@remote.example>\x00") {
		if _, err := slow.Write([]byte{b}); err != nil {
			break
		}
		if a := w.deliver(outside, letter("ann@remote.example", "joe@example.org", "1@remote.example")); a.Code != 'a' {
			t.Errorf("another client: %v", a)
		}
		time.Sleep(50 * time.Millisecond)
	}
	if _, err := slow.Read(); err == nil {
		t.Error("it was answered")
	}
}

// A clock that jumps makes signatures invalid, or mail of a time that is not
// covered, but nobody a suspect who was none, and no panic.
func TestAClockThatJumps(t *testing.T) {
	w := newWorld(t, nil)
	token := strings.TrimPrefix(changes(w.deliver(inside, letter("joe@example.org", "ann@remote.example", "1@example.org"))), "h X-Backscatter-Token|")
	back := bounceOf("joe@example.org", "1@example.org", 100, "X-Backscatter-Token", token)
	for _, jump := range []time.Duration{-48 * time.Hour, -40 * 365 * 24 * time.Hour, 80 * 365 * 24 * time.Hour, 20 * 24 * time.Hour} {
		w.clock.add(jump)
		if got := changes(w.deliver(outside, back)); strings.Contains(got, "suspect") || !strings.HasPrefix(got, "h X-Backscatter-Status|") {
			t.Errorf("after %v: %q", jump, got)
		}
		w.clock.add(-jump)
	}
	if got := changes(w.deliver(outside, back)); !strings.HasPrefix(got, "h X-Backscatter-Status|legit") {
		t.Errorf("back again: %q", got)
	}
}

// With the real ledger: a disk that takes nothing makes a gap and no delay, and a
// file of rubbish is set aside.
func TestTheLedgerFails(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "ledger.db")
	if err := os.WriteFile(file, []byte(strings.Repeat("rubbish ", 8192)), 0o600); err != nil {
		t.Fatal(err)
	}
	var reports []error
	l, err := ledger.Open(ledger.Options{File: file, Secret: []byte("a secret of 32 bytes, or nearly."), Keep: 30, Report: func(err error) { reports = append(reports, err) }})
	if err != nil || len(reports) != 1 {
		t.Fatal(err, reports)
	}
	w := newWorld(t, func(o *Options, _ *Policy, e *evidence.Options) { o.Ledger, e.Ledger, e.Uses = l, l, l })
	if a := w.deliver(inside, letter("joe@example.org", "ann@remote.example", "1@example.org")); a.Code != 'c' || len(a.Changes) != 1 {
		t.Errorf("with a new ledger: %v", a)
	}
	if got := changes(w.deliver(outside, bounceOf("info@example.org", "forged@example.org", 100))); strings.Contains(got, "suspect") {
		t.Errorf("in the warm-up: %q", got)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	// What a full disk is to the filter: a ledger that takes nothing.
	if a := w.deliver(inside, letter("joe@example.org", "ann@remote.example", "2@example.org")); a.Code != 'c' || len(a.Changes) != 1 {
		t.Errorf("with a ledger that is closed: %v", a)
	}
	if got := changes(w.deliver(outside, bounceOf("info@example.org", "forged@example.org", 100))); strings.Contains(got, "suspect") {
		t.Errorf("with a ledger that is closed: %q", got)
	}
}

// A bug passes the message on or defers it, as told; is counted; and leaves a gap
// where mail of ours may leave unrecorded.
func TestABugOfOurs(t *testing.T) {
	for _, tempFail := range []bool{false, true} {
		var missed atomic.Int64
		w := newWorld(t, func(o *Options, _ *Policy, _ *evidence.Options) {
			o.TempFail = tempFail
			o.Ledger = panicking{&missed}
		})
		want := map[bool]byte{false: 'a', true: 't'}[tempFail]
		if a := w.deliver(inside, letter("joe@example.org", "ann@remote.example", "1@example.org")); a.Code != want || len(a.Changes) > 0 {
			t.Errorf("answered %v", a)
		}
		if c := w.filter.Counts(); c.Panics != 1 || !strings.Contains(w.log.String(), "level=ERROR") {
			t.Errorf("%+v\n%s", c, w.log)
		}
		if a := w.deliver(outside, letter("ann@remote.example", "joe@example.org", "1@remote.example")); a.Code != 'a' {
			t.Errorf("the next: %v", a)
		}
		if err := w.stop(); err != nil {
			t.Fatal(err)
		}
		if n := missed.Load(); n != 1 {
			t.Errorf("%d gaps; want 1", n)
		}
	}
}

// Also where the bug is met before anything is known of the message.
func TestABugAtTheBeginning(t *testing.T) {
	bug := false
	w := newWorld(t, func(o *Options, _ *Policy, _ *evidence.Options) {
		now := o.Now
		o.Now = func() time.Time {
			if bug {
				panic("a bug")
			}
			return now()
		}
	})
	bug = true
	if a := w.deliver(inside, letter("joe@example.org", "ann@remote.example", "1@example.org")); a.Code != 'a' {
		t.Errorf("answered %v", a)
	}
	if err := w.stop(); err != nil {
		t.Fatal(err)
	}
	if n := w.ledger.(*memoryLedger).missed; n != 1 {
		t.Errorf("%d gaps; want 1", n)
	}
}

type panicking struct{ missed *atomic.Int64 }

func (panicking) Record(ledger.Message)                                     { panic("a bug") }
func (p panicking) Missed()                                                 { p.missed.Add(1) }
func (panicking) Sent(context.Context, string, string) (ledger.Hit, error)  { return ledger.Hit{}, nil }
func (panicking) Wrote(context.Context, string, string) (ledger.Hit, error) { return ledger.Hit{}, nil }
func (panicking) Use(context.Context, string) (int, error)                  { return 1, nil }
func (panicking) Coverage() ledger.Coverage                                 { return ledger.Coverage{} }

// Random frames do not harm it.
func FuzzSession(f *testing.F) {
	f.Add([]byte("M<>\x00\x01R<info@example.org>\x00\x01LContent-Type\x00multipart/report; boundary=x\x00\x01N\x01B--x\r\n\x01E"))
	f.Add([]byte("M<joe@example.org>\x00RET=FULL\x00\x01LX-Spam-Flag\x00YES\x00\x01N\x01E\x01M\x01R\x01L\x01N\x01A\x01K\x01E"))
	w := newWorld(f, nil)
	f.Fuzz(func(t *testing.T, data []byte) {
		ours, theirs := net.Pipe()
		s := frame.NewServer(frame.Options{
			New:     func(s *frame.State) milter.Milter { return &session{filter: w.filter, state: s} },
			Actions: wantedActions, Protocol: wantedProtocol,
		})
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			s.Serve(newSingle(theirs))
		}()
		c := milterclient.New(ours)
		if err := c.Negotiate(6, milterclient.AllActions, milterclient.AllProtocol); err != nil {
			t.Fatal(err)
		}
		for command := range strings.SplitSeq(string(data), "\x01") {
			if command == "" || command[0] == 'O' {
				continue
			}
			if _, err := c.Command(command[0], command[1:]); err != nil {
				break
			}
		}
		c.Close()
		if err := s.Shutdown(t.Context()); err != nil {
			t.Fatal(err)
		}
		<-ended
		if n := s.Counts().Panics; n > 0 {
			t.Fatalf("%d panics", n)
		}
	})
}

// single is a listener with one connection.
type single struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newSingle(c net.Conn) *single {
	l := &single{conns: make(chan net.Conn, 1), closed: make(chan struct{})}
	l.conns <- c
	return l
}

func (l *single) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *single) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *single) Addr() net.Addr { return &net.UnixAddr{} }
