package packaging

import (
	"regexp"
	"strings"
	"testing"
)

const (
	configuration = "/etc/backscatterd/backscatterd.toml"
	// A removed store that is none of the usual places.
	store = "/var/spool/taken-out"
)

// The package on a host whose sendmail runs: installed, upgraded with what an
// administrator does in between, removed, installed again, purged. Each step
// takes up where the one before ended.
func TestLife(t *testing.T) {
	m := boot(t)
	m.run("systemctl", "start", "sendmail")
	mail := m.sendmail()
	var id string
	for _, step := range []struct {
		name string
		do   func(m *machine)
	}{
		{"install", install},
		{"purge unused", purgeUnused},
		{"install anew", install},
		{"use", func(m *machine) { id = use(m) }},
		{"upgrade", upgrade},
		{"upgrade with a wrong configuration", upgradeWrong},
		{"remove", func(m *machine) { remove(m, id) }},
		{"install again", func(m *machine) { again(m, id) }},
		{"purge", func(m *machine) { purge(m, id) }},
		{"purge with a wrong configuration", purgeWrong},
	} {
		ok := t.Run(step.name, func(t *testing.T) {
			here := *m
			here.t = t
			step.do(&here)
			if now := here.sendmail(); now != mail {
				t.Errorf("sendmail is not as it was:\n%s\nwas\n%s", now, mail)
			}
		})
		if !ok {
			return
		}
	}
}

// sendmail is all that a package must leave alone: the files of /etc/mail with
// owners, modes, times and sums, and the processes with when they were started.
func (m *machine) sendmail() string {
	m.t.Helper()
	return m.sh(`find /etc/mail /etc/aliases /etc/init.d/sendmail -printf '%p %u:%g %m %T@ %l\n' | sort
find /etc/mail -type f | sort | xargs md5sum
for p in $(pgrep -f 'sendmail|sm-mta'); do
	[ "$(cat /proc/$p/comm)" = sendmail-mta ] && echo "$p $(cut -d' ' -f22 /proc/$p/stat)"
done
exit 0`)
}

func install(m *machine) {
	out := m.run("dpkg", "-i", m.put(deb))
	for _, want := range []string{"nothing runs yet", "backscatterd sweep --dry-run"} {
		if !strings.Contains(out, want) {
			m.t.Errorf("installing does not say %q:\n%s", want, out)
		}
	}
	for _, unit := range []string{"backscatterd-sweep.service", "backscatterd-milter.service", "backscatterd-milter.socket", "backscatterd-sendmail.socket"} {
		if state := m.property(unit, "ActiveState"); state != "inactive" {
			m.t.Errorf("%s is %s after the installation", unit, state)
		}
		if state, _ := m.try("systemctl", "is-enabled", unit); strings.TrimSpace(state) != "disabled" {
			m.t.Errorf("%s is %s after the installation", unit, state)
		}
	}
	m.run("dpkg", "--verify", "backscatterd")
	want := "/etc/backscatterd root:root 755\n/etc/backscatterd/backscatterd.toml root:root 644\n/etc/backscatterd/keys backscatterd:backscatterd 700\n" +
		"/var/lib/backscatterd backscatterd:backscatterd 750\n/var/log/backscatterd root:root 750\n"
	if got := m.sh("find /etc/backscatterd /var/lib/backscatterd /var/log/backscatterd -printf '%p %u:%g %m\n' | sort"); got != want {
		m.t.Errorf("what is there:\n%s\nwant\n%s", got, want)
	}
	m.run("backscatterd", "config", "check")
	m.run("backscatterd", "sweep", "--dry-run")
	// A milter without a domain: it ends, says why, and is not started again.
	if out, err := m.try("systemctl", "start", "backscatterd-milter"); err != nil {
		m.t.Fatalf("starting the milter: %v\n%s", err, out)
	}
	m.until("failed", "systemctl", "show", "-p", "ActiveState", "backscatterd-milter")
	if n := m.property("backscatterd-milter", "NRestarts"); n != "0" || !strings.Contains(m.journal("backscatterd-milter"), "our_domains") {
		m.t.Errorf("a milter without a domain was started again %s times, and says\n%s", n, m.journal("backscatterd-milter"))
	}
	m.run("systemctl", "reset-failed", "backscatterd-milter")
}

var queued = regexp.MustCompile(`qf(\w+)`)

// use is what an administrator does: he has the sweeper run with a store
// elsewhere, and takes a message out of the queue.
func use(m *machine) (id string) {
	m.sh(`sed -i 's|^# directory = ""|directory = "` + store + `"|' ` + configuration + ` && grep -q taken-out ` + configuration)
	m.run("systemctl", "enable", "--now", "backscatterd-sweep")
	m.until("scheduled", "journalctl", "-o", "cat", "-u", "backscatterd-sweep")
	// Nobody can be reached from here, so that it stays.
	m.sh(`printf 'Subject: stuck\n\nThis is mail.\n' | sendmail -Am -odq -f '<>' nobody@away.example`)
	found := queued.FindStringSubmatch(m.sh("ls /var/spool/mqueue"))
	if found == nil {
		m.t.Fatal("sendmail has queued nothing: " + m.sh("ls -la /var/spool/mqueue"))
	}
	m.run("backscatterd", "queue", "move", found[1])
	m.run("backscatterd", "key", "new")
	m.sh("echo record >/var/lib/backscatterd/ledger.db")
	m.kept(found[1])
	return found[1]
}

