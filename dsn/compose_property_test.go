package dsn

import (
	"bytes"
	"encoding/base64"
	"io"
	"mime"
	"mime/multipart"
	"net/mail"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// What is written is read again as it was meant.
func TestComposeRoundTrip(t *testing.T) {
	var (
		word   = rapid.StringMatching(`[a-z0-9]{1,12}`)
		domain = rapid.StringMatching(`[a-z][a-z0-9]{0,9}(\.[a-z][a-z0-9]{1,9}){1,2}`)
		local  = rapid.StringMatching(`[a-z0-9]([a-z0-9.+_-]{0,15}[a-z0-9])?`)
		status = rapid.StringMatching(`[45]\.[0-7]\.[0-9]`)
		said   = rapid.StringMatching(`[45]5[0-4] [45]\.[0-7]\.[0-9]( [A-Za-z0-9:,]{1,20}){1,50}`)
		date   = rapid.Custom(func(t *rapid.T) time.Time {
			return time.Unix(rapid.Int64Range(1e9, 2e9).Draw(t, "seconds"), 0).UTC()
		})
		line = rapid.StringMatching(`[ -~\x{e9}\x{4e2d}\t]{0,90}`)
	)
	address := func(t *rapid.T, label string) string {
		return local.Draw(t, label) + "@" + domain.Draw(t, label)
	}
	rapid.Check(t, func(t *rapid.T) {
		want := Report{
			Kind: Failed, ReportingMTA: domain.Draw(t, "reporting"), ReceivedFrom: domain.Draw(t, "from"),
			ArrivalDate: date.Draw(t, "arrival"), EnvelopeID: word.Draw(t, "envid"), MessageID: word.Draw(t, "id") + "@" + domain.Draw(t, "id"),
		}
		seen := make(map[string]bool)
		for range rapid.IntRange(1, 4).Draw(t, "recipients") {
			r := Recipient{
				Final: address(t, "final"), Action: Failed, Status: status.Draw(t, "status"),
				Diagnostic: said.Draw(t, "said"), LastAttempt: date.Draw(t, "tried"), RemoteMTA: domain.Draw(t, "remote"),
			}
			// Of a bare class a reader makes what the diagnostic says.
			r.Status = refined(r.Status, r.Diagnostic)
			if rapid.Bool().Draw(t, "has original") {
				r.Original = address(t, "original")
			}
			if !seen[r.Final] {
				want.Recipients = append(want.Recipients, r)
				seen[r.Final] = true
			}
		}
		header := "From: ann@example.org\nDate: Fri, 20 Nov 2026 08:14:59 +0000\nMessage-ID: <" + want.MessageID + ">\nSubject: " + word.Draw(t, "subject") + "\n"
		n := Notice{
			From: "MAILER-DAEMON@mx.example.org", To: address(t, "to"), Subject: line.Draw(t, "subject"), Date: date.Draw(t, "date"),
			MessageID: word.Draw(t, "bounce") + "@" + domain.Draw(t, "bounce"), Text: line.Draw(t, "text"),
			Header: []byte(header), Report: want, UTF8: rapid.Bool().Draw(t, "utf8"),
		}
		if rapid.Bool().Draw(t, "whole") {
			n.Body = body(strings.Join(rapid.SliceOfN(line, 0, 5).Draw(t, "body"), rapid.SampledFrom([]string{"\n", "\r\n", "\r", "\x00"}).Draw(t, "end")))
		}
		readAgain(t, &n, want)
	})
}

// readAgain checks that a notice reads as it was meant.
func readAgain(t *rapid.T, n *Notice, want Report) {
	var b bytes.Buffer
	if err := n.Write(&b); err != nil {
		t.Fatal(err)
	}
	if err := lawful(b.String()); err != nil {
		t.Fatalf("%v in:\n%s", err, b.String())
	}
	got, err := Read(&b, Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if got.Form != FormReport || got.Cut || got.Returned.Header("Message-ID") != "<"+want.MessageID+">" || got.Returned.Header("Subject") == "" {
		t.Errorf("read as form %q, cut %v, returned %v", got.Form, got.Cut, got.Returned)
	}
	got.Form, got.Status, got.Returned = "", "", Returned{}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("read otherwise than written (-written +read):\n%s", diff)
	}
}

// Whatever a queue file holds, the notice is lawful, returns the message to the
// last byte but for line ends, and is the same when it is written again.
func FuzzCompose(f *testing.F) {
	f.Add("ann@example.org", "lunch?", "Subject: lunch?\n", "At noon?\n", "bob@dest.example", "452 4.2.2 full", "text\n", false)
	f.Add("a@b", "é\r\nX: y", "X: \xff\x00\r\n", "\r\r\n\x00--=_", "ø@x;y", "5\n\n", "\r\x1b", true)
	f.Add("ann@example.org", strings.Repeat("s", 3000), strings.Repeat("h: x\n", 300), strings.Repeat("l", 1200), "x400;y", strings.Repeat("d", 3000), "\n--", true)
	f.Fuzz(func(t *testing.T, to, subject, header, content, rcpt, diagnostic, text string, utf8 bool) {
		n := notice(func(n *Notice) {
			n.To, n.Subject, n.Header, n.Body, n.Text, n.UTF8 = to, subject, []byte(header), body(content), text, utf8
			r := &n.Report.Recipients[0]
			r.Final, r.Original, r.Diagnostic, n.Report.EnvelopeID, n.Report.MessageID = rcpt, rcpt, diagnostic, subject, subject
		})
		var one, two bytes.Buffer
		if err := n.Write(&one); err != nil {
			if to != "" && (ascii(to) || utf8) {
				t.Fatal(err)
			}
			return
		}
		if err := n.Write(&two); err != nil || one.String() != two.String() {
			t.Fatalf("written twice, it differs (%v)", err)
		}
		if err := lawful(one.String()); err != nil {
			t.Fatalf("%v in:\n%q", err, one.String())
		}
		want := crlfOf(header + "\n" + content)
		if got := returnedPart(t, one.String()); got != want {
			t.Errorf("returned %q, want %q", got, want)
		}
		if _, err := Read(&one, Limits{}); err != nil {
			t.Fatal(err)
		}
	})
}

func crlfOf(s string) string {
	return strings.ReplaceAll(strings.ReplaceAll(s, "\r\n", "\n"), "\n", "\r\n")
}

// returnedPart is the content of a report's third part, decoded by the standard
// library.
func returnedPart(t *testing.T, message string) string {
	t.Helper()
	m, err := mail.ReadMessage(strings.NewReader(message))
	if err != nil {
		t.Fatal(err)
	}
	_, params, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	if err != nil {
		t.Fatal(err)
	}
	parts := multipart.NewReader(m.Body, params["boundary"])
	for range 2 {
		if _, err := parts.NextRawPart(); err != nil {
			t.Fatal(err)
		}
	}
	last, err := parts.NextRawPart()
	if err != nil {
		t.Fatal(err)
	}
	var r io.Reader = last
	if last.Header.Get("Content-Transfer-Encoding") == "base64" {
		r = base64.NewDecoder(base64.StdEncoding, r)
	}
	content, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}
