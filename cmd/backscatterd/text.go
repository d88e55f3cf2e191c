package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/term"

	"github.com/backscatterd/backscatterd/queuesweep"
)

// terminal is where results go, and how much it can show.
type terminal struct {
	io.Writer
	width  int  // columns, 0 if it is no terminal
	colour bool // NO_COLOR is honoured, and --color
	ascii  bool // the locale has no other characters
}

// newTerminal looks at stdout; what is written goes through w.
func newTerminal(stdout, w io.Writer) terminal {
	t := terminal{Writer: w}
	width, _, ok := screenOf(stdout)
	if !ok {
		return t
	}
	t.width, t.ascii = width, !localeIsUTF8()
	_, off := os.LookupEnv("NO_COLOR")
	t.colour = !off && os.Getenv("TERM") != "dumb"
	return t
}

// screenOf is the size of a terminal. One that does not tell it has 80 columns.
func screenOf(w any) (width, height int, ok bool) {
	f, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return 0, 0, false
	}
	width, height, err := term.GetSize(int(f.Fd()))
	if err != nil || width == 0 || height == 0 {
		width, height = 80, 24
	}
	return max(width, 30), max(height, 3), true
}

// localeIsUTF8 follows setlocale(3): the first of these that is set decides.
func localeIsUTF8() bool {
	for _, name := range []string{"LC_ALL", "LC_CTYPE", "LANG"} {
		if v := strings.ToLower(os.Getenv(name)); v != "" {
			return strings.HasSuffix(v, "utf-8") || strings.HasSuffix(v, "utf8")
		}
	}
	return false
}

// Write writes text for people. A terminal whose locale is not UTF-8 gets what
// it can show.
func (t terminal) Write(text []byte) (int, error) {
	if !t.ascii {
		return t.Writer.Write(text)
	}
	if _, err := t.Writer.Write(plain(text)); err != nil {
		return 0, err
	}
	return len(text), nil
}

// json prints one object on a line of its own.
func (t terminal) json(v any) {
	line, err := queuesweep.JSONLine(v)
	if err != nil {
		// Results are plain structs of strings and numbers.
		panic(err)
	}
	t.Writer.Write(line)
}

// colourFlag is --color.
type colourFlag struct{ out *terminal }

func (f colourFlag) String() string { return "auto" }
func (f colourFlag) Type() string   { return "when" }

func (f colourFlag) Set(when string) error {
	switch when {
	case "auto":
	case "always":
		f.out.colour = true
	case "never":
		f.out.colour = false
	default:
		return errors.New("want auto, always or never")
	}
	return nil
}

// when is the --color for a command run from this one.
func (t terminal) when() string {
	if t.colour {
		return "always"
	}
	return "never"
}

// ink is a colour of the terminal's own palette, so that it can be read on
// dark and on light ground. The colours differ for those too who cannot tell red
// from green, and a word always says the same.
type ink string

const (
	red    ink = "1;31"
	cyan   ink = "36"
	yellow ink = "33"
	faint  ink = "2"
	bold   ink = "1"
)

func (t terminal) paint(c ink, s string) string {
	if !t.colour || s == "" || c == "" {
		return s
	}
	return "\x1b[" + string(c) + "m" + s + "\x1b[0m"
}

// clean makes a text from a message safe for a terminal: what could be an
// escape sequence, a newline or a direction mark is shown as what it is.
func clean(s string) string {
	if strings.IndexFunc(s, unprintable) < 0 && utf8.ValidString(s) {
		return s
	}
	var b strings.Builder
	for i, r := range s {
		switch {
		case r == utf8.RuneError:
			if _, size := utf8.DecodeRuneInString(s[i:]); size == 1 {
				fmt.Fprintf(&b, `\x%02x`, s[i])
				continue
			}
			b.WriteRune(r)
		case r == '\n' || r == '\t' || r == '\r':
			b.WriteByte(' ')
		case unprintable(r):
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// cleanLines is clean for a message of several lines, with a caret under one.
func cleanLines(s string) string {
	lines := strings.Split(s, "\n")
	for i, line := range lines {
		parts := strings.Split(line, "\t")
		for j := range parts {
			parts[j] = clean(parts[j])
		}
		lines[i] = strings.Join(parts, "\t")
	}
	return strings.Join(lines, "\n")
}

func unprintable(r rune) bool { return !unicode.IsPrint(r) && r != utf8.RuneError }

// age says a duration as people do: 45 s, 7 m, 3 h, 2 d.
func age(d time.Duration) string {
	switch {
	case d < 0:
		return "future"
	case d < 2*time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < 2*time.Hour:
		return fmt.Sprintf("%d m", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h", int(d.Hours()))
	}
	return fmt.Sprintf("%d d", int(d.Hours()/24))
}

// size says a number of bytes as people do.
func size(n int64) string {
	switch {
	case n < 1000:
		return fmt.Sprintf("%d", n)
	case n < 10_000:
		return fmt.Sprintf("%.1fk", float64(n)/1000)
	case n < 1_000_000:
		return fmt.Sprintf("%dk", n/1000)
	case n < 10_000_000:
		return fmt.Sprintf("%.1fM", float64(n)/1e6)
	}
	return fmt.Sprintf("%dM", n/1_000_000)
}

// plural says "1 message" and "2 messages".
func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
