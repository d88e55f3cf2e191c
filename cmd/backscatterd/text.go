package main

import (
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
	colour bool // NO_COLOR is honoured
}

// newTerminal looks at stdout; what is written goes through w.
func newTerminal(stdout, w io.Writer) terminal {
	t := terminal{Writer: w}
	f, ok := stdout.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return t
	}
	if width, _, err := term.GetSize(int(f.Fd())); err == nil {
		t.width = max(width, 40)
	}
	_, off := os.LookupEnv("NO_COLOR")
	t.colour = !off && os.Getenv("TERM") != "dumb"
	return t
}

// json prints one object on a line of its own.
func (t terminal) json(v any) {
	line, err := queuesweep.JSONLine(v)
	if err != nil {
		// Results are plain structs of strings and numbers.
		panic(err)
	}
	t.Write(line)
}

// ink is a colour of the terminal's own palette, so that it can be read on
// dark and on light ground.
type ink string

const (
	red    ink = "31"
	green  ink = "32"
	yellow ink = "33"
	faint  ink = "2"
	bold   ink = "1"
)

func (t terminal) paint(c ink, s string) string {
	if !t.colour || s == "" {
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

// fit cuts a text to so many columns; 0 is no limit.
func fit(s string, columns int) string {
	if columns <= 0 || utf8.RuneCountInString(s) <= columns {
		return s
	}
	runes := []rune(s)
	return string(runes[:max(columns-1, 0)]) + "…"
}

func pad(s string, columns int) string {
	return s + strings.Repeat(" ", max(0, columns-utf8.RuneCountInString(s)))
}

// age says a duration as people do: 45s, 7m, 3h, 2d.
func age(d time.Duration) string {
	switch {
	case d < 0:
		return "future"
	case d < 2*time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < 2*time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	}
	return fmt.Sprintf("%dd", int(d.Hours()/24))
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
