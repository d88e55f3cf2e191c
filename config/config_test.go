package config_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/backscatterd/backscatterd/config"
	"github.com/backscatterd/backscatterd/queuesweep/rule"
)

var sameValues = cmp.Options{cmpopts.IgnoreUnexported(config.Config{}), cmpopts.EquateEmpty()}

func parse(tb testing.TB, text string) *config.Config {
	tb.Helper()
	c, err := config.Parse("test.toml", []byte(text))
	if err != nil {
		tb.Fatalf("%s\n%v", text, err)
	}
	return c
}

func TestEmptyFileIsDefault(t *testing.T) {
	if diff := cmp.Diff(config.Default(), parse(t, ""), sameValues); diff != "" {
		t.Error(diff)
	}
}

// default.toml documents the defaults. As it stands it reads as Default, and
// so it does with its keys no longer commented out, where the values that it
// shows count. (The number of CPUs is the machine's.)
func TestDefaultFileShowsTheDefaults(t *testing.T) {
	data, err := os.ReadFile("default.toml")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(config.Default(), parse(t, string(data)), sameValues); diff != "" {
		t.Error(diff)
	}
	var lines []string
	shown := make(map[string]bool)
	for _, l := range strings.Split(string(data), "\n") {
		key, _, isKey := strings.Cut(strings.TrimPrefix(l, "# "), " = ")
		if isKey && strings.HasPrefix(l, "# ") && strings.Trim(key, "abcdefghijklmnopqrstuvwxyz_") == "" {
			shown[key] = true
			if key == "workers" {
				continue
			}
			l = strings.TrimPrefix(l, "# ")
		}
		lines = append(lines, l)
	}
	if diff := cmp.Diff(config.Default(), parse(t, strings.Join(lines, "\n")), sameValues); diff != "" {
		t.Error(diff)
	}
	var b strings.Builder
	if err := config.Default().Write(&b); err != nil {
		t.Fatal(err)
	}
	for _, l := range strings.Split(b.String(), "\n") {
		if key, _, isKey := strings.Cut(l, " = "); isKey && strings.HasSuffix(l, "# default") && !shown[key] {
			t.Errorf("default.toml does not document %s", key)
		}
	}
}

func TestDefaultRules(t *testing.T) {
	rules := config.Default().Rules
	set, err := rule.Compile(rules)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(set.Rules()); n != 11 {
		t.Errorf("there are %d default rules, want 11", n)
	}
	for i, r := range set.Rules() {
		want := rule.Move
		if i == 10 {
			want = rule.Expire
		}
		if r.Do != want || r.Name == "" || r.Schedule != "" {
			t.Errorf("rule %d: %+v", i, r)
		}
	}
}

