package qtool

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// quoted is the text between two delimiters. Where a backslash before a
// delimiter was dropped, offs still knows the place of every byte.
type quoted struct {
	text  string
	offs  []int
	delim byte // the opening one
	start int  // offset of what begins the quote, m or the delimiter
	end   int  // offset of the closing delimiter
}

// offset is the place in the expression of byte i of the text.
func (q quoted) offset(i int) int {
	if i < len(q.offs) {
		return q.offs[i]
	}
	return q.end
}

var closing = map[byte]byte{'(': ')', '[': ']', '{': '}', '<': '>'}

// quoteFollows says whether the word of n bytes at hand begins a quote, as q
// does in q{...}, and is not just a word.
func (p *parser) quoteFollows(n int) bool {
	s := scanner{src: p.src, i: p.i + n}
	if s.peek() != '#' {
		s.skip()
	}
	switch c := s.peek(); {
	case s.i == len(s.src), isWordByte(c), c == ',', c == ';', c == ')':
		return false
	default:
		return c < utf8.RuneSelf && !strings.HasPrefix(s.rest(), "=>")
	}
}

// delimited reads from the opening delimiter at hand to its closing one.
// Brackets nest. A backslash before a delimiter is dropped, but before a bracket
// in a pattern it stays (perlop, "Gory details of parsing quoted constructs").
func (p *parser) delimited(start int, isPattern bool) (quoted, error) {
	open := p.peek()
	end, brackets := closing[open]
	if !brackets {
		end = open
	}
	q := quoted{delim: open, start: start}
	var b strings.Builder
	add := func(i int) {
		b.WriteByte(p.src[i])
		q.offs = append(q.offs, i)
	}
	at, depth := p.i, 1
	for p.i++; p.i < len(p.src); p.i++ {
		c := p.src[p.i]
		next := p.peekAt(1)
		switch {
		case c == '\\' && p.i+1 < len(p.src):
			isDelim := next == open || next == end
			if isPattern && isDelim && !brackets && strings.IndexByte(`|^$*+?.-`, next) >= 0 {
				return q, p.errorAt(p.i, "use another delimiter, such as m{...}", "escaped like this %c keeps its special meaning in Perl", next)
			}
			if !isDelim || isPattern && brackets {
				add(p.i)
			}
			p.i++
			add(p.i)
		case c == end && depth == 1:
			q.text, q.end = b.String(), p.i
			p.i++
			return q, nil
		case c == end:
			depth--
			add(p.i)
		default:
			if c == open {
				depth++
			}
			add(p.i)
		}
	}
	return q, p.errorAt(at, "close it with "+string(rune(end)), "what %c opens is never closed", open)
}

// quotedText reads '...', "...", q{...} or qq{...}.
func (p *parser) quotedText() (string, error) {
	start := p.i
	interpolates := p.peek() == '"'
	if w := p.word(); w != "" {
		interpolates = w == "qq"
		if p.i += len(w); p.peek() != '#' {
			p.skip()
		}
	}
	q, err := p.delimited(start, false)
	if err != nil {
		return "", err
	}
	if !interpolates {
		return strings.ReplaceAll(q.text, `\\`, `\`), nil
	}
	return p.unescape(q)
}

// unescape resolves the escapes of a text in double quotes.
func (p *parser) unescape(q quoted) (string, error) {
	var b strings.Builder
	for i := 0; i < len(q.text); {
		c := q.text[i]
		if interpolates(q.text, i, false) {
			return "", p.errorAt(q.offset(i), `write \`+string(rune(c))+", or use single quotes", "%c in double quotes puts a variable into the text, which is not supported", c)
		}
		if c != '\\' || i+1 == len(q.text) {
			b.WriteByte(c)
			i++
			continue
		}
		next := q.text[i+1]
		if strings.IndexByte("NLUluQEF", next) >= 0 {
			return "", p.errorAt(q.offset(i), "write the text itself", `\%c is not supported`, next)
		}
		if n, size, err := p.characterEscape(q, i); err != nil {
			return "", err
		} else if size > 0 {
			b.WriteRune(n)
			i += size
			continue
		}
		b.WriteByte(next)
		i += 2
	}
	return b.String(), nil
}

// interpolates says whether byte i of a text puts a variable there (toke.c,
// S_scan_const). In a pattern a $ before ( ) | or a blank, or at the end, is no
// variable.
func interpolates(text string, i int, isPattern bool) bool {
	var next byte
	if i+1 < len(text) {
		next = text[i+1]
	}
	switch text[i] {
	case '$':
		return !isPattern || i+1 < len(text) && strings.IndexByte("()| \r\n\t", next) < 0
	case '@':
		if next == '$' {
			return interpolates(text, i+1, isPattern)
		}
		return i+1 < len(text) && (isWordByte(next) || strings.IndexByte(":'{", next) >= 0 ||
			!isPattern && (next == '+' || next == '-'))
	}
	return false
}

// characterEscape reads an escape that stands for one character, at byte i of
// the text. size is 0 where it is none of them.
func (p *parser) characterEscape(q quoted, i int) (r rune, size int, err error) {
	rest := q.text[i+1:]
	switch rest[0] {
	case 'n':
		return '\n', 2, nil
	case 't':
		return '\t', 2, nil
	case 'r':
		return '\r', 2, nil
	case 'f':
		return '\f', 2, nil
	case 'b':
		return '\b', 2, nil
	case 'a':
		return '\a', 2, nil
	case 'e':
		return 0x1b, 2, nil
	case 'c':
		if len(rest) < 2 || rest[1] < '?' || rest[1] > 'z' {
			return 0, 0, p.errorAt(q.offset(i), "write \\cA to \\cZ, or \\x01", `\c needs a letter`)
		}
		return rune(strings.ToUpper(rest[1:2])[0] ^ 0x40), 3, nil
	}
	digits, base, length := numericEscape(rest)
	if length == 0 {
		return 0, 0, nil
	}
	n, convErr := strconv.ParseUint(digits, base, 32)
	switch {
	case convErr != nil && digits != "":
		return 0, 0, p.errorAt(q.offset(i), `write \x41, \x{41}, \0 or \o{101}`, "this is no number of a character")
	case n >= utf8.RuneSelf:
		return 0, 0, p.errorAt(q.offset(i), "write the character itself, in UTF-8", "characters past 0x7f cannot be written by number")
	}
	return rune(n), 1 + length, nil
}

// numericEscape takes apart x41, x{41}, o{101} and up to three octal digits.
// Like Perl it takes x without digits for the number 0.
func numericEscape(rest string) (digits string, base, length int) {
	braced := func() (string, int) {
		inside, _, closed := strings.Cut(rest[2:], "}")
		if !closed {
			return "?", 2
		}
		return strings.TrimSpace(inside), 2 + len(inside) + 1
	}
	isHex := func(c byte) bool { return isDigit(c) || 'a' <= c|0x20 && c|0x20 <= 'f' }
	switch c := rest[0]; {
	case (c == 'x' || c == 'o') && len(rest) > 1 && rest[1] == '{':
		digits, length = braced()
		if c == 'o' {
			return digits, 8, length
		}
		return digits, 16, length
	case c == 'x':
		n := 1
		for n < len(rest) && n < 3 && isHex(rest[n]) {
			n++
		}
		return rest[1:n], 16, n
	case c == 'o':
		return "?", 8, 1
	case '0' <= c && c <= '7':
		n := 1
		for n < len(rest) && n < 3 && '0' <= rest[n] && rest[n] <= '7' {
			n++
		}
		return rest[:n], 8, n
	}
	return "", 0, 0
}
