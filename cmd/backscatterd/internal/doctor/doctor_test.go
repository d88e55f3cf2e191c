package doctor_test

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/backscatterd/backscatterd/cmd/backscatterd/internal/doctor"
	"github.com/backscatterd/backscatterd/config"
	"github.com/backscatterd/backscatterd/milter/keyring"
	"github.com/backscatterd/backscatterd/milter/ledger"
	"github.com/backscatterd/backscatterd/queuesweep/spool"
)

var update = flag.Bool("update", false, "write the golden files anew")

// now is when all worlds are looked at.
var now = time.Date(2026, 11, 25, 1, 2, 0, 0, time.UTC)

// world is a setup in a folder of its own, ROOT in all texts.
type world struct {
	t    *testing.T
	root string
	toml string
	cf   string
	cron []string
	// systemctl is what systemd says of the units, "" where it does not run.
	systemctl string
	mode      os.FileMode // of the configuration
}

const (
	rightCF = `V10/Berkeley
DZ8.17.1
O QueueDirectory=ROOT/mqueue
O InputMailFilters=spamass,backscatterd
Xspamass, S=local:ROOT/spamass.sock, F=, T=C:15m;S:4m;R:4m;E:10m
Xbackscatterd, S=unix:ROOT/run/milter.sock, T=C:10s;S:10s;R:10s;E:1m
`
	rightTOML = `[queue]
sendmail_cf = "ROOT/sendmail.cf"
submit_cf = ""
sendmail = "ROOT/sendmail"
[store]
directory = "ROOT/removed"
[audit]
file = "ROOT/audit.jsonl"
[milter]
our_domains = ["example.com"]
listen = "unix:ROOT/run/milter.sock"
keys = "ROOT/keys"
ledger = "ROOT/ledger.db"
max_connections = 100
`
	oneRule = "[[rule]]\nname = \"spam\"\nwhen = 'status contains \"spam\"'\n"
)

// newWorld is one in which all is well, but for the milter, the keys and the
// ledger, which are not there yet.
func newWorld(t *testing.T) *world {
	t.Helper()
	root, err := os.MkdirTemp("", "doctor-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(root) })
	w := &world{t: t, root: root, mode: 0o600, toml: rightTOML + oneRule, cf: rightCF, cron: []string{"ROOT/cron.d", "ROOT/crontab"}}
	for name, mode := range map[string]os.FileMode{".": 0o755, "mqueue": 0o700, "run": 0o755, "cron.d": 0o755} {
		w.folder(name, mode)
	}
	w.file("sendmail", "#!/bin/sh\necho 'Version 8.17.1'\necho '    OS Defines: HASFCHMOD HASFLOCK HASLSTAT'\n", 0o755)
	for _, f := range []string{"qfA", "dfA", "qfB", "dfB", "hfC", "dfC"} {
		w.file("mqueue/"+f, "x\n", 0o600)
	}
	w.file("cron.d/other", "# 0 4 * * * root /usr/share/sendmail/qtool.pl -d /q\n0 4 * * * root true\n", 0o644)
	return w
}

func (w *world) check(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) path(name string) string { return filepath.Join(w.root, name) }

func (w *world) folder(name string, mode os.FileMode) {
	w.check(os.MkdirAll(w.path(name), mode))
	w.check(os.Chmod(w.path(name), mode))
}

func (w *world) file(name, text string, mode os.FileMode) {
	w.check(os.WriteFile(w.path(name), []byte(strings.ReplaceAll(text, "ROOT", w.root)), mode))
	w.check(os.Chmod(w.path(name), mode))
}

// milter answers negotiations until the test ends.
func (w *world) milter() {
	ln, err := net.Listen("unix", w.path("run/milter.sock"))
	w.check(err)
	var done sync.WaitGroup
	done.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			offer := make([]byte, 17)
			if _, err := io.ReadFull(c, offer); err == nil && offer[4] == 'O' {
				answer := append(binary.BigEndian.AppendUint32(nil, 13), 'O')
				for _, v := range []uint32{6, 1, 0} {
					answer = binary.BigEndian.AppendUint32(answer, v)
				}
				c.Write(answer)
			}
			c.Close()
		}
	})
	w.t.Cleanup(func() { ln.Close(); done.Wait() })
}

