package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/backscatterd/backscatterd/dsn"
	"github.com/backscatterd/backscatterd/queuesweep"
	"github.com/backscatterd/backscatterd/test/lab"
)

// bouncing is a rule that bounces what a full mailbox keeps in the queue.
const bouncing = `
[sweep]
max_share = 1.0
[bounce]
host = "mx.lab.example"
[[rule]]
name = "full"
when = 'status contains "Mailbox full"'
do = "bounce"
`

// delivered is the only bounce that the stub has got, after a run of the queue.
func (s *site) delivered(ctx context.Context) lab.Delivery {
	s.t.Helper()
	must(s.RunQueue(ctx))(s.t)
	got := s.Stub.Deliveries()
	if len(got) != 1 {
		s.t.Fatalf("%d deliveries %+v, want the bounce", len(got), got)
	}
	return got[0]
}

// bounceStory is a message that is stuck, and what its sender is told.
type bounceStory struct {
	name     string
	envelope lab.Envelope
	refuse   map[string]string // answer by recipient
	want     map[string]string // status by recipient that is reported on
	readers  map[string]string // the same by original recipient, where there is one
	contains []string
}

func bounceStories() []bounceStory {
	const full = "452 4.2.2 Mailbox full"
	to := func(address string, args ...string) lab.Recipient { return lab.Recipient{Address: address, Args: args} }
	return []bounceStory{
		{
			name:     "one recipient",
			envelope: lab.Envelope{From: "ann@customer.example", To: lab.To("bob@dest.example"), Data: lab.Compose("At noon?\n", "Subject: lunch?", "From: ann@customer.example", "Message-ID: <a@x>")},
			refuse:   map[string]string{"bob@dest.example": full},
			want:     map[string]string{"bob@dest.example": "4.2.2"},
			contains: []string{"the mailbox is full (4.2.2)", "Undeliverable: lunch?", "At noon?", "In-Reply-To: <a@x>"},
		},
		{
			name: "two recipients, and one who is not to be reported on",
			envelope: lab.Envelope{From: "ann@customer.example", Mail: []string{"ENVID=QQ+2B1"}, To: []lab.Recipient{
				to("bob@dest.example", "ORCPT=rfc822;b+2Bob@orig.example"), to("carol@other.example"), to("dan@dest.example", "NOTIFY=NEVER"),
			}, Data: lab.Compose("At noon?\n", "Subject: lunch?", "Message-ID: <a@x>")},
			refuse:   map[string]string{"bob@dest.example": full, "carol@other.example": "450 4.7.1 Mailbox full, try later", "dan@dest.example": full},
			want:     map[string]string{"bob@dest.example": "4.2.2", "carol@other.example": "4.7.1"},
			readers:  map[string]string{"b+ob@orig.example": "4.2.2", "carol@other.example": "4.7.1"},
			contains: []string{"Original-Envelope-Id: QQ+1", "Original-Recipient: rfc822; b+ob@orig.example"},
		},
		{
			name:     "8-bit",
			envelope: lab.Envelope{From: "ann@customer.example", Mail: []string{"BODY=8BITMIME"}, To: lab.To("bob@dest.example"), Data: lab.Compose("\xc3\xa0 midi\n", "Subject: d\xc3\xa9jeuner", "Message-ID: <a@x>", "MIME-Version: 1.0", "Content-Type: text/plain; charset=utf-8", "Content-Transfer-Encoding: 8bit")},
			refuse:   map[string]string{"bob@dest.example": full},
			want:     map[string]string{"bob@dest.example": "4.2.2"},
			contains: []string{"\xc3\xa0 midi", "Content-Transfer-Encoding: 8bit\r\nAuto-Submitted:"},
		},
		{
			name:     "headers only",
			envelope: lab.Envelope{From: "ann@customer.example", Mail: []string{"RET=HDRS"}, To: lab.To("bob@dest.example"), Data: lab.Compose("At noon?\n", "Subject: lunch?", "Message-ID: <a@x>")},
			refuse:   map[string]string{"bob@dest.example": full},
			want:     map[string]string{"bob@dest.example": "4.2.2"},
			contains: []string{"Content-Type: text/rfc822-headers", "The header of your message is attached."},
		},
	}
}

