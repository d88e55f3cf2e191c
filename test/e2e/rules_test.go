package e2e

import (
	"context"
	"testing"

	"github.com/backscatterd/backscatterd/queuesweep"
	"github.com/backscatterd/backscatterd/test/lab"
)

// Each of the built-in rules takes what it is for, from queue files that the
// real sendmail wrote, and nothing takes the mail that is merely waiting.
func TestDefaultRules(t *testing.T) {
	s := newSite(t, lab.Options{InMemory: true}, "[sweep]\nmax_share = 1.0")
	ctx := s.start()

	deferred := func(reason string, attempts int, headers ...string) func() (lab.Message, error) {
		return func() (lab.Message, error) { return s.Deferred(ctx, reason, attempts, headers...) }
	}
	returned := "Subject: Returned mail: see transcript for details"
	tests := []struct {
		rule   string // "" is none
		action queuesweep.Verb
		story  func() (lab.Message, error)
	}{
		{"timed-out-bounces", "move", deferred(lab.ConnectionTimedOut, 1, returned)},
		{"relay-denied", "move", deferred("450 4.7.1 Relay access denied", 1)},
		{"sender-domain-unknown", "move", deferred("451 4.1.8 Domain of sender address a@b.example does not resolve", 1)},
		{"sender-domain-unknown", "move", deferred("450 4.1.8 Domain of sender address a@b.example does not exist", 1)},
		{"sender-domain-not-found", "move", deferred("450 4.1.8 Sender address rejected: Domain not found", 1)},
		{"called-spam", "move", deferred("451 4.7.1 message looks like SPAM", 1)},
		{"unreachable-for-long", "move", deferred(lab.NetworkUnreachable, 51)},
		{"unanswered-for-long", "move", deferred(lab.ConnectionRefused, 51)},
		{"unanswered-for-long", "move", deferred(lab.ConnectionTimedOut, 51)},
		{"spam-flagged", "move", deferred("452 4.2.2 Mailbox full", 1, "X-Spam-Flag: YES")},
		{"unreachable", "expire", deferred(lab.NetworkUnreachable, 11)},
		{"own-spam-bounces", "move", func() (lab.Message, error) { return stuckBounce(ctx, s, "452 4.2.2 Mailbox full", "X-Spam-Flag: YES") }},
		{"stuck-bounces", "move", func() (lab.Message, error) { return stuckBounce(ctx, s, "452 4.2.2 Mailbox full") }},

		{"", "", deferred("452 4.2.2 Mailbox full", 200)},
		{"", "", deferred("450 4.2.0 Greylisted, try again", 1, "X-Spam-Flag: NO", returned)},
		{"", "", deferred(lab.NetworkUnreachable, 10)},
		{"", "", deferred(lab.ConnectionRefused, 50)},
		{"", "", deferred(lab.ConnectionTimedOut, 1, "Subject: lunch?")},
		{"", "", deferred("450 4.7.0 we take no eggs today", 1)},
	}
	want := make(map[string]int)
	for i, tt := range tests {
		m, err := tt.story()
		if err != nil {
			t.Fatalf("story %d (%s): %v", i, tt.rule, err)
		}
		want[m.ID] = i
	}
	found, sum := s.act(0, "sweep", "--dry-run")
	if sum.Scanned != len(tests) {
		t.Errorf("scanned %d messages, want %d", sum.Scanned, len(tests))
	}
	got := make(map[int]queuesweep.Result)
	for _, r := range found {
		got[want[r.ID]] = r
	}
	for i, tt := range tests {
		if r := got[i]; r.Rule != tt.rule || r.Action != tt.action {
			t.Errorf("story %d: rule %q does %q, want %q doing %q (status %q)", i, r.Rule, r.Action, tt.rule, tt.action, r.Status)
		}
	}
}

// stuckBounce is a bounce of sendmail's own that is stuck for this reason.
func stuckBounce(ctx context.Context, s *site, reason string, headers ...string) (lab.Message, error) {
	m, err := s.StuckBounce(ctx, headers...)
	if err != nil {
		return m, err
	}
	s.Stub.Refuse(m.Recipient, reason)
	if _, err := s.RunQueue(ctx, "-qI"+m.ID); err != nil {
		return m, err
	}
	return m, nil
}
