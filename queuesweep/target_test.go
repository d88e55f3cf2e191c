package queuesweep

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/backscatterd/backscatterd/queuesweep/rule"
)

// A sweep to a folder that is no queue of ours moves there, keeps nothing in the
// store, and leaves no descriptor open: a long-lived caller may do it often.
func TestMoveElsewhere(t *testing.T) {
	w := newWorld(t)
	w.fill(3)
	target := filepath.Join(t.TempDir(), "elsewhere")
	if err := os.Mkdir(target, 0o700); err != nil {
		t.Fatal(err)
	}
	set, err := rule.Compile([]rule.Rule{{Name: "all", When: "true"}})
	if err != nil {
		t.Fatal(err)
	}
	before := openFiles(t)
	sum, err := w.sweeper.Sweep(t.Context(), set, SweepOptions{Unlimited: true, Target: target})
	if err != nil || sum.Done != 3 {
		t.Fatalf("%+v, %v", sum, err)
	}
	if after := openFiles(t); after != before {
		t.Errorf("%d descriptors are open, %d were before", after, before)
	}
	if moved := len(w.whole(target)); moved != 3 || len(w.queued()) != 0 || len(w.removed()) != 0 {
		t.Errorf("%d moved, %d in the queue, %d in the store", moved, len(w.queued()), len(w.removed()))
	}
}

func openFiles(t *testing.T) int {
	t.Helper()
	names, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(names)
}
