package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/backscatterd/backscatterd/milter/keyring"
	"github.com/backscatterd/backscatterd/milter/ledger"
	"github.com/backscatterd/backscatterd/milter/token"
)

// guarded is a site whose filter has keys and a ledger. The ledger is real and in
// use, as it is while the daemon runs; its clock is the test's.
type guarded struct {
	t           *testing.T
	dir, config string
	signer      *token.Signer
	ledger      *ledger.Embedded
	clock       atomic.Int64
}

func newGuarded(t *testing.T, began time.Time) *guarded {
	t.Helper()
	dir := t.TempDir()
	g := &guarded{t: t, dir: dir, config: filepath.Join(dir, "b.toml")}
	text := fmt.Sprintf("[milter]\nour_domains = [\"ours.example\"]\nkeys = %q\nledger = %q\nledger_keep = \"100d\"\n", dir+"/keys", dir+"/ledger.db")
	if err := os.WriteFile(g.config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	folder := keyring.Open(dir + "/keys")
	k, err := folder.New(began)
	if err != nil {
		t.Fatal(err)
	}
	if g.signer, err = token.New(14, token.Key{ID: k.ID, Secret: k.Secret("token")}); err != nil {
		t.Fatal(err)
	}
	secret, err := folder.Secret("ledger")
	if err != nil {
		t.Fatal(err)
	}
	g.at(began)
	g.ledger, err = ledger.Open(ledger.Options{
		File: dir + "/ledger.db", Secret: secret, Keep: 100, Group: time.Millisecond, Heartbeat: 20 * time.Millisecond,
		Now: func() time.Time { return time.Unix(g.clock.Load(), 0) }, Report: func(err error) { t.Errorf("ledger: %v", err) },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { g.ledger.Close() })
	return g
}

func (g *guarded) at(now time.Time) { g.clock.Store(now.Unix()) }

// written waits until the ledger's file has all that was recorded before a time.
func (g *guarded) written(at time.Time) {
	g.t.Helper()
	for range 3000 {
		if s, err := ledger.ReadStatus(g.dir + "/ledger.db"); err == nil && !s.Written.Before(at.Truncate(time.Second)) {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	g.t.Fatal("the ledger does not write")
}

// bounce is one of a message that left at a time and came back an hour later.
func bounce(sent time.Time, id, more string) string {
	return "Return-Path: <>\nReceived: from mx by mail.ours.example id 6AOB0xyz012345; " + sent.Add(time.Hour).Format(time.RFC1123Z) +
		"\nDelivered-To: alice@ours.example\nFrom: MAILER-DAEMON@mx.there.example\nSubject: Undelivered Mail Returned to Sender\n" +
		"Content-Type: multipart/report; report-type=delivery-status; boundary=\"b\"\n\n--b\nContent-Type: message/delivery-status\n\n" +
		"Reporting-MTA: dns; mx.there.example\n\nFinal-Recipient: rfc822; bob@there.example\nAction: failed\nStatus: 5.1.1\n\n" +
		"--b\nContent-Type: text/rfc822-headers\n\nReceived: from a by b.example; " + sent.Format(time.RFC1123Z) + "\n" + more +
		"Message-ID: <" + id + ">\nDate: " + sent.Format(time.RFC1123Z) + "\nFrom: alice@ours.example\nTo: bob@there.example\n\n--b--\n"
}

func (g *guarded) classify(message string) (verdict string, reasons []string) {
	g.t.Helper()
	var stdout, stderr bytes.Buffer
	if code := run(context.Background(), []string{"-c", g.config, "classify", "--json", "-"}, strings.NewReader(message), &stdout, &stderr); code != exitDone || stderr.Len() > 0 {
		g.t.Fatalf("status %d: %s", code, &stderr)
	}
	var line struct {
		Verdict string
		Reasons []string
	}
	if err := json.Unmarshal(stdout.Bytes(), &line); err != nil {
		g.t.Fatalf("%s: %v", &stdout, err)
	}
	return line.Verdict, line.Reasons
}

func TestClassifyWithKeysAndTheLedgerOfARunningDaemon(t *testing.T) {
	now := time.Now()
	g := newGuarded(t, now.AddDate(0, 0, -30))
	sent := now.Add(-5 * time.Hour)
	g.at(sent)
	g.ledger.Record(ledger.Message{MessageID: "ours@ours.example", Sender: "alice@ours.example", Recipients: []string{"carol@elsewhere.example"}})
	end := now.Add(-time.Hour)
	g.at(end)
	g.written(end)
	before, err := os.ReadDir(os.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	value, err := g.signer.Sign("alice@ours.example", "signed@ours.example", sent)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, message, want string }{
		{"in the ledger", bounce(sent, "ours@ours.example", ""), "legit ledger-message"},
		{"not in the ledger", bounce(sent, "forged@ours.example", ""), "suspect no-proof,not-in-ledger"},
		{"signed", bounce(sent, "signed@ours.example", token.Header+": "+value+"\n"), "legit token"},
		{"sent before the ledger began", bounce(now.AddDate(0, 0, -60), "forged@ours.example", ""), "unknown no-proof,warm-up"},
		{"came after the copy ends", bounce(now.Add(-90*time.Minute), "forged@ours.example", ""), "unknown no-proof,gap"},
	} {
		if verdict, reasons := g.classify(c.message); verdict+" "+strings.Join(reasons, ",") != c.want {
			t.Errorf("%s: %s %s; want %s", c.name, verdict, strings.Join(reasons, ","), c.want)
		}
	}
	if cover := g.ledger.Coverage(); len(cover.Gaps) > 0 {
		t.Errorf("looking into it left gaps in the ledger: %+v", cover.Gaps)
	}
	after, err := os.ReadDir(os.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range after {
		if strings.HasPrefix(e.Name(), "backscatterd-ledger-") && !slices.ContainsFunc(before, func(b os.DirEntry) bool { return b.Name() == e.Name() }) {
			t.Errorf("%s is left behind", e.Name())
		}
	}
}

// With the secret of another installation, nothing of the ledger counts, and no
// secret is made on the way.
func TestALedgerThatCannotBeLookedIntoMakesNothingSuspect(t *testing.T) {
	now := time.Now()
	g := newGuarded(t, now.AddDate(0, 0, -30))
	g.at(now)
	g.written(now)
	for name, spoil := range map[string]func(){
		"no secret": func() { os.Remove(g.dir + "/keys/ledger.secret") },
		"another secret": func() {
			if _, err := keyring.Open(g.dir + "/keys").Secret("ledger"); err != nil {
				t.Fatal(err)
			}
		},
	} {
		os.Remove(g.dir + "/keys/ledger.secret")
		spoil()
		var stdout, stderr bytes.Buffer
		run(context.Background(), []string{"-c", g.config, "classify", "-"}, strings.NewReader(bounce(now.Add(-5*time.Hour), "forged@ours.example", "")), &stdout, &stderr)
		if !strings.Contains(stdout.String(), "unknown kind=failed") || !strings.Contains(stdout.String(), "lookup-failed") || !strings.Contains(stderr.String(), "the ledger is not looked into") {
			t.Errorf("%s: %s%s", name, &stdout, &stderr)
		}
	}
}
