// Package soak lets the program and a real sendmail work on the same queues for
// a long time, kills the program again and again, and then accounts for every
// message by the books of others: what the receivers took, what lies in the
// queue folders, what lies in the removed store.
//
// The seed decides what happens to which message and what is done in which
// order; not, of course, which process is faster. `make soak` runs the long
// form: SEED, MESSAGES and KILLS change it.
package soak

import (
	"context"
	"errors"
	"maps"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/backscatterd/backscatterd/test/lab"
)

// setting reads a number from the environment.
func setting(t *testing.T, name string, otherwise int) int {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("%s=%q: want a number above 0", name, text)
	}
	return n
}

// soak is one run of it.
type soak struct {
	*site
	t    *testing.T
	plan *plan

	mu  sync.Mutex
	ids []string // by number of the message

	stop atomic.Bool
	kill int // those that were made
	open int // of these, such that left something in the journal
}

func TestSoak(t *testing.T) {
	seed, messages, kills := setting(t, "SOAK_SEED", 1), setting(t, "SOAK_MESSAGES", 500), setting(t, "SOAK_KILLS", 5)
	t.Logf("seed %d, %d messages, %d kills", seed, messages, kills)
	ctx, cancel := context.WithTimeout(t.Context(), 45*time.Minute)
	defer cancel()
	began := time.Now()
	s := &soak{site: newSite(t), t: t, plan: newPlan(uint64(seed), messages)}
	s.Stub.AnswerRcpt(s.plan.answerRcpt)
	s.Stub.AnswerData(s.plan.answerData)
	if err := s.Start(ctx); err != nil {
		t.Fatal(err)
	}
	s.work(ctx, kills)
	if t.Failed() {
		return
	}
	if s.kill != kills {
		t.Errorf("%d kills were made, want %d", s.kill, kills)
	}
	working := time.Since(began)
	s.finish(ctx)
	s.account(ctx)
	t.Logf("seed %d: worked for %s, then %s to the end; %d kills, of which %d left changes to be ended; deliveries taken: %d",
		seed, working.Round(time.Second), (time.Since(began) - working).Round(time.Second), s.kill, s.open, len(s.Stub.Deliveries()))
	for _, what := range slices.Sorted(maps.Keys(s.counts)) {
		t.Logf("  %s: %d", what, s.counts[what])
	}
}

// work has everything going on at once, until all messages were submitted and
// all kills made. Each round submits its share of the messages, and ends with
// its kill.
func (s *soak) work(ctx context.Context, kills int) {
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			s.repeat(500*time.Millisecond, func() error { _, err := s.RunQueue(ctx); s.count("runs of the queue"); return err })
		})
	}
	wg.Go(func() { s.repeat(time.Second, func() error { return s.sweep(ctx) }) })
	wg.Go(func() {
		hands := s.hands()
		s.repeat(300*time.Millisecond, func() error { return hands(ctx) })
	})
	moments := s.plan.random("kills")
	next := 0
	for round := range kills {
		until := len(s.plan.letters) * (round + 1) / kills
		s.submit(ctx, next, until)
		next = until
		if s.t.Failed() {
			break
		}
		after, ok := s.site.kill(ctx, moments.Float64())
		if !ok {
			break
		}
		s.kill++
		if s.unfinished() {
			s.open++
		}
		s.t.Logf("round %d of %d: %d messages so far, killed a process after %s", round+1, kills, until, after.Round(time.Millisecond))
		time.Sleep(time.Duration(moments.IntN(1500)) * time.Millisecond)
	}
	s.stop.Store(true)
	wg.Wait()
}

// repeat does something every so often until the work ends. A run that is under
// way ends by itself: a sendmail that is killed between the receiver's answer
// and its own note of it would deliver twice.
func (s *soak) repeat(every time.Duration, do func() error) {
	for !s.stop.Load() && !s.t.Failed() {
		next := time.Now().Add(every)
		switch err := do(); {
		case errors.Is(err, errKilled):
			continue // the next start comes at once
		case err != nil:
			s.t.Error(err)
			return
		}
		time.Sleep(time.Until(next))
	}
}

func (s *soak) sweep(ctx context.Context) error {
	out, err := s.run(ctx, "sweep", "--json")
	s.tally("sweep", out)
	return err
}

// submit sends messages of the plan to sendmail.
func (s *soak) submit(ctx context.Context, from, to int) {
	for from < to {
		// Some at a time, so that the hands soon know their ids.
		next := min(from+50, to)
		var some []lab.Envelope
		for i := from; i < next; i++ {
			some = append(some, s.plan.envelope(i))
		}
		ids, err := s.Submit(ctx, some...)
		if err != nil {
			s.t.Error(err)
			return
		}
		s.mu.Lock()
		s.ids = append(s.ids, ids...)
		s.mu.Unlock()
		from = next
	}
}

// hands hold, release and restore messages that the seed picks. A message whose
// sender is told is not restored: it would then be delivered as well.
func (s *soak) hands() func(context.Context) error {
	r := s.plan.random("hands")
	return func(ctx context.Context) error {
		s.mu.Lock()
		ids := slices.Clone(s.ids)
		s.mu.Unlock()
		if len(ids) == 0 {
			return nil
		}
		what := []string{"hold", "release", "restore"}[r.IntN(3)]
		var picked []string
		for range 20 {
			i := r.IntN(len(s.plan.letters))
			if i < len(ids) && (what != "restore" || s.plan.letters[i].fate != bounced) && !slices.Contains(picked, ids[i]) {
				picked = append(picked, ids[i])
			}
		}
		if len(picked) == 0 {
			return nil
		}
		args := append([]string{"queue", what, "--json"}, picked...)
		if what == "hold" {
			args = append(args, "--reason", "held by hand")
		}
		out, err := s.run(ctx, args...)
		s.tally(what+" by hand", out)
		return err
	}
}
