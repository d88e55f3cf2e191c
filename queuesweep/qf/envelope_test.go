package qf_test

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/backscatterd/backscatterd/queuesweep/qf"
)

func parse(t testing.TB, data string) *qf.File {
	t.Helper()
	f, err := qf.Parse([]byte(data))
	if err != nil {
		t.Fatalf("%q: %v", data, err)
	}
	return f
}

func TestEnvelope(t *testing.T) {
	f := parse(t, "V8\nT1795481255\nK1795481300\nN12\nP31258\ndq2\nI254/0/9\nB8BITMIME\nqheld by hand\nMDeferred: x\nFwrns8de\n$_h [1.2.3.4]\nS<a@b.example>\nZQQ+2B1\nRPFD:<c@d>\n.\n")
	type envelope struct {
		Created, LastAttempt                                      int64
		Attempts, Priority                                        int
		DataFolder, BodyType, Quarantine, Status, Flags, ID, Line string
		Held, Own, HeadersOnly, UTF8                              bool
	}
	line, _ := f.Line('I')
	got := envelope{
		f.Created().Unix(), f.LastAttempt().Unix(), f.Attempts(), f.Priority(),
		f.DataFolder(), f.BodyType(), f.Quarantine(), f.Status(), f.Flags(), f.EnvelopeID(), string(line),
		f.Quarantined(), f.OwnDSN(), f.ReturnHeadersOnly(), f.SMTPUTF8(),
	}
	want := envelope{
		1795481255, 1795481300, 12, 31258,
		"q2", "8BITMIME", "held by hand", "Deferred: x", "wrns8de", "QQ+2B1", "254/0/9",
		true, true, true, true,
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestAbsentLines(t *testing.T) {
	f := parse(t, "S\n.\n")
	if !f.Created().IsZero() || !f.LastAttempt().IsZero() || f.Attempts() != 0 || f.Priority() != 0 ||
		f.DataFolder()+f.BodyType()+f.Quarantine()+f.Status()+f.Flags()+f.EnvelopeID()+f.Sender() != "" ||
		f.Quarantined() || f.OwnDSN() || f.ReturnHeadersOnly() || f.SMTPUTF8() {
		t.Errorf("a file without lines says something: %+v", f)
	}
	if _, ok := f.Line('q'); ok {
		t.Error("a line that is not there was found")
	}
	if v, ok := parse(t, "q\nS\n.\n").Line('q'); !ok || len(v) != 0 {
		t.Error("an empty line is not told from an absent one")
	}
}

func TestNumbers(t *testing.T) {
	for text, want := range map[string]int{
		"5": 5, " 5": 5, "+5": 5, "-5": -5, "5x": 5, "x": 0, "": 0, "00012": 12, "\t7 8": 7,
	} {
		if got := parse(t, "N"+text+"\nS\n.\n").Attempts(); got != want {
			t.Errorf("N%s: got %d, want %d", text, got, want)
		}
	}
	if got := parse(t, "P99999999999999999999999999\nS\n.\n").Priority(); got <= 0 {
		t.Errorf("a number too long overflows to %d", got)
	}
	if got := parse(t, "T0\nS\n.\n").Created(); got != (time.Time{}) {
		t.Errorf("K0 and T0 mean never: got %v", got)
	}
}

func TestSender(t *testing.T) {
	for _, c := range []struct {
		lines, sender string
		null          bool
	}{
		{"S<a@b.example>\n", "a@b.example", false},
		{"Sa@b.example\n", "a@b.example", false},
		{"S<>\n", "", true},
		{"S\n", "", true},
		{"SMAILER-DAEMON\n", "", true},
		{"S<>\r\n", "", true},
		{"Frs\nS<a@b.example>\n", "", true}, // a DSN of this sendmail, whatever S says
		{"Fs\nS<a@b.example>\n", "a@b.example", false},
		{"S<MAILER-DAEMON@b.example>\n", "MAILER-DAEMON@b.example", false},
		{"S<\xc3\xff\x89@b>\n", "\xc3\x89@b", false}, // stuffed
		{"S<o'brien+tag@lab.example>\n", "o'brien+tag@lab.example", false},
		{"S<first@x>\nS<last@x>\n", "last@x", false}, // readqf: the last wins
		{"Fw\nFr\nS<a@b>\n", "", true},               // and flags add up
	} {
		f := parse(t, "V8\n"+c.lines+".\n")
		if f.Sender() != c.sender || f.NullSender() != c.null {
			t.Errorf("%q: sender %q, null %v; want %q, %v", c.lines, f.Sender(), f.NullSender(), c.sender, c.null)
		}
	}
}

// An M before the sender is the envelope's, one behind it the next recipient's.
func TestWhoseStatus(t *testing.T) {
	for _, c := range []struct {
		name, data, envelope string
		recipients           []string
	}{
		{"both", "MUser unknown\nS<a@b>\nMDeferred: x\nRP:<c@d>\nMDeferred: y\nRP:<e@f>\n.\n", "User unknown", []string{"Deferred: x", "Deferred: y"}},
		{"envelope alone", "MDeferred: x\nS<a@b>\nRP:<c@d>\n.\n", "Deferred: x", []string{""}},
		{"second recipient alone", "S<a@b>\nRP:<c@d>\nMDeferred: y\nRP:<e@f>\n.\n", "", []string{"", "Deferred: y"}},
		{"first recipient alone", "S<a@b>\nMDeferred: y\nRP:<c@d>\nRP:<e@f>\n.\n", "Deferred: y", []string{"Deferred: y", ""}},
		{"lines between", "S<a@b>\nMDeferred: y\nCu:1:1:z\nQrfc822;c@d\nrRFC822; c@d\nRP:<c@d>\n.\n", "Deferred: y", []string{"Deferred: y"}},
		{"none", "S<a@b>\nRP:<c@d>\n.\n", "", []string{""}},
		{"no recipient", "MDeferred\nS<a@b>\n.\n", "Deferred", nil},
		{"folded", "MDeferred: a\n\tb\nS<a@b>\nRP:<c@d>\n.\n", "Deferred: a\n\tb", []string{""}},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := parse(t, "V8\n"+c.data)
			var got []string
			for r := range f.Recipients() {
				got = append(got, r.Status)
			}
			if f.Status() != c.envelope || !slices.Equal(got, c.recipients) {
				t.Errorf("envelope %q, recipients %q; want %q, %q", f.Status(), got, c.envelope, c.recipients)
			}
		})
	}
	f := parse(t, "V8\nMa\nS<a@b>\nMb\nRP:<c@d>\nMa\nRP:<e@f>\nM\nRP:<g@h>\n.\n")
	if got := f.Statuses(); !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("all statuses, each once and none empty: got %q", got)
	}
}

