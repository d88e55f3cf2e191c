package dsn

import (
	"bytes"
	"errors"
	"io"
	"os"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
)

const daemonHead = "Return-Path: <>\nFrom: MAILER-DAEMON@mx.test\nTo: anna@sender.test\nSubject: Undelivered Mail Returned to Sender\n"

func nested(n int) string {
	var b strings.Builder
	b.WriteString(daemonHead)
	for i := range n {
		b.WriteString("Content-Type: multipart/mixed; boundary=b")
		b.WriteString(strings.Repeat("x", i%7))
		b.WriteString(string(rune('a' + i%26)))
		b.WriteString("\n\n--b" + strings.Repeat("x", i%7) + string(rune('a'+i%26)) + "\n")
	}
	return b.String()
}

// Each limit ends in a report that says it was cut, never in an error.
func TestLimits(t *testing.T) {
	report := daemonHead + "Content-Type: multipart/report; report-type=delivery-status; boundary=b\n\n"
	status := "--b\nContent-Type: message/delivery-status\n\nReporting-MTA: dns; mx.test\n\n"
	for _, c := range []struct {
		name   string
		text   string
		limits Limits
		cut    bool
		kind   Kind
	}{
		{"nothing is reached", report + status + "Final-Recipient: rfc822; a@b.test\nAction: failed\n--b--\n", Limits{}, false, Failed},
		{"bytes", report + status + "Final-Recipient: rfc822; a@b.test\nAction: failed\n\n" + strings.Repeat("X-Pad: 1\n", 1000), Limits{Bytes: 1000}, true, Failed},
		{"bytes, exactly enough", daemonHead + "\nuser unknown\n", Limits{Bytes: int64(len(daemonHead) + 14)}, false, Failed},
		{"bytes, one too few", daemonHead + "\nuser unknown\n", Limits{Bytes: int64(len(daemonHead) + 13)}, true, Failed},
		{"header", daemonHead + "X-Long: " + strings.Repeat("a", 5000) + "\n\nuser unknown\n", Limits{HeaderBytes: 1000}, true, Failed},
		{"header of one endless line", daemonHead + "X-Long: " + strings.Repeat("a", 100<<10) + "\n\nuser unknown\n", Limits{HeaderBytes: 30 << 10}, true, Failed},
		{"parts", report + strings.Repeat("--b\nContent-Type: image/png\n\nx\n", 20), Limits{Parts: 5}, true, Failed},
		{"depth", nested(50), Limits{Depth: 5}, true, Failed},
		{"recipients", report + status + strings.Repeat("Final-Recipient: rfc822; a@b.test\nAction: failed\n\nFinal-Recipient: rfc822; c@d.test\nAction: failed\n\n", 3), Limits{Recipients: 1}, true, Failed},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, err := Read(strings.NewReader(c.text), c.limits)
			if err != nil {
				t.Fatal(err)
			}
			if r.Cut != c.cut || r.Kind != c.kind {
				t.Errorf("cut %v kind %s, want %v %s", r.Cut, r.Kind, c.cut, c.kind)
			}
		})
	}
}

// A reader's error comes out, with what was read before it.
func TestReaderError(t *testing.T) {
	broken := errors.New("disk on fire")
	data, err := os.ReadFile("testdata/01-sendmail-user-unknown.eml")
	if err != nil {
		t.Fatal(err)
	}
	r, err := Read(io.MultiReader(bytes.NewReader(data[:len(data)-600]), iotest.ErrReader(broken)), Limits{})
	if !errors.Is(err, broken) || !r.Cut || r.Kind != Failed || len(r.Recipients) != 1 {
		t.Errorf("error %v, report %+v", err, r)
	}
	if _, err := Read(stuck{}, Limits{}); !errors.Is(err, io.ErrNoProgress) {
		t.Errorf("a reader that gives nothing: %v", err)
	}
}

type stuck struct{}

func (stuck) Read([]byte) (int, error) { return 0, nil }

// The returned body is not read, let alone kept.
func TestMemoryIsBounded(t *testing.T) {
	head := daemonHead + "\nYour message could not be delivered to the following recipients:\n\n<a@b.test>: 550 no\n\n"
	lines := io.LimitReader(endless("some text of the message that came back\n"), 64<<20)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	r, err := Read(io.MultiReader(strings.NewReader(head), lines), Limits{Bytes: 128 << 20})
	runtime.ReadMemStats(&after)
	if err != nil || r.Kind != Failed {
		t.Fatal(r.Kind, err)
	}
	if used := after.TotalAlloc - before.TotalAlloc; used > 2<<20 {
		t.Errorf("%d bytes allocated for a message of 64 MiB", used)
	}
}

type endless string

func (e endless) Read(p []byte) (int, error) {
	n := 0
	for n+len(e) <= len(p) {
		n += copy(p[n:], e)
	}
	if n == 0 {
		n = copy(p, e)
	}
	return n, nil
}

// A returned header that ends with the input, and not where its part ends, may
// have had more.
func TestReturnedHeaderCutOffByTheEnd(t *testing.T) {
	const whole = "From: MAILER-DAEMON@x.example\nContent-Type: multipart/report; report-type=delivery-status; boundary=x\n\n" +
		"--x\nContent-Type: message/delivery-status\n\nReporting-MTA: dns; x.example\n\nFinal-Recipient: rfc822; a@x.example\nAction: failed\nStatus: 5.1.1\n\n" +
		"--x\nContent-Type: message/rfc822\n\nFrom: b@y.example\nDate: Tue, 24 Nov 2026 11:00:00 +0000\nMessage-ID: <1@y.example>\n"
	for end, complete := range map[string]bool{"": false, "\n": true, "\nbody\n": true, "--x--\n": true} {
		r, err := Read(strings.NewReader(whole+end), Limits{})
		if err != nil || r.Returned.Complete != complete || r.Cut == complete {
			t.Errorf("ending in %q: complete %v, cut %v, %v", end, r.Returned.Complete, r.Cut, err)
		}
	}
}
