package rule

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// ConditionError is a fault in a condition's text, and where it is.
type ConditionError struct {
	Source       string
	Offset       int // in bytes
	Line, Column int // the first is 1; the column counts characters
	Msg          string
	Hint         string // what to do, may be empty
}

// Error has several lines: the message, the line of the condition, a caret
// under the place, the hint.
func (e *ConditionError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "condition, line %d, column %d: %s", e.Line, e.Column, e.Msg)
	if line, caret := e.excerpt(); strings.TrimSpace(line) != "" {
		fmt.Fprintf(&b, "\n    %s\n    %s^", line, caret)
	}
	if e.Hint != "" {
		fmt.Fprintf(&b, "\n  %s", strings.ReplaceAll(e.Hint, "\n", "\n  "))
	}
	return b.String()
}

// excerpt is the line of the fault, cut to what a terminal shows, and the
// blanks that put a caret under the place.
func (e *ConditionError) excerpt() (line, caret string) {
	const before, width = 60, 100
	start := strings.LastIndexByte(e.Source[:e.Offset], '\n') + 1
	line = e.Source[start:]
	if nl := strings.IndexByte(line, '\n'); nl >= 0 {
		line = line[:nl]
	}
	runes, at := []rune(line), e.Column-1
	if len(runes) > width {
		from := max(0, min(at-before, len(runes)-width))
		runes, at = runes[from:min(from+width, len(runes))], at-from
	}
	blanks := make([]rune, min(at, len(runes)))
	for i := range blanks {
		blanks[i] = ' '
		if runes[i] == '\t' {
			blanks[i] = '\t'
		}
	}
	return strings.ToValidUTF8(string(runes), "\uFFFD"), string(blanks)
}

// errorAt makes an error for the place that lies offset bytes into src.
func errorAt(src string, offset int, hint, format string, args ...any) *ConditionError {
	offset = max(0, min(offset, len(src)))
	before := src[:offset]
	start := strings.LastIndexByte(before, '\n') + 1
	return &ConditionError{
		Source: src,
		Offset: offset,
		Line:   1 + strings.Count(before, "\n"),
		Column: 1 + utf8.RuneCountInString(before[start:]),
		Msg:    fmt.Sprintf(format, args...),
		Hint:   hint,
	}
}

// byteOffset turns a count of characters, which expr uses, into one of bytes.
func byteOffset(src string, runes int) int {
	for i := range src {
		if runes <= 0 {
			return i
		}
		runes--
	}
	return len(src)
}