// A rule bounces a message that is really stuck: its sender gets a bounce from
// the null sender, which says in words and for machines what has happened, and
// readers that are not ours understand it.
func TestBounceReachesTheSender(t *testing.T) {
	for _, st := range bounceStories() {
		t.Run(st.name, func(t *testing.T) {
			s := newSite(t, lab.Options{InMemory: true}, bouncing)
			ctx := s.start()
			for address, answer := range st.refuse {
				s.Stub.Refuse(address, answer)
			}
			must(s.Submit(ctx, st.envelope))(t)
			must(s.RunQueue(ctx))(t)

			found, _ := s.act(0, "sweep")
			if r := s.one(found, queuesweep.Done); r.Action != "bounce" || r.Note != "" || r.Rule != "full" {
				t.Errorf("result %+v", r)
			}
			if listed := s.list("--removed"); len(listed) != 1 {
				t.Errorf("in the removed store: %+v", listed)
			}
			d := s.delivered(ctx)
			if d.From != "" || !slices.Equal(d.To, []string{"ann@customer.example"}) {
				t.Errorf("from %q to %q", d.From, d.To)
			}
			for _, text := range append(st.contains, "Auto-Submitted: auto-replied", "It was tried for") {
				if !bytes.Contains(d.Data, []byte(text)) {
					t.Errorf("no %q in:\n%s", text, d.Data)
				}
			}
			if strings.Contains(st.name, "headers only") && bytes.Contains(d.Data, []byte("At noon?")) {
				t.Error("the body came back, against RET=HDRS")
			}
			report := must(dsn.Read(bytes.NewReader(d.Data), dsn.Limits{}))(t)
			ours := make(map[string]string)
			for _, r := range report.Recipients {
				ours[r.Final] = r.Status
			}
			if fmt.Sprint(ours) != fmt.Sprint(st.want) || report.Kind != dsn.Failed || report.MessageID != "a@x" || report.ReportingMTA != "mx.lab.example" {
				t.Errorf("we read recipients %v, want %v, of %+v", ours, st.want, report)
			}
			readers := st.want
			if st.readers != nil {
				readers = st.readers
			}
			foreignReaders(t, d.Data, readers)
		})
	}
}

