package main

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// wide are the characters that take two columns of a terminal: East Asian Wide
// and Fullwidth of UAX #11, and pictures, in ranges that terminals agree on.
var wide = [][2]rune{
	{0x1100, 0x115f}, {0x231a, 0x231b}, {0x23e9, 0x23ec}, {0x2e80, 0x303e}, {0x3041, 0x33ff}, {0x3400, 0x4dbf},
	{0x4e00, 0xa4cf}, {0xa960, 0xa97f}, {0xac00, 0xd7a3}, {0xf900, 0xfaff}, {0xfe30, 0xfe6f}, {0xff01, 0xff60},
	{0xffe0, 0xffe6}, {0x16fe0, 0x18cff}, {0x1b000, 0x1b2ff}, {0x1f300, 0x1f64f}, {0x1f680, 0x1f6ff}, {0x1f900, 0x1faff},
	{0x20000, 0x3fffd},
}

// columnsOf is how many columns a character takes: none for a mark that is put
// on the one before.
func columnsOf(r rune) int {
	switch {
	case r < 0x300:
		return 1
	case unicode.In(r, unicode.Mn, unicode.Me, unicode.Cf), r >= 0x1160 && r <= 0x11ff:
		return 0
	}
	for _, w := range wide {
		if r < w[0] {
			break
		}
		if r <= w[1] {
			return 2
		}
	}
	return 1
}

// columns is how many columns a text takes.
func columns(s string) (n int) {
	for _, r := range s {
		n += columnsOf(r)
	}
	return n
}

// fit cuts a text to so many columns; 0 or less is no limit.
func fit(s string, most int) string {
	if most <= 0 || len(s) <= most || columns(s) <= most {
		return s
	}
	n := 0
	for i, r := range s {
		if n += columnsOf(r); n > most-1 {
			return s[:i] + "…"
		}
	}
	return s
}

// fitMiddle is fit of what tells as much at its end as at its front: of addresses
// and names of hosts the middle is left out.
func fitMiddle(s string, most int) string {
	if most < 3 || columns(s) <= most {
		return fit(s, most)
	}
	front := strings.TrimSuffix(fit(s, most-(most-1)/2), "…")
	rest, n := len(s), 0
	for rest > len(front) {
		r, size := utf8.DecodeLastRuneInString(s[:rest])
		if n += columnsOf(r); n > most-1-columns(front) {
			break
		}
		rest -= size
	}
	return front + "…" + s[rest:]
}

// fold breaks a text between words into lines of so many columns; a word that is
// longer than a line is broken too.
func fold(s string, most int) (lines []string) {
	line := ""
	for word := range strings.FieldsSeq(s) {
		if line != "" && columns(line)+1+columns(word) <= most {
			line += " " + word
			continue
		}
		if line != "" {
			lines = append(lines, line)
		}
		for line = word; columns(line) > most; {
			n, end := 0, 0
			for i, r := range line {
				if n += columnsOf(r); n > most && i > 0 {
					break
				}
				end = i + utf8.RuneLen(r)
			}
			lines, line = append(lines, line[:end]), line[end:]
		}
	}
	if line != "" {
		lines = append(lines, line)
	}
	return lines
}

// pad fills a text up to so many columns.
func pad(s string, to int) string {
	return s + strings.Repeat(" ", max(0, to-columns(s)))
}

// padLeft is pad for numbers.
func padLeft(s string, to int) string {
	return strings.Repeat(" ", max(0, to-columns(s))) + s
}

// plain writes a text with ASCII alone, in as many columns.
func plain(text []byte) []byte {
	out := make([]byte, 0, len(text))
	for len(text) > 0 {
		r, size := utf8.DecodeRune(text)
		text = text[size:]
		switch {
		case r < 0x80:
			out = append(out, byte(r))
		case r == '…':
			out = append(out, '~')
		case r == '→':
			out = append(out, '>')
		case r == '»' || r == '«':
			out = append(out, '"')
		case r == '·':
			out = append(out, '.')
		default:
			out = append(out, "??"[:columnsOf(r)]...)
		}
	}
	return out
}

const eighths = " ▏▎▍▌▋▊▉"

// bar draws part of whole in so many columns. Something is never drawn as
// nothing.
func (t terminal) bar(part, whole, wide int) string {
	if part <= 0 || whole <= 0 || wide <= 0 {
		return ""
	}
	part = min(part, whole)
	if t.ascii {
		return strings.Repeat("#", max(1, (part*wide+whole/2)/whole))
	}
	n := max(1, part*wide*8/whole)
	text := strings.Repeat("█", n/8)
	if rest := n % 8; rest > 0 {
		text += string([]rune(eighths)[rest])
	}
	return text
}

// say prints a sentence, its lines broken between words, and its first word in
// a colour.
func (t terminal) say(first ink, text string) {
	n := 0
	for i, word := range strings.Fields(text) {
		w := columns(word)
		switch {
		case i == 0:
			word = t.paint(first, word)
		case t.width > 0 && n+1+w > t.width:
			fmt.Fprintln(t)
			n = 0
		default:
			fmt.Fprint(t, " ")
			n++
		}
		fmt.Fprint(t, word)
		n += w
	}
	fmt.Fprintln(t)
}
