package frame

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
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

// A header that go-milter would pass over is shown as far as the MTA sees it.
func TestAHeaderEndsAtItsNUL(t *testing.T) {
	whole := true
	b := serve(t, func(r *recorder, event, _ string, _ *milter.Modifier) (milter.Response, error) {
		if event == "end" {
			whole = !r.state.Incomplete()
		}
		return nil, nil
	})
	m := letter
	m.Header = [][2]string{{"X-Mark", "YES\x00no\x00"}, {"Empty", ""}, {"Last", "x"}}
	b.must(b.dial().Deliver(m))
	events := strings.Join(b.eventsUntil("abort"), "\n")
	for _, want := range []string{"header X-Mark=YES\n", "header Empty=\n", "header Last=x\n", "headers 3\n"} {
		if !strings.Contains(events, want) {
			t.Errorf("want %q in\n%s", want, events)
		}
	}
	if whole {
		t.Error("what follows a NUL was not shown, and the message passes for whole")
	}
}

func TestASlowClientIsCutOff(t *testing.T) {
	b := serve(t, nil, func(o *Options) { o.FrameTimeout = 300 * time.Millisecond })
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

// The promise is a few kilobytes; the limit here has room for goroutine stacks.
func TestIdleConnectionsAreCheap(t *testing.T) {
	const n, limit = 500, 16 << 10
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
