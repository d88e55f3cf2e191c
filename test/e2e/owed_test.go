package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/backscatterd/backscatterd/queuesweep"
	"github.com/backscatterd/backscatterd/test/lab"
)

// with is the same site with something of its configuration replaced.
func (s *site) with(old, replacement string) *site {
	s.t.Helper()
	text := string(must(os.ReadFile(s.config))(s.t))
	if strings.Count(text, old) != 1 {
		s.t.Fatalf("%q is not once in the configuration:\n%s", old, text)
	}
	other := *s
	other.config = filepath.Join(s.t.TempDir(), "backscatterd.toml")
	if err := os.WriteFile(other.config, []byte(strings.Replace(text, old, replacement, 1)), 0o600); err != nil {
		s.t.Fatal(err)
	}
	return &other
}

// withSendmail is the same site with a shell script for the sendmail command;
// $SENDMAIL in it is the real one.
func (s *site) withSendmail(script string) *site {
	s.t.Helper()
	path := filepath.Join(s.t.TempDir(), "sendmail")
	text := "#!/bin/sh\nSENDMAIL=" + s.SendmailCommand() + "\n" + script
	if err := errors.Join(os.WriteFile(path+".new", []byte(text), 0o755), os.Rename(path+".new", path)); err != nil {
		s.t.Fatal(err)
	}
	return s.with(fmt.Sprintf("%q", s.SendmailCommand()), fmt.Sprintf("%q", path))
}

// owed tells whether the store has a message whose bounce is owed.
func (s *site) owed(id string) bool { return s.list("--removed")[id].BounceOwed }

// A sendmail command that is missing, or fails, leaves the bounce owed: the
// message has left the queue, the result says so, and the next sweep sends it.
func TestBounceStaysOwed(t *testing.T) {
	for name, broken := range map[string]func(*site) *site{
		"missing": func(s *site) *site { return s.with(fmt.Sprintf("%q", s.SendmailCommand()), `"/nonexistent/sendmail"`) },
		"failing": func(s *site) *site { return s.withSendmail("echo 'no space left' >&2\nexit 75\n") },
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, lab.Options{InMemory: true}, bouncing)
			ctx := s.start()
			m := must(s.Deferred(ctx, "452 4.2.2 Mailbox full", 1))(t)
			bad := broken(s)
			found, _ := bad.act(0, "sweep")
			r := s.one(found, queuesweep.Done)
			if !strings.Contains(r.Note, "still owed") || name == "failing" && !strings.Contains(r.Note, "no space left") {
				t.Errorf("note %q", r.Note)
			}
			if len(s.list()) != 0 || !s.owed(m.ID) {
				t.Errorf("in the queue %v, owed %v", s.list(), s.owed(m.ID))
			}
			if out := s.run(0, "queue", "list", "--removed"); !strings.Contains(out, "its bounce is still owed") {
				t.Errorf("queue list --removed:\n%s", out)
			}
			bad.act(0, "sweep") // fails again, and nothing is lost
			if !s.owed(m.ID) {
				t.Fatal("the note is gone")
			}

			s.act(0, "sweep")
			if d := s.delivered(ctx); d.From != "" || s.owed(m.ID) {
				t.Errorf("from %q, still owed: %v", d.From, s.owed(m.ID))
			}
			if audit := string(must(os.ReadFile(s.audit))(t)); !strings.Contains(audit, "has been handed over") {
				t.Errorf("audit log:\n%s", audit)
			}
			s.act(0, "sweep")
			must(s.RunQueue(ctx))(t)
			if n := len(s.Stub.Deliveries()); n != 1 {
				t.Errorf("sent %d times", n)
			}
		})
	}
}

// The daemon sends what is owed when it starts, not only when a sweep is due.
func TestServePaysAtTheStart(t *testing.T) {
	s := newSite(t, lab.Options{InMemory: true}, strings.Replace(bouncing, "[sweep]", "[sweep]\nschedule = \"0 0 1 1 *\"", 1))
	ctx := s.start()
	m := must(s.Deferred(ctx, "452 4.2.2 Mailbox full", 1))(t)
	s.withSendmail("exit 1\n").act(0, "queue", "bounce", m.ID)
	if !s.owed(m.ID) {
		t.Fatal("nothing is owed")
	}
	serve := exec.CommandContext(ctx, program, "-c", s.config, "serve")
	if err := serve.Start(); err != nil {
		t.Fatal(err)
	}
	s.until(ctx, "the daemon has sent the bounce", func() bool { return !s.owed(m.ID) })
	if err := errors.Join(serve.Process.Signal(unix.SIGTERM), serve.Wait()); err != nil {
		t.Error(err)
	}
	s.delivered(ctx)
}

