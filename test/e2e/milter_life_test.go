package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/backscatterd/backscatterd/milter/keyring"
	"github.com/backscatterd/backscatterd/test/lab"
)

// prvsLines are what docs/milter.md tells people to put at the end of
// sendmail.mc: sendmail looks whether a local user exists before the filter can
// take the tag off.
const prvsLines = "LOCAL_CONFIG\n" +
	"Kprvs regex -s2 ^(prvs=[0-9][0-9][0-9][0-9][0-9a-f]+=)(.+)$\n" +
	"LOCAL_RULE_0\n" +
	"R$+ < @ $=w . >\t\t$: $( prvs $1 $: $1 $) < @ $2 . >\n"

// A tagged recipient finds its mailbox where sendmail knows the local users.
func TestMilterTaggedLocalUsers(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "milter.md"))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(page), prvsLines) {
		t.Error("docs/milter.md does not have the lines that are tried here")
	}
	// A local mailer that notes for whom it was called.
	dir := t.TempDir()
	mailer, delivered := filepath.Join(dir, "deliver"), filepath.Join(dir, "delivered")
	if err := os.WriteFile(mailer, []byte("#!/bin/sh\ncat >/dev/null\necho \"$1\" >>"+delivered+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	local := []string{
		"undefine(`MAIL_HUB')dnl", "LOCAL_DOMAIN(`" + ourDomain + "')dnl",
		"define(`LOCAL_MAILER_PATH', `" + mailer + "')dnl", "define(`LOCAL_MAILER_ARGS', `deliver $u')dnl",
	}
	bounce := func(user string) lab.Envelope {
		e := suspectBounce("root@" + ourDomain)
		e.To = lab.To(user + "@" + ourDomain)
		return e
	}
	s, _ := newMailSite(t, mailOptions{lab: lab.Options{MC: local}, only: "milter"})
	if answer := fromOutside(t, s.Lab, bounce("prvs=0730570649=root")); !strings.HasPrefix(answer, "550 5.1.1") {
		t.Errorf("without the lines, a tagged user is answered %q; are they still needed?", answer)
	}
	s, ctx := newMailSite(t, mailOptions{lab: lab.Options{MC: append(local, prvsLines+"divert(0)dnl")}, only: "milter"})
	if answer := fromOutside(t, s.Lab, bounce("prvs=0730570649=nosuchuser")); !strings.HasPrefix(answer, "550 5.1.1") {
		t.Errorf("a user who does not exist is answered %q", answer)
	}
	for i, user := range []string{"prvs=0730570649=root", "PRVS=0730570649=ROOT"} {
		if answer := fromOutside(t, s.Lab, bounce(user)); !strings.HasPrefix(answer, "250") {
			t.Fatalf("%s is answered %q", user, answer)
		}
		s.awaitQueue(ctx, 1)
		if _, err := s.RunQueue(ctx); err != nil {
			t.Fatal(err)
		}
		s.awaitQueue(ctx, 0)
		if got, err := os.ReadFile(delivered); strings.ToLower(string(got)) != strings.Repeat("root\n", i+1) {
			t.Errorf("delivered to %q, %v", got, err)
		}
	}
}

// The life of a filter: it is away, and mail passes; it is started again, and
// knows what it sent before; it takes new keys, and refuses those that others can
// read; it finds its ledger destroyed, says so, and goes on.
func TestMilterLife(t *testing.T) {
	s, ctx := newMailSite(t, mailOptions{})
	remote := newRemote(t)
	out := s.sent(ctx, lab.Envelope{From: "joe@" + ourDomain, To: lab.To("ann@remote.example"), Data: letter("joe@"+ourDomain, "ann@remote.example", "1@"+ourDomain)})
	back := bounced(t, ctx, remote, out)
	bounce := lab.Envelope{To: lab.To(back.To[0]), Data: back.Data}
	status := func() string {
		t.Helper()
		return header(t, s.received(ctx, bounce)).Get("X-Backscatter-Status")
	}

	s.stopFilter()
	if got := status(); got != "" {
		t.Errorf("with the filter away: %q", got)
	}
	s.log = &logged{}
	s.startFilter("")
	if got := status(); !strings.HasPrefix(got, "legit kind=failed reasons=token,ledger-message") {
		t.Errorf("after a restart: %q", got)
	}

	if _, err := keyring.Open(s.keys).New(time.Now().Add(time.Second)); err != nil {
		t.Fatal(err)
	}
	s.serve.Process.Signal(unix.SIGHUP)
	s.says("the configuration was read again")
	next := s.sent(ctx, lab.Envelope{From: "joe@" + ourDomain, To: lab.To("ann@remote.example"), Data: letter("joe@"+ourDomain, "ann@remote.example", "2@"+ourDomain)})
	before, after := header(t, out).Get("X-Backscatter-Token"), header(t, next).Get("X-Backscatter-Token")
	if strings.Fields(before)[1] == strings.Fields(after)[1] {
		t.Errorf("the new key does not sign: %q, then %q", before, after)
	}
	if got := status(); !strings.HasPrefix(got, "legit kind=failed reasons=token") {
		t.Errorf("with a second key: %q", got)
	}

	keys, err := filepath.Glob(filepath.Join(s.keys, "*.key"))
	if err != nil || len(keys) != 2 {
		t.Fatalf("keys %v, %v", keys, err)
	}
	if err := os.Chmod(keys[0], 0o644); err != nil {
		t.Fatal(err)
	}
	s.serve.Process.Signal(unix.SIGHUP)
	s.says("the new configuration is wrong, the old one stays")
	if got := status(); !strings.HasPrefix(got, "legit") {
		t.Errorf("with keys that others can read, the old ones should stay: %q", got)
	}
	if err := os.Chmod(keys[0], 0o600); err != nil {
		t.Fatal(err)
	}

	text, err := os.ReadFile(s.config)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(s.config, []byte(strings.Replace(string(text), "listen = ", "idle_timeout = \"1h\"\nlisten = ", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	s.serve.Process.Signal(unix.SIGHUP)
	s.says(`msg="changed, and in effect after a restart only" keys=milter.idle_timeout`)

	s.stopFilter()
	ledger := filepath.Join(filepath.Dir(s.keys), "ledger.db")
	if err := os.WriteFile(ledger, []byte(strings.Repeat("no ledger", 10_000)), 0o600); err != nil {
		t.Fatal(err)
	}
	s.log = &logged{}
	s.startFilter("")
	s.says("level=ERROR msg=ledger")
	if got := status(); got != "legit kind=failed reasons=token" {
		t.Errorf("with a new ledger: %q", got)
	}
}

// Without a domain of ours there is no milter: one that is asked for is an error,
// not a daemon that does nothing.
func TestMilterIsOffWithoutDomains(t *testing.T) {
	s := newSite(t, lab.Options{InMemory: true}, "[milter]\nlisten = \"unix:/nonexistent/m\"")
	s.run(2, "serve", "--only", "milter")
	s.run(2, "serve", "--only", "mail")
}
