package qtool

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// SyntaxError says what in a Perl expression cannot be taken, where it stands,
// and what to write instead.
type SyntaxError struct {
	Expr   string // the whole expression
	Offset int    // bytes from its start to the place, at most len(Expr)
	Msg    string // what is wrong
	Hint   string // what to do instead; may be empty
}

// shownWidth is how much of a long line is shown around the place.
const shownWidth = 100

// Position gives line and column of the place, both counted from 1, the column
// in characters.
func (e *SyntaxError) Position() (line, column int) {
	before := e.Expr[:e.offset()]
	line = strings.Count(before, "\n") + 1
	column = utf8.RuneCountInString(before[strings.LastIndexByte(before, '\n')+1:]) + 1
	return line, column
}

func (e *SyntaxError) offset() int { return min(max(e.Offset, 0), len(e.Expr)) }

// Error is several lines: the place and what is wrong, the text, a caret under
// the place, and the hint. What a terminal would not print as one character is
// shown as '?'.
func (e *SyntaxError) Error() string {
	line, column := e.Position()
	var b strings.Builder
	fmt.Fprintf(&b, "perl expression, line %d, column %d: %s\n", line, column, printed(e.Msg))
	shown, caret := e.excerpt(column - 1)
	fmt.Fprintf(&b, "    %s\n    %s^", shown, caret)
	if e.Hint != "" {
		fmt.Fprintf(&b, "\nhint: %s", printed(e.Hint))
	}
	return b.String()
}

// excerpt gives the line with the place, cut to shownWidth where it is long,
// and the blanks that put a caret under character number col of it.
func (e *SyntaxError) excerpt(col int) (shown, blanks string) {
	at := e.offset()
	from := strings.LastIndexByte(e.Expr[:at], '\n') + 1
	text, _, _ := strings.Cut(e.Expr[from:], "\n")
	runes := []rune(text)
	for i, r := range runes {
		runes[i] = shownAs(r)
	}
	lead, tail := "", ""
	if len(runes) > shownWidth {
		first := min(max(col-shownWidth/2, 0), len(runes)-shownWidth)
		last := first + shownWidth
		if first > 0 {
			lead = "... "
		}
		if last < len(runes) {
			tail = " ..."
		}
		runes, col = runes[first:last], col-first
	}
	return lead + string(runes) + tail, strings.Repeat(" ", len(lead)+col)
}

// printed is a text of ours that may have a piece of the expression in it.
func printed(s string) string { return strings.Map(shownAs, s) }

func shownAs(r rune) rune {
	switch {
	case r == '\t':
		return ' '
	case r == utf8.RuneError, !unicode.IsPrint(r):
		return '?'
	}
	return r
}