// kept fails unless all is there that a removal must leave.
func (m *machine) kept(id string) {
	m.t.Helper()
	if out := m.sh("cat " + store + "/2*/df" + id); out != "This is mail.\n" {
		m.t.Errorf("the removed message is %q", out)
	}
	m.sh("grep -q '" + id + "' /var/log/backscatterd/audit.jsonl; grep -q record /var/lib/backscatterd/ledger.db; ls /etc/backscatterd/keys/* >/dev/null")
}

func upgrade(m *machine) {
	before := m.property("backscatterd-sweep", "MainPID")
	changed := m.sh("md5sum " + configuration)
	next := m.put(successor(m.t, "2.0"))
	// Without an answer dpkg does not choose for him.
	out, err := m.try("sh", "-c", "dpkg -i "+next+" </dev/null")
	if err == nil || !strings.Contains(out, "conffile prompt") {
		m.t.Errorf("a changed configuration was not asked about: %v\n%s", err, out)
	}
	if now := m.sh("md5sum " + configuration); now != changed {
		m.t.Error("the configuration was changed")
	}
	m.run("dpkg", "--force-confold", "--configure", "-a")
	if now := m.sh("md5sum " + configuration); now != changed {
		m.t.Error("the configuration was changed")
	}
	m.sh("grep -q 'of version 2.0' " + configuration + ".dpkg-dist; rm " + configuration + ".dpkg-dist")
	if now := m.property("backscatterd-sweep", "MainPID"); now == before || now == "0" {
		m.t.Errorf("the sweeper was process %s before the upgrade and is %s after it: want another one", before, now)
	}
	if state := m.property("backscatterd-milter", "ActiveState"); state != "inactive" {
		m.t.Errorf("the milter did not run before the upgrade, and is %s after it", state)
	}
}

// A version that does not take the configuration does not end the one that runs.
func upgradeWrong(m *machine) {
	before := m.property("backscatterd-sweep", "MainPID")
	m.sh("cp -p " + configuration + " /root/right.toml; echo 'nonsense = 1' >>" + configuration)
	out := m.run("dpkg", "--force-confold", "-i", m.put(successor(m.t, "3.0")))
	for _, want := range []string{"what runs goes on as it is", "nonsense", "systemctl try-restart"} {
		if !strings.Contains(out, want) {
			m.t.Errorf("upgrading does not say %q:\n%s", want, out)
		}
	}
	if now := m.property("backscatterd-sweep", "MainPID"); now != before || now == "0" {
		m.t.Errorf("the sweeper was process %s before the upgrade and is %s after it: want it left alone", before, now)
	}
	m.sh("mv /root/right.toml " + configuration + "; rm -f " + configuration + ".dpkg-dist")
}

func remove(m *machine, id string) {
	m.run("dpkg", "--remove", "backscatterd")
	m.kept(id)
	m.sh("test -f " + configuration + "; ! test -e /usr/bin/backscatterd; ! pgrep -x backscatterd; ! find /etc/systemd/system -name 'backscatterd*' | grep .")
}

// After another installation all is as before: the message goes back.
func again(m *machine, id string) {
	m.run("dpkg", "--force-confold", "-i", m.put(deb))
	m.run("backscatterd", "queue", "restore", id)
	m.sh("test -f /var/spool/mqueue/qf" + id)
	m.run("backscatterd", "queue", "move", id)
}

func purge(m *machine, id string) {
	out := m.run("dpkg", "--purge", "backscatterd")
	for _, want := range []string{
		store + ": the mail that was removed from the queue (messages: 1)", "/etc/backscatterd/keys: the signing keys",
		"/var/lib/backscatterd/ledger.db: the ledger", "/var/log/backscatterd/audit.jsonl: the audit log", "stays, until you delete it",
	} {
		if !strings.Contains(out, want) {
			m.t.Errorf("purging does not say %q:\n%s", want, out)
		}
	}
	m.kept(id)
	m.sh("! test -e " + configuration + "; ! test -e /var/lib/backscatterd/places; ! test -e /etc/logrotate.d/backscatterd; ! dpkg -s backscatterd 2>/dev/null")
}

// purgeUnused leaves no trace but the user, and says nothing of anything left.
func purgeUnused(m *machine) {
	files := strings.Fields(m.sh("for f in $(dpkg -L backscatterd); do [ -d $f ] || echo $f; done"))
	out := m.run("dpkg", "--purge", "backscatterd")
	if strings.Contains(out, "stays") || strings.Contains(out, "not empty") {
		m.t.Errorf("it says\n%s", out)
	}
	if left := m.run(append([]string{"sh", "-c", `for f; do [ ! -e $f ] || echo $f; done; find /etc /var/lib /var/log /var/spool /run -name '*backscatterd*' -not -path '/var/log/journal/*'`, "left"}, files...)...); left != "" {
		m.t.Errorf("what is left:\n%s", left)
	}
}

// purgeWrong has nobody to ask where mail is: it says so, and keeps what it finds.
func purgeWrong(m *machine) {
	m.run("dpkg", "-i", m.put(deb))
	m.sh("echo 'nonsense = 1' >>" + configuration + "; mkdir -p /var/spool/backscatterd/2026-11-25; touch /var/spool/backscatterd/2026-11-25/qfX")
	out := m.run("dpkg", "--purge", "backscatterd")
	for _, want := range []string{"the configuration could not be asked", "/var/spool/backscatterd: the mail that was removed from the queue (messages: 1)"} {
		if !strings.Contains(out, want) {
			m.t.Errorf("purging does not say %q:\n%s", want, out)
		}
	}
	m.sh("test -e /var/spool/backscatterd/2026-11-25/qfX")
}
