package config

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// Problem is one mistake in a configuration file.
type Problem struct {
	File         string
	Line, Column int // the first is 1; the column counts characters
	Message      string
	Source       string // the line
	Hint         string // what to do, may be empty
}

// Error has several lines: place and message, the line with a caret under the
// place, the hint.
func (p Problem) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s:%d:%d: %s", p.File, p.Line, p.Column, p.Message)
	if strings.TrimSpace(p.Source) != "" {
		line, caret := p.excerpt()
		fmt.Fprintf(&b, "\n    %s\n    %s^", line, caret)
	}
	if p.Hint != "" {
		fmt.Fprintf(&b, "\n  %s", strings.ReplaceAll(p.Hint, "\n", "\n  "))
	}
	return b.String()
}

// excerpt is the line, cut to what a terminal shows, and the blanks before the
// caret.
func (p Problem) excerpt() (line, caret string) {
	const before, width = 60, 120
	runes, at := []rune(p.Source), p.Column-1
	if len(runes) > width {
		from := max(0, min(at-before, len(runes)-width))
		runes, at = runes[from:from+width], at-from
	}
	blanks := []rune(strings.Repeat(" ", max(0, min(at, len(runes)))))
	for i := range blanks {
		if runes[i] == '\t' {
			blanks[i] = '\t'
		}
	}
	return string(runes), string(blanks)
}

// Problems are all mistakes of a file, in its order.
type Problems []Problem

func (p Problems) Error() string {
	texts := make([]string, len(p))
	for i := range p {
		texts[i] = p[i].Error()
	}
	return strings.Join(texts, "\n")
}

func (p Problems) sort() {
	slices.SortStableFunc(p, func(a, b Problem) int {
		if a.Line != b.Line {
			return a.Line - b.Line
		}
		return a.Column - b.Column
	})
}

// problemAt makes a Problem for the byte at offset of data.
func problemAt(file string, data []byte, offset int, hint, message string) Problem {
	offset = max(0, min(offset, len(data)))
	start := bytes.LastIndexByte(data[:offset], '\n') + 1
	line := data[start:]
	if nl := bytes.IndexByte(line, '\n'); nl >= 0 {
		line = line[:nl]
	}
	return Problem{
		File:    file,
		Line:    1 + bytes.Count(data[:offset], []byte{'\n'}),
		Column:  1 + utf8.RuneCount(data[start:offset]),
		Message: message,
		Source:  strings.ToValidUTF8(strings.TrimRight(string(line), "\r"), "\uFFFD"),
		Hint:    hint,
	}
}
