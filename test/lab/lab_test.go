package lab

import (
	"context"
	"errors"
	"fmt"
	"net/textproto"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// began makes a lab with a running daemon and, to be quick, queues in memory.
func began(t *testing.T, options Options) (*Lab, context.Context) {
	t.Helper()
	options.InMemory = true
	return begin(t, New(t, options))
}

// begin starts the daemon of a lab.
func begin(t *testing.T, l *Lab) (*Lab, context.Context) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	if err := l.Start(ctx); err != nil {
		t.Fatal(err)
	}
	return l, ctx
}

func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func ids(listed []Listed) []string {
	var all []string
	for _, m := range listed {
		all = append(all, m.ID)
	}
	slices.Sort(all)
	return all
}

// controlLines reads a message's control file, one string a line.
func controlLines(t *testing.T, l *Lab, id string) []string {
	t.Helper()
	name := must[string](t)(l.ControlFile(id))
	return strings.Split(string(must[[]byte](t)(os.ReadFile(name))), "\n")
}

func TestEveryLayoutReceivesListsAndDelivers(t *testing.T) {
	for _, test := range []struct {
		layout  Layout
		folders []string // where control files may lie, below QueueRoot
		entries int      // of one message to both domains
	}{
		{Flat, []string{"mqueue"}, 1},
		{Split, []string{"q1/qf", "q2/qf", "q3/qf"}, 1},
		{Groups, []string{"main1/qf", "other"}, 2},
	} {
		t.Run(test.layout.String(), func(t *testing.T) {
			l, ctx := begin(t, New(t, Options{Layout: test.layout}))
			data := Compose("hello\n", "Subject: greetings", "Message-ID: <one@lab.example>")
			sent := must[[]string](t)(l.Submit(ctx, Envelope{
				From: "a@customer.example", To: To("b@dest.example", "c@"+OtherDomain), Data: data,
			}))
			listed := must[[]Listed](t)(l.Mailq(ctx, false))
			if len(listed) != test.entries || !slices.Contains(ids(listed), sent[0]) {
				t.Fatalf("mailq lists %+v, want %d entries with %s among them", listed, test.entries, sent[0])
			}
			var recipients []string
			for _, m := range listed {
				control := must[string](t)(l.ControlFile(m.ID))
				folder := must[string](t)(filepath.Rel(l.QueueRoot, filepath.Dir(control)))
				if !slices.Contains(test.folders, folder) {
					t.Errorf("%s lies in %s, want one of %v", m.ID, folder, test.folders)
				}
				body := must[string](t)(l.DataFile(m.ID))
				if m.Folder != filepath.Dir(body) {
					t.Errorf("mailq says %s is in %s, its df is %s", m.ID, m.Folder, body)
				}
				for _, r := range m.Recipients {
					recipients = append(recipients, r.Address)
				}
			}
			slices.Sort(recipients)
			if want := []string{"<b@dest.example>", "<c@" + OtherDomain + ">"}; !slices.Equal(recipients, want) {
				t.Errorf("recipients %v, want %v", recipients, want)
			}
			must[string](t)(l.RunQueue(ctx))
			for _, to := range []string{"b@dest.example", "c@" + OtherDomain} {
				if n := l.Stub.Count("<one@lab.example>", to); n != 1 {
					t.Errorf("delivered %d times to %s, want once", n, to)
				}
			}
			if left := must[[]Listed](t)(l.Mailq(ctx, false)); len(left) != 0 {
				t.Errorf("left in the queue after all was delivered: %+v", left)
			}
		})
	}
}

func TestBackgroundDeliversWithoutAQueueRun(t *testing.T) {
	l, ctx := began(t, Options{Background: true})
	must[[]string](t)(l.Submit(ctx, Envelope{From: "a@customer.example", To: To("b@dest.example"), Data: Compose("x\n", "Subject: s")}))
	if err := l.Stub.Await(ctx, 1); err != nil {
		t.Fatal(err)
	}
	if d := l.Stub.Deliveries()[0]; d.From != "a@customer.example" || !slices.Equal(d.To, []string{"b@dest.example"}) ||
		!strings.Contains(string(d.Data), "Subject: s\r\n") || d.At.IsZero() {
		t.Errorf("delivered %+v", d)
	}
}

