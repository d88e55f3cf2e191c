package packaging

import (
	"strings"
	"testing"
)

// What the sweeper has sendmail do is done in the unit beside it, as confined as
// that is: bounces that we write, bounces of sendmail's own for what has expired,
// and the digest, up to the mailbox of a user here.
func TestHandOver(t *testing.T) {
	m := boot(t)
	m.run("systemctl", "start", "sendmail")
	m.run("dpkg", "-i", m.put(deb))
	m.write(configuration, `[sweep]
schedule = "@every 2s"
max_share = 1.0
[digest]
to = ["root"]
schedule = "@every 5s"
[[rule]]
name = "told-by-us"
when = 'header("Subject") == "one"'
do = "bounce"
[[rule]]
name = "told-by-sendmail"
when = 'header("Subject") == "two"'
do = "expire"
`)
	for _, subject := range []string{"one", "two"} {
		m.sh(`printf 'Subject: ` + subject + `\n\nThis is mail.\n' | sendmail -Am -odq -f root@mx.lab.example nobody@away.example`)
	}
	m.run("backscatterd", "config", "check")
	m.run("systemctl", "start", "backscatterd-sweep")
	// All of it in one place, however far it has got.
	const mailbox = "cat /var/mail/root /var/spool/mqueue*/* 2>/dev/null"
	for _, rule := range []string{"told-by-us", "told-by-sendmail"} {
		m.until(rule, "sh", "-c", "cat /var/log/backscatterd/audit.jsonl")
	}
	mail := m.until("Subject: backscatterd on mx.lab.example", "sh", "-c", mailbox)
	if n := strings.Count(m.sh("grep -h '\"result\":\"done\"' /var/log/backscatterd/audit.jsonl || true"), "\n"); n != 2 {
		t.Errorf("%d messages were dealt with, want 2:\n%s\n%s", n, m.sh("cat /var/log/backscatterd/audit.jsonl"), m.journal("backscatterd-sweep"))
	}
	for _, want := range []string{"Subject: one", "Subject: two"} {
		if !strings.Contains(m.until(want, "sh", "-c", mailbox), "report-type=delivery-status") {
			t.Errorf("no notice has %q in\n%s", want, mail)
		}
	}
	m.run("systemctl", "stop", "backscatterd-sweep")
	m.until("empty", "sh", "-c", `[ -n "$(ls /var/spool/mqueue)" ] || echo empty`)
	if said := m.journal("backscatterd-sendmail@*"); strings.Contains(said, "not permitted") || strings.Contains(said, "denied") {
		t.Errorf("sendmail said\n%s", said)
	}
}
