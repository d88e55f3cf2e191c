package qtool

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// sameEscapes mean in RE2 what they mean in Perl.
const sameEscapes = "dDwWsSbBA"

// otherEscapes are written differently in RE2.
var otherEscapes = map[byte]string{
	'z': `\z`,
	'Z': `\z`,
	'h': `[\t ]`,
	'H': `[^\t ]`,
	'v': `[\n\x0b\f\r]`,
	'V': `[^\n\x0b\f\r]`,
	'R': `(?:\r\n|[\n\x0b\f\r])`,
	'N': `[^\n]`,
}

// refusedEscapes are those of Perl's that cannot be had.
var refusedEscapes = map[byte][2]string{
	'g': {"references to groups are " + notInRE2, "spell out what is to be matched"},
	'k': {"references to groups are " + notInRE2, "spell out what is to be matched"},
	'K': {`\K is ` + notInRE2, "leave it out; only whether the pattern matches counts"},
	'G': {`\G is ` + notInRE2, "leave it out"},
	'X': {`\X is ` + notInRE2, "write ."},
	'C': {`\C is ` + notInRE2, "write ."},
	'U': {`\U is not supported`, "write the text itself, or use the flag i"},
	'L': {`\L is not supported`, "write the text itself, or use the flag i"},
	'F': {`\F is not supported`, "write the text itself, or use the flag i"},
	'u': {`\u is not supported`, "write the text itself, or use the flag i"},
	'l': {`\l is not supported`, "write the text itself, or use the flag i"},
}

// escape is a backslash outside of a class.
func (r *rewriter) escape() error {
	if r.i+1 == len(r.q.text) {
		return r.fail(r.i, `write \\ for the character`, "a backslash cannot end a pattern")
	}
	c := r.peek(1)
	if (c == 'b' || c == 'B' || c == 'N') && r.peek(2) == '{' {
		return r.fail(r.i, `write \`+string(rune(c)), `\%c{ is %s`, c, notInRE2)
	}
	if why, ok := refusedEscapes[c]; ok {
		return r.fail(r.i, why[1], "%s", why[0])
	}
	switch re2, ok := otherEscapes[c]; {
	case ok:
		r.write(re2, 2)
		return nil
	case strings.IndexByte(sameEscapes, c) >= 0:
		r.write(r.rest()[:2], 2)
		return nil
	case '1' <= c && c <= '9':
		return r.fail(r.i, "spell out what is to be matched", "references to groups are %s", notInRE2)
	case c == 'p' || c == 'P':
		return r.property()
	case (c == 'Q' || c == 'E') && r.raw:
		return r.fail(r.i, "escape each character, or use another delimiter", `\%c means nothing between single quotes`, c)
	case c == 'Q':
		return r.quotation()
	case c == 'E':
		r.i += 2
		return nil
	case c == 'n' && r.endsPattern(r.i+2):
		r.write(`(?:\n|\z)`, 2)
		return nil
	}
	ch, n, err := r.escapedCharacter()
	if err != nil {
		return err
	}
	r.write(literal(ch), n)
	return nil
}

// escapedCharacter is a backslash that stands for one character.
func (r *rewriter) escapedCharacter() (ch rune, n int, err error) {
	ch, n, err = r.p.characterEscape(r.q, r.i)
	if err != nil || n > 0 {
		return ch, n, err
	}
	ch, n = utf8.DecodeRuneInString(r.rest()[1:])
	if ch < utf8.RuneSelf && (unicode.IsLetter(ch) || unicode.IsDigit(ch)) {
		return 0, 0, r.fail(r.i, "leave out the backslash", `\%c means nothing`, ch)
	}
	return ch, 1 + n, nil
}

// property is \p{...}, which both know for Unicode's categories and scripts.
func (r *rewriter) property() error {
	text, err := r.propertyText()
	if err != nil {
		return err
	}
	r.write(text, len(text))
	return nil
}

func (r *rewriter) propertyText() (string, error) {
	rest := r.rest()
	n := 3
	if r.peek(2) == '{' {
		n = strings.IndexByte(rest, '}') + 1
	}
	if n == 0 || len(rest) < n || !validClass(rest[:n]) {
		return "", r.fail(r.i, "use [[:alpha:]] and the like", "this property is %s", notInRE2)
	}
	return rest[:n], nil
}

// quotation is \Q...\E: all of it means itself, a backslash and what follows it
// too. But there is what Perl looks for before it quotes (toke.c, S_scan_const):
// variables, changes of case, comments, and a \Q within the first, which quotes
// twice.
func (r *rewriter) quotation() error {
	for r.i += 2; r.i < len(r.q.text); {
		rest := r.rest()
		switch c, next := rest[0], r.peek(1); {
		case c == '\\' && next == 'E':
			r.i += 2
			return nil
		case c == '\\' && next != 0 && strings.IndexByte("QULFulN", next) >= 0:
			return r.fail(r.i, `end it with \E before`, `\%c within \Q is not supported`, next)
		case interpolates(r.q.text, r.i, true):
			return r.fail(r.i, `write \E\`+string(rune(c))+`\Q for the character`, "%c puts a variable into the pattern, which is not supported", c)
		case r.x && c == '#', strings.HasPrefix(rest, "(?"):
			return r.fail(r.i, `end it with \E, and write \`+string(rune(c))+" for the character", `%c may begin a comment, also within \Q`, c)
		case c == '\\' && next != 0:
			r.write(literal('\\'), 1)
		}
		ch, n := utf8.DecodeRuneInString(r.rest())
		r.write(literal(ch), n)
	}
	return nil
}
