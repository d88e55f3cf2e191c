package evidence_test

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/backscatterd/backscatterd/milter/evidence"
)

// The DNS list decides only together with evidence of the first hop or a forged
// signature, and is asked only where its answer can decide.
func TestTheDNSListNeverDecidesAlone(t *testing.T) {
	for _, c := range []struct {
		name    string
		change  func(w *world)
		list    listing
		verdict evidence.Verdict
		asked   int
	}{
		{"with C2", func(w *world) {}, listing{listed: true}, evidence.Suspect, 1},
		{"not listed", func(w *world) {}, listing{}, evidence.Unknown, 1},
		{"error", func(w *world) {}, listing{listed: true, err: errors.New("timeout")}, evidence.Unknown, 1},
		{"alone", func(w *world) { w.returned = nil }, listing{listed: true}, evidence.Unknown, 0},
		{"support", func(w *world) { w.received(relayed) }, listing{listed: true}, evidence.Unknown, 0},
		{"a sender", func(w *world) { w.envelope.Sender = "MAILER-DAEMON@there.example" }, listing{listed: true}, evidence.Unknown, 0},
		{"offline", func(w *world) { w.envelope.Offline = true }, listing{listed: true}, evidence.Unknown, 0},
		{"suspect without it", func(w *world) { w.opts.Ledger = w.ledger }, listing{listed: true}, evidence.Suspect, 0},
		{"a ledger error is not made up for", func(w *world) { w.opts.Ledger, w.ledger.err = w.ledger, errors.New("broken") }, listing{listed: true}, evidence.Unknown, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			w.opts.Ledger = nil
			w.opts.Blocklist = &c.list
			c.change(w)
			if j := w.judge(t); j.Verdict != c.verdict || c.list.asked != c.asked {
				t.Errorf("%s because of %s, asked %d times; want %s, %d", j.Verdict, words(j.Reasons), c.list.asked, c.verdict, c.asked)
			}
		})
	}
}

func TestASlowListIsNotWaitedFor(t *testing.T) {
	w := newWorld(t)
	w.opts.Ledger = nil
	w.opts.Blocklist, w.opts.BlocklistTimeout = never{}, time.Millisecond
	if j := w.judge(t); j.Verdict != evidence.Unknown || words(j.Reasons) != "no-proof,first-hop-not-ours,lookup-failed" {
		t.Errorf("%s because of %s", j.Verdict, words(j.Reasons))
	}
}

// never answers.
type never struct{}

func (never) Listed(ctx context.Context, _ netip.Addr) (bool, error) {
	<-ctx.Done()
	return true, ctx.Err()
}
