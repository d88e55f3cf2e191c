package lab

import (
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
)

func TestStuckBounce(t *testing.T) {
	for _, background := range []bool{false, true} {
		t.Run(map[bool]string{false: "queued", true: "background"}[background], func(t *testing.T) {
			l, ctx := began(t, Options{Layout: Split, Background: background})
			m := must[Message](t)(l.StuckBounce(ctx, "Subject: cheap pills", "X-Spam-Flag: YES"))
			want := Message{ID: m.ID, Sender: "MAILER-DAEMON", Recipient: "spammer1@forged.example",
				MessageID: "<story1@forged.example>", Status: "Deferred: 450 4.7.1 Relay access denied"}
			if m != want {
				t.Errorf("got %+v, want %+v", m, want)
			}
			lines := controlLines(t, l, m.ID)
			for _, line := range []string{
				"SMAILER-DAEMON",
				"MDeferred: 450 4.7.1 Relay access denied",
				"H??Subject: Returned mail: see transcript for details",
				".",
			} {
				if !slices.Contains(lines, line) {
					t.Errorf("no line %q in the control file:\n%s", line, strings.Join(lines, "\n"))
				}
			}
			for _, part := range []struct {
				code byte
				has  string
			}{{'F', "r"}, {'R', ":<spammer1@forged.example>"}} {
				if !slices.ContainsFunc(lines, func(line string) bool {
					return strings.HasPrefix(line, string(part.code)) && strings.Contains(line[1:], part.has)
				}) {
					t.Errorf("no line %c with %q in the control file:\n%s", part.code, part.has, strings.Join(lines, "\n"))
				}
			}
			body := string(must[[]byte](t)(os.ReadFile(must[string](t)(l.DataFile(m.ID)))))
			for _, text := range []string{"message/delivery-status", "Status: 5.1.1", "X-Spam-Flag: YES", "Subject: cheap pills"} {
				if !strings.Contains(body, text) {
					t.Errorf("no %q in the bounce:\n%s", text, body)
				}
			}
		})
	}
}

func TestDeferredForEveryReason(t *testing.T) {
	l, ctx := began(t, Options{})
	for _, test := range []struct {
		reason, status string
		attempts       int
	}{
		{ConnectionTimedOut, "Deferred: Connection timed out with [127.0.0.8]", 51},
		{ConnectionRefused, "Deferred: Connection refused by [127.0.0.9]", 60},
		{NetworkUnreachable, "Deferred: [127.255.255.255]: Network is unreachable", 11},
		{"450 4.7.1 Relay access denied", "Deferred: 450 4.7.1 Relay access denied", 1},
		{"451 4.1.8 Domain of sender address a@b.example does not resolve",
			"Deferred: 451 4.1.8 Domain of sender address a@b.example does not resolve", 1},
		{"452 no enhanced code", "Deferred: 452 no enhanced code", 1},
		{"421 4.3.2 busy", "Deferred: 421 4.3.2 busy", 1},
	} {
		t.Run(test.reason, func(t *testing.T) {
			m := must[Message](t)(l.Deferred(ctx, test.reason, test.attempts, "X-Spam-Flag: YES"))
			if m.Status != test.status {
				t.Errorf("status %q, want %q", m.Status, test.status)
			}
			lines := controlLines(t, l, m.ID)
			if !slices.Contains(lines, "M"+test.status) || !slices.Contains(lines, "H??X-Spam-Flag: YES") {
				t.Errorf("control file:\n%s", strings.Join(lines, "\n"))
			}
			attempts := slices.IndexFunc(lines, func(line string) bool { return strings.HasPrefix(line, "N") })
			if got := lines[attempts]; test.attempts > 1 && got != "N"+strconv.Itoa(test.attempts) || got == "N0" {
				t.Errorf("attempts %s, want %d", got, test.attempts)
			}
			// sendmail still takes the edited file for its own.
			must[string](t)(l.RunQueue(ctx, "-qI"+m.ID))
			if again := must[[]Listed](t)(l.Mailq(ctx, false)); !slices.Contains(ids(again), m.ID) {
				t.Errorf("no longer in the queue after another run: %+v", again)
			}
		})
	}
	if _, err := l.Deferred(ctx, "550 no", 1); err == nil || !strings.Contains(err.Error(), "defers nothing") {
		t.Errorf("a reason that refuses: %v", err)
	}
}

func TestADeferredMessageIsDeliveredOnceTheStubTakesIt(t *testing.T) {
	l, ctx := began(t, Options{Layout: Groups})
	m := must[Message](t)(l.Deferred(ctx, "450 4.7.1 Relay access denied", 57))
	l.Stub.Refuse(m.Recipient, "")
	must[string](t)(l.RunQueue(ctx))
	if n := l.Stub.Count(m.MessageID, m.Recipient); n != 1 {
		t.Errorf("delivered %d times, want once", n)
	}
}

func TestEditKeepsOwnerAndModeAndTheRest(t *testing.T) {
	l, ctx := began(t, Options{})
	m := must[Message](t)(l.Deferred(ctx, "450 4.7.1 Relay access denied", 1))
	name := must[string](t)(l.ControlFile(m.ID))
	before, info := controlLines(t, l, m.ID), must[os.FileInfo](t)(os.Stat(name))
	if err := l.Edit(ctx, m.ID, 'T', "1700000000"); err != nil {
		t.Fatal(err)
	}
	after, now := controlLines(t, l, m.ID), must[os.FileInfo](t)(os.Stat(name))
	for i := range before {
		if before[i] != after[i] && after[i] != "T1700000000" {
			t.Errorf("line %q became %q", before[i], after[i])
		}
	}
	if len(before) != len(after) || info.Mode() != now.Mode() || os.SameFile(info, now) {
		t.Errorf("%d lines and %v became %d and %v", len(before), info.Mode(), len(after), now.Mode())
	}
	if err := l.Edit(ctx, m.ID, 'q', "x"); err == nil || !strings.Contains(err.Error(), "no line q") {
		t.Errorf("Edit of a line that is not there: %v", err)
	}
}
