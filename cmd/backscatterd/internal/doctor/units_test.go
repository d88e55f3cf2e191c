package doctor_test

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// What systemd says of the package's units, in a world where all is well.
const rightUnits = `LoadState=loaded
ActiveState=active
UnitFileState=enabled
PrivateNetwork=yes
RestrictAddressFamilies=AF_UNIX
IPAddressAllow=
IPAddressDeny=::/0 0.0.0.0/0
ProtectSystem=strict
ReadWritePaths=ROOT -/var/lib/backscatterd
LogsDirectory=backscatterd

LoadState=loaded
ActiveState=active
UnitFileState=enabled
PrivateNetwork=no
ProtectSystem=strict
ReadWritePaths=-ROOT/run ROOT
User=nobody
`

// The units that run are those that the configuration needs, and may do what it
// asks for. Each case changes what systemd says, or the world, and has the
// findings that come of it.
func TestUnits(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("these worlds are root's: run the tests as root")
	}
	for name, c := range map[string]struct {
		replace [][2]string // in what systemd says
		toml    string      // of the configuration, in place of [milter]
		change  func(w *world)
		want    []string // each in a line, or in the advice
		not     string
	}{
		"well": {want: []string{
			"^ok | sweeper | backscatterd-sweep.service runs", "^ok | sweeper's folders |",
			"^ok | milter's unit | backscatterd-milter.service runs", "^ok | milter's folders |", "^ok | milter's user | nobody may read",
		}, not: "sweeper's network"},
		"ended with an error": {replace: [][2]string{{"ActiveState=active", "ActiveState=failed"}},
			want: []string{"^fail | sweeper | backscatterd-sweep.service has ended with an error", "journalctl -u backscatterd-sweep$"}},
		"not started": {replace: [][2]string{{"ActiveState=active", "ActiveState=inactive"}},
			want: []string{"^warn | sweeper | backscatterd-sweep.service does not run", "systemctl enable --now backscatterd-sweep$"}},
		"not enabled": {replace: [][2]string{{"UnitFileState=enabled", "UnitFileState=disabled"}},
			want: []string{"^warn | sweeper | .* will not be started with the host"}},
		"status without a network": {toml: "[status]\nlisten = \"127.0.0.1:9780\"\n[milter]",
			want: []string{"^fail | sweeper's network | .* has no network, and status.listen needs one", "examples/sweep-status.conf", "PrivateNetwork=no"}},
		"status with the drop-in": {toml: "[status]\nlisten = \"127.0.0.1:9780\"\n[milter]",
			replace: [][2]string{{"PrivateNetwork=yes", "PrivateNetwork=no"}, {"=AF_UNIX", "=AF_INET AF_INET6 AF_UNIX"}, {"IPAddressAllow=", "IPAddressAllow=::1/128 127.0.0.0/8"}},
			want:    []string{"^ok | sweeper's network | .* that status.listen needs"}},
		"families closed": {toml: "[status]\nlisten = \"127.0.0.1:9780\"\n[milter]", replace: [][2]string{{"PrivateNetwork=yes", "PrivateNetwork=no"}},
			want: []string{"^fail | sweeper's network |"}},
		"bounces by SMTP": {toml: "[bounce]\nsubmit = \"smtp:192.0.2.25:25\"\n[milter]",
			want: []string{"^fail | sweeper's network | .* has no network, and bounce.submit", "examples/sweep-smtp.conf", "IPAddressAllow=192.0.2.25$"}},
		"bounces by SMTP to a host that is not allowed": {toml: "[bounce]\nsubmit = \"smtp:192.0.2.25:25\"\n[milter]",
			replace: [][2]string{{"PrivateNetwork=yes", "PrivateNetwork=no"}, {"=AF_UNIX", "=AF_INET AF_INET6 AF_UNIX"}, {"IPAddressAllow=", "IPAddressAllow=127.0.0.0/8"}},
			want:    []string{"^fail | sweeper's network | .* may not talk to 192.0.2.25"}},
		"bounces by SMTP to a host that is allowed": {toml: "[bounce]\nsubmit = \"smtp:192.0.2.25:25\"\n[milter]",
			replace: [][2]string{{"PrivateNetwork=yes", "PrivateNetwork=no"}, {"=AF_UNIX", "=AF_INET AF_INET6 AF_UNIX"}, {"IPAddressAllow=", "IPAddressAllow=192.0.2.0/24"}},
			want:    []string{"^ok | sweeper's network |"}},
		"a queue elsewhere": {replace: [][2]string{{"ReadWritePaths=ROOT -", "ReadWritePaths=/var/spool -"}},
			want: []string{"^fail | sweeper's folders | .* may not write to ROOT/mqueue, ROOT/removed, ROOT$", "  ReadWritePaths=ROOT/mqueue ROOT/removed ROOT$"}},
		"a neighbour's name": {replace: [][2]string{{"ReadWritePaths=ROOT -", "ReadWritePaths=ROOT/mq -"}},
			want: []string{"^fail | sweeper's folders | .* may not write to ROOT/mqueue"}},
		"enabled, and off": {toml: "[milter]\nour_domains = []", change: func(w *world) { w.toml = strings.Replace(w.toml, "our_domains = [\"example.com\"]\n", "", 1) },
			want: []string{"^warn | milter's unit | .* is enabled, and milter.our_domains names no domain", "systemctl disable --now backscatterd-milter$"}},
		"keys of root": {change: func(w *world) { w.key() },
			want: []string{"^fail | milter's user | nobody, as whom the milter runs, may not read ROOT/keys", "chown nobody ROOT/keys"}},
		"no such user": {replace: [][2]string{{"User=nobody", "User=nobody-at-all"}},
			want: []string{"^fail | milter's user | .*there is no user"}},
		"no units": {replace: [][2]string{{"=loaded", "=not-found"}, {"=loaded", "=not-found"}},
			want: []string{"^not checked | units | there is no backscatterd-sweep.service"}, not: "milter's unit"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.systemctl = rightUnits
			for _, r := range c.replace {
				w.systemctl = strings.Replace(w.systemctl, r[0], r[1], 1)
			}
			if c.toml != "" {
				w.toml = strings.Replace(w.toml, "[milter]", c.toml, 1)
			}
			w.mode = 0o644
			if c.change != nil {
				c.change(w)
			}
			got := w.examine()
			for _, want := range c.want {
				re := regexp.MustCompile("(?m)" + strings.ReplaceAll(want, "|", `\|`))
				if !re.MatchString(got) {
					t.Errorf("no %q in\n%s", want, got)
				}
			}
			if c.not != "" && strings.Contains(got, c.not) {
				t.Errorf("%q is in\n%s", c.not, got)
			}
		})
	}
}
