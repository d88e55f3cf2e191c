package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/backscatterd/backscatterd/milter/ledger"
)

// A replay goes by the ledger of a daemon that runs, of which it looks into a
// copy: neither the ledger nor the keys are changed.
func TestReplayLooksIntoTheLedgerOfARunningDaemon(t *testing.T) {
	now := time.Now()
	g := newGuarded(t, now.AddDate(0, 0, -30))
	sent, end := now.Add(-5*time.Hour), now.Add(-time.Hour)
	g.at(sent)
	g.ledger.Record(ledger.Message{MessageID: "ours@ours.example", Sender: "alice@ours.example", Recipients: []string{"carol@elsewhere.example"}})
	g.at(end)
	g.written(end)
	policy, err := os.ReadFile(g.config)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(g.config, append(policy, "[milter.verdict]\nsuspect = \"discard\"\n"...), 0o600); err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	for name, id := range map[string]string{"1.eml": "ours@ours.example", "2.eml": "forged@ours.example"} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(bounce(sent, id, "")), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	keys, err := os.ReadDir(g.dir + "/keys")
	if err != nil {
		t.Fatal(err)
	}

	var stdout, stderr bytes.Buffer
	code := run(context.Background(), []string{"-c", g.config, "serve", "--replay", folder}, strings.NewReader(""), &stdout, &stderr)
	want := folder + "/1.eml: tag, legit kind=failed reasons=ledger-message to=alice@ours.example\n" +
		folder + "/2.eml: discard, suspect kind=failed reasons=no-proof,not-in-ledger to=alice@ours.example\n" +
		"2 messages\n  suspect   1: 1 discard\n  legit     1: 1 tag\n"
	if code != exitDone || stderr.Len() > 0 || stdout.String() != want {
		t.Errorf("status %d, said\n%s%s\nwant\n%s", code, &stdout, &stderr, want)
	}
	if cover := g.ledger.Coverage(); len(cover.Gaps) > 0 {
		t.Errorf("it left gaps in the ledger: %+v", cover.Gaps)
	}
	if after, err := os.ReadDir(g.dir + "/keys"); err != nil || len(after) != len(keys) {
		t.Errorf("the keys folder had %d files and has %d (%v)", len(keys), len(after), err)
	}
}
