package lab

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write testdata/*.mailq.txt anew from this machine's sendmail")

// TestParseMailqOnRecordedListings compares listings that a real sendmail
// printed with what stands in them, one golden file a layout. Read the
// difference after -update: it is only as good as that.
func TestParseMailqOnRecordedListings(t *testing.T) {
	for _, layout := range []Layout{Flat, Split, Groups} {
		t.Run(layout.String(), func(t *testing.T) {
			name := filepath.Join("testdata", layout.String()+".mailq")
			var got strings.Builder
			for _, m := range must[[]Listed](t)(ParseMailq(string(must[[]byte](t)(os.ReadFile(name + ".txt"))))) {
				fmt.Fprintf(&got, "%s %q in %s, size %d, priority %d, warned %v, time %q, sender %q, body %q, status %q, quarantine %q\n",
					m.ID, m.State, m.Folder, m.Size, m.Priority, m.Warned, m.Time, m.Sender, m.BodyType, m.Status, m.Quarantine)
				for _, r := range m.Recipients {
					fmt.Fprintf(&got, "\tto %q, status %q\n", r.Address, r.Status)
				}
			}
			if *update {
				if err := os.WriteFile(name+".golden", []byte(got.String()), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want := string(must[[]byte](t)(os.ReadFile(name + ".golden")))
			if diff := cmp.Diff(want, got.String()); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// TestParseMailqOnRareLines has what the formats in print_single_queue allow
// and a queue shows seldom.
func TestParseMailqOnRareLines(t *testing.T) {
	const text = "/q/empty is empty\n" +
		"\t\t/q/a (b) (4 requests, only 3 printed)\n" +
		"-----Q-ID----- --Size-- -Priority- ---Q-Time--- --------Sender/Recipient--------\n" +
		"6AO0lZ09014487 (job completed)\n" +
		"6AO0lZ09014488* (no control file)\n" +
		"6AO0lZ09014489X123456789 -1234567890+Nov  4 00:47 <caf\\303\\251\\\\x@b>\n" +
		"      8BITMIME\n" +
		"\t\t\t\t\t\t(---root---)\n" +
		"\t\t\t\t\t\t/var/mail/x\n" +
		"\t\t (Deferred: local (mailer) busy)\n" +
		"\t\t\t\t\t\t<c@d>\n" +
		"6AO0lZ09014490      -1       1000 Nov  4 00:47 \n" +
		"\t\tTotal requests: 4\n"
	want := []Listed{
		{Folder: "/q/a (b)", ID: "6AO0lZ09014487", State: ' ', Note: "job completed"},
		{Folder: "/q/a (b)", ID: "6AO0lZ09014488", State: ' ', Note: "no control file"},
		{Folder: "/q/a (b)", ID: "6AO0lZ09014489", State: 'X', Size: 123456789, Priority: -1234567890, Warned: true,
			Time: "Nov  4 00:47", Sender: `<café\x@b>`, BodyType: "8BITMIME", Recipients: []ListedRecipient{
				{Address: "/var/mail/x", Controller: "root", Status: "Deferred: local (mailer) busy"},
				{Address: "<c@d>", Controller: "root"},
			}},
		{Folder: "/q/a (b)", ID: "6AO0lZ09014490", State: ' ', Size: -1, Priority: 1000, Time: "Nov  4 00:47"},
	}
	if diff := cmp.Diff(want, must[[]Listed](t)(ParseMailq(text))); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestParseMailqSaysWhatItDoesNotKnow(t *testing.T) {
	for _, test := range []struct{ text, want string }{
		{"Segmentation fault", "mailq, line 1: "},
		{"\n\t\t\t\t\t\t<a@b>", "line 2: belongs to a message"},
		{"\t\t (Deferred)", "line 1: belongs to a message"},
		{"     QUARANTINE: x", "line 1: belongs to a message"},
		{"6AO0lZ09014487 (job completed)\n\t\t (Deferred)", "line 2: belongs to a recipient"},
		{"6AO0lZ09014487 12 x", "too short"},
		{"6AO0lZ09014487 x 1 Nov  4 00:47 <a@b>", "size"},
		{"6AO0lZ09014487 1 x Nov  4 00:47 <a@b>", "priority"},
		{"6AO0lZ09014487#  1 1 Nov  4 00:47 <a@b>", "unknown state '#'"},
		{"\t\t/q/a", "not a folder"},
	} {
		if _, err := ParseMailq(test.text); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%q: error %v, want %q", test.text, err, test.want)
		}
	}
}

func FuzzParseMailq(f *testing.F) {
	names, err := filepath.Glob("testdata/*.mailq.txt")
	if err != nil {
		f.Fatal(err)
	}
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text))
	}
	f.Fuzz(func(t *testing.T, text string) {
		listed, err := ParseMailq(text)
		if err != nil && listed != nil {
			t.Error("messages and an error")
		}
	})
}

// TestMailqAgreesWithTheQueueFiles lists a queue of many kinds of mail, and
// compares with the control files of each.
func TestMailqAgreesWithTheQueueFiles(t *testing.T) {
	for _, layout := range []Layout{Flat, Split, Groups} {
		t.Run(layout.String(), func(t *testing.T) {
			l, ctx := began(t, Options{Layout: layout})
			held := fill(t, l, ctx)
			all := must[[]Listed](t)(l.Mailq(ctx, false))
			quarantined := must[[]Listed](t)(l.Mailq(ctx, true))
			if want := map[Layout]int{Flat: 6, Split: 6, Groups: 7}[layout]; len(all) != want {
				t.Errorf("%d messages are listed, want %d: %+v", len(all), want, all)
			}
			if len(quarantined) != 1 || quarantined[0].ID != held {
				t.Fatalf("quarantined are %+v, want %s", quarantined, held)
			}
			for _, m := range append(all, quarantined...) {
				m.Folder, m.State, m.Time = "", 0, "" // not in the file
				if diff := cmp.Diff(fromFiles(t, l, m.ID), m); diff != "" {
					t.Errorf("message %s, -file +mailq:\n%s", m.ID, diff)
				}
			}
			states(t, l, ctx, layout, all)
		})
	}
}

// fill leaves in the queue: a stuck bounce, mail with a status of its own for
// each of several recipients, from nobody, 8-bit, with a quoted address, with
// a delay warning, without any attempt; and a quarantined one, whose id it
// returns.
func fill(t *testing.T, l *Lab, ctx context.Context) string {
	t.Helper()
	must[Message](t)(l.StuckBounce(ctx, "Subject: pills"))
	for to, reply := range map[string]string{
		"full@dest.example":      "452 4.2.2 Mailbox size limit exceeded",
		"spam@dest.example":      "451 4.7.1 message looks like spam",
		"relay@" + OtherDomain:   "450 4.7.1 Relay access denied",
		"quoted local@d.example": "450 4.1.1 Recipient address rejected: User unknown in local recipient table, and more text than fits",
	} {
		l.Stub.Refuse(to, reply)
	}
	data := Compose("hello\n", "Subject: s")
	sent := must[[]string](t)(l.Submit(ctx,
		Envelope{From: "real@lab.example", To: To("full@dest.example", "spam@dest.example", "relay@"+OtherDomain), Data: data},
		Envelope{To: To("full@dest.example"), Data: data},
		Envelope{From: "o'brien+tag@lab.example", Mail: []string{"BODY=8BITMIME"}, To: To(`"quoted local"@d.example`), Data: Compose("\xc3\xa9\n", "Subject: s")},
		Envelope{From: "late@lab.example", To: To("spam@dest.example"), Data: data},
	))
	must[string](t)(l.RunQueue(ctx))
	if err := l.Edit(ctx, sent[3], 'F', "ws"); err != nil {
		t.Fatal(err)
	}
	fresh := must[[]string](t)(l.Submit(ctx,
		Envelope{From: "q@lab.example", To: To("held@dest.example"), Data: data},
		Envelope{From: strings.Repeat("l", 60) + "@a-host-with-a-long-name.lab.example", To: To("new@dest.example"), Data: data},
	))
	must[string](t)(l.Sendmail(ctx, "-Qheld: looks like backscatter", "-qI"+fresh[0]))
	return fresh[0]
}

// fromFiles reads a message from its files as print_single_queue does.
func fromFiles(t *testing.T, l *Lab, id string) Listed {
	t.Helper()
	m := Listed{ID: id, Size: must[os.FileInfo](t)(os.Stat(must[string](t)(l.DataFile(id)))).Size()}
	status := ""
	for _, line := range controlLines(t, l, id) {
		if line == "" {
			continue
		}
		value := line[1:]
		switch line[0] {
		case 'P':
			m.Priority = must[int64](t)(strconv.ParseInt(value, 10, 64))
		case 'F':
			m.Warned = strings.Contains(value, "w")
		case 'B':
			m.BodyType = value
		case 'q':
			m.Quarantine = value
		case 'M':
			status = value[:min(len(value), 100)]
		case 'S':
			m.Sender, m.Status, status = value[:min(len(value), 78)], status, ""
		case 'R':
			_, address, _ := strings.Cut(value, ":")
			m.Recipients = append(m.Recipients, ListedRecipient{Address: address, Status: status})
			status = ""
		}
	}
	return m
}

// states checks the mark of each state, and records the listings on demand.
func states(t *testing.T, l *Lab, ctx context.Context, layout Layout, all []Listed) {
	t.Helper()
	listings := must[string](t)(l.Sendmail(ctx, "-bp", "-v")) + must[string](t)(l.Sendmail(ctx, "-bp", "-v", "-qQ"))
	lost := must[string](t)(l.ControlFile(all[0].ID))
	if err := os.Rename(lost, filepath.Join(filepath.Dir(lost), "Qf"+all[0].ID)); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		state byte
		args  []string
	}{
		{'-', []string{"-OMinQueueAge=1d", "-bp", "-v"}},
		{'X', []string{"-OQueueLA=0", "-OQueueFactor=1", "-bp", "-v"}},
		{'?', []string{"-bp", "-v", "-qL"}},
	} {
		text := must[string](t)(l.Sendmail(ctx, test.args...))
		listings += text
		marked := 0
		for _, m := range must[[]Listed](t)(ParseMailq(text)) {
			if m.State == test.state {
				marked++
			}
		}
		if marked == 0 {
			t.Errorf("sendmail %v marks nothing with %q:\n%s", test.args, test.state, text)
		}
	}
	if *update {
		listings = strings.ReplaceAll(listings, l.QueueRoot, "/var/spool/mqueue")
		if err := os.WriteFile("testdata/"+layout.String()+".mailq.txt", []byte(listings), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