// foreignReaders has two programs that are not ours read a bounce.
func foreignReaders(t *testing.T, message []byte, want map[string]string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "bounce.eml")
	// With the line ends that a mailbox has: BounceParser knows no others.
	if err := os.WriteFile(path, bytes.ReplaceAll(message, []byte("\r\n"), []byte("\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	const python = `
import sys, email
from flufl.bounce import all_failures, scan_message
with open(sys.argv[1], 'rb') as f:
    m = email.message_from_binary_file(f)
temporary, permanent = all_failures(m)
print('\n'.join(sorted(a.decode() for a in temporary | permanent)))
`
	// Debian's own python has Debian's modules, whatever python is first in PATH.
	out := reader(t, "python3-flufl.bounce", "/usr/bin/python3", "-c", python, path)
	addresses := slices.Sorted(func(yield func(string) bool) {
		for a := range want {
			if !yield(a) {
				return
			}
		}
	})
	if got := strings.Fields(out); !slices.Equal(got, addresses) {
		t.Errorf("flufl.bounce finds %q, want %q", got, addresses)
	}

	const perl = `
use Mail::DeliveryStatus::BounceParser;
open my $f, '<', $ARGV[0] or die $!;
my $b = Mail::DeliveryStatus::BounceParser->new($f) or die 'not understood';
print $b->is_bounce ? "bounce\n" : "no bounce\n";
print $b->orig_message_id, "\n";
printf "%s %s\n", $_->get('email'), $_->get('status') =~ s/\s.*//sr for $b->reports;
`
	out = reader(t, "libmail-deliverystatus-bounceparser-perl", "/usr/bin/perl", "-e", perl, path)
	lines := strings.Split(strings.TrimSpace(out), "\n")
	expected := []string{"bounce", "<a@x>"}
	for _, a := range addresses {
		expected = append(expected, a+" "+want[a])
	}
	if len(lines) > 2 {
		slices.Sort(lines[2:])
	}
	if !slices.Equal(lines, expected) {
		t.Errorf("BounceParser finds %q, want %q", lines, expected)
	}
}

// reader runs a foreign program, and fails where it is not there.
func reader(t *testing.T, pkg string, command string, args ...string) string {
	t.Helper()
	var errs bytes.Buffer
	cmd := exec.Command(command, args...)
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v (is %s installed? make deps does it)\n%s", command, err, pkg, errs.String())
	}
	return string(out)
}

// The sender's host answers 4xx. Our bounce stays in the queue and is tried
// again; the one that qtool.pl -b makes has timed out at once, and is thrown away.
func TestBounceOutlivesADeferral(t *testing.T) {
	s := newSite(t, lab.Options{InMemory: true}, bouncing)
	ctx := s.start()
	ours := must(s.Deferred(ctx, "452 4.2.2 Mailbox full", 1))(t)
	theirs := must(s.Deferred(ctx, "452 4.2.2 Mailbox full", 1))(t)
	sender := func(m lab.Message) string { return strings.Trim(m.Sender, "<>") }
	for _, m := range []lab.Message{ours, theirs} {
		s.Stub.Refuse(sender(m), "451 4.3.0 not now")
	}

	s.act(0, "queue", "bounce", ours.ID)
	path := filepath.Join(s.Dir, "bin")
	if err := errors.Join(os.Mkdir(path, 0o755), os.Symlink(s.SendmailCommand(), filepath.Join(path, "sendmail"))); err != nil {
		t.Fatal(err)
	}
	qtool := exec.CommandContext(ctx, "perl", "/usr/share/sendmail/qtool.pl", "-C", s.CF, "-b", must(s.ControlFile(theirs.ID))(t))
	qtool.Env = append(os.Environ(), "PATH="+path+":"+os.Getenv("PATH"))
	if out, err := qtool.CombinedOutput(); err != nil {
		t.Fatalf("qtool.pl -b: %v\n%s", err, out)
	}
	s.until(ctx, "qtool.pl's message has left the queue", func() bool { return s.list()[theirs.ID].ID == "" })
	must(s.RunQueue(ctx))(t)
	must(s.RunQueue(ctx))(t)

	left := must(s.Mailq(ctx, false))(t)
	if len(left) != 1 || len(left[0].Recipients) != 1 || left[0].Recipients[0].Address != ours.Sender {
		t.Fatalf("in the queue: %+v, want the bounce to %s alone", left, ours.Sender)
	}
	for _, m := range []lab.Message{ours, theirs} {
		s.Stub.Refuse(sender(m), "")
	}
	must(s.RunQueue(ctx))(t)
	if len(s.list()) != 0 {
		t.Errorf("left in the queue: %+v", s.list())
	}
	told := make(map[string]int)
	for _, d := range s.Stub.Deliveries() {
		for _, to := range d.To {
			told[to]++
		}
	}
	if told[sender(ours)] != 1 || told[sender(theirs)] != 0 {
		t.Errorf("told: %v, want %s once, and %s never", told, sender(ours), sender(theirs))
	}
}

// until waits for something, no longer than ctx.
func (s *site) until(ctx context.Context, what string, is func() bool) {
	s.t.Helper()
	for !is() {
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			s.t.Fatalf("waited for: %s: %v", what, ctx.Err())
		}
	}
}

// What would be backscatter is moved, and the audit log says why; a dry run of
// the same command says so, or shows the bounce.
func TestBounceMakesNoBackscatter(t *testing.T) {
	s := newSite(t, lab.Options{InMemory: true}, bouncing, "[[rule]]\nname = \"all\"\nwhen = 'true'\ndo = \"bounce\"")
	ctx := s.start()
	why := make(map[string]string)
	why[must(s.StuckBounce(ctx))(t).ID] = "null sender"
	for header, reason := range map[string]string{
		"X-Spam-Flag: YES":                          "X-Spam-Flag",
		"X-Backscatter-Status: suspect kind=failed": "X-Backscatter-Status",
		"List-Id: <friends.lists.example>":          "mailing list",
		"Precedence: bulk":                          "mailing list",
		"Auto-Submitted: auto-replied (vacation)":   "automatic reply",
		"Content-Type: multipart/report; report-type=delivery-status; boundary=x": "a bounce itself",
	} {
		why[must(s.Deferred(ctx, "452 4.2.2 Mailbox full", 1, header))(t).ID] = reason
	}
	for id, reason := range why {
		if out := s.run(0, "queue", "bounce", id, "--dry-run"); !strings.Contains(out, reason) || !strings.Contains(out, "moved instead of bounce") {
			t.Errorf("dry run of %s: no %q in:\n%s", id, reason, out)
		}
	}
	found, _ := s.act(0, "sweep")
	if len(found) != len(why) {
		t.Errorf("%d results, want %d", len(found), len(why))
	}
	for _, r := range found {
		if r.Action != "move" || r.Result != queuesweep.Done || !strings.Contains(r.Note, why[r.ID]) {
			t.Errorf("want it moved since %q: %+v", why[r.ID], r)
		}
	}
	audit := string(must(os.ReadFile(s.audit))(t))
	for _, reason := range why {
		if !strings.Contains(audit, reason) {
			t.Errorf("audit log: nothing of %q in:\n%s", reason, audit)
		}
	}
	must(s.RunQueue(ctx))(t)
	if got := s.Stub.Deliveries(); len(got) != 0 || len(s.list()) != 0 {
		t.Errorf("somebody was told: %+v", got)
	}
}

// The preview is the bounce itself, ready to be looked at by other programs.
func TestBouncePreview(t *testing.T) {
	s := newSite(t, lab.Options{InMemory: true}, bouncing)
	ctx := s.start()
	one := must(s.Deferred(ctx, "452 4.2.2 Mailbox full", 1))(t)
	two := must(s.Deferred(ctx, "452 4.2.2 Mailbox full", 1))(t)
	shown := s.run(0, "queue", "bounce", one.ID, "--dry-run")
	report := must(dsn.Read(strings.NewReader(shown), dsn.Limits{}))(t)
	if !strings.HasPrefix(shown, "Date: ") || report.Form != dsn.FormReport || !slices.Equal(report.FailedRecipients(), []string{one.Recipient}) {
		t.Errorf("preview: %+v of:\n%s", report, shown)
	}
	all := s.run(0, "queue", "bounce", "--where", "true", "--dry-run")
	if n := strings.Count("\n"+all, "\nFrom MAILER-DAEMON "); n != 2 || !strings.Contains(all, one.Recipient) || !strings.Contains(all, two.Recipient) {
		t.Errorf("%d messages in the mbox, want 2:\n%s", n, all)
	}
	found, _ := s.act(0, "queue", "bounce", one.ID, "--dry-run")
	if r := s.one(found, queuesweep.DryRun); r.Action != "bounce" {
		t.Errorf("result %+v", r)
	}
	if len(s.list()) != 2 || len(s.Stub.Deliveries()) != 0 {
		t.Error("a dry run has done something")
	}
	s.act(0, "queue", "bounce", one.ID)
	sent := s.delivered(ctx)
	if !bytes.Contains(sent.Data, []byte("Message-Id: <bounce."+one.ID+".")) {
		t.Errorf("sent:\n%s", sent.Data)
	}
}
