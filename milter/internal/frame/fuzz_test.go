package frame

import (
	"encoding/binary"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-milter"

	"github.com/backscatterd/backscatterd/milter/internal/milterclient"
)

func stream(commands ...string) []byte {
	var b []byte
	for _, c := range commands {
		b = append(b, milterclient.Frame(c[0], c[1:])...)
	}
	return b
}

func offer(version, actions, protocol uint32) string {
	b := []byte{'O'}
	for _, v := range []uint32{version, actions, protocol} {
		b = binary.BigEndian.AppendUint32(b, v)
	}
	return string(b)
}

// Whatever comes, the handler sees a conversation in order, no command of an
// unbroken one is left without its answer, and the connection ends.
func FuzzStream(f *testing.F) {
	all := offer(6, milterclient.AllActions, milterclient.AllProtocol)
	f.Add(stream(all, "DCj\x00mx\x00", "Cmx\x004\x00\x19192.0.2.1\x00", "Hmx\x00", "DMi\x00ID\x00", "M<a@b>\x00SIZE=1\x00", "R<c@d>\x00",
		"T", "LFrom\x00joe\x00", "N", "Bbody", "E", "Q"), byte(0))
	f.Add(stream(offer(2, 0x3F, 0x7F), "Cmx\x00U", "M<>\x00", "R<c@d>\x00", "LX\x00\x00", "N", "Erest", "A", "K", "M<a@b>\x00"), byte('a'))
	f.Add(stream(all, "M", "R", "D", "C", "H", "L", "N", "B", "E", "U", "Z", "M", "M", "E", "E", "O"), byte('r'))
	f.Add([]byte("GET / HTTP/1.0\r\n\r\n"), byte('s'))
	f.Add(append(stream(all, "M<a@b>\x00"), 0, 2, 0, 0, 'L', 'x'), byte('t'))
	f.Add(append(stream(all), 0, 0, 0, 0, 0, 0), byte('!'))
	f.Fuzz(func(t *testing.T, input []byte, answer byte) {
		var mu sync.Mutex
		var log []string
		s := NewServer(Options{
			Actions: allActions, Protocol: quietProtocol, HeaderLimit: 1000,
			New: func(s *State) milter.Milter {
				return &recorder{state: s, mu: &mu, log: &log, answer: func(r *recorder, event, _ string, m *milter.Modifier) (milter.Response, error) {
					r.state.Macro("i")
					r.state.Client()
					r.state.Mail().Arg("SIZE")
					if event == "end" {
						m.AddHeader("X-A", "b")
						r.state.Progress()
					}
					switch {
					case answer == '!' && event == "rcpt":
						panic("a bug")
					case strings.IndexByte("acdrst", answer) >= 0 && len(event) == int(4+answer%3):
						return milter.SimpleResponse(answer), nil
					}
					return nil, nil
				}}
			},
		})
		here, there := net.Pipe()
		here.SetDeadline(time.Now().Add(20 * time.Second))
		var peer sync.WaitGroup
		peer.Go(func() { io.Copy(io.Discard, here) })
		s.start(there)
		peer.Go(func() {
			here.Write(input)
			here.Close()
		})
		s.done.Wait()
		peer.Wait()
		checkOrder(t, log)
		if answer != '!' && s.Counts().Panics > 0 {
			t.Fatal("a callback panicked")
		}
	})
}

// checkOrder: what a handler may rely on.
func checkOrder(t *testing.T, log []string) {
	order := []string{"abort", "mail", "rcpt", "header", "headers", "body", "end"}
	now := 0
	for i, e := range log {
		event, _, _ := strings.Cut(e, " ")
		at := slices.Index(order, event)
		switch {
		case event == "connect" || event == "helo" || event == "mail":
			if now != 0 {
				t.Fatalf("%s within a message: %q", event, log[:i+1])
			}
			now = max(at, 0)
		case event == "abort":
			if now == 0 {
				t.Fatalf("abort outside of a message: %q", log[:i+1])
			}
			now = 0
		case now == 0 || at < now || at == now && (event == "headers" || event == "end"):
			t.Fatalf("%s out of order: %q", event, log[:i+1])
		default:
			now = at
		}
	}
	if now != 0 {
		t.Fatalf("the last message was not ended: %q", log)
	}
}
