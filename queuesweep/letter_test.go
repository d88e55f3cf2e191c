package queuesweep

import (
	"os"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/backscatterd/backscatterd/dsn"
)

// A mistake in a template is found before the first bounce, wherever it is.
func TestNewLetterRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"Hello {{.Recipient}}":                                        "Recipient",
		"{{range .Recipients}}{{.Addres}}{{end}}":                     "Addres",
		"{{if .HeaderOnly}}{{.Nope}}{{end}}x":                         "Nope",
		"x{{range .Recipients}}{{if not .Said}}{{.No}}{{end}}{{end}}": "No",
		"{{.Subject": "unclosed action",
		"{{if}}":     "missing value",
		" \n{{/* nothing */}} {{if false}}x{{end}}\n": "writes nothing",
		`{{define "subject"}}{{.Nope}}{{end}}text`:    "Nope",
	} {
		if _, err := NewLetter(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("template %q: %v, want an error with %q", text, err, want)
		}
	}
}

// The translation that the documentation shows is one that works.
func TestTranslatedLetter(t *testing.T) {
	text, err := os.ReadFile("../docs/bounce-de.tmpl")
	if err != nil {
		t.Fatal(err)
	}
	l, err := NewLetter(string(text))
	if err != nil {
		t.Fatal(err)
	}
	f := parse(t, "T1795557305", "K1795560905", "N7", "Fn", "S<ann@example.org>", "MDeferred: 452 4.2.2 Mailbox full", "RPFD:<bob@dest.example>",
		"MDeferred: 450 4.9.9 odd", "RPFD:<carol@dest.example>", "H??Subject: =?iso-8859-1?Q?Gr=FC=DFe?=")
	o := bounceOptions(t)
	o.Letter = l
	n, err := o.notice("6AOLt9000001", f, nil, time.Unix(1795557305+5*86400, 0).UTC())
	if err != nil {
		t.Fatal(err)
	}
	if n.Subject != "Unzustellbar: Grüße" {
		t.Errorf("subject %q", n.Subject)
	}
	golden(t, "letter-de.txt", n.Text)
}

// What stands in a subject cannot lead the reader of the letter astray.
func TestLetterSubjectIsHarmless(t *testing.T) {
	o := bounceOptions(t)
	f := parse(t, "S<ann@example.org>", "RPFD:<bob@dest.example>", "H??Subject: =?utf-8?Q?a=1B[31m=0A=0AYour_account:_=E2=80=AEmoc?= \xe9 =?nonsense?Q?x?=")
	n, err := o.notice("6AOLt9000001", f, nil, time.Unix(1795557305, 0).UTC())
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{n.Subject, n.Text} {
		if strings.ContainsAny(s, "\x1b\u202e") || !utf8.ValidString(s) || strings.Contains(s, "\nYour account") {
			t.Errorf("%q", s)
		}
	}
}

func TestLongTime(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Hour: "1 minute", 30 * time.Second: "1 minute", 119 * time.Minute: "119 minutes", 2 * time.Hour: "2 hours", 47*time.Hour + 59*time.Minute: "47 hours",
		48 * time.Hour: "2 days", 5*24*time.Hour + time.Hour: "5 days",
	} {
		if got := longTime(d); got != want {
			t.Errorf("%v: %q, want %q", d, got, want)
		}
	}
}

// Status, answer and host as sendmail's status messages tell them.
func TestStatusMessages(t *testing.T) {
	for _, tt := range []struct{ message, status, reply, host string }{
		{"Deferred: 452 4.2.2 Mailbox full", "4.2.2", "452 4.2.2 Mailbox full", ""},
		{"Deferred: 450-4.7.1 Relay access denied", "4.7.1", "450-4.7.1 Relay access denied", ""},
		{"Deferred: 421 come back later", "4.0.0", "421 come back later", ""},
		{"Deferred: 451", "4.3.0", "451", ""},
		{"550 no such user", "5.2.0", "550 no such user", ""},
		{"Deferred: Connection timed out with mx.dest.example.", "4.4.1", "", "mx.dest.example"},
		{"Deferred: Connection refused by [192.0.2.1]", "4.4.1", "", "[192.0.2.1]"},
		{"Deferred: Connection reset by mx450.dest.example.", "4.4.2", "", "mx450.dest.example"},
		{"Deferred: Connection timed out with [IPv6:2001:db8:450::1]", "4.4.1", "", "[IPv6:2001:db8:450::1]"},
		{"Deferred: Network is unreachable", "4.4.4", "", ""},
		{"Deferred: Name server: mx.dest.example.: host name lookup failure", "4.4.3", "", ""},
		{"Deferred", "4.4.7", "", ""},
		{"", "4.4.7", "", ""},
		{"Deferred: 4500 things", "4.4.7", "", ""},
	} {
		if s, r, h := statusCode(tt.message), reply(tt.message), remoteMTA(tt.message); s != tt.status || r != tt.reply || h != tt.host {
			t.Errorf("%q: status %q, reply %q, host %q; want %+v", tt.message, s, r, h, tt)
		}
	}
}

func TestOriginalAddress(t *testing.T) {
	for orcpt, want := range map[string]string{
		"": "", "rfc822;b+2Bob@x": "b+ob@x", "RFC822; b@x": "b@x", "x400;/G=B+20C/": "x400;/G=B C/", `utf-8;\x{F8}le@x`: "øle@x", `utf-8;\x{A}@x`: `\x{A}@x`,
		"b@x": "b@x", "rfc822;b+2@x": "b+2@x", "rfc822;b+0Ac@x": "b\nc@x",
	} {
		if got := originalAddress(orcpt); got != want {
			t.Errorf("%q: %q, want %q", orcpt, got, want)
		}
	}
	if dsn.InWords("4.2.2") != "the mailbox is full" {
		t.Errorf("4.2.2 is %q", dsn.InWords("4.2.2"))
	}
}