func TestAllKeys(t *testing.T) {
	c := parse(t, `
[queue]
sendmail_cf = "/etc/mail/other.cf"
submit_cf = "/etc/mail/submit2.cf"
directories = ["/var/spool/mqueue/q*",
  '/x/y', # a comment
]
sendmail = "/opt/sendmail"
max_control_file = "1 MB"
[store]
directory = "/var/spool/removed"
keep = "1d12h"
purge = "@daily"
[audit]
file = "/var/log/audit"
[log]
level = "debug"
format = "json"
[sweep]
schedule = "CRON_TZ=Europe/Paris 0 4 * * *"
dry_run = true
max_share = 1
max_messages = 1_000
workers = 0x10
lock_wait = "0"
[bounce]
host = "mail.example.org"
from = "Post <post@example.org>"
template = "/etc/backscatterd/letter"
never_bounce = ['@lists\.example\.org$']
per_hour = 0
submit = "smtp:[::1]:25"
[milter]
listen = "inet:8890@127.0.0.1"
socket_mode = "0600"
socket_owner = "root"
socket_group = "smmsp"
our_domains = ["example.com"]
our_networks = ["192.0.2.7", "2001:db8::/32"]
our_hosts = ["mx.example.com", ".out.example.com"]
not_covered = ["EXAMPLE.com"]
never_sends = ["info@example.com"]
keys = "/k"
signature_lifetime = "30d"
batv_domains = ["example.com"]
ledger = "/l"
ledger_keep = "60d"
warm_up = "20d"
max_uses = 5
max_bounces = 6
dns_list = "list.example"
dns_timeout = "500ms"
reject_text = "Not ours"
on_error = "tempfail"
null_spam_senders = true
idle_timeout = "90s"
max_connections = 10
stop_timeout = "5s"
verdict = { suspect = "reject", legit = "accept", unknown = "quarantine" }
[milter.listed]
recipients = ["@lists.example.com"]
suspect = "discard"
[milter.ledger_server]
addresses = ["redis1.example.com:26379", "[2001:db8::1]:26379"]
sentinel_master = "mail"
username = "u"
password_file = "/p"
sentinel_username = "su"
sentinel_password_file = "/sp"
tls = true
tls_ca = "/ca"
tls_certificate = "/cert"
tls_key = "/key"
tls_name = "redis.example.com"
database = 3
prefix = "mail:"
host = "mx1.example.com"
hosts = ["mx1.example.com", "mx2.example.com"]
budget = "20ms"
[status]
listen = "192.0.2.7:9780"
listen_milter = "[::1]:9781"
public = true
hosts = ["mx.example.com", "192.0.2.7"]
refresh = "5m"
[digest]
to = ["root", "postmaster@example.com"]
from = "guard <guard@example.com>"
schedule = "@weekly"
state = "/var/lib/digest.json"
[serve]
confine = "require"
[[rule]]
name = "held"
when = 'status contains "x"'
do = "hold"
schedule = "@hourly"
[[rule]]
name = "moved"
when = "true"
`)
	want := &config.Config{
		Queue: config.Queue{SendmailCF: "/etc/mail/other.cf", SubmitCF: "/etc/mail/submit2.cf", Directories: []string{"/var/spool/mqueue/q*", "/x/y"}, Sendmail: "/opt/sendmail", MaxControlFile: 1 << 20},
		Store: config.Store{Directory: "/var/spool/removed", Keep: config.Duration(36 * time.Hour), Purge: "@daily"},
		Audit: config.Audit{File: "/var/log/audit"},
		Log:   config.Log{Level: "debug", Format: "json"},
		Sweep: config.Sweep{Schedule: "CRON_TZ=Europe/Paris 0 4 * * *", DryRun: true, MaxShare: 1, MaxMessages: 1000, Workers: 16, IOUring: true},
		Bounce: config.Bounce{
			Host: "mail.example.org", From: "Post <post@example.org>", Template: "/etc/backscatterd/letter",
			NeverBounce: []string{`@lists\.example\.org$`}, Submit: "smtp:[::1]:25",
		},
		Status: config.Status{Listen: "192.0.2.7:9780", ListenMilter: "[::1]:9781", Public: true, Hosts: []string{"mx.example.com", "192.0.2.7"}, Refresh: config.Duration(5 * time.Minute)},
		Digest: config.Digest{To: []string{"root", "postmaster@example.com"}, From: "guard <guard@example.com>", Schedule: "@weekly", State: "/var/lib/digest.json"},
		Serve:  config.Serve{Confine: "require"},
		Milter: config.Milter{
			Listen: "inet:8890@127.0.0.1", SocketMode: "0600", SocketOwner: "root", SocketGroup: "smmsp",
			OurDomains: []string{"example.com"}, OurNetworks: []string{"192.0.2.7", "2001:db8::/32"},
			OurHosts: []string{"mx.example.com", ".out.example.com"}, NotCovered: []string{"EXAMPLE.com"}, NeverSends: []string{"info@example.com"},
			Keys: "/k", SignatureLife: config.Duration(30 * 24 * time.Hour), BATVDomains: []string{"example.com"},
			Ledger: "/l", LedgerKeep: config.Duration(60 * 24 * time.Hour), WarmUp: config.Duration(20 * 24 * time.Hour), MaxUses: 5, MaxBounces: 6,
			LedgerServer: config.LedgerServer{
				Addresses: []string{"redis1.example.com:26379", "[2001:db8::1]:26379"}, SentinelMaster: "mail",
				Username: "u", PasswordFile: "/p", SentinelUsername: "su", SentinelPasswordFile: "/sp",
				TLS: true, TLSCA: "/ca", TLSCertificate: "/cert", TLSKey: "/key", TLSName: "redis.example.com",
				Database: 3, Prefix: "mail:", Host: "mx1.example.com", Hosts: []string{"mx1.example.com", "mx2.example.com"}, Budget: config.Duration(20 * time.Millisecond),
			},
			DNSList: "list.example", DNSTimeout: config.Duration(500 * time.Millisecond),
			Verdict:    config.Verdict{Suspect: "reject", Legit: "accept", Unknown: "quarantine"},
			Listed:     config.Listed{Recipients: []string{"@lists.example.com"}, Suspect: "discard", Legit: "tag", Unknown: "tag"},
			RejectText: "Not ours", OnError: "tempfail", NullSpamSenders: true,
			IdleTimeout: config.Duration(90 * time.Second), MaxConnections: 10, StopTimeout: config.Duration(5 * time.Second),
		},
		Rules: []rule.Rule{
			{Name: "held", When: `status contains "x"`, Do: rule.Hold, Reason: "held by the rule held", Schedule: "@hourly"},
			{Name: "moved", When: "true", Do: rule.Move},
		},
	}
	if diff := cmp.Diff(want, c, sameValues); diff != "" {
		t.Error(diff)
	}
	if c.Milter.Mode() != fs.FileMode(0o600) {
		t.Errorf("mode %o", c.Milter.Mode())
	}
	if n := c.Milter.Networks(); len(n) != 2 || n[0].String() != "192.0.2.7/32" {
		t.Errorf("networks %v", n)
	}
	if c.Bounce.SMTP() != "[::1]:25" || config.Default().Bounce.SMTP() != "" {
		t.Errorf("SMTP %q and %q", c.Bounce.SMTP(), config.Default().Bounce.SMTP())
	}
}