// Who restores a message does not have its sender told that it failed.
func TestRestoredIsNotBounced(t *testing.T) {
	s := newSite(t, lab.Options{InMemory: true}, bouncing)
	ctx := s.start()
	m := must(s.Deferred(ctx, "452 4.2.2 Mailbox full", 1))(t)
	s.withSendmail("exit 1\n").act(0, "queue", "bounce", m.ID)
	s.act(0, "queue", "restore", m.ID)
	s.act(0, "queue", "move", m.ID)
	must(s.RunQueue(ctx))(t)
	if got := s.Stub.Deliveries(); len(got) != 0 || s.owed(m.ID) {
		t.Errorf("told all the same: %+v (owed: %v)", got, s.owed(m.ID))
	}
}

// The program is killed while it hands a bounce over: before sendmail has taken
// it, and after. The next run sends it; in the second case it comes twice, the
// same to the last byte.
func TestKilledWhileHandingOver(t *testing.T) {
	const wait = "touch \"$0.reached\"\nfor i in $(seq 600); do [ -e \"$0.go\" ] && exit 1; sleep 0.1; done\n"
	for name, tt := range map[string]struct {
		script string
		copies int
	}{
		"before": {wait, 1},
		"after":  {"\"$SENDMAIL\" \"$@\" || exit\n" + wait, 2},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, lab.Options{InMemory: true}, bouncing)
			ctx := s.start()
			m := must(s.Deferred(ctx, "452 4.2.2 Mailbox full", 1))(t)
			s.killAt(ctx, s.withSendmail(tt.script), "queue", "bounce", m.ID)
			if len(s.list()[m.ID].ID) != 0 || !s.owed(m.ID) {
				t.Fatalf("in the queue %v, owed %v", s.list(), s.owed(m.ID))
			}
			s.act(0, "sweep")
			must(s.RunQueue(ctx))(t)
			got := s.Stub.Deliveries()
			if len(got) != tt.copies || s.owed(m.ID) {
				t.Fatalf("%d copies, want %d (owed: %v)", len(got), tt.copies, s.owed(m.ID))
			}
			for _, d := range got {
				if d.From != "" || d.MessageID == "" || d.MessageID != got[0].MessageID {
					t.Errorf("from %q, %s and %s", d.From, d.MessageID, got[0].MessageID)
				}
				if !bytes.Equal(asComposed(d.Data), asComposed(got[0].Data)) {
					t.Errorf("one copy:\n%s\nthe other:\n%s", d.Data, got[0].Data)
				}
			}
		})
	}
}

// killAt starts the program and kills it once its sendmail command says that it
// has been reached.
func (s *site) killAt(ctx context.Context, with *site, args ...string) {
	s.t.Helper()
	sendmail := regexp.MustCompile(`(?m)^sendmail = "(.*)"$`).FindStringSubmatch(string(must(os.ReadFile(with.config))(s.t)))[1]
	cmd := exec.Command(program, append([]string{"-c", with.config}, args...)...)
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = os.WriteFile(sendmail+".go", nil, 0o600) }) // the script ends
	s.until(ctx, "sendmail has been started", func() bool {
		_, err := os.Stat(sendmail + ".reached")
		return err == nil
	})
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
}

// asComposed is a message less the header that servers put before it.
func asComposed(data []byte) []byte { return data[max(bytes.Index(data, []byte("\r\nDate: ")), 0):] }

