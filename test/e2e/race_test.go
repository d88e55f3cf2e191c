package e2e

import (
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/backscatterd/backscatterd/queuesweep"
	"github.com/backscatterd/backscatterd/queuesweep/rule"
	"github.com/backscatterd/backscatterd/queuesweep/spool"
	"github.com/backscatterd/backscatterd/test/lab"
)

// meddler is a disk on which something happens just before a message is opened
// for its lock.
type meddler struct {
	spool.System
	once   sync.Once
	before func()
}

func (m *meddler) Openat(dirfd int, name string, flags int, mode uint32) (int, error) {
	if flags&unix.O_RDWR != 0 && len(name) > 2 && name[:2] == "qf" {
		m.once.Do(m.before)
	}
	return m.System.Openat(dirfd, name, flags, mode)
}

// sweeper is one in this process, for what no command line can time.
func (s *site) sweeper(disk spool.Disk) *queuesweep.Sweeper {
	s.t.Helper()
	audit := must(queuesweep.OpenAudit(filepath.Join(s.Dir, "audit.jsonl")))(s.t)
	s.t.Cleanup(func() { audit.Close() })
	return queuesweep.New(queuesweep.Options{
		Places: func() ([]spool.Place, error) { return spool.PlacesOf(s.CF) },
		Disk:   disk, Store: s.store, Workers: 2, MaxControlFile: 32 << 20, LockWait: 10 * time.Second,
		Audit: audit, Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Now: time.Now,
	})
}

// A message that is delivered in part between match and lock is judged again,
// and what no longer matches is left alone.
func TestJudgedAgainUnderTheLock(t *testing.T) {
	s := newSite(t, lab.Options{InMemory: true})
	ctx := s.start()
	s.Stub.Refuse("a@dest.example", "450 4.7.1 Relay access denied")
	s.Stub.Refuse("b@dest.example", "450 4.7.1 Relay access denied")
	must(s.Submit(ctx, lab.Envelope{From: "x@customer.example", To: lab.To("a@dest.example", "b@dest.example"), Data: lab.Compose("hi\n", "Message-ID: <two@x>")}))(t)
	must(s.RunQueue(ctx))(t)

	disk := &meddler{before: func() {
		s.Stub.Refuse("a@dest.example", "")
		must(s.RunQueue(ctx))(t)
	}}
	set := must(rule.Compile([]rule.Rule{{Name: "both", When: "len(recipients) == 2", Do: rule.Move}}))(t)
	var got []queuesweep.Result
	_, err := s.sweeper(disk).Sweep(ctx, set, queuesweep.SweepOptions{Emit: func(r queuesweep.Result) { got = append(got, r) }})
	if err != nil {
		t.Fatal(err)
	}
	s.one(got, queuesweep.Changed)
	if listed := s.list(); len(listed) != 1 {
		t.Errorf("in the queue: %+v", listed)
	}
	if s.Stub.Count("<two@x>", "a@dest.example") != 1 {
		t.Error("the first recipient did not get the message once")
	}
}

// Sweeps run while sendmail runs its queue as fast as it can. In the end every
// message was delivered once or is in the removed store once; none both, none
// neither.
func TestSweepsBesideQueueRuns(t *testing.T) {
	const messages, sweeps = 2000, 20
	s := newSite(t, lab.Options{Layout: lab.Split, InMemory: true})
	ctx := s.start()
	var refuse atomic.Bool
	refuse.Store(true)
	s.Stub.AnswerRcpt(func(_, to string) string {
		if refuse.Load() {
			return "450 4.7.1 Relay access denied"
		}
		return ""
	})
	envelopes := make([]lab.Envelope, messages)
	for i := range envelopes {
		envelopes[i] = lab.Envelope{From: "x@customer.example", To: lab.To(fmt.Sprintf("r%d@dest.example", i)),
			Data: lab.Compose("hi\n", fmt.Sprintf("Message-ID: <m%d@x>", i), fmt.Sprintf("X-Number: %d", i))}
	}
	ids := must(s.Submit(ctx, envelopes...))(t)
	must(s.RunQueue(ctx))(t)
	refuse.Store(false)

	set := must(rule.Compile([]rule.Rule{{Name: "denied", When: `status contains "Relay access denied" && int(header("X-Number")) % 3 == 0`, Do: rule.Move}}))(t)
	// A run that is under way ends by itself: sendmail, killed between the
	// receiver's answer and its own note of it, would deliver twice.
	var stop atomic.Bool
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for !stop.Load() {
				if _, err := s.RunQueue(ctx); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	sweeper := s.sweeper(spool.System{})
	outcome := make(map[queuesweep.Code]int)
	for range sweeps {
		if _, err := sweeper.Sweep(ctx, set, queuesweep.SweepOptions{Unlimited: true, Emit: func(r queuesweep.Result) { outcome[r.Result]++ }}); err != nil {
			t.Error(err)
		}
	}
	stop.Store(true)
	wg.Wait()
	must(s.RunQueue(ctx))(t)
	t.Logf("outcome of %d sweeps: %v", sweeps, outcome)

	if left := s.list(); len(left) != 0 {
		t.Errorf("%d messages left in the queue", len(left))
	}
	removed := s.list("--removed")
	if len(removed) == 0 || len(removed) == messages/3+1 {
		t.Logf("all or none were removed (%d): the two did not meet in this run", len(removed))
	}
	for i, id := range ids {
		delivered := s.Stub.Count(fmt.Sprintf("<m%d@x>", i), fmt.Sprintf("r%d@dest.example", i))
		_, stored := removed[id]
		if stored && delivered != 0 || !stored && delivered != 1 {
			t.Errorf("message %d (%s): delivered %d times, in the store: %v", i, id, delivered, stored)
		}
	}
	if outcome[queuesweep.Failed] != 0 {
		t.Errorf("%d actions failed", outcome[queuesweep.Failed])
	}
}
