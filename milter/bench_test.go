package milter

import (
	"testing"

	"github.com/backscatterd/backscatterd/milter/internal/milterclient"
)

// exchanges are messages from their first command to their answer. The comparison
// with a C filter is in test/bench/milter.
var exchanges = []struct {
	name    string
	client  string
	message milterclient.Message
	changes int // to the message
	// allocations at most, the client's work included: about a tenth more than
	// there are. go-milter makes five for each command.
	allocations float64
}{
	{"Bounce", outside, bounceOf("info@example.org", "forged@example.org", 5000), 2, 340},
	{"Ordinary", outside, milterclient.Message{From: "<ann@remote.example>", To: []string{"<joe@example.org>"},
		Header: letterHeader("ann@remote.example", "1@remote.example"), Body: "hello"}, 0, 145},
	{"Outgoing", inside, milterclient.Message{From: "<joe@batv.example>", To: []string{"<ann@remote.example>"},
		Header: letterHeader("joe@batv.example", "1@batv.example"), Body: "hello"}, 2, 300},
}

func BenchmarkMessage(b *testing.B) {
	for _, x := range exchanges {
		b.Run(x.name, func(b *testing.B) {
			c := newWorld(b, nil).dial(x.client)
			b.ReportAllocs()
			for b.Loop() {
				if a, err := c.Deliver(x.message); err != nil || len(a.Changes) != x.changes {
					b.Fatal(a, err)
				}
			}
		})
	}
}

// What a message leaves behind is what the collector has to stop for: it is
// bounded, on any machine.
func TestAllocationsOfAMessage(t *testing.T) {
	for _, x := range exchanges {
		c := newWorld(t, nil).dial(x.client)
		got := testing.AllocsPerRun(200, func() {
			if a, err := c.Deliver(x.message); err != nil || len(a.Changes) != x.changes {
				t.Fatal(a, err)
			}
		})
		t.Logf("%s: %.0f", x.name, got)
		if got > x.allocations {
			t.Errorf("%s: %.0f allocations, at most %.0f are granted", x.name, got, x.allocations)
		}
	}
}