// Other ways that TOML has for the same.
func TestOtherSpellings(t *testing.T) {
	want := parse(t, "[store]\nkeep = \"7d\"\n[milter.verdict]\nsuspect = \"reject\"\n[[rule]]\nname = \"a\"\nwhen = \"true\"\n")
	for _, text := range []string{
		"store.keep = \"7d\"\nmilter.verdict.suspect = \"reject\"\nrule = [{name = \"a\", when = \"true\"}]\n",
		"store = {keep = \"168h\"}\nmilter = {verdict.suspect = 'reject'}\n[[rule]]\nwhen = '''\ntrue'''\nname = \"\"\"a\"\"\"\n",
	} {
		got := parse(t, text)
		if len(got.Rules) == 1 {
			got.Rules[0].When = strings.TrimSpace(got.Rules[0].When)
		}
		if diff := cmp.Diff(want, got, sameValues); diff != "" {
			t.Errorf("%s\n%s", text, diff)
		}
	}
	if c := parse(t, "rule = []\n"); len(c.Rules) != 0 {
		t.Errorf("an empty list of rules has %d", len(c.Rules))
	}
}

// The client queue is read by default only if the queues are the usual ones.
func TestSubmitCF(t *testing.T) {
	for text, want := range map[string]string{
		"":                                          "/etc/mail/submit.cf",
		"[queue]\nsendmail = \"/x\"":                "/etc/mail/submit.cf",
		"[queue]\nsendmail_cf = \"/x\"":             "",
		"[queue]\ndirectories = [\"/x\"]":           "",
		"[queue]\nsubmit_cf = \"\"":                 "",
		"queue = {sendmail_cf='/x',submit_cf='/y'}": "/y",
	} {
		if got := parse(t, text).Queue.SubmitCF; got != want {
			t.Errorf("%s\nsubmit_cf is %q, want %q", text, got, want)
		}
	}
}

func TestMilterAddress(t *testing.T) {
	for listen, want := range map[string]string{
		"unix:/run/x.sock": "unix /run/x.sock", "local:/run/x.sock": "unix /run/x.sock",
		"inet:8890@127.0.0.1": "tcp4 127.0.0.1:8890", "inet:8890": "tcp4 :8890", "inet:8890@localhost": "tcp4 localhost:8890",
		"inet6:8890@::1": "tcp6 [::1]:8890", "inet6:8890@[::1]": "tcp6 [::1]:8890",
	} {
		a, err := config.Milter{Listen: listen}.Address()
		if got := a.Network + " " + a.Name; got != want || err != nil {
			t.Errorf("%s is %q, %v, want %q", listen, got, err, want)
		}
	}
}

func TestDurationAndSizeAreWrittenAsRead(t *testing.T) {
	for in, want := range map[string]string{"30d": "30d", "24h": "1d", "36h": "36h", "1h30m": "1h30m", "90s": "1m30s", "60m": "1h", "0": "0s", "1h0m1s": "1h0m1s", "100ms": "100ms"} {
		var d config.Duration
		if err := d.UnmarshalText([]byte(in)); err != nil || d.String() != want {
			t.Errorf("%q is written %q, %v, want %q", in, d, err, want)
		}
	}
	for in, want := range map[string]string{"32MB": "32MB", "32 mb": "32MB", "1024": "1kB", "1500": "1500B", "2GB": "2GB", "1KB": "1kB", "0": "0B"} {
		var s config.Size
		if err := s.UnmarshalText([]byte(in)); err != nil || s.String() != want {
			t.Errorf("%q is written %q, %v, want %q", in, s, err, want)
		}
	}
	for _, in := range []string{"", "MB", "-1", "1.5MB", "1TB", "9999999999GB", "12 apples"} {
		var s config.Size
		if err := s.UnmarshalText([]byte(in)); err == nil {
			t.Errorf("%q is %v, want an error", in, s)
		}
	}
}

func TestLoad(t *testing.T) {
	dir := t.TempDir()
	if _, err := config.Load(filepath.Join(dir, "absent.toml")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an absent file: %v", err)
	}
	path := filepath.Join(dir, "x.toml")
	if err := os.WriteFile(path, []byte("[store]\nkeep = \"7d\"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	c, err := config.Load(path)
	if err != nil || c.Store.Keep.Std() != 7*24*time.Hour {
		t.Errorf("%+v, %v", c, err)
	}
	if err := os.WriteFile(path, []byte("[store]\nkeep = 7\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	var problems config.Problems
	if _, err := config.Load(path); !errors.As(err, &problems) || problems[0].File != path || problems[0].Line != 2 || problems[0].Column != 8 {
		t.Errorf("got %v", err)
	}
	if err := os.WriteFile(path, make([]byte, 5<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := config.Load(path); err == nil || !strings.Contains(err.Error(), "larger than") {
		t.Errorf("5 MB: %v", err)
	}
	if _, err := config.Load(dir); err == nil {
		t.Error("a folder is taken for a file")
	}
}
