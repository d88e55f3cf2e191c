package ledger

import (
	"fmt"
	"path/filepath"
	"testing"
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
		if _, err := l.Sent("<nothing@mx>", ""); err != nil {
			b.Fatal(err)
		}
	}
}
