package main

import (
	"bytes"
	"fmt"
	"net/mail"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/backscatterd/backscatterd/cmd/backscatterd/internal/digest"
	"github.com/backscatterd/backscatterd/test/lab"
)

// The digest goes by the real sendmail to whom it is for: from the null sender,
// marked as no answer to anything, and each time of it once, also where sendmail
// does not take it and the daemon is started again.
func TestDigestByRealSendmail(t *testing.T) {
	l := lab.New(t, lab.Options{})
	dir := t.TempDir()
	refusing := filepath.Join(dir, "refusing")
	if err := os.WriteFile(refusing, []byte("#!/bin/sh\necho 'no room in the queue'\nexit 75\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	state := filepath.Join(dir, "digest.json")
	config := func(sendmail string) string {
		file := filepath.Join(dir, "b.toml")
		text := fmt.Sprintf("[queue]\nsendmail_cf = %q\nsubmit_cf = \"\"\nsendmail = %q\n[store]\ndirectory = %q\n[audit]\nfile = %q\n[digest]\nto = [\"postmaster@boss.example\"]\nstate = %q\n",
			l.CF, sendmail, dir+"/removed", dir+"/audit.jsonl", state)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	command := func(want int, file string, args ...string) string {
		t.Helper()
		var out bytes.Buffer
		if code := run(t.Context(), append(args, "-c", file), strings.NewReader(""), &out, &out); code != want {
			t.Fatalf("%v: exit status %d, want %d\n%s", args, code, want, out.String())
		}
		return out.String()
	}
	delivered := func(n int) lab.Delivery {
		t.Helper()
		if _, err := l.RunQueue(t.Context()); err != nil {
			t.Fatal(err)
		}
		all := l.Stub.Deliveries()
		if len(all) != n {
			t.Fatalf("%d were delivered, want %d", len(all), n)
		}
		return all[n-1]
	}

	began := time.Now().Add(-30 * time.Hour).Truncate(time.Second)
	text := fmt.Sprintf("{\"until\":%q}", began.Format(time.RFC3339))
	if err := os.WriteFile(state, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if out := command(exitFailed, config(refusing), "digest", "--send"); !strings.Contains(out, "no room in the queue") {
		t.Errorf("sendmail refused, and it says\n%s", out)
	}
	waits, err := digest.ReadState(state)
	if err != nil || !waits.Pending() {
		t.Fatalf("the state has forgotten who waits: %+v, %v", waits, err)
	}

	// Another process, with a sendmail that is well: the daemon's start.
	file := config(l.SendmailCommand())
	serveFor(t, file, func() bool { s, err := digest.ReadState(state); return err == nil && !s.Pending() })
	d := delivered(1)
	m, err := mail.ReadMessage(bytes.NewReader(d.Data))
	if err != nil {
		t.Fatal(err)
	}
	if d.From != "" || strings.Join(d.To, " ") != "postmaster@boss.example" || m.Header.Get("Auto-Submitted") != "auto-generated" ||
		m.Header.Get("To") != "postmaster@boss.example" || !strings.HasPrefix(m.Header.Get("Subject"), "backscatterd on ") {
		t.Errorf("from %q to %q\n%s", d.From, d.To, d.Data)
	}
	until := waits.People["postmaster@boss.example"].Sending
	if want := fmt.Sprintf("<digest.%d.%d@", began.Unix(), until.Unix()); !strings.HasPrefix(d.MessageID, want) {
		t.Errorf("Message-ID %s, want %s...: the time that sendmail refused", d.MessageID, want)
	}

	// Nothing is due: a start tells nobody again.
	serveFor(t, file, nil)
	delivered(1)
	command(exitDone, file, "digest", "--send")
	if next := delivered(2); !strings.HasPrefix(next.MessageID, fmt.Sprintf("<digest.%d.", until.Unix())) {
		t.Errorf("Message-ID %s: the next one does not begin where the last one ended", next.MessageID)
	}
}

// serveFor runs the daemon until it has its schedules: what was due before is
// done then, as until has to find.
func serveFor(t *testing.T, config string, until func() bool) {
	t.Helper()
	s := &site{t: t, dir: filepath.Dir(config), config: config}
	d := s.serve()
	d.says("purge of the removed store")
	if until != nil && !until() {
		t.Error("the daemon has its schedules, and somebody waits still")
	}
	d.signal(unix.SIGTERM)
	d.ends(exitDone)
}
