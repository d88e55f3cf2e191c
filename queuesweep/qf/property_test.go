package qf_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/backscatterd/backscatterd/queuesweep/qf"
)

// message is what a control file says, and the bytes that say it.
type message struct {
	Sender     string
	Null       bool
	Status     string
	Attempts   int
	Flags      string
	Recipients []qf.Recipient
	Headers    [][2]string // name and raw value
	Macros     map[string]string

	file []byte
}

// text draws bytes as a mail may hold them: any but a newline and NUL, and no
// CR, which at the end of a line would belong to the newline.
func text(t *rapid.T, label string) string {
	b := rapid.SliceOfN(rapid.Byte(), 0, 30).Draw(t, label)
	return string(slices.DeleteFunc(b, func(c byte) bool { return c == '\n' || c == '\r' || c == 0 }))
}

// stuff writes a value as sendmail does.
func stuff(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; c >= 0x80 && c <= 0x9F || c == 0xFF {
			b.WriteByte(0xFF)
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

func address(t *rapid.T, label string) string {
	return rapid.StringMatching(`[a-z0-9+'=._-]{1,12}@[a-z0-9.-]{1,12}`).Draw(t, label)
}

// drawMessage draws a message and writes its file, the lines in queueup()'s
// order.
func drawMessage(t *rapid.T) message {
	m := message{Macros: map[string]string{}}
	var b bytes.Buffer
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("V8")
	line("T1795481255")
	m.Attempts = rapid.IntRange(0, 1000).Draw(t, "attempts")
	line("N%d", m.Attempts)
	if m.Status = text(t, "status"); rapid.Bool().Draw(t, "has status") {
		line("M%s", stuff(m.Status))
	} else {
		m.Status = ""
	}
	m.Flags = rapid.StringMatching(`[wrbdns8]{0,4}`).Draw(t, "flags")
	line("F%s", m.Flags)
	for range rapid.IntRange(0, 3).Draw(t, "macros") {
		name := rapid.StringMatching(`[a-z_]{2,10}`).Draw(t, "macro")
		m.Macros[name] = text(t, "value")
		line("${%s}%s", name, stuff(m.Macros[name]))
	}
	sender := rapid.SampledFrom([]string{"", "<>", "MAILER-DAEMON", "<" + address(t, "sender") + ">"}).Draw(t, "S")
	line("S%s", sender)
	m.Null = !strings.HasPrefix(sender, "<") || sender == "<>" || strings.Contains(m.Flags, "r")
	if !m.Null {
		m.Sender = strings.Trim(sender, "<>")
	}
	controlling := ""
	for i := range rapid.IntRange(0, 4).Draw(t, "recipients") {
		var r qf.Recipient
		if rapid.Bool().Draw(t, "has own status") {
			if r.Status = text(t, "own status"); m.Status == "" && i == 0 && !bytes.Contains(b.Bytes(), []byte("\nM")) {
				m.Status = r.Status
			}
			line("M%s", stuff(r.Status))
		}
		if rapid.Bool().Draw(t, "has C") {
			controlling = rapid.SampledFrom([]string{"", "joe:1:2:x"}).Draw(t, "C")
			line("C%s", controlling)
		}
		r.Controlling = controlling
		if rapid.Bool().Draw(t, "has ORCPT") {
			r.Original = "rfc822;" + address(t, "orcpt")
			line("Q%s", r.Original)
			r.Final = "RFC822; " + address(t, "final")
			line("r%s", r.Final)
		}
		r.Flags = rapid.StringMatching(`P?N?S?F?D?A?`).Draw(t, "R flags")
		r.Address = address(t, "rcpt")
		line("R%s:<%s>", r.Flags, r.Address)
		m.Recipients = append(m.Recipients, r)
	}
	for range rapid.IntRange(0, 5).Draw(t, "headers") {
		name := rapid.StringMatching(`[!-9;->@-~][!-9;-~]{0,10}`).Draw(t, "name") // no colon; no "?" in front
		value := text(t, "value")
		for range rapid.IntRange(0, 3).Draw(t, "folds") {
			value += "\n" + rapid.SampledFrom([]string{"\t", " ", "        ", " \t"}).Draw(t, "fold") + text(t, "rest")
		}
		cond := rapid.SampledFrom([]string{"", "P", "DFM", "$x", "${y}"}).Draw(t, "condition")
		line("H?%s?%s:%s", cond, name, stuff(value))
		m.Headers = append(m.Headers, [2]string{name, value})
	}
	line(".")
	m.file = b.Bytes()
	return m
}

func read(f *qf.File) message {
	m := message{
		Sender: f.Sender(), Null: f.NullSender(), Status: f.Status(), Attempts: f.Attempts(), Flags: f.Flags(),
		Recipients: slices.Collect(f.Recipients()), Macros: map[string]string{},
	}
	for h := range f.Headers() {
		m.Headers = append(m.Headers, [2]string{h.Name, h.Raw()})
	}
	for k, v := range f.Macros() {
		m.Macros[k] = v
	}
	return m
}

// What is written into a file is what is read from it.
func TestWriteParseCompare(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := drawMessage(t)
		f, err := qf.Parse(want.file)
		if err != nil {
			t.Fatalf("%q: %v", want.file, err)
		}
		got := read(f)
		want.file = nil
		if d := cmp.Diff(want, got, cmp.AllowUnexported(message{})); d != "" {
			t.Fatal(d)
		}
		for _, h := range want.Headers {
			if raw, ok := f.RawHeader(strings.ToUpper(h[0])); !ok || !slices.ContainsFunc(want.Headers, func(o [2]string) bool {
				return strings.EqualFold(o[0], h[0]) && o[1] == raw
			}) {
				t.Fatalf("header %q is not found by its name in capitals: got %q, %v", h[0], raw, ok)
			}
		}
	})
}