func TestMacros(t *testing.T) {
	f := parse(t, "V8\n$_h.example [1.2.3.4]\n$rESMTP\n$s\n${auth_authen}joe\n${daemon_flags}\n${x}braced\n$rlast wins\n$\n${open\n$q\xff\x81\nS\n.\n")
	for name, want := range map[string]string{
		"_": "h.example [1.2.3.4]", "r": "last wins", "s": "", "auth_authen": "joe", "{auth_authen}": "joe",
		"daemon_flags": "", "x": "braced", "absent": "", "q": "\x81",
	} {
		if got := f.Macro(name); got != want {
			t.Errorf("macro %s: got %q, want %q", name, got, want)
		}
	}
	var names []string
	for n := range f.Macros() {
		names = append(names, n)
	}
	if want := []string{"_", "r", "s", "auth_authen", "daemon_flags", "x", "r", "q"}; !slices.Equal(names, want) {
		t.Errorf("names in file order: got %q, want %q", names, want)
	}
	for range f.Macros() {
		break // the loop may be left
	}
}

func TestRecipients(t *testing.T) {
	f := parse(t, "V8\nS<a@b>\nCjoe:1000:1000:list\nQrfc822;orig+2Bu@x\nrRFC822; u@x\nRPNSFD:<u@x>\nRPN:<never@x>\nC\nRA:plain@x\nRno colon\nR:<\"quoted: local\"@x>\nRPZXY:<unknown flags@x>\n.\n")
	var got []qf.Recipient
	var notify []string
	for r := range f.Recipients() {
		got = append(got, r)
		notify = append(notify, r.Notify())
	}
	want := []qf.Recipient{
		{Address: "u@x", Flags: "PNSFD", Original: "rfc822;orig+2Bu@x", Final: "RFC822; u@x", Controlling: "joe:1000:1000:list"},
		{Address: "never@x", Flags: "PN", Controlling: "joe:1000:1000:list"},
		{Address: "plain@x", Flags: "A"},
		{Address: `"quoted: local"@x`},
		{Address: "unknown flags@x", Flags: "PZXY"},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if want := []string{"SUCCESS,FAILURE,DELAY", "NEVER", "", "", ""}; !slices.Equal(notify, want) {
		t.Errorf("NOTIFY: got %q, want %q", notify, want)
	}
	for range f.Recipients() {
		break
	}
	for _, version := range []string{"", "V0\n"} {
		for r := range parse(t, version+"S\nRa:b@c\n.\n").Recipients() {
			if r.Address != "a:b@c" || r.Flags != "P" {
				t.Errorf("version 0 has no flags: got %+v", r)
			}
		}
	}
	got = slices.Collect(parse(t, "RS:early@x\nV1\nS\nRP:<a@x>\nRno colon\nV\nRP:late@x\n.\n").Recipients())
	want = []qf.Recipient{{Address: "S:early@x", Flags: "P"}, {Address: "a@x", Flags: "P"}, {Address: "P:late@x", Flags: "P"}}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("a V line is about what follows it: %s", d)
	}
}

func TestText(t *testing.T) {
	for in, want := range map[string]string{
		"":                     "",
		"plain":                "plain",
		"\xc3\xff\x89":         "É",
		"\xff\xff":             "\xff",
		"\xff\x9f\xff\x80":     "\x9f\x80",
		"\xff":                 "\xff", // alone at the end
		"\xffA":                "\xffA",
		"\xff\xa0":             "\xff\xa0", // not one that is stuffed
		"\xff\xff\xff\xff":     "\xff\xff",
		"\x81g":                "\x81g", // a macro byte, as in Return-Path
		"a\x00b":               "a\x00b",
		"\xe2\xff\x82\xac uro": "€ uro",
	} {
		if got := qf.Text([]byte(in)); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}

// A time past the year 9999 could not be written as JSON; it is told as the last
// that can.
func TestTimesBeyondTheCalendar(t *testing.T) {
	for _, text := range []string{"253402300800", "9223372036854775807", "99999999999999999999999"} {
		f, err := qf.Parse([]byte("V8\nT" + text + "\nK" + text + "\nS<a@b>\n.\n"))
		if err != nil {
			t.Fatal(err)
		}
		for _, at := range []time.Time{f.Created(), f.LastAttempt()} {
			if _, err := at.UTC().MarshalJSON(); err != nil || at.UTC().Year() != 9999 {
				t.Errorf("T%s is %v, %v", text, at, err)
			}
		}
	}
}
