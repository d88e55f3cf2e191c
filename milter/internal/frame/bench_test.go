package frame

import (
	"net"
	"path/filepath"
	"strings"
	"testing"

	"github.com/emersion/go-milter"

	"github.com/backscatterd/backscatterd/milter/internal/milterclient"
)

// continuing answers whatever it is asked, for go-milter by itself.
type continuing struct{ milter.NoOpMilter }

func (continuing) Body(*milter.Modifier) (milter.Response, error) { return milter.RespContinue, nil }

// A DSN of 8 kB with 20 headers, client's work included: this package on
// go-milter, and go-milter by itself.
func BenchmarkMessage(b *testing.B) {
	m := letter
	m.Header = nil
	for range 20 {
		m.Header = append(m.Header, [2]string{"Received", strings.Repeat("x", 80)})
	}
	m.Body = strings.Repeat("x", 8000)
	run := func(b *testing.B, serve func(net.Listener), stop func()) {
		ln, err := net.Listen("unix", filepath.Join(b.TempDir(), "s"))
		if err != nil {
			b.Fatal(err)
		}
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			serve(ln)
		}()
		c, err := milterclient.Dial("unix", ln.Addr().String())
		if err != nil {
			b.Fatal(err)
		}
		if err := c.Negotiate(6, milterclient.AllActions, milterclient.AllProtocol); err != nil {
			b.Fatal(err)
		}
		b.ReportAllocs()
		for b.Loop() {
			if _, err := c.Deliver(m); err != nil {
				b.Fatal(err)
			}
		}
		c.Close()
		ln.Close()
		stop()
		<-ended
	}
	b.Run("frame", func(b *testing.B) {
		s := NewServer(Options{Actions: allActions, Protocol: quietProtocol | milter.OptNoBodyReply,
			New: func(*State) milter.Milter { return milter.NoOpMilter{} }})
		run(b, func(ln net.Listener) { s.Serve(ln) }, func() { s.Shutdown(b.Context()) })
	})
	b.Run("go-milter", func(b *testing.B) {
		s := milter.Server{Actions: allActions, NewMilter: func() milter.Milter { return continuing{} }}
		run(b, func(ln net.Listener) { s.Serve(ln) }, func() {})
	})
}