// A hold changes the q line and nothing else, and a release takes it back.
func TestEditRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := drawMessage(t)
		f, err := qf.Parse(m.file)
		if err != nil {
			t.Fatal(err)
		}
		held := f.WithQuarantine(text(t, "reason"))
		g, err := qf.Parse(held)
		if err != nil {
			t.Fatalf("a held file is no longer understood: %v", err)
		}
		if !g.Quarantined() {
			t.Fatal("the held file has no q line")
		}
		if d := cmp.Diff(read(f), read(g), cmp.AllowUnexported(message{})); d != "" {
			t.Fatalf("the hold changed more than the q line:\n%s", d)
		}
		if back := g.WithoutQuarantine(); !bytes.Equal(back, m.file) {
			t.Fatalf("released: %q\nbefore: %q", back, m.file)
		}
	})
}

// Parse takes any bytes.
func TestParseIsTotal(t *testing.T) {
	letters := []byte("VTKNPdIBqMF$SZA!CQrRHEDL.\n\n\n \t\r:?<>{}\x00\xff\x8180azG")
	rapid.Check(t, func(t *rapid.T) {
		data := rapid.SliceOf(rapid.SampledFrom(letters)).Draw(t, "data")
		checkAny(t, data)
		checkAny(t, append(data, "\nS\n.\n"...))
	})
}

type failer interface {
	Fatalf(format string, args ...any)
}

// checkAny checks what holds for all bytes: nothing panics, and a file that is
// taken can be held and released without losing a byte of another line.
func checkAny(t failer, data []byte) {
	before := bytes.Clone(data)
	f, err := qf.Parse(data)
	if !bytes.Equal(before, data) {
		t.Fatalf("Parse wrote into its input")
	}
	if err != nil {
		var shown qf.File // what a damaged file shows must not panic either
		_ = shown.Reset(data)
		_ = read(&shown)
		_, _ = shown.Statuses(), shown.Header("x")
		return
	}
	m := read(f)
	_, _ = f.Statuses(), f.Header("x")
	for r := range f.Recipients() {
		_ = r.Notify()
	}
	held, err := qf.Parse(f.WithQuarantine("why"))
	if err != nil {
		t.Fatalf("held, it is not understood: %v", err)
	}
	if held.Quarantine() != "why" {
		t.Fatalf("held, its reason is %q", held.Quarantine())
	}
	if d := cmp.Diff(m, read(held), cmp.AllowUnexported(message{})); d != "" {
		t.Fatalf("the hold changed more than the q line:\n%s", d)
	}
	if released := held.WithoutQuarantine(); !bytes.Equal(released, f.WithoutQuarantine()) {
		t.Fatalf("hold and release lost something: %q became %q", data, released)
	}
}