// By SMTP the bounce goes to a server, which may refuse it for now.
func TestBounceBySMTP(t *testing.T) {
	s := newSite(t, lab.Options{InMemory: true}, bouncing)
	s = s.with("[bounce]", fmt.Sprintf("[bounce]\nsubmit = %q", "smtp:"+s.Stub.Addr()))
	ctx := s.start()
	m := must(s.Deferred(ctx, "452 4.2.2 Mailbox full", 1))(t)
	sender := strings.Trim(m.Sender, "<>")
	s.Stub.Refuse(sender, "451 4.3.0 not now")
	found, _ := s.act(0, "sweep")
	if r := s.one(found, queuesweep.Done); !strings.Contains(r.Note, "still owed") || !strings.Contains(r.Note, "not now") {
		t.Errorf("note %q", r.Note)
	}
	s.Stub.Refuse(sender, "")
	s.act(0, "sweep")
	got := s.Stub.Deliveries()
	if len(got) != 1 || got[0].From != "" || !slices.Equal(got[0].To, []string{sender}) || !bytes.HasPrefix(got[0].Data, []byte("Date: ")) {
		t.Fatalf("deliveries %+v", got)
	}
	foreign := map[string]string{m.Recipient: "4.2.2"}
	foreignReaders(t, bytes.ReplaceAll(got[0].Data, []byte(m.MessageID), []byte("<a@x>")), foreign)
	if s.owed(m.ID) {
		t.Error("still owed")
	}
}

// A message that needed SMTPUTF8 is answered by one that does. Debian's sendmail
// is built without it, so the queue file is written by hand, as one with it does.
func TestBounceOfInternationalizedMail(t *testing.T) {
	s := newSite(t, lab.Options{InMemory: true}, bouncing)
	s = s.with("[bounce]", fmt.Sprintf("[bounce]\nsubmit = %q", "smtp:"+s.Stub.Addr()))
	ctx := s.start()
	m := must(s.Deferred(ctx, "452 4.2.2 Mailbox full", 1, "Subject: dîner"))(t)
	if err := errors.Join(
		s.Edit(ctx, m.ID, 'F', "e"), s.Edit(ctx, m.ID, 'S', "<änn@customer.example>"), s.Edit(ctx, m.ID, 'r', "utf-8; bøb@dest.example"),
	); err != nil {
		t.Fatal(err)
	}
	found, _ := s.act(0, "queue", "bounce", m.ID)
	if r := s.one(found, queuesweep.Done); r.Note != "" {
		t.Errorf("note %q", r.Note)
	}
	got := s.Stub.Deliveries()
	if len(got) != 1 || !got[0].Mail.UTF8 || got[0].To[0] != "änn@customer.example" {
		t.Fatalf("deliveries %+v", got)
	}
	for _, text := range []string{"To: <änn@customer.example>", "message/global-delivery-status", "Final-Recipient: utf-8; bøb@dest.example", "Content-Type: message/global\r\n", "dîner"} {
		if !bytes.Contains(got[0].Data, []byte(text)) {
			t.Errorf("no %q in:\n%s", text, got[0].Data)
		}
	}
}

// As Debian's /usr/sbin/sendmail does it, by way of submit.cf: the null sender
// and the 8-bit text come through, and where the daemon is down the bounce waits
// in the client queue.
func TestBounceByTheSubmissionProgram(t *testing.T) {
	s := newSite(t, lab.Options{InMemory: true}, bouncing)
	s = s.with(fmt.Sprintf("%q", s.SendmailCommand()), fmt.Sprintf("%q", s.SendmailCommand()+"-client"))
	ctx := s.start()
	m := must(s.Deferred(ctx, "452 4.2.2 Mailbox full", 1, "Subject: d\xc3\xaener"))(t)
	down := must(s.Deferred(ctx, "452 4.2.2 Mailbox full", 1))(t)
	found, _ := s.act(0, "queue", "bounce", m.ID)
	if r := s.one(found, queuesweep.Done); r.Note != "" {
		t.Errorf("note %q", r.Note)
	}
	if d := s.delivered(ctx); d.From != "" || !slices.Equal(d.To, []string{strings.Trim(m.Sender, "<>")}) ||
		d.Mail.Body != "8BITMIME" || !bytes.Contains(d.Data, []byte("\r\nSubject: d\xc3\xaener\r\n")) {
		t.Errorf("delivery %+v:\n%s", d.Mail, d.Data)
	}
	if err := s.Stop(ctx); err != nil {
		t.Fatal(err)
	}
	s.act(0, "queue", "bounce", down.ID)
	waiting := must(filepath.Glob(filepath.Join(s.ClientQueue, "qf*")))(t)
	if len(waiting) != 1 || s.owed(down.ID) {
		t.Errorf("in the client queue %v, owed %v", waiting, s.owed(down.ID))
	}
}
