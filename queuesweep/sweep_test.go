package queuesweep

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/backscatterd/backscatterd/queuesweep/rule"
	"github.com/backscatterd/backscatterd/queuesweep/spool"
)

// How many of a queue a sweep may act on.
func TestLimits(t *testing.T) {
	for name, c := range map[string]struct {
		messages, matching int
		share              float64
		max                int
		unlimited          bool
		done               int
		limit              string
	}{
		"below both":            {10, 4, 0.5, 100, false, 4, ""},
		"just the share":        {10, 5, 0.5, 100, false, 5, ""},
		"past the share":        {10, 6, 0.5, 100, false, 5, "max_share = 0.5"},
		"a share is cut down":   {7, 7, 0.5, 100, false, 3, "max_share = 0.5"},
		"one message":           {1, 1, 0.5, 100, false, 1, ""},
		"a share below one":     {3, 3, 0.1, 100, false, 1, "max_share = 0.1"},
		"just max_messages":     {10, 3, 1, 3, false, 3, ""},
		"past max_messages":     {10, 4, 1, 3, false, 3, "max_messages = 3"},
		"both, share is less":   {10, 10, 0.2, 3, false, 2, "max_share = 0.2"},
		"both, number is less":  {10, 10, 0.9, 3, false, 3, "max_messages = 3"},
		"more than a batch":     {1400, 1400, 0.5, 1000, false, 700, "max_share = 0.5"},
		"no limits, by hand":    {600, 600, 0.5, 3, true, 600, ""},
		"the whole":             {10, 10, 1, 100, false, 10, ""},
		"nothing to act on":     {10, 0, 0.5, 1, false, 0, ""},
		"an empty queue":        {0, 0, 0.5, 1, false, 0, ""},
		"no limits, configured": {10, 10, 0, 0, false, 10, ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.fill(c.messages)
			w.limited, w.maxShare, w.maxMessages = !c.unlimited, c.share, c.max
			for _, dry := range []bool{true, false} {
				w.dry = dry
				sum, err := w.sweep(rule.Rule{When: "attempts >= " + itoa(c.messages-c.matching)})
				if err != nil {
					t.Fatal(err)
				}
				want := Summary{Summary: true, Scanned: c.messages, Matched: c.matching, Done: c.done,
					Skipped: c.matching - c.done, Limit: c.limit, DryRun: dry}
				if diff := cmp.Diff(want, sum); diff != "" {
					t.Errorf("dry run %v: %s", dry, diff)
				}
				if w.codes()[Limit] != c.matching-c.done {
					t.Errorf("dry run %v: results are %v", dry, w.codes())
				}
			}
			if n := w.once(c.messages); n != c.done {
				t.Errorf("%d messages were removed, want %d", n, c.done)
			}
			if n := lines(w.audit(), `"result":"done"`); n != c.done {
				t.Errorf("%d messages are in the audit log as done, want %d", n, c.done)
			}
		})
	}
}

// What stops a sweep stops it after the batch in hand: nothing is left half done
// and all that was done is told.
func TestSweepStops(t *testing.T) {
	for _, limited := range []bool{true, false} {
		w := newWorld(t)
		w.fill(1000)
		ctx, cancel := context.WithCancel(t.Context())
		w.limited, w.during = limited, func(Result) { cancel() }
		set, err := rule.Compile([]rule.Rule{{Name: "all", When: "true"}})
		if err != nil {
			t.Fatal(err)
		}
		sum, err := w.sweeper.Sweep(ctx, set, w.options())
		if !errors.Is(err, context.Canceled) {
			t.Errorf("error %v", err)
		}
		if sum.Done != spool.MaxBatch || len(w.results) != spool.MaxBatch {
			t.Errorf("limited %v: %d done, want one batch", limited, sum.Done)
		}
		if n := w.once(1000); n != spool.MaxBatch {
			t.Errorf("limited %v: %d messages were removed, want %d", limited, n, spool.MaxBatch)
		}
		if n := lines(w.audit(), `"summary":true`); n != 1 {
			t.Errorf("limited %v: %d summaries in the audit log", limited, n)
		}
	}
	goleak.VerifyNone(t)
}

