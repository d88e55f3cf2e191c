package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-milter"

	"github.com/backscatterd/backscatterd/test/lab"
)

// spamFilter is an earlier filter, as SpamAssassin's: it marks what names a
// certain medicine.
type spamFilter struct {
	milter.NoOpMilter
	spam bool
}

func (f *spamFilter) Header(name, value string, _ *milter.Modifier) (milter.Response, error) {
	f.spam = f.spam || strings.EqualFold(name, "Subject") && strings.Contains(value, "viagra")
	return milter.RespContinue, nil
}

func (f *spamFilter) BodyChunk([]byte, *milter.Modifier) (milter.Response, error) {
	return milter.RespContinue, nil
}

func (f *spamFilter) Body(m *milter.Modifier) (milter.Response, error) {
	flag := map[bool]string{true: "YES", false: "NO"}[f.spam]
	f.spam = false
	for _, h := range [][2]string{{"X-Spam-Flag", flag}, {"X-Spam-Level", "***"}, {"X-Spam-Status", flag + ", score=3.0"}} {
		if err := m.AddHeader(h[0], h[1]); err != nil {
			return nil, err
		}
	}
	return milter.RespContinue, nil
}

// startSpamFilter runs one, and returns the line of sendmail.mc that calls it.
func startSpamFilter(t *testing.T) string {
	t.Helper()
	ln := listenLoopback(t)
	s := milter.Server{NewMilter: func() milter.Milter { return &spamFilter{} }, Actions: milter.OptAddHeader}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.Serve(ln)
	}()
	t.Cleanup(func() {
		ln.Close()
		<-ended
	})
	return fmt.Sprintf("INPUT_MAIL_FILTER(`spam', `S=inet:%d@127.0.0.1, T=S:10s;R:10s;E:1m')dnl", port(ln))
}

// What has the null sender and is no bounce, or answers mail without being one,
// is never called suspect, nor is ordinary mail; with SpamAssassin's headers
// there already.
func TestMilterKinds(t *testing.T) {
	s, ctx := newMailSite(t, mailOptions{filters: []string{startSpamFilter(t)}})
	time.Sleep(time.Second) // the warm-up
	const to = "info@" + ourDomain
	report := func(kind, part, fields string) []byte {
		return lab.Compose(strings.Join([]string{"--x", "Content-Type: text/plain", "", "Your message was read.", "",
			"--x", "Content-Type: " + part, "", fields, "", "--x--", ""}, "\n"),
			"From: <ann@remote.example>", "To: <"+to+">", "Subject: Read: hello", "Message-ID: <m@remote.example>",
			"Date: "+time.Now().Format(time.RFC1123Z), "MIME-Version: 1.0",
			`Content-Type: multipart/report; report-type=`+kind+`; boundary=x`)
	}
	for _, c := range []struct {
		name, sender string
		data         []byte
		status       string // how X-Backscatter-Status begins
	}{
		{"ordinary mail", "ann@remote.example", letter("ann@remote.example", to, "2@remote.example"), ""},
		{"a letter with the null sender", "", letter("ann@remote.example", to, "3@remote.example"), ""},
		{"an auto-reply", "", letter("ann@remote.example", to, "4@remote.example", "Auto-Submitted: auto-replied", "In-Reply-To: <1@"+ourDomain+">"), "unknown kind=auto-reply"},
		{"a list with the null sender", "", letter("ann@remote.example", to, "5@remote.example", "List-Id: <l.remote.example>", "Precedence: list"), ""},
		{"an MDN", "", report("disposition-notification", "message/disposition-notification",
			"Final-Recipient: rfc822; ann@remote.example\nOriginal-Message-ID: <1@"+ourDomain+">\nDisposition: manual-action/MDN-sent-manually; displayed"), "unknown kind=disposition"},
		{"forged headers of ours", "ann@remote.example", letter("ann@remote.example", to, "6@remote.example",
			"X-Backscatter-Flag: YES", "x-backscatter-status: legit kind=failed", "X-Backscatter-Flag: YES", "X-BackScatter-Flag: NO", "X-Backscatter-Status:\n\tsuspect"), ""},
	} {
		in := s.received(ctx, lab.Envelope{From: c.sender, To: lab.To(to), Data: c.data})
		h := header(t, in)
		if h.Get("X-Backscatter-Flag") != "" {
			t.Errorf("%s: called suspect: %v", c.name, h)
		}
		if got := strings.Join(h["X-Backscatter-Status"], "|"); c.status == "" && got != "" || !strings.HasPrefix(got, c.status) {
			t.Errorf("%s: status %q, want %q", c.name, got, c.status)
		}
		if h.Get("X-Spam-Flag") != "NO" || h.Get("X-Backscatter-Token") != "" {
			t.Errorf("%s: %v", c.name, h)
		}
	}
}

