package queuesweep

import (
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/backscatterd/backscatterd/queuesweep/rule"
	"github.com/backscatterd/backscatterd/queuesweep/spool"
)

// countingDisk counts fsyncs.
type countingDisk struct {
	spool.System
	fsyncs *atomic.Int64
}

func (d countingDisk) Fsync(fd int) error {
	d.fsyncs.Add(1)
	return d.System.Fsync(fd)
}

// Every change is on the disk before it is told, and yet the fsyncs go by the
// batch, not by the message: at most one for 20 messages, on any machine.
func TestFsyncsGoByBatch(t *testing.T) {
	const messages = 4*spool.MaxBatch + 10
	w := newWorld(t)
	var fsyncs atomic.Int64
	w.sweeper.Disk = countingDisk{fsyncs: &fsyncs}
	w.fill(messages)
	ids := make([]string, messages)
	for i := range ids {
		ids[i] = fmt.Sprintf("6AOLt9%08d", i)
	}
	all, err := rule.Compile([]rule.Rule{{Name: "all", When: "true", Do: rule.Move}})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name    string
		removed int // afterwards
		queued  int
		run     func() (Summary, error)
	}{
		{"queue move", messages, 0, func() (Summary, error) { return w.sweeper.Act(t.Context(), ids, rule.Rule{Do: rule.Move}, w.options()) }},
		{"restore by ids", 0, messages, func() (Summary, error) { return w.sweeper.Restore(t.Context(), ids, nil, w.options()) }},
		{"sweep that moves", messages, 0, func() (Summary, error) { return w.sweep(rule.Rule{When: "true", Do: rule.Move}) }},
		{"restore by a condition", 0, messages, func() (Summary, error) { return w.sweeper.Restore(t.Context(), nil, all, w.options()) }},
		{"delete", 0, 0, func() (Summary, error) { return w.sweep(rule.Rule{When: "true", Do: rule.Delete}) }},
	} {
		fsyncs.Store(0)
		sum, err := c.run()
		if err != nil || sum.Done != messages {
			t.Fatalf("%s: %+v, %v", c.name, sum, err)
		}
		if removed, queued := len(w.removed()), len(w.queued()); removed != c.removed || queued != c.queued {
			t.Errorf("%s: %d messages in the store and %d in the queue", c.name, removed, queued)
		}
		n := fsyncs.Load()
		t.Logf("%s: %d fsyncs for %d messages", c.name, n, messages)
		if n == 0 || n*20 > messages {
			t.Errorf("%s: %d fsyncs for %d messages, want some and at most one for 20", c.name, n, messages)
		}
	}
}
