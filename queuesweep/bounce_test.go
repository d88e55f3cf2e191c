package queuesweep

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/backscatterd/backscatterd/dsn"
	"github.com/backscatterd/backscatterd/queuesweep/qf"
	"github.com/backscatterd/backscatterd/queuesweep/rule"
	"github.com/backscatterd/backscatterd/queuesweep/spool"
)

// office takes bounces.
type office struct {
	sent []string // what was taken, each as "to: message"
	// closed, if set, refuses all; meanwhile is called before a bounce is taken.
	closed    error
	meanwhile func()
}

func (o *office) submit(_ context.Context, to string, _ bool, message io.Reader) error {
	data, err := io.ReadAll(message)
	if err != nil {
		return err
	}
	if o.meanwhile != nil {
		o.meanwhile()
	}
	if o.closed != nil {
		return o.closed
	}
	o.sent = append(o.sent, to+": "+string(data))
	return nil
}

func bounceOptions(t testing.TB) *BounceOptions {
	t.Helper()
	letter, err := NewLetter("")
	if err != nil {
		t.Fatal(err)
	}
	return &BounceOptions{Host: "mx.example.org", From: "MAILER-DAEMON@mx.example.org", Letter: letter}
}

// newOffice lets the world's sweeper bounce.
func newOffice(w *world) *office {
	o := new(office)
	w.sweeper.Bounce = bounceOptions(w.t)
	w.sweeper.Bounce.Submit = o.submit
	return o
}

// bounce bounces messages by hand.
func (w *world) bounce(ids ...string) Summary {
	w.t.Helper()
	sum, err := w.sweeper.Act(w.t.Context(), ids, rule.Rule{Do: rule.Bounce}, w.options())
	if err != nil {
		w.t.Fatal(err)
	}
	return sum
}