func (w *world) key() {
	w.folder("keys", 0o700)
	_, err := keyring.Open(w.path("keys")).New(now.Add(-24 * time.Hour))
	w.check(err)
}

func (w *world) ledger(s ledger.Status) {
	s.File, s.Running = "ROOT/ledger.db", true
	text, err := json.Marshal(s)
	w.check(err)
	w.file("ledger.db.status", string(text), 0o600)
}

// examine is what doctor says, without what is the machine's.
func (w *world) examine() string {
	w.file("b.toml", w.toml, w.mode)
	w.file("sendmail.cf", w.cf, 0o644)
	if w.cf == "" {
		w.check(os.Remove(w.path("sendmail.cf")))
	}
	o := doctor.Options{ConfigFile: w.path("b.toml"), Now: now}
	o.Config, o.ConfigErr = config.Load(o.ConfigFile)
	if o.Config != nil && len(o.Config.Queue.Directories) > 0 {
		o.Places, o.PlacesErr = spool.PlacesAt(o.Config.Queue.Directories)
	} else if o.Config != nil {
		o.Places, o.PlacesErr = spool.PlacesOf(o.Config.Queue.SendmailCF)
	}
	if w.systemctl != "" {
		w.file("units", w.systemctl, 0o644)
		w.file("systemctl", "#!/bin/sh\nexec cat ROOT/units\n", 0o755)
		o.Systemctl = w.path("systemctl")
	}
	for _, c := range w.cron {
		o.Cron = append(o.Cron, strings.ReplaceAll(c, "ROOT", w.root))
	}
	var b strings.Builder
	findings := doctor.Examine(context.Background(), o)
	for _, f := range findings {
		if slices.Contains([]string{"room", "confinement", "open files"}, f.Check) {
			continue
		}
		fmt.Fprintf(&b, "%s | %s | %s\n", f.Status, f.Check, f.Message)
		if f.Advice != "" {
			fmt.Fprintf(&b, "      %s\n", strings.ReplaceAll(f.Advice, "\n", "\n      "))
		}
	}
	fmt.Fprintf(&b, "all in all: %s\n", doctor.Worst(findings))
	return keyID.ReplaceAllString(strings.ReplaceAll(b.String(), w.root, "ROOT"), "KEY signs")
}

// keyID is made at random.
var keyID = regexp.MustCompile(`[a-z2-7]{8} signs`)

