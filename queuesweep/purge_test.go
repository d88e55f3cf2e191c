package queuesweep

import (
	"strings"
	"testing"
	"time"

	"github.com/backscatterd/backscatterd/queuesweep/rule"
)

// The removed store keeps messages for as long as it was told to, counted from
// the end of their day.
func TestPurge(t *testing.T) {
	w := newWorld(t)
	w.fill(5)
	const keep = 30 * 24 * time.Hour
	if _, err := w.sweep(rule.Rule{When: "attempts < 2"}); err != nil {
		t.Fatal(err)
	}
	removed := w.now
	w.now = removed.Add(48 * time.Hour)
	if _, err := w.sweep(rule.Rule{When: "attempts < 3"}); err != nil {
		t.Fatal(err)
	}
	tomorrow := removed.UTC().Truncate(24 * time.Hour).Add(24 * time.Hour)
	for _, c := range []struct {
		now  time.Time
		left int
	}{
		{removed.Add(keep), 3}, {tomorrow.Add(keep), 3}, {tomorrow.Add(keep + 1), 1}, {tomorrow.Add(keep + 48*time.Hour), 1}, {tomorrow.Add(keep + 49*time.Hour), 0},
	} {
		w.now = c.now
		if err := w.sweeper.Purge(t.Context(), keep); err != nil {
			t.Fatal(err)
		}
		if n := len(w.removed()); n != c.left {
			t.Errorf("at %v %d messages are left in the store, want %d", c.now, n, c.left)
		}
	}
	if n := len(w.queued()); n != 2 {
		t.Errorf("%d messages are left in the queue, want 2", n)
	}
	if !strings.Contains(w.log.String(), "purged the removed store") {
		t.Error("the purge is not logged")
	}
}