func parse(t testing.TB, lines ...string) *qf.File {
	t.Helper()
	f, err := qf.Parse([]byte("V8\n" + strings.Join(lines, "\n") + "\n.\n"))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// What the queue file says comes out in the report.
func TestNoticeOfQueueFile(t *testing.T) {
	f := parse(t, "T1795557305", "K1795560905", "N7", "P1", "MDeferred: Connection timed out with mx.dest.example.", "Fs",
		"$sclient.example.org", "S<ann@example.org>", "ZQQ+2B1",
		"MDeferred: 452 4.2.2 Mailbox full", "Qrfc822;b+2Bob@orig.example", "rRFC822; bob@dest.example", "RPFD:<bob@dest.example>",
		"Qx400;/G=Carol/", "RPFD:<carol@dest.example>",
		"RPNSD:<dan@dest.example>", // NOTIFY=SUCCESS,DELAY
		`Qutf-8;\x{F8}le@dest.example`, "rRFC822; ole@dest.example", "RP:<ole@dest.example>",
		"H?P?Return-Path: <\x81g>", "H??Subject: =?utf-8?Q?d=C3=AEner?=", "H??Message-ID: <dinner@example.org>", "H??X-Folded: one,\n\ttwo")
	when := time.Unix(1795564505, 0).In(time.FixedZone("", 3600))
	n, err := bounceOptions(t).notice("6AOLt9000001", f, nil, when)
	if err != nil {
		t.Fatal(err)
	}
	tried := time.Unix(1795560905, 0)
	want := dsn.Report{
		Kind: dsn.Failed, ReportingMTA: "mx.example.org", ReceivedFrom: "client.example.org", EnvelopeID: "QQ+1",
		ArrivalDate: time.Unix(1795557305, 0), MessageID: "dinner@example.org",
		Recipients: []dsn.Recipient{
			{Final: "bob@dest.example", Original: "b+ob@orig.example", Action: dsn.Failed, Status: "4.2.2", Diagnostic: "452 4.2.2 Mailbox full", LastAttempt: tried},
			{Final: "carol@dest.example", Original: "x400;/G=Carol/", Action: dsn.Failed, Status: "4.4.1", RemoteMTA: "mx.dest.example", LastAttempt: tried},
			{Final: "ole@dest.example", Original: "øle@dest.example", Action: dsn.Failed, Status: "4.4.1", RemoteMTA: "mx.dest.example", LastAttempt: tried},
		},
	}
	if diff := cmp.Diff(want, n.Report); diff != "" {
		t.Errorf("report (-want +got):\n%s", diff)
	}
	if header := "Subject: =?utf-8?Q?d=C3=AEner?=\nMessage-ID: <dinner@example.org>\nX-Folded: one,\n\ttwo\n"; string(n.Header) != header {
		t.Errorf("returned header %q, want %q", n.Header, header)
	}
	if n.To != "ann@example.org" || n.Subject != "Undeliverable: dîner" || !n.Date.Equal(when) || n.UTF8 {
		t.Errorf("notice %+v", n)
	}
	golden(t, "letter.txt", n.Text)
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if os.Getenv("UPDATE") != "" {
		if err := errors.Join(os.MkdirAll("testdata", 0o755), os.WriteFile(path, []byte(got), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v (UPDATE=1 writes it)", err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", name, diff)
	}
}

// Who would be a victim is not sent a bounce.
func TestRefuse(t *testing.T) {
	o := bounceOptions(t)
	o.Never = append(o.Never, regexp.MustCompile(`@quiet\.example$`))
	const bob = "RPFD:<bob@dest.example>"
	for want, lines := range map[string][]string{
		"":                     {"Fs", "S<ann@example.org>", bob, "H??X-Spam-Flag: NO", "H??Auto-Submitted: auto-generated", "H??Precedence: first-class", "H??X-Backscatter-Status: legit kind=failed"},
		"null sender":          {"S<>", bob},
		"null sender: ":        {"SMAILER-DAEMON", bob},
		"null sender: a":       {"Fr", "S<ann@example.org>", bob},
		"a bounce itself":      {"S<Mailer-Daemon@broken.example>", bob},
		"a bounce itself, ":    {"S<ann@example.org>", bob, "H??Content-Type: multipart/report;\n\treport-type=\"delivery-status\""},
		"X-Spam-Flag":          {"S<ann@example.org>", bob, "H??X-Spam-Flag: NO", "H??x-spam-flag:  yes, very"},
		"X-Backscatter-Flag":   {"S<ann@example.org>", bob, "H??X-Backscatter-Flag: YES"},
		"X-Backscatter-Status": {"S<ann@example.org>", bob, "H??X-Backscatter-Status: suspect kind=failed"},
		"mailing list":         {"S<ann@example.org>", bob, "H??List-Id: <x.example>"},
		"mailing list or":      {"S<ann@example.org>", bob, "H??Precedence: Bulk"},
		"automatic reply":      {"S<ann@example.org>", bob, "H??Auto-Submitted: auto-replied (vacation)"},
		"asks for no bounce":   {"S<ann@example.org>", bob, "H??X-Auto-Response-Suppress: OOF, NDR"},
		"never_bounce":         {"S<ann@quiet.example>", bob},
		"NOTIFY":               {"S<ann@example.org>", "RPN:<bob@dest.example>", "RPNS:<carol@dest.example>"},
		"cannot be sent":       {"S<a@x.example>,<b@y.example>", bob},
	} {
		got := o.refuse(parse(t, lines...))
		if want == "" && got != "" || !strings.Contains(got, strings.TrimSpace(want)) {
			t.Errorf("%q: refused since %q, want %q", lines, got, want)
		}
	}
}

// An address is one and nothing else, or no bounce goes there.
func TestMailable(t *testing.T) {
	for _, good := range []string{
		"ann@example.org", "root", "o'brien+tag=x@example.org", `"a b, c"@example.org`, `"q\"uote"@example.org`, "ann@[192.0.2.1]", "ann@[IPv6:2001:db8::1]",
		"user%relay@example.org", "host!user", "änn@exämple.org", "/G=Ann/S=Lee/@x400.example", "-dash@example.org", "ann@under_score.example",
	} {
		if !mailable(good) {
			t.Errorf("%q is refused", good)
		}
	}
	for _, bad := range []string{
		"", "@", "a@", "@b", "a,b@example.org", "a b@example.org", "a@b,c@d", "<a@b>", "a@b>", "a@b\nBcc: c@d", "a\x00@b", "|prog", "|prog@b", "/etc/passwd",
		":include:/x", "(x)a@b", `"open@b`, `"a"b@c`, `"x\"@b`, "a@-b", "a@b c", "a@[1.2.3.4", "a@b\u202e", "a@b\xff", "a;b@c", `\root`, strings.Repeat("a", 400) + "@b",
	} {
		if mailable(bad) {
			t.Errorf("%q is taken", bad)
		}
	}
}

// No domain is sent more than so many bounces an hour, whoever sends them: what
// was sent before stands in the removed store, also for another process.
func TestRateLimit(t *testing.T) {
	w := newWorld(t)
	o := newOffice(w)
	w.sweeper.Bounce.PerHour = 2
	ids := make([]string, 4)
	for i := range ids {
		ids[i] = fmt.Sprintf("6AOLt900000%d", i)
		w.put(ids[i], message{sender: fmt.Sprintf("u%d@Example.ORG", i)})
	}
	w.put("6AOLt9000009", message{sender: "u@other.example"})
	actions := func() (bounced, moved int) {
		for _, r := range w.results {
			if r.Action == Verb(rule.Bounce) {
				bounced++
			} else if strings.Contains(r.Note, "2 bounces this hour (bounce.per_hour)") {
				moved++
			}
		}
		return bounced, moved
	}

	w.dry = true
	w.bounce(ids[0], ids[1], ids[2], "6AOLt9000009")
	if b, m := actions(); b != 3 || m != 1 {
		t.Errorf("dry run: %d would be bounced, %d moved: %+v", b, m, w.results)
	}
	w.dry = false
	w.bounce(ids[0], ids[1], ids[2], "6AOLt9000009")
	if b, m := actions(); b != 3 || m != 1 || len(o.sent) != 3 {
		t.Errorf("%d bounced, %d moved, %d sent", b, m, len(o.sent))
	}
	w.sweeper = New(w.sweeper.Options)
	w.now = w.now.Add(59 * time.Minute)
	w.dry = true
	if w.bounce(ids[3]); w.results[0].Action != Verb(rule.Move) {
		t.Errorf("within the hour: %+v", w.results)
	}
	w.dry = false
	w.now = w.now.Add(2 * time.Minute)
	if w.bounce(ids[3]); w.results[0].Action != Verb(rule.Bounce) || len(o.sent) != 4 {
		t.Errorf("after the hour: %+v, %d sent", w.results, len(o.sent))
	}
}

// What another process sends while a long run goes on counts too.
func TestRateLimitMeanwhile(t *testing.T) {
	w := newWorld(t)
	newOffice(w)
	w.sweeper.Bounce.PerHour = 1
	w.fill(spool.MaxBatch)
	ids := w.queued()
	w.put("6AOLt9900001", message{sender: "ann@example.org"})
	w.put("6AOLt9900002", message{sender: "other@example.org"})
	other := New(w.sweeper.Options)
	w.during = func(r Result) {
		if r.Action != Verb(rule.Bounce) || r.Sender != "a@b.example" {
			return
		}
		if _, err := other.Act(t.Context(), []string{"6AOLt9900002"}, rule.Rule{Do: rule.Bounce}, SweepOptions{}); err != nil {
			t.Error(err)
		}
	}
	w.bounce(append(ids, "6AOLt9900001")...)
	if last := w.results[len(w.results)-1]; last.ID != "6AOLt9900001" || last.Action != Verb(rule.Move) {
		t.Errorf("last result %+v", last)
	}
}

// A dry run shows the bounce and changes nothing.
func TestPreview(t *testing.T) {
	w := newWorld(t)
	o := newOffice(w)
	w.put("6AOLt9000001", message{sender: "ann@example.org"})
	w.put("6AOLt9000002", message{sender: "ann@example.org", more: "RPN:<c@d.example>\n"})
	var shown strings.Builder
	options := w.options()
	options.DryRun = true
	options.Preview = func(_ Result, write func(io.Writer) error) error { return write(&shown) }
	if _, err := w.sweeper.Act(t.Context(), []string{"6AOLt9000001", "6AOLt9000002"}, rule.Rule{Do: rule.Bounce}, options); err != nil {
		t.Fatal(err)
	}
	if s := shown.String(); strings.Count(s, "Final-Recipient: rfc822; c@d.example") != 1 || !strings.Contains(s, "body of 6AOLt9000001") {
		t.Errorf("shown:\n%s", s)
	}
	if r := w.results[1]; r.Action != Verb(rule.Move) || !strings.Contains(r.Note, "NOTIFY") {
		t.Errorf("second result %+v", r)
	}
	if len(o.sent) != 0 || len(w.queued()) != 2 {
		t.Error("a dry run has done something")
	}
}

// Without a way to bounce, a rule that bounces is an error, and nothing is done.
func TestBounceNeedsOptions(t *testing.T) {
	w := newWorld(t)
	w.fill(1)
	if _, err := w.sweep(rule.Rule{When: "true", Do: rule.Bounce}); err == nil || len(w.queued()) != 1 {
		t.Errorf("error %v, in the queue %v", err, w.queued())
	}
}
