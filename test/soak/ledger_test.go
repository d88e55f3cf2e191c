package soak

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/backscatterd/backscatterd/queuesweep"
)

// tally counts what a run said of each message.
func (s *soak) tally(what string, out []byte) {
	for line := range bytes.Lines(out) {
		var r queuesweep.Result
		if json.Unmarshal(line, &r) != nil || r.ID == "" {
			continue // the summary, or a line that a kill has cut short
		}
		if what == "sweep" {
			s.count("sweep, " + string(r.Action) + ": " + string(r.Result))
			continue
		}
		s.count(what + ": " + string(r.Result))
	}
}

// finish brings every message to its end, as far as that is in the program's
// hands, and then in sendmail's.
func (s *soak) finish(ctx context.Context) {
	// What is to be deleted or bounced is in its place when nothing but these
	// two is left to do, and nobody holds a message of theirs.
	s.until("the rules have done their work", func() bool {
		s.releaseAll(ctx, deleted, bounced)
		s.queueRun(ctx)
		if err := s.sweep(ctx); err != nil {
			s.t.Error(err)
		}
		left := s.numbers(s.listed(ctx), deleted, bounced)
		owed := 0
		for _, m := range s.listed(ctx, "--removed") {
			if m.BounceOwed {
				owed++
			}
		}
		return len(left) == 0 && owed == 0
	})
	s.plan.openUp()
	s.until("everything is delivered", func() bool {
		s.releaseAll(ctx, accepted, later, unknown, moved, held)
		removed := s.numbers(s.listed(ctx, "--removed"), accepted, later, unknown, moved, held)
		s.byHand(ctx, "restore", removed)
		s.queueRun(ctx)
		return len(removed) == 0 && len(s.listed(ctx)) == 0
	})
}

// until repeats something that should come to an end soon.
func (s *soak) until(what string, done func() bool) {
	for range 20 {
		if s.t.Failed() || done() {
			return
		}
	}
	s.t.Errorf("after 20 rounds it is still not so that %s", what)
}

func (s *soak) queueRun(ctx context.Context) {
	if _, err := s.RunQueue(ctx); err != nil {
		s.t.Error(err)
	}
}

func (s *soak) listed(ctx context.Context, args ...string) map[string]queuesweep.Listed {
	all, err := s.list(ctx, args...)
	if err != nil {
		s.t.Error(err)
	}
	return all
}

// numbers are the ids of these that are messages of such a fate.
func (s *soak) numbers(listed map[string]queuesweep.Listed, wanted ...fate) (ids []string) {
	for i, id := range s.ids {
		if _, ok := listed[id]; ok && slices.Contains(wanted, s.plan.letters[i].fate) {
			ids = append(ids, id)
		}
	}
	return ids
}

func (s *soak) releaseAll(ctx context.Context, wanted ...fate) {
	quarantined := make(map[string]queuesweep.Listed)
	for id, m := range s.listed(ctx) {
		if m.Quarantine != "" {
			quarantined[id] = m
		}
	}
	s.byHand(ctx, "release", s.numbers(quarantined, wanted...))
}

// byHand acts on messages that nobody else has in hand.
func (s *soak) byHand(ctx context.Context, what string, ids []string) {
	for some := range slices.Chunk(ids, 500) {
		out, err := s.run(ctx, append([]string{"queue", what, "--json"}, some...)...)
		s.tally(what+" at the end", out)
		if err != nil {
			s.t.Error(err)
		}
	}
}

// account looks for each message in the three books: it must be in the one
// place where it belongs, once. None of them is the program's own: the
// receiver's record, the names in the queue folders, the names in the store.
func (s *soak) account(ctx context.Context) {
	queue, store := s.names(s.QueueRoot), s.names(s.store)
	for name, where := range queue {
		s.t.Errorf("left in the queue: %s (%s)", where, name)
	}
	told := make(map[int]map[string]int) // Message-IDs of what a sender was sent
	taken := make(map[int]int)
	for _, d := range s.Stub.Deliveries() {
		for _, to := range d.To {
			if i, ok := numberOf(to, "r"); ok {
				taken[i]++
				if !bytes.HasSuffix(d.Data, []byte(strings.ReplaceAll(body(i), "\n", "\r\n"))) || d.MessageID != messageID(i) {
					s.t.Errorf("message %d was delivered with another body or Message-ID: %q", i, d.Data)
				}
			} else if i, ok := numberOf(to, "s"); ok && d.From == "" {
				if told[i] == nil {
					told[i] = make(map[string]int)
				}
				told[i][d.MessageID]++
			} else {
				s.t.Errorf("a delivery from %q to %q is none of the plan's", d.From, to)
			}
		}
	}
	again := 0
	for i, l := range s.plan.letters {
		id := s.ids[i]
		inStore := 0
		for _, prefix := range []string{"qf", "hf", "Qf"} {
			if _, ok := store[prefix+id]; ok {
				inStore++
			}
		}
		if _, body := store["df"+id]; body != (inStore == 1) {
			s.t.Errorf("message %d (%s, %s): the store has %d control files, body: %v", i, l.fate, id, inStore, body)
		}
		wantTaken, wantStored, wantTold := 0, 0, 0
		switch {
		case l.fate.delivered():
			wantTaken = 1
		case l.fate == unknown:
			wantTold = 1
		case l.fate == bounced:
			wantTold, wantStored = 1, 1
		}
		if taken[i] != wantTaken || inStore != wantStored || len(told[i]) != wantTold {
			s.t.Errorf("message %d (%s, %s): delivered %d times, want %d; in the store %d times, want %d; its sender was told by %d messages, want %d",
				i, l.fate, id, taken[i], wantTaken, inStore, wantStored, len(told[i]), wantTold)
		}
		for _, n := range told[i] {
			if n > 1 && l.fate == unknown {
				s.t.Errorf("message %d (%s): sendmail's notice came %d times", i, id, n)
			}
			again += n - 1
		}
		s.count("accounted for: " + l.fate.String())
	}
	for name, where := range store {
		if strings.HasPrefix(name, ".") {
			s.t.Errorf("left in the store: %s", where)
		}
	}
	if s.unfinished() {
		s.t.Error("the journal is not empty")
	}
	s.counts["bounces sent again, under the same Message-ID, after a kill"] = again
	s.checkAudit()
}

// names are the names of a message's files, and of ours, anywhere below a folder.
func (s *soak) names(root string) map[string]string {
	all := make(map[string]string)
	err := filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name := d.Name()
		if strings.HasPrefix(name, ".") || len(name) > 2 && name[1] == 'f' {
			if other, twice := all[name]; twice {
				s.t.Errorf("%s is there twice: %s and %s", name, other, path)
			}
			all[name] = path
		}
		return nil
	})
	if err != nil {
		s.t.Error(err)
	}
	return all
}

// checkAudit checks that every line of the audit log is whole, kills or not.
func (s *soak) checkAudit() {
	data, err := os.ReadFile(s.audit)
	if err != nil {
		s.t.Error(err)
		return
	}
	for line := range bytes.Lines(data) {
		var r queuesweep.Result
		if err := json.Unmarshal(line, &r); err != nil {
			s.t.Errorf("audit log: %v in %q", err, line)
		}
		s.counts["lines of the audit log"]++
	}
}