// Each world has one thing wrong, or some that have nothing to do with each
// other, and the golden file has all that is said of it.
func TestWorlds(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("these worlds are root's: run the tests as root")
	}
	for name, change := range map[string]func(w *world){
		"well": func(w *world) {
			w.milter()
			w.key()
			w.ledger(ledger.Status{At: now, Since: now.Add(-1000 * time.Hour), Unbroken: now.Add(-900 * time.Hour)})
			w.folder("removed", 0o700)
		},
		"first-day": func(w *world) {},
		"warming-up": func(w *world) {
			w.milter()
			w.key()
			w.ledger(ledger.Status{At: now, Since: now.Add(-24 * time.Hour), Unbroken: now.Add(-24 * time.Hour)})
		},
		"not-asked": func(w *world) {
			w.milter()
			w.key()
			w.cf = "DZ8.17.1\nO QueueDirectory=ROOT/mqueue\n"
			w.file("sendmail", "#!/bin/sh\necho 'Version 8.18.1'\necho '    OS Defines: HASFCHMOD HASLSTAT'\n", 0o755)
		},
		"asked-elsewhere": func(w *world) {
			w.cf = "DZ8.17.1\nO QueueDirectory=ROOT/mqueue\nO InputMailFilters=backscatterd\nXbackscatterd, S=inet:8890@127.0.0.1,\n F=R, T=C:1s;S:1s;R:10s;E:0\n"
		},
		"defined-only": func(w *world) {
			w.cf = strings.Replace(rightCF, "spamass,backscatterd", "spamass", 1) + "O RunAsUser=nobody\n"
			w.milter()
			w.check(os.Chmod(w.path("run"), 0o700))
		},
		"unsafe": func(w *world) {
			w.mode = 0o664
			w.milter()
			w.check(os.Chmod(w.path("run"), 0o777))
			w.folder("keys", 0o777)
			w.check(os.Chmod(w.path("mqueue"), 0o777))
			w.folder("removed", 0o755)
		},
		"filter-off": func(w *world) {
			w.toml = strings.Replace(w.toml, `our_domains = ["example.com"]`, "", 1)
		},
		"idle-rules": func(w *world) {
			w.toml = strings.Replace(rightTOML, "[milter]\nour_domains = [\"example.com\"]", "[sweep]\ndry_run = true\n[milter]", 1) + oneRule + `[[rule]]
name = "spam-again"
when = 'attempts > 5 && status contains "spam"'
[[rule]]
name = "spam-at-night"
when = 'attempts > 5 && status contains "spam"'
schedule = "CRON_TZ=Europe/Berlin 0 4 * * *"
[[rule]]
name = "nothing"
when = 'false && attempts > 3'
[[rule]]
name = "no-state"
when = 'state == "queued"'
[[rule]]
name = "two-senders"
when = 'sender == "a@b.example" && sender == "c@d.example"'
[[rule]]
name = "held-spam"
when = 'state == "held" && status contains "spam"'
`
			w.cf = "O QueueDirectory=ROOT/mqueue\n"
			w.file("crontab", "# none\n\n*/5 * * * * root /usr/share/sendmail/qtool.pl -d /q\n", 0o644)
		},
		"wrong-configuration": func(w *world) { w.toml = "[sweep]\ndry_ran = true\n" },
		"digest-waits": func(w *world) {
			w.toml += "[digest]\nto = [\"root\", \"boss@example.com\"]\nstate = \"ROOT/digest.json\"\n"
			w.file("digest.json", `{"until":"2026-11-25T00:00:00Z","people":{"root":{"until":"2026-11-25T00:00:00Z"},`+
				`"boss@example.com":{"until":"2026-11-23T00:00:00Z","sending":"2026-11-24T00:00:00Z"}}}`, 0o600)
		},
		"nothing-there": func(w *world) {
			w.cf = ""
			w.check(os.Remove(w.path("sendmail")))
			w.toml = strings.ReplaceAll(strings.ReplaceAll(rightTOML, "ROOT/audit.jsonl", "ROOT/run"), "ROOT/removed", "ROOT/nowhere/removed")
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			change(w)
			got := w.examine()
			golden := filepath.Join("testdata", name+".golden")
			if *update {
				w.check(os.MkdirAll("testdata", 0o755))
				w.check(os.WriteFile(golden, []byte(got), 0o644))
			}
			want, err := os.ReadFile(golden)
			w.check(err)
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// Looking changes nothing: not a file, not a mode, not a time.
func TestChangesNothing(t *testing.T) {
	w := newWorld(t)
	w.milter()
	w.key()
	w.examine()
	look := func() (all []string) {
		w.check(filepath.WalkDir(w.root, func(path string, d os.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := d.Info()
			if name := filepath.Base(path); name != "b.toml" && name != "sendmail.cf" && path != w.root {
				all = append(all, fmt.Sprint(path, info.Mode(), info.Size(), info.ModTime()))
			}
			return err
		}))
		return all
	}
	before := look()
	w.examine()
	if diff := cmp.Diff(before, look()); diff != "" {
		t.Error(diff)
	}
}
