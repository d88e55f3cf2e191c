package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/backscatterd/backscatterd/queuesweep"
	"github.com/backscatterd/backscatterd/test/lab"
)

// queue list says of every message what mailq says, in all three layouts.
func TestListAgreesWithMailq(t *testing.T) {
	for _, layout := range []lab.Layout{lab.Flat, lab.Split, lab.Groups} {
		t.Run(layout.String(), func(t *testing.T) {
			s := newSite(t, lab.Options{Layout: layout, InMemory: true})
			ctx := s.start()
			s.Stub.AnswerRcpt(func(_, to string) string {
				return map[string]string{
					"full@dest.example":  "452 4.2.2 Mailbox size limit exceeded",
					"grey@dest2.example": "450 4.7.1 Greylisted",
					"x@other.example":    "451 4.3.0 Try again",
				}[to]
			})
			if _, err := s.StuckBounce(ctx, "X-Spam-Flag: YES"); err != nil {
				t.Fatal(err)
			}
			if _, err := s.Submit(ctx,
				lab.Envelope{From: "a@customer.example", To: lab.To("full@dest.example", "grey@dest2.example", "x@other.example"), Data: lab.Compose("three\n", "Subject: three")},
				lab.Envelope{From: "", To: lab.To("full@dest.example"), Data: lab.Compose("from nobody\n", "Subject: null")},
				lab.Envelope{From: "o'brien+tag@customer.example", To: []lab.Recipient{{Address: "full@dest.example", Args: []string{"NOTIFY=NEVER"}}}, Data: lab.Compose("h\xc3\xa9llo\n", "Subject: 8bit h\xc3\xa9")},
				lab.Envelope{From: "never.tried@customer.example", To: lab.To("full@dest.example"), Data: lab.Compose(strings.Repeat("long\n", 2000))},
			); err != nil {
				t.Fatal(err)
			}
			if _, err := s.RunQueue(ctx); err != nil {
				t.Fatal(err)
			}
			held := must(s.Deferred(ctx, "452 4.2.2 Mailbox full", 1))(t)
			if _, err := s.Sendmail(ctx, "-qI"+held.ID, "-Qheld by the test"); err != nil {
				t.Fatal(err)
			}

			want := append(must(s.Mailq(ctx, false))(t), must(s.Mailq(ctx, true))(t)...)
			got := s.list()
			if len(got) != len(want) || len(want) < 6 {
				t.Errorf("queue list has %d messages, mailq %d", len(got), len(want))
			}
			for _, w := range want {
				compare(t, got[w.ID], w)
			}
		})
	}
}

func compare(t *testing.T, got queuesweep.Listed, want lab.Listed) {
	t.Helper()
	sender := "<" + got.Sender + ">"
	if want.Sender == "MAILER-DAEMON" && got.Sender == "" {
		sender = want.Sender
	}
	var rcpts, wantRcpts []string
	for _, r := range got.Recipients {
		rcpts = append(rcpts, fmt.Sprintf("<%s> %s", r.Address, r.Status))
	}
	for _, r := range want.Recipients {
		wantRcpts = append(wantRcpts, fmt.Sprintf("%s %s", r.Address, r.Status))
	}
	a := fmt.Sprintf("sender %s recipients %q status %q size %d priority %d held %q", sender, rcpts, got.Status, got.Size, got.Priority, got.Quarantine)
	b := fmt.Sprintf("sender %s recipients %q status %q size %d priority %d held %q", want.Sender, wantRcpts, want.Status, want.Size, want.Priority, want.Quarantine)
	if a != b {
		t.Errorf("message %s:\n queue list: %s\n mailq:      %s", want.ID, a, b)
	}
}