// suspectBounce is the bounce of a message that somebody else sent in the name
// of a user of ours, who never sent any.
func suspectBounce(user string) lab.Envelope {
	lines := strings.Join([]string{
		"--x", "Content-Type: text/plain", "", "Your message could not be delivered.", "",
		"--x", "Content-Type: message/delivery-status", "", "Reporting-MTA: dns; mx.remote.example", "",
		"Final-Recipient: rfc822; nobody@remote.example", "Action: failed", "Status: 5.1.1", "",
		"--x", "Content-Type: message/rfc822", "",
		"Received: from spammer.example (spammer.example [192.0.2.66]) by mx.remote.example with ESMTP id 6AOMSHAk000014; " + time.Now().Format(time.RFC1123Z),
		string(letter(user, "nobody@remote.example", "forged@"+ourDomain)), "--x--", "",
	}, "\n")
	return lab.Envelope{To: lab.To(user), Data: lab.Compose(lines,
		"From: Mail Delivery Subsystem <MAILER-DAEMON@mx.remote.example>", "To: <"+user+">", "Subject: Returned mail: see transcript for details",
		"Message-ID: <b@mx.remote.example>", "Date: "+time.Now().Format(time.RFC1123Z), "Auto-Submitted: auto-generated (failure)",
		"MIME-Version: 1.0", "Content-Type: multipart/report; report-type=delivery-status; boundary=x")}
}

// The actions, by verdict and by recipient.
func TestMilterActions(t *testing.T) {
	s, ctx := newMailSite(t, mailOptions{
		milter: `reject_text = "100% not ours: %s%n"`,
		other: `[milter.verdict]
suspect = "reject"
[milter.listed]
recipients = ["held@example.org", "@lists.example.org"]
suspect = "quarantine"
`})
	time.Sleep(time.Second)
	answer := fromOutside(t, s.Lab, suspectBounce("info@"+ourDomain))
	if answer != "550 5.7.1 100% not ours: %s%n" {
		t.Errorf("refused with %q", answer)
	}
	if list, err := s.Mailq(ctx, false); err != nil || len(list) != 0 {
		t.Errorf("the queue has %v, %v", list, err)
	}
	if answer := fromOutside(t, s.Lab, suspectBounce("held@"+ourDomain)); !strings.HasPrefix(answer, "250") {
		t.Errorf("answered %q", answer)
	}
	held, err := s.Mailq(ctx, true)
	if err != nil || len(held) != 1 || !strings.HasPrefix(held[0].Quarantine, "backscatterd: suspect kind=failed reasons=no-proof") {
		t.Errorf("held are %+v, %v", held, err)
	}
	// A refused bounce costs the connection nothing; what is held is released by
	// rule or by hand.
	for id := range s.list("--where", `state == "held" && header("X-Backscatter-Flag") == "YES"`) {
		s.run(0, "queue", "release", id)
	}
	if in := deliver(t, ctx, s.Lab, 0); header(t, in).Get("X-Backscatter-Flag") != "YES" {
		t.Errorf("released:\n%s", in.Data)
	}
}

// Discarded is gone, and SMTP is told that all is well.
func TestMilterDiscards(t *testing.T) {
	s, ctx := newMailSite(t, mailOptions{other: "[milter.verdict]\nsuspect = \"discard\"\n", only: "milter"})
	time.Sleep(time.Second)
	if answer := fromOutside(t, s.Lab, suspectBounce("info@"+ourDomain)); !strings.HasPrefix(answer, "250") {
		t.Errorf("answered %q", answer)
	}
	s.says("action=discard")
	if list, err := s.Mailq(ctx, false); err != nil || len(list) != 0 {
		t.Errorf("the queue has %v, %v", list, err)
	}
}

// Both halves: the milter tags a suspect, it gets stuck in the queue since the
// mailbox host is down, and the sweeper moves it by its tag. A bounce of our own
// mail that is stuck in the same way stays.
func TestMilterAndSweeper(t *testing.T) {
	s, ctx := newMailSite(t, mailOptions{other: `
[sweep]
schedule = "@every 1s"
max_share = 1.0
[[rule]]
name = "suspects"
when = 'header("X-Backscatter-Flag") == "YES" && verdict startsWith "suspect" && status startsWith "Deferred"'
do = "move"
`})
	time.Sleep(time.Second)
	out := s.sent(ctx, lab.Envelope{From: "joe@" + ourDomain, To: lab.To("ann@remote.example"), Data: letter("joe@"+ourDomain, "ann@remote.example", "1@"+ourDomain)})
	back := bounced(t, ctx, newRemote(t), out)
	s.Stub.AnswerRcpt(func(string, string) string { return "450 4.2.1 mailbox host is down" })
	for _, e := range []lab.Envelope{{To: lab.To(back.To[0]), Data: back.Data}, suspectBounce("info@" + ourDomain)} {
		if answer := fromOutside(t, s.Lab, e); !strings.HasPrefix(answer, "250") {
			t.Fatal(answer)
		}
	}
	if _, err := s.RunQueue(ctx); err != nil {
		t.Fatal(err)
	}
	s.says("rule=suspects")
	s.awaitQueue(ctx, 1)
	for _, m := range s.list() {
		if len(m.Recipients) != 1 || m.Recipients[0].Address != "joe@"+ourDomain {
			t.Errorf("left in the queue: %+v", m)
		}
	}
}

// awaitQueue waits until the queue has so many messages.
func (s *mailSite) awaitQueue(ctx context.Context, n int) {
	s.t.Helper()
	var got int
	for range 200 {
		list, err := s.Mailq(ctx, false)
		if err != nil {
			s.t.Fatal(err)
		}
		if got = len(list); got == n {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	s.t.Fatalf("the queue has %d messages, want %d", got, n)
}
