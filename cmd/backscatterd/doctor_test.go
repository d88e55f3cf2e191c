package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/backscatterd/backscatterd/test/lab"
)

// A real sendmail.cf, made by m4, with the real sendmail and our own milter: all
// is well but for the ledger, which is new. Then one thing after the other goes
// wrong.
func TestDoctorOnRealSendmail(t *testing.T) {
	dir, err := os.MkdirTemp("", "doctor-lab-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(dir, "milter.sock")
	l := lab.New(t, lab.Options{MC: []string{"INPUT_MAIL_FILTER(`backscatterd', `S=unix:" + socket + ", F=T, T=C:10s;S:10s;R:10s;E:1m')dnl"}})
	cfg := filepath.Join(dir, "b.toml")
	text := fmt.Sprintf("[queue]\nsendmail_cf = %q\nsubmit_cf = %q\nsendmail = %q\n[store]\ndirectory = %q\n[audit]\nfile = %q\n[milter]\nlisten = %q\nour_domains = [\"example.com\"]\nkeys = %q\nledger = %q\n",
		l.CF, l.ClientCF, l.SendmailCommand(), dir+"/removed", dir+"/audit.jsonl", "unix:"+socket, dir+"/keys", dir+"/ledger.db")
	if err := os.WriteFile(cfg, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	doctor := func() (int, string) {
		var out bytes.Buffer
		code := run(t.Context(), []string{"doctor", "-c", cfg, "--cron", dir + "/cron"}, strings.NewReader(""), &out, &out)
		return code, out.String()
	}
	want := func(code int, says ...string) {
		t.Helper()
		got, out := doctor()
		if got != code {
			t.Errorf("exit status %d, want %d\n%s", got, code, out)
		}
		flat := strings.Join(strings.Fields(out), " ")
		for _, s := range says {
			if !strings.Contains(flat, s) {
				t.Errorf("want %q in\n%s", s, out)
			}
		}
	}
	want(exitFailed, "fail milter nothing listens on unix:"+socket, "ok filter line "+l.CF, "ok filter away F=T", "backscatterd key new")

	if code := run(t.Context(), []string{"key", "new", "-c", cfg}, strings.NewReader(""), &bytes.Buffer{}, os.Stderr); code != exitDone {
		t.Fatal("no key")
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var log bytes.Buffer
	ended := make(chan int, 1)
	go func() {
		ended <- run(ctx, []string{"serve", "--only", "milter", "-c", cfg}, strings.NewReader(""), &log, &log)
	}()
	for range 3000 {
		if exists(socket) && exists(dir+"/ledger.db.status") {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	version, err := l.Sendmail(t.Context(), "-d0.1", "-bt")
	if err != nil {
		t.Fatal(err)
	}
	_, version, _ = strings.Cut(version, "Version ")
	want(exitDone, "ok sendmail version "+strings.Fields(version)[0]+"; it locks by flock",
		"ok queue "+l.Queues[0]+": 0 messages; owner root, mode 0700", "ok queue "+l.ClientQueue,
		"ok way to the milter sendmail runs as root", "ok milter unix:"+socket+" answers in the milter protocol, version",
		"ok keys", "warn ledger "+dir+"/ledger.db: records since", "ok removed store", "ok audit log", "ok qtool.pl in cron none")

	cancel()
	if code := <-ended; code != exitDone && code != exitFailed {
		t.Errorf("the milter ended with %d\n%s", code, log.String())
	}
	want(exitFailed, "fail milter nothing listens on unix:"+socket)
}
