package milter

import (
	"testing"

	"github.com/backscatterd/backscatterd/milter/internal/milterclient"
)

// A bounce of 8 kB from its first command to its answer, the client's work
// included. The comparison with a C filter is in test/bench/milter.
func BenchmarkBounce(b *testing.B) {
	w := newWorld(b, nil)
	c := w.dial(outside)
	m := bounceOf("info@example.org", "forged@example.org", 5000)
	b.ReportAllocs()
	for b.Loop() {
		if a, err := c.Deliver(m); err != nil || len(a.Changes) != 2 {
			b.Fatal(a, err)
		}
	}
}

func BenchmarkOrdinary(b *testing.B) {
	w := newWorld(b, nil)
	c := w.dial(outside)
	m := milterclient.Message{From: "<ann@remote.example>", To: []string{"<joe@example.org>"}, Header: letterHeader("ann@remote.example", "1@remote.example"), Body: "hello"}
	b.ReportAllocs()
	for b.Loop() {
		if a, err := c.Deliver(m); err != nil || a.Code != 'a' {
			b.Fatal(a, err)
		}
	}
}
