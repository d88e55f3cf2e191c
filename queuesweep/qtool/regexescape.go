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
	case c == 'Q':
		r.quotation()
		return nil
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

// quotation is \Q...\E: all of it means itself.
func (r *rewriter) quotation() {
	inside, _, ended := strings.Cut(r.rest()[2:], `\E`)
	n := 2 + len(inside)
	if ended {
		n += 2
	}
	for _, ch := range inside {
		r.out.WriteString(literal(ch))
		r.atom = true
	}
	r.i += n
}
