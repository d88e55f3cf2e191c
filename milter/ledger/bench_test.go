package ledger

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"
)

func benchLedger(b *testing.B) *Embedded {
	l, err := Open(Options{File: filepath.Join(b.TempDir(), "ledger.db"), Secret: secret, Keep: 20, Queue: 1 << 30})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { l.Close() })
	return l
}

// What a message costs the mail flow; the writer works beside it.
func BenchmarkRecord(b *testing.B) {
	l := benchLedger(b)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		l.Record(Message{fmt.Sprintf("<%d@mx>", i), "joe@example.org", []string{"ann@remote.example"}})
	}
}

func BenchmarkSentMiss(b *testing.B) {
	l := benchLedger(b)
	for i := range 100_000 {
		l.Record(Message{fmt.Sprintf("<%d@mx>", i), "joe@example.org", []string{fmt.Sprintf("r%d@remote.example", i)}})
	}
	if err := l.flush(); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := l.Sent(b.Context(), "<nothing@mx>", ""); err != nil {
			b.Fatal(err)
		}
	}
}

// What a message and a look-up leave behind, on any machine. The days that the
// ledger keeps must not be looked at one by one where the newest has the answer.
func TestAllocations(t *testing.T) {
	clock := &clock{now: noon}
	l, err := Open(Options{File: filepath.Join(t.TempDir(), "ledger.db"), Secret: secret, Keep: 20, Now: clock.Now, Group: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	m := Message{"<1@mx>", "joe@example.org", []string{"ann@remote.example"}}
	for range 20 {
		clock.add(24 * time.Hour)
		l.Record(m)
		if err := l.flush(); err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		most float64
		run  func()
	}{
		"record":   {10, func() { l.Record(m) }},
		"look up":  {25, func() { l.Wrote(t.Context(), "joe@example.org", "ann@remote.example") }},
		"look for": {140, func() { l.Sent(t.Context(), "<nothing@mx>", "joe@example.org") }},
	} {
		l.flush()
		got := testing.AllocsPerRun(100, c.run)
		t.Logf("%s: %.0f", name, got)
		if most := c.most * allocationFactor; got > most {
			t.Errorf("%s: %.0f allocations, at most %.0f are granted", name, got, most)
		}
	}
}