func TestSendmailHoldsItsLockInMidDelivery(t *testing.T) {
	l, ctx := began(t, Options{})
	id := must[[]string](t)(l.Submit(ctx, Envelope{
		From: "a@customer.example", To: To("b@dest.example"),
		Data: Compose("x\n", "Subject: s", "Message-ID: <held@lab.example>"),
	}))[0]
	gate := l.Stub.Hold(func(d Delivery) bool { return d.MessageID == "<held@lab.example>" })
	run := make(chan error, 1)
	go func() { _, err := l.RunQueue(ctx); run <- err }()
	if err := gate.Reached(ctx); err != nil {
		t.Fatal(err)
	}
	if listed := must[[]Listed](t)(l.Mailq(ctx, false)); len(listed) != 1 || listed[0].State != '*' {
		t.Errorf("mailq in mid-delivery: %+v, want one locked message", listed)
	}
	f := must[*os.File](t)(os.Open(must[string](t)(l.ControlFile(id))))
	defer f.Close()
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != unix.EWOULDBLOCK {
		t.Errorf("flock on the control file in mid-delivery: %v, want %v", err, unix.EWOULDBLOCK)
	}
	short, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
	defer cancel()
	if err := l.Edit(short, id, 'N', "9"); err == nil || !strings.Contains(err.Error(), "waiting for sendmail's lock") {
		t.Errorf("Edit of a locked message: %v", err)
	}
	if n := l.Stub.Count("<held@lab.example>", "b@dest.example"); n != 0 {
		t.Errorf("counted %d times before the reply", n)
	}
	gate.Open()
	if err := <-run; err != nil {
		t.Fatal(err)
	}
	if n := l.Stub.Count("<held@lab.example>", "B@Dest.Example"); n != 1 {
		t.Errorf("delivered %d times, want once", n)
	}
	if _, err := l.ControlFile(id); !os.IsNotExist(underlying(err)) {
		t.Errorf("control file of a delivered message: %v", err)
	}
}

// underlying takes our own words off an error.
func underlying(err error) error {
	for {
		inner, ok := err.(interface{ Unwrap() error })
		if !ok {
			return err
		}
		err = inner.Unwrap()
	}
}

