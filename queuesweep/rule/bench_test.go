package rule_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/backscatterd/backscatterd/queuesweep/qf"
	"github.com/backscatterd/backscatterd/queuesweep/rule"
)

// fieldRules are conditions as people write them; they are those of the
// default configuration.
var fieldRules = []rule.Rule{
	{Name: "timed-out-bounces", When: `status contains "Connection timed out" && header("Subject") contains "Returned mail: see transcript for details"`},
	{Name: "relay-denied", When: `status matches "Deferred: 45.* Relay access denied"`},
	{Name: "sender-domain-unknown", When: `status matches "Deferred: 45.* Domain of sender address .* does not (resolve|exist)"`},
	{Name: "sender-domain-not-found", When: `status matches "Deferred: 45.* Sender address rejected: Domain not found"`},
	{Name: "called-spam", When: `status matches "(?i)Deferred: 45.* spam"`},
	{Name: "unreachable-for-long", When: `attempts > 50 && status contains "Network is unreachable"`},
	{Name: "unanswered-for-long", When: `attempts > 50 && status matches "Connection (timed out|refused)"`},
	{Name: "own-spam-bounces", When: `null_sender && status startsWith "Deferred" && returned.header("X-Spam-Flag") startsWith "YES"`},
	{Name: "stuck-bounces", When: `line("S") == "MAILER-DAEMON" && status startsWith "Deferred" && header("Subject") matches "Returned mail|could not send message"`},
	{Name: "spam-flagged", When: `status startsWith "Deferred" && header("X-Spam-Flag") contains "YES"`},
	{Name: "unreachable", When: `attempts > 10 && status contains "Network is unreachable"`, Do: rule.Expire},
}

// message is a control file of about 1 kB as sendmail writes it.
func message(tb testing.TB, sender, flags, status, subject string, attempts int) *rule.Message {
	tb.Helper()
	text := fmt.Sprintf("V8\nT1447493191\nK1447495556\nN%d\nP123490\nI202/0/54669\nM%s\nF%s\n"+
		"$_client.example.net [192.0.2.7]\n$rESMTP\n$sclient.example.net\n${daemon_flags}\n${if_addr}192.0.2.1\n"+
		"S%s\nrRFC822; user@remote.example\nRPFD:<user@remote.example>\n"+
		"H?P?Return-Path: <\xFF\x81g>\n"+
		"H??Received: from client.example.net (client.example.net [192.0.2.7])\n\tby mail.example.org (8.17.1.9/8.17.1.9/Debian-2) with ESMTP id tAE9QVHl018335\n\tfor <user@remote.example>; Sat, 14 Nov 2015 20:26:31 +1100\n"+
		"H?D?Date: Sat, 14 Nov 2015 20:26:31 +1100\nH?F?From: Somebody <somebody@example.org>\nH?M?Message-Id: <201511140926.tAE9QVHl018335@mail.example.org>\n"+
		"H??To: user@remote.example\nH??MIME-Version: 1.0\nH??Content-Type: text/plain; charset=utf-8\nH??Subject: %s\nH??X-Mailer: Example 1.0\n"+
		"H??List-Unsubscribe: <https://example.org/unsubscribe/0123456789abcdef>\n.\n",
		attempts, status, flags, sender, subject)
	f, err := qf.Parse([]byte(text))
	if err != nil {
		tb.Fatal(err)
	}
	return &rule.Message{ID: "tAE9QVHl018335", Queue: "/var/spool/mqueue", State: "active", File: f, Now: time.Unix(1447500000, 0)}
}

// BenchmarkFirst judges messages of one kind each with the rules of the
// default configuration.
func BenchmarkFirst(b *testing.B) {
	set, err := rule.Compile(fieldRules)
	if err != nil {
		b.Fatal(err)
	}
	for _, c := range []struct {
		name string
		m    *rule.Message
	}{
		{"deferred", message(b, "<a@example.org>", "", "Deferred: 451 4.7.1 Greylisting in action, please come back later", "Minutes of the meeting", 3)},
		{"timed-out", message(b, "<a@example.org>", "", "Deferred: Connection timed out with mx.remote.example.", "Minutes of the meeting", 3)},
		{"never-tried", message(b, "<a@example.org>", "", "", "Minutes of the meeting", 0)},
		{"bounce", message(b, "MAILER-DAEMON", "rs", "Deferred: 421 4.3.2 Too busy", "Warning: something", 12)},
		{"matching", message(b, "MAILER-DAEMON", "rs", "Deferred: Connection timed out with mx.remote.example.", "Returned mail: see transcript for details", 12)},
	} {
		b.Run(c.name, func(b *testing.B) {
			j := set.Judge()
			b.ReportAllocs()
			for b.Loop() {
				if _, err := j.First(c.m); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("each-status-new", func(b *testing.B) {
		var all []*rule.Message
		for i := range 20000 {
			all = append(all, message(b, "<a@example.org>", "", fmt.Sprintf("Deferred: Connection timed out with mx%d.remote.example.", i), "Minutes of the meeting", 3))
		}
		j := set.Judge()
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			if _, err := j.First(all[i%len(all)]); err != nil {
				b.Fatal(err)
			}
		}
	})
}
