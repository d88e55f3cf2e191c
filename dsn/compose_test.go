package dsn

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"
)

var (
	arrived = time.Date(2026, 11, 20, 8, 15, 0, 0, time.UTC)
	tried   = time.Date(2026, 11, 24, 21, 55, 3, 0, time.UTC)
	sentAt  = time.Date(2026, 11, 24, 22, 0, 0, 0, time.FixedZone("", 3600))
)

func body(s string) func() (io.ReadCloser, error) { return fromString(s) }

// notice is a bounce of one recipient, changed as a test needs it.
func notice(change func(*Notice)) *Notice {
	n := &Notice{
		From: "Mail Delivery Subsystem <MAILER-DAEMON@mx.example.org>", To: "ann@example.org", Subject: "Undeliverable: lunch?",
		Date: sentAt, MessageID: "bounce.6AO0lZlY014484@mx.example.org",
		Text:   "Hello,\n\nyour message could not be delivered.\n",
		Header: []byte("From: ann@example.org\nTo: bob@dest.example\nDate: Fri, 20 Nov 2026 08:14:59 +0000\nMessage-ID: <lunch@example.org>\nSubject: lunch?\n"),
		Body:   body("At noon?\n"),
		Report: Report{
			Kind: Failed, ReportingMTA: "mx.example.org", ReceivedFrom: "client.example.org", ArrivalDate: arrived, MessageID: "lunch@example.org",
			Recipients: []Recipient{{
				Final: "bob@dest.example", Action: Failed, Status: "4.2.2",
				Diagnostic: "452 4.2.2 Mailbox size limit exceeded", LastAttempt: tried,
			}},
		},
	}
	if change != nil {
		change(n)
	}
	return n
}

