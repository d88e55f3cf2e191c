package dsn

import (
	"bytes"
	"encoding/base64"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func bundled(t testing.TB) map[string][]byte {
	t.Helper()
	names, _ := filepath.Glob(filepath.Join("testdata", "*.eml"))
	out := map[string][]byte{}
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		out[name] = data
	}
	if len(out) == 0 {
		t.Fatal("no messages in testdata")
	}
	return out
}

// FuzzRead: whatever comes in, Read ends, keeps to its limits, and says the
// same however the input is chopped up.
func FuzzRead(f *testing.F) {
	for _, data := range bundled(f) {
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		limits := Limits{HeaderBytes: 4 << 10, Parts: 20, Depth: 5, Recipients: 10}
		r, err := Read(bytes.NewReader(data), limits)
		if err != nil {
			t.Fatal(err)
		}
		if len(r.Recipients) > limits.Recipients {
			t.Fatalf("%d recipients", len(r.Recipients))
		}
		switch r.Kind {
		case Failed, Delayed, Delivered, Relayed, Expanded, Disposition, AutoReply, Challenge, Feedback, Other, None:
		default:
			t.Fatalf("kind %q", r.Kind)
		}
		size := 0
		for _, f := range r.Returned.Fields {
			size += len(f.Name) + len(f.Value)
		}
		if size > 2*limits.HeaderBytes+bufferSize {
			t.Fatalf("%d bytes of returned header", size)
		}
	})
}

// Line ends are a matter of transport: LF, CRLF and CR read alike, and so does
// a message that arrives byte by byte.
func TestLineEndsAndChunksDoNotMatter(t *testing.T) {
	for name, data := range bundled(t) {
		lf := strings.ReplaceAll(strings.ReplaceAll(string(data), "\r\n", "\n"), "\r", "\n")
		want, _ := Read(strings.NewReader(lf), Limits{})
		for _, end := range []string{"\r\n", "\r\r\n", "\r"} {
			got, _ := Read(strings.NewReader(strings.ReplaceAll(lf, "\n", end)), Limits{})
			if diff := cmp.Diff(render(&want), render(&got)); diff != "" {
				t.Errorf("%s with line ends %q (-lf +got):\n%s", name, end, diff)
			}
		}
		got, _ := Read(iotest.OneByteReader(strings.NewReader(lf)), Limits{})
		if diff := cmp.Diff(render(&want), render(&got)); diff != "" {
			t.Errorf("%s byte by byte (-whole +got):\n%s", name, diff)
		}
	}
}

// A recipient and a Message-ID are found however the text is encoded and
// quoted.
func TestEncodingDoesNotMatter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		local := rapid.StringMatching(`[a-z][a-z0-9._+-]{0,20}[a-z0-9]`).Draw(t, "local")
		addr := local + "@" + rapid.StringMatching(`[a-z]{2,10}(-[a-z]{1,5})?\.test`).Draw(t, "domain")
		id := rapid.StringMatching(`[A-Za-z0-9.$_=-]{5,40}@[a-z]{2,9}\.test`).Draw(t, "id")
		quote := rapid.SampledFrom([]string{"", "> ", ">", ">> "}).Draw(t, "quote")
		returned := "Received: from a.test by b.test; Wed, 12 Jun 2024 10:00:00 +0200\nDate: Wed, 12 Jun 2024 10:00:00 +0200\nFrom: anna@sender.test\nTo: x@y.test\nMessage-ID: <" + id + ">\n\nHello\n"
		body := "Your message could not be delivered to the following recipient:\n\n  " + addr + "\n\n550 5.1.1 unknown\n\n"
		for line := range strings.Lines(returned) {
			body += quote + line
		}
		encoding := rapid.SampledFrom([]string{"7bit", "base64", "quoted-printable"}).Draw(t, "encoding")
		switch encoding {
		case "base64":
			body = wrap(base64.StdEncoding.EncodeToString([]byte(body)), 76, "\n")
		case "quoted-printable":
			var b strings.Builder
			for line := range strings.Lines(strings.ReplaceAll(body, "=", "=3D")) {
				b.WriteString(wrapSoft(line))
			}
			body = b.String()
		}
		r, err := Read(strings.NewReader(daemonHead+"Content-Type: text/plain\nContent-Transfer-Encoding: "+encoding+"\n\n"+body), Limits{})
		if err != nil {
			t.Fatal(err)
		}
		if r.Kind != Failed || len(r.Recipients) != 1 || r.Recipients[0].Final != addr || r.Status != "5.1.1" || r.MessageID != id {
			t.Fatalf("want %s and %s, got %+v", addr, id, r)
		}
	})
}

func wrap(s string, n int, end string) string {
	var b strings.Builder
	for len(s) > n {
		b.WriteString(s[:n] + end)
		s = s[n:]
	}
	return b.String() + s + end
}

func wrapSoft(line string) string {
	var b strings.Builder
	for len(line) > 60 {
		cut := 60
		for line[cut-1] == '=' || line[cut-2] == '=' { // not inside a code
			cut--
		}
		b.WriteString(line[:cut] + "=\n")
		line = line[cut:]
	}
	return b.String() + line
}