func TestMailForThisHostGoesToTheStubToo(t *testing.T) {
	l, ctx := began(t, Options{})
	if err := os.WriteFile(l.Aliases, []byte("abuse: alias@dest.example\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	must[string](t)(l.Sendmail(ctx, "-bi"))
	local := []string{"root@" + Host, "postmaster", "nobody@localhost", "abuse"}
	must[[]string](t)(l.Submit(ctx, Envelope{From: "a@customer.example", To: To(local...), Data: Compose("x\n", "Message-ID: <local@lab.example>")}))
	must[string](t)(l.RunQueue(ctx))
	for _, to := range []string{"root@[127.0.0.1]", "postmaster@[127.0.0.1]", "nobody@[127.0.0.1]", "alias@dest.example"} {
		if n := l.Stub.Count("<local@lab.example>", to); n != 1 {
			t.Errorf("delivered %d times to %s, want once", n, to)
		}
	}
}

func TestLinesOfM4ReachSendmail(t *testing.T) {
	// Nobody listens there, and F=T makes sendmail answer 4xx then.
	l, ctx := began(t, Options{MC: []string{"INPUT_MAIL_FILTER(`away', `S=unix:/nonexistent/milter, F=T, T=C:1s')dnl"}})
	_, err := l.Submit(ctx, Envelope{From: "a@customer.example", To: To("b@dest.example"), Data: Compose("x\n", "Subject: s")})
	if refused := (*textproto.Error)(nil); !errors.As(err, &refused) || refused.Code/100 != 4 {
		t.Errorf("Submit with a filter that is away: %v, want 4xx", err)
	}
}

// TestSendmailCommandNeedsNothingOfItsCaller runs it as a daemon would: with an
// empty environment and in another folder.
func TestSendmailCommandNeedsNothingOfItsCaller(t *testing.T) {
	l := New(t, Options{})
	cmd := exec.CommandContext(t.Context(), l.SendmailCommand(), "-bp")
	cmd.Env, cmd.Dir = []string{}, "/"
	if out := must[[]byte](t)(cmd.CombinedOutput()); !strings.Contains(string(out), l.QueueRoot+"/mqueue is empty") {
		t.Errorf("printed %q", out)
	}
	// A later -C wins.
	cmd = exec.CommandContext(t.Context(), l.SendmailCommand(), "-C", l.ClientCF, "-bp")
	if out := must[[]byte](t)(cmd.CombinedOutput()); !strings.Contains(string(out), l.ClientQueue+" is empty") {
		t.Errorf("with submit.cf printed %q", out)
	}
}

func TestManyMessagesEachDeliveredOnce(t *testing.T) {
	l, ctx := began(t, Options{Layout: Split})
	var envelopes []Envelope
	const count = 500
	for i := range count {
		envelopes = append(envelopes, Envelope{
			From: "a@customer.example", To: To(fmt.Sprintf("u%d@dest.example", i)),
			Data: Compose("x\n", fmt.Sprintf("Message-ID: <m%d@lab.example>", i)),
		})
	}
	sent := must[[]string](t)(l.Submit(ctx, envelopes...))
	slices.Sort(sent)
	if listed := ids(must[[]Listed](t)(l.Mailq(ctx, false))); !slices.Equal(listed, sent) {
		t.Fatalf("mailq lists %d messages, %d were accepted", len(listed), len(sent))
	}
	runs := make(chan error)
	for range 2 {
		go func() { _, err := l.RunQueue(ctx); runs <- err }()
	}
	for range 2 {
		if err := <-runs; err != nil {
			t.Error(err)
		}
	}
	for i := range count {
		if n := l.Stub.Count(fmt.Sprintf("<m%d@lab.example>", i), fmt.Sprintf("u%d@dest.example", i)); n != 1 {
			t.Errorf("message %d delivered %d times, want once", i, n)
		}
	}
}

func TestClientQueue(t *testing.T) {
	l, ctx := began(t, Options{})
	if err := l.Stop(ctx); err != nil {
		t.Fatal(err)
	}
	message := Compose("x\n", "Subject: from a program", "Message-ID: <client@lab.example>")
	must[string](t)(l.Client(ctx, message, "-f", "a@customer.example", "b@dest.example"))
	listed := must[[]Listed](t)(ParseMailq(must[string](t)(l.Client(ctx, nil, "-bp", "-v"))))
	if len(listed) != 1 {
		t.Fatalf("the client queue lists %+v, want one message", listed)
	}
	control := must[string](t)(l.ControlFile(listed[0].ID))
	if filepath.Dir(control) != l.ClientQueue {
		t.Errorf("%s is not in the client queue %s", control, l.ClientQueue)
	}
	folder := must[os.FileInfo](t)(os.Stat(l.ClientQueue)).Sys().(*syscall.Stat_t)
	owner := must[os.FileInfo](t)(os.Stat(control)).Sys().(*syscall.Stat_t)
	if owner.Uid == 0 || owner.Uid != folder.Uid || owner.Gid != folder.Gid {
		t.Errorf("%s belongs to %d:%d, the folder to %d:%d", control, owner.Uid, owner.Gid, folder.Uid, folder.Gid)
	}
	if err := l.Start(ctx); err != nil {
		t.Fatal(err)
	}
	must[string](t)(l.Client(ctx, nil, "-qf"))
	must[string](t)(l.RunQueue(ctx))
	if n := l.Stub.Count("<client@lab.example>", "b@dest.example"); n != 1 {
		t.Errorf("delivered %d times, want once", n)
	}
}

func TestStartTwiceIsAnError(t *testing.T) {
	l, ctx := began(t, Options{})
	if err := l.Start(ctx); err == nil || !strings.Contains(err.Error(), "running already") {
		t.Errorf("second Start: %v", err)
	}
	for range 2 {
		if err := l.Stop(ctx); err != nil {
			t.Error(err)
		}
	}
	if _, err := l.Submit(ctx, Envelope{To: To("b@dest.example")}); err == nil || !strings.Contains(err.Error(), "is the daemon started?") {
		t.Errorf("Submit without a daemon: %v", err)
	}
}

func TestAMistakeInTheConfigurationIsToldByM4(t *testing.T) {
	l := &Lab{options: Options{MC: []string{"FEATURE(`no_such_feature')dnl"}}}
	var undo []func()
	err := l.build(func(f func()) { undo = append(undo, f) })
	for _, f := range slices.Backward(undo) {
		f()
	}
	if err == nil || !strings.Contains(err.Error(), "no_such_feature") {
		t.Errorf("New with a feature that does not exist: %v", err)
	}
	if _, err := os.Stat(l.Dir); !os.IsNotExist(err) {
		t.Errorf("the folder %s is left: %v", l.Dir, err)
	}
}