// Where the audit log cannot be written, nothing more is done.
func TestAuditLogIsFull(t *testing.T) {
	w := newWorld(t)
	w.fill(600)
	full, err := OpenAudit("/dev/full")
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	w.sweeper.Audit = full
	_, err = w.sweep(rule.Rule{When: "true"})
	if !errors.Is(err, unix.ENOSPC) || !strings.Contains(err.Error(), "nothing more is done") {
		t.Errorf("error %v", err)
	}
	if n := w.once(600); n > spool.MaxBatch {
		t.Errorf("%d messages were removed, want no more than a batch", n)
	}
}

// A folder that cannot be opened, or vanishes in the middle, is an error; the
// others are swept.
func TestFolderFails(t *testing.T) {
	w := newWorld(t)
	w.fill(20)
	w.extraFolders = []string{filepath.Join(w.dir, "missing")}
	sum, err := w.sweep(rule.Rule{When: "true"})
	if !errors.Is(err, os.ErrNotExist) || sum.Done != 20 {
		t.Errorf("%d done, error %v", sum.Done, err)
	}
	var setup *SetupError
	if errors.As(err, &setup) {
		t.Error("it is said that nothing was done")
	}

	w = newWorld(t)
	w.fill(1000)
	w.during = func(Result) { os.RemoveAll(w.queue) }
	sum, err = w.sweep(rule.Rule{When: "true"})
	if err != nil && (!errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), w.queue)) {
		t.Errorf("error %v", err)
	}
	if sum.Done != spool.MaxBatch || sum.Failed != 0 || sum.Skipped != sum.Matched-sum.Done {
		t.Errorf("summary %+v", sum)
	}
	if n := len(w.removed()); n != spool.MaxBatch {
		t.Errorf("%d messages in the store", n)
	}
}

// Two at once take turns; every message is taken once, by one of them.
func TestTwoAtOnce(t *testing.T) {
	w := newWorld(t)
	w.fill(1500)
	set, err := rule.Compile([]rule.Rule{{Name: "all", When: "true"}})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	var sums [3]Summary
	for i := range sums {
		wg.Go(func() {
			sum, err := New(w.sweeper.Options).Sweep(t.Context(), set, SweepOptions{Unlimited: true})
			if err != nil {
				t.Error(err)
			}
			sums[i] = sum
		})
	}
	wg.Wait()
	done := 0
	for _, sum := range sums {
		done += sum.Done
		if sum.Failed > 0 {
			t.Errorf("summary %+v", sum)
		}
	}
	if n := w.once(1500); n != 1500 || done != 1500 {
		t.Errorf("%d messages were removed, and %d are told of", n, done)
	}
}

// A store that somebody else has for longer than lock_wait is an error.
func TestStoreIsBusy(t *testing.T) {
	w := newWorld(t)
	w.fill(3)
	store, err := spool.OpenStore(spool.System{}, w.store)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	b, err := store.Begin(t.Context(), w.now)
	if err != nil {
		t.Fatal(err)
	}
	w.sweeper.LockWait = 1
	sum, err := w.sweep(rule.Rule{When: "true"})
	if err == nil || !strings.Contains(err.Error(), "another backscatterd") || sum.Summary {
		t.Errorf("summary %+v, error %v", sum, err)
	}
	b.End()
	w.sweeper.LockWait = time.Minute
	if sum, err := w.sweep(rule.Rule{When: "true"}); err != nil || sum.Done != 3 {
		t.Errorf("summary %+v, error %v", sum, err)
	}
}

// Messages from nobody are never expired: that would bounce a bounce.
func TestNullSenderIsNotExpired(t *testing.T) {
	w := newWorld(t)
	w.put("6AOLt900000001", message{sender: ""})
	w.put("6AOLt900000002", message{sender: "MAILER-DAEMON"})
	w.put("6AOLt900000003", message{sender: "a@b.example", more: "RPFD:<c@d.example>\n"})
	w.sweeper.Sendmail = "/bin/false"
	sum, err := w.sweep(rule.Rule{When: "true", Do: rule.Expire})
	if err != nil || sum.Failed != 1 {
		t.Errorf("summary %+v, error %v", sum, err)
	}
	for _, r := range w.results {
		if null := r.ID != "6AOLt900000003"; null != (r.Action == Verb(rule.Move)) || null != strings.Contains(r.Note, "a bounce is never bounced") || null != (r.Sender == "") {
			t.Errorf("%+v", r)
		}
	}
	if n := w.once(3); n != 2 {
		t.Errorf("%d were removed, want the two without a sender", n)
	}
}