func written(t testing.TB, n *Notice) string {
	t.Helper()
	var b bytes.Buffer
	if err := n.Write(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func goldenNotices() map[string]*Notice {
	return map[string]*Notice{
		"plain": notice(nil),
		"headers-only": notice(func(n *Notice) {
			n.Body = nil
		}),
		"headers-with-8-bit": notice(func(n *Notice) {
			n.Body = nil
			n.Header = append(n.Header, "X-Place: Caf\xc3\xa9\n\tdu Nord\n"...)
		}),
		"two-recipients": notice(func(n *Notice) {
			n.Report.EnvelopeID = "QQ314159"
			n.Report.Recipients[0].Original = "bob.smith@dest.example"
			n.Report.Recipients = append(n.Report.Recipients, Recipient{
				Final: "carol@other.example", Original: "x400;/C=de/S=carol/", Action: Failed, Status: "4.4.1", RemoteMTA: "mx.other.example", LastAttempt: tried,
			})
		}),
		"body-of-8-bit": notice(func(n *Notice) {
			n.Text = "Bonjour,\n\nvotre message n’a pas été remis.\n"
			n.Subject = "Non remis : déjeuner ?"
			n.From = "Système <MAILER-DAEMON@mx.example.org>"
			n.Body = body("D\xe9jeuner ?\n")
		}),
		"body-not-of-lines": notice(func(n *Notice) {
			n.Body = body("a\x00b\rc\n" + strings.Repeat("long ", 250) + "\n")
		}),
		"internationalized": notice(func(n *Notice) {
			n.UTF8 = true
			n.To = "änn@exämple.org"
			n.Header = []byte("From: <änn@exämple.org>\nSubject: dîner\n")
			n.Report.Recipients[0].Final = "bøb@dest.example"
		}),
		"address-beyond-ascii-in-7-bit": notice(func(n *Notice) {
			n.Report.Recipients[0].Final = "bøb+x@dest.example"
			n.Report.Recipients[0].Diagnostic = "550 5.1.1 bøb \xff unknown"
		}),
	}
}

// Each kind of notice is written as its golden file says. After a change that is
// meant: go test ./dsn -run TestCompose -update, and read the difference.
func TestComposeGolden(t *testing.T) {
	for name, n := range goldenNotices() {
		t.Run(name, func(t *testing.T) {
			got := written(t, n)
			if err := lawful(got); err != nil {
				t.Error(err)
			}
			if again := written(t, n); again != got {
				t.Error("written twice, it differs")
			}
			golden := filepath.Join("testdata", "compose", name+".eml")
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("written otherwise than before (-want +got):\n%s", diff)
			}
		})
	}
}

// What comes from the message, or from whoever answered, cannot add a header
// field, a recipient's block or a part.
func TestComposeNothingBreaksOut(t *testing.T) {
	const evil = "x\r\nBcc: victim@example.com\r\n\r\n--inject\r\nContent-Type: text/html\u2028\x00\x1b[31m"
	n := notice(func(n *Notice) {
		n.From, n.Subject = "Evil "+evil+" <a@b.example>", evil
		n.MessageID, n.Report.MessageID = evil, evil
		n.Report.EnvelopeID, n.Report.ReportingMTA, n.Report.ReceivedFrom = evil, evil, evil
		r := &n.Report.Recipients[0]
		r.Final, r.Original, r.Diagnostic, r.RemoteMTA, r.Status = evil, "x400;"+evil, evil, evil, evil
		n.To = "ann@example.org"
	})
	got := written(t, n)
	if err := lawful(got); err != nil {
		t.Error(err)
	}
	for line := range strings.SplitSeq(got, "\r\n") {
		for _, bad := range []string{"Bcc:", "Content-Type: text/html", "--inject"} {
			if strings.HasPrefix(line, bad) {
				t.Errorf("a line of its own: %q", line)
			}
		}
	}
	if strings.ContainsAny(got, "\x00\x1b") {
		t.Error("control characters came through")
	}
}

// A message that holds the boundary, by chance or by design, gets another one.
func TestComposeBoundaryIsNotInTheMessage(t *testing.T) {
	boundaryOf := func(s string) string {
		_, rest, _ := strings.Cut(s, `boundary="`)
		boundary, _, _ := strings.Cut(rest, `"`)
		return boundary
	}
	n := notice(nil)
	first := boundaryOf(written(t, n))
	if first == "" {
		t.Fatal("no boundary found")
	}
	n.Body = body("hello\n--" + first + "--\nstill the message\n")
	got := written(t, n)
	second := boundaryOf(got)
	if second == first || strings.Count(got, "\n--"+second) != 4 {
		t.Errorf("boundary %q after %q, in:\n%s", second, first, got)
	}
}

// A body that breaks off is an error, and never a shorter message.
func TestComposeBodyFails(t *testing.T) {
	broken := errors.New("input/output error")
	for pass := 1; pass <= 2; pass++ {
		opened := 0
		n := notice(func(n *Notice) {
			n.Body = func() (io.ReadCloser, error) {
				if opened++; opened == pass {
					return io.NopCloser(io.MultiReader(strings.NewReader("half\n"), iotest.ErrReader(broken))), nil
				}
				return body("half\nthe other\n")()
			}
		})
		if err := n.Write(io.Discard); !errors.Is(err, broken) {
			t.Errorf("pass %d: %v", pass, err)
		}
	}
}

func TestComposeRefuses(t *testing.T) {
	for want, change := range map[string]func(*Notice){
		"nobody to send it to": func(n *Notice) { n.To = "" },
		"needs SMTPUTF8":       func(n *Notice) { n.To = "änn@example.org" },
		"no recipient":         func(n *Notice) { n.Report.Recipients = nil },
		"no reporting MTA":     func(n *Notice) { n.Report.ReportingMTA = "" },
	} {
		var b bytes.Buffer
		if err := notice(change).Write(&b); err == nil || !strings.Contains(err.Error(), want) || b.Len() > 0 {
			t.Errorf("%v, %d bytes; want %q and none", err, b.Len(), want)
		}
	}
}

// zeros is a body of so many bytes that is nowhere.
type zeros int64

func (z *zeros) Read(p []byte) (int, error) {
	if *z <= 0 {
		return 0, io.EOF
	}
	n := min(len(p), int(*z))
	for i := range p[:n] {
		p[i] = 'x'
		if i%70 == 69 {
			p[i] = '\n'
		}
	}
	*z -= zeros(n)
	return n, nil
}

// The body passes through: what is allocated does not grow with it.
func TestComposeStreams(t *testing.T) {
	const size = 16 << 20
	n := notice(func(n *Notice) {
		n.Body = func() (io.ReadCloser, error) { z := zeros(size); return io.NopCloser(&z), nil }
	})
	result := testing.Benchmark(func(b *testing.B) {
		for range b.N {
			if err := n.Write(io.Discard); err != nil {
				b.Fatal(err)
			}
		}
	})
	if per := result.AllocedBytesPerOp(); per > 1<<20 {
		t.Errorf("%d bytes allocated for a body of %d", per, size)
	}
}

// lawful checks what Write promises of every notice.
func lawful(s string) error {
	if strings.ContainsRune(s, 0) {
		return errors.New("a NUL")
	}
	if !strings.HasSuffix(s, "\r\n") || strings.Count(s, "\r") != strings.Count(s, "\r\n") || strings.Count(s, "\n") != strings.Count(s, "\r\n") {
		return errors.New("a line end that is not CRLF")
	}
	for line := range strings.SplitSeq(s, "\r\n") {
		if len(line) > maxLine {
			return fmt.Errorf("a line of %d bytes", len(line))
		}
	}
	header, rest, _ := strings.Cut(s, "\r\n\r\n")
	if !ascii(rest) && !strings.Contains(header, "Content-Transfer-Encoding: 8bit") {
		return errors.New("8-bit content that is not declared")
	}
	for part := range strings.SplitSeq(rest, "\r\n--=_") {
		if h, content, ok := strings.Cut(part, "\r\n\r\n"); ok && !ascii(content) && !strings.Contains(h, "Content-Transfer-Encoding: 8bit") {
			return fmt.Errorf("8-bit content in a part declared %q", h)
		}
	}
	return nil
}
