package packaging

import (
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// What the package brings is taken by the programs that read it.
func TestInstalled(t *testing.T) {
	m := boot(t)
	m.run("dpkg", "-i", m.put(deb))
	for _, part := range []struct {
		name  string
		check func(t *testing.T, m *machine)
	}{
		{"manual", manual}, {"completions", completions}, {"units", units}, {"logrotate", rotate}, {"examples", examples},
	} {
		t.Run(part.name, func(t *testing.T) {
			here := *m
			here.t = t
			part.check(t, &here)
		})
	}
}

// manual renders each page, with every warning that groff has.
func manual(t *testing.T, m *machine) {
	pages := strings.Fields(m.sh("dpkg -L backscatterd | grep '^/usr/share/man/man./'"))
	if len(pages) < 10 {
		t.Errorf("there are %d pages", len(pages))
	}
	script := "for page; do zcat $page | groff -K utf8 -man -ww -Tutf8 -Z 2>&1 >/dev/null | sed \"s|^|$page: |\"; done"
	if out := m.run(append([]string{"sh", "-c", script, "render"}, pages...)...); out != "" {
		t.Error(out)
	}
	if out := m.sh("MANWIDTH=80 man backscatterd | cat"); !strings.Contains(out, "backscatter") {
		t.Errorf("man backscatterd shows\n%s", out)
	}
}

// completions are loaded by the shells, each in its own way.
func completions(t *testing.T, m *machine) {
	const share = "/usr/share/"
	for name, test := range map[string][]string{
		"bash": {"bash", "--norc", "-ec", "source " + share + "bash-completion/completions/backscatterd; complete -p backscatterd"},
		"zsh":  {"zsh", "-fc", "fpath=(" + share + "zsh/vendor-completions); autoload +X -U _backscatterd && print $functions[_backscatterd]"},
		"fish": {"fish", "-N", "-c", "source " + share + "fish/vendor_completions.d/backscatterd.fish; complete -C 'backscatterd que'"},
	} {
		want := map[string]string{"bash": "-F __start_backscatterd", "zsh": "__complete", "fish": "queue"}[name]
		if out, err := m.try(test...); err != nil || !strings.Contains(out, want) {
			t.Errorf("%s: %v, no %q in\n%s", name, err, want, out)
		}
	}
}

var exposure = regexp.MustCompile(`Overall exposure level for \S+: ([0-9.]+)`)

// units are right to systemd, and as closed as docs/install.md says.
func units(t *testing.T, m *machine) {
	for _, name := range strings.Fields(m.sh("cd /lib/systemd/system; ls | grep '^backscatterd'")) {
		file := "/lib/systemd/system/" + name
		verify := strings.Replace(file, "@.", "@1.", 1)
		if out, err := m.try("systemd-analyze", "verify", "--man=no", verify); err != nil || strings.Contains(out, "backscatterd") {
			t.Errorf("systemd-analyze verify %s: %v\n%s", name, err, out)
		}
		if !strings.HasSuffix(name, ".service") {
			continue
		}
		out := m.run("systemd-analyze", "security", "--offline=true", "--no-pager", file)
		found := exposure.FindStringSubmatch(out)
		if found == nil {
			t.Fatalf("systemd-analyze security %s:\n%s", name, out)
		}
		score, err := strconv.ParseFloat(found[1], 64)
		limit := 2.0
		if strings.Contains(name, "@") {
			limit = 4.0 // it is sendmail that runs there
		}
		if err != nil || score >= limit {
			t.Errorf("%s: exposure %s, want less than %.1f", name, found[1], limit)
		}
	}
}

// rotate gives the audit log away, and the sweeper goes on in a new one.
func rotate(t *testing.T, m *machine) {
	m.run("systemctl", "start", "backscatterd-sweep")
	m.until("scheduled", "journalctl", "-o", "cat", "-u", "backscatterd-sweep")
	m.sh("echo '{}' >>/var/log/backscatterd/audit.jsonl; logrotate --force --verbose /etc/logrotate.d/backscatterd")
	if out := m.sh("stat -c '%U:%G %a %s' /var/log/backscatterd/audit.jsonl; cat /var/log/backscatterd/audit.jsonl.1"); out != "root:root 640 0\n{}\n" {
		t.Errorf("after the rotation there is\n%s", out)
	}
	pid := m.property("backscatterd-sweep", "MainPID")
	m.until("/audit.jsonl\n", "sh", "-c", "for f in /proc/"+pid+"/fd/*; do readlink $f; done")
	if out := m.sh("for f in /proc/" + pid + "/fd/*; do readlink $f; done"); strings.Contains(out, "audit.jsonl.1") {
		t.Errorf("the sweeper still has the old file:\n%s", out)
	}
}

// examples are drop-ins that systemd takes.
func examples(t *testing.T, m *machine) {
	m.sh(`mkdir -p /etc/systemd/system/backscatterd-sweep.service.d
cp /usr/share/doc/backscatterd/examples/sweep-*.conf /etc/systemd/system/backscatterd-sweep.service.d/
systemctl daemon-reload`)
	if out, err := m.try("systemd-analyze", "verify", "--man=no", "backscatterd-sweep.service"); err != nil || strings.Contains(out, "backscatterd") {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
	if got := m.property("backscatterd-sweep", "PrivateNetwork"); got != "no" {
		t.Errorf("PrivateNetwork is %q with the drop-in", got)
	}
}
