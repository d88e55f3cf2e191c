package e2e

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/backscatterd/backscatterd/test/lab"
)

// bouncesOf hands in spam from a forged sender that cannot be delivered, and
// returns whom sendmail told: senders and recipients of what the stub was
// offered besides the spam.
func bouncesOf(t *testing.T, s *mailSite, ctx context.Context, subject string) (told []string) {
	t.Helper()
	s.Stub.Refuse("full@"+ourDomain, "550 5.2.2 mailbox full")
	e := lab.Envelope{From: "victim@forged.example", To: lab.To("full@" + ourDomain), Data: lab.Compose("Buy!\n",
		"From: <victim@forged.example>", "To: <full@"+ourDomain+">", "Subject: "+subject, "Message-ID: <s@forged.example>",
		"Date: "+time.Now().Format(time.RFC1123Z))}
	if answer := fromOutside(t, s.Lab, e); !strings.HasPrefix(answer, "250") {
		t.Fatal(answer)
	}
	for range 4 { // the spam, its bounce, and what may come of that
		if _, err := s.RunQueue(ctx); err != nil {
			t.Fatal(err)
		}
	}
	s.awaitQueue(ctx, 0)
	for _, d := range s.Stub.Deliveries() {
		told = append(told, d.From+" to "+strings.Join(d.To, ","))
	}
	return told
}

// Prevention: spam that is accepted all the same has no sender any more who would
// be told that it could not be delivered. What sendmail makes of it then is a
// double bounce, for postmaster, which one line of sendmail.mc does away with.
func TestMilterPrevention(t *testing.T) {
	const on = "null_spam_senders = true"
	for _, c := range []struct {
		name, subject, milter string
		mc                    []string
		want                  string
	}{
		{"without", "viagra", "", nil, " to victim@forged.example"},
		{"not of what is no spam", "hello", on, nil, " to victim@forged.example"},
		// The lab sends local users there, see its MAIL_HUB.
		{"with", "viagra", on, nil, " to postmaster@[127.0.0.1]"},
		{"with, and without double bounces", "viagra", on, []string{"define(`confDOUBLE_BOUNCE_ADDRESS', `')dnl"}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, ctx := newMailSite(t, mailOptions{filters: []string{startSpamFilter(t)}, milter: c.milter, lab: lab.Options{MC: c.mc}, only: "milter"})
			told := bouncesOf(t, s, ctx, c.subject)
			if got := strings.Join(told, "\n"); got != c.want {
				t.Errorf("told were\n%s\nwant\n%s", got, c.want)
			}
		})
	}
}
