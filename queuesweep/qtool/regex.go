package qtool

import (
	"fmt"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/backscatterd/backscatterd/queuesweep/perlnum"
)

// rewriter turns a Perl pattern into RE2, from left to right.
//
// Where the two agree the text stays as it was, less the backslashes that only
// Perl or the delimiter wanted. \Z, \z and $ mean the end of the value, which has
// no newline there any more; a \n at the end of a pattern stands for it too.
// Perl matched bytes and RE2 matches characters: a dot takes the whole of a
// character in UTF-8.
type rewriter struct {
	p    *parser
	q    quoted
	raw  bool // m'...': no variables
	x    bool // flag x: blanks and comments mean nothing
	out  strings.Builder
	i    int
	open []int // places of the groups still open
	// atom says that a quantifier may follow.
	atom bool
}

// pattern reads what stands behind =~ or !~.
func (p *parser) pattern(op string) (pattern, error) {
	start, w := p.i, p.word()
	if p.peek() == '/' {
		w = ""
	} else if w != "m" && w != "qr" || !p.quoteFollows(len(w)) {
		return pattern{}, p.noPattern(op, w)
	}
	if p.i += len(w); p.peek() != '#' {
		p.skip()
	}
	if p.peek() == '?' && w == "m" {
		return pattern{}, p.errorAt(start, "write m{...} or /.../", "m?...? matches only once and is not supported")
	}
	p.terms++
	q, err := p.delimited(start, true)
	if err != nil {
		return pattern{}, err
	}
	if q.text == "" {
		return pattern{}, p.errorAt(start, "write /^/ for a pattern that always matches", "an empty pattern means the one that matched last, in Perl")
	}
	flags, x, err := p.flags()
	if err != nil {
		return pattern{}, err
	}
	r := rewriter{p: p, q: q, raw: q.delim == '\'', x: x}
	if err := r.rewrite(); err != nil {
		return pattern{}, err
	}
	re2 := r.out.String()
	if flags != "" {
		re2 = "(?" + flags + ")" + re2
	}
	if _, err := regexp.Compile(re2); err != nil {
		return pattern{}, p.errorAt(start, "see the syntax of RE2, the regular expressions of rules", "the pattern cannot be used: %v", err)
	}
	return pattern{at: at(start), source: q.text, re2: re2}, nil
}

// noPattern is the error for =~ with something else behind it.
func (p *parser) noPattern(op, w string) error {
	switch {
	case p.i == len(p.src):
		return p.errorAt(p.i, "write "+op+" /.../", "a pattern is missing behind %s", op)
	case (w == "s" || w == "tr" || w == "y") && p.quoteFollows(len(w)):
		return p.errorAt(p.i, "ask with "+op+" /.../", "%s changes a text; an expression here may only ask", w)
	case p.peek() == '"' || p.peek() == '\'':
		return p.errorAt(p.i, "write "+op+" /.../, or eq for the exact text", "%s wants a pattern, and this is a text", op)
	}
	return p.errorAt(p.i, "write "+op+" /.../", "%s wants a pattern", op)
}

// flags reads the flags of a pattern. g, o and c change nothing where a match is
// only asked for once.
func (p *parser) flags() (re2 string, x bool, err error) {
	seen := map[byte]bool{}
	for ; isWordByte(p.peek()); p.i++ {
		switch c := p.peek(); {
		case c == 'x' && seen['x']:
			return "", false, p.errorAt(p.i, "write x once, and no blanks within [ ]", "the flag xx is not supported")
		case strings.IndexByte("imsxgoc", c) >= 0:
			seen[c] = true
		default:
			if w := p.word(); len(seen) == 0 && len(w) > 1 {
				return "", false, p.errorAt(p.i, "put a blank before an operator; flags are i m s x", "%s is no flag of a pattern", w)
			}
			return "", false, p.errorAt(p.i, "flags are i m s x", "the flag %c is not supported", c)
		}
	}
	for _, f := range "ims" {
		if seen[byte(f)] {
			re2 += string(f)
		}
	}
	return re2, seen['x'], nil
}

func (r *rewriter) fail(i int, hint, format string, args ...any) error {
	return r.p.errorAt(r.q.offset(i), hint, format, args...)
}

func (r *rewriter) peek(n int) byte {
	if r.i+n < len(r.q.text) {
		return r.q.text[r.i+n]
	}
	return 0
}

func (r *rewriter) rest() string { return r.q.text[r.i:] }

// write appends what a quantifier may follow, for n bytes of the pattern.
func (r *rewriter) write(re2 string, n int) {
	r.out.WriteString(re2)
	r.i += n
	r.atom = true
}

func (r *rewriter) rewrite() error {
	for r.i < len(r.q.text) {
		if err := r.step(); err != nil {
			return err
		}
	}
	if n := len(r.open); n > 0 {
		return r.fail(r.open[n-1], `close it with ), or write \( for the character`, "this group is never closed")
	}
	return nil
}

func (r *rewriter) step() error {
	c := r.peek(0)
	if !r.raw && interpolates(r.q.text, r.i, true) {
		return r.fail(r.i, `write \`+string(rune(c))+" for the character", "%c puts a variable into the pattern, which is not supported", c)
	}
	switch {
	case c == '\\':
		return r.escape()
	case c == '[':
		return r.class()
	case c == '(':
		return r.group()
	case c == ')':
		if len(r.open) == 0 {
			return r.fail(r.i, `write \) for the character`, "this parenthesis closes nothing")
		}
		r.open = r.open[:len(r.open)-1]
		r.write(")", 1)
	case c == '|':
		r.write("|", 1)
		r.atom = false
	case c == '*' || c == '+' || c == '?':
		return r.quantifier(string(rune(c)), 1)
	case c == '{':
		return r.brace()
	case r.x && (isBlank(c) || c == '#'):
		r.skipBlanks()
	case c == '^' || c == '$' || c == '.':
		r.write(string(rune(c)), 1)
	default:
		ch, n := utf8.DecodeRuneInString(r.rest())
		r.write(literal(ch), n)
	}
	return nil
}

// skipBlanks passes what the flag x makes meaningless.
func (r *rewriter) skipBlanks() {
	for r.i < len(r.q.text) {
		switch c := r.peek(0); {
		case isBlank(c):
			r.i++
		case c == '#':
			_, after, _ := strings.Cut(r.rest(), "\n")
			r.i = len(r.q.text) - len(after)
		default:
			return
		}
	}
}

// literal is a character that means itself.
func literal(ch rune) string {
	switch {
	case ch < utf8.RuneSelf && unicode.IsPrint(ch):
		return regexp.QuoteMeta(string(ch))
	case unicode.IsPrint(ch):
		return string(ch)
	}
	return unprintable(ch)
}

func unprintable(ch rune) string {
	switch ch {
	case '\n':
		return `\n`
	case '\t':
		return `\t`
	case '\r':
		return `\r`
	case '\f':
		return `\f`
	}
	return fmt.Sprintf(`\x{%x}`, ch)
}

// endsPattern says whether only an end can follow byte i: of the pattern, of a
// group, of an alternative.
func (r *rewriter) endsPattern(i int) bool {
	rest := strings.TrimPrefix(r.q.text[i:], "+")
	if r.x {
		rest = strings.TrimLeft(rest, " \t\n\r\f\v")
	}
	for _, end := range []string{"$", `\z`, `\Z`, ")", "|"} {
		if strings.HasPrefix(rest, end) {
			return true
		}
	}
	return rest == ""
}

// quantifier writes one of n bytes, with what makes it lazy.
func (r *rewriter) quantifier(re2 string, n int) error {
	start := r.i
	if !r.atom {
		return r.fail(start, `write \`+string(rune(r.q.text[start]))+" for the character", "there is nothing here for %s to repeat", r.q.text[start:start+n])
	}
	r.write(re2, n)
	r.atom = false
	if r.x {
		r.skipBlanks()
	}
	switch r.peek(0) {
	case '?':
		r.write("?", 1)
		r.atom = false
	case '+':
		return r.fail(r.i, "leave out the +; what matches stays the same or grows", "possessive quantifiers are not in RE2, the regular expressions of rules")
	}
	return nil
}

var repetition = regexp.MustCompile(`^\{[0-9]+(,[0-9]*)?\}`)
var looseRepetition = regexp.MustCompile(`^\{\s*[0-9]*\s*,?\s*[0-9]*\s*\}`)

// brace is a quantifier or the character. What some versions of Perl take for
// the one and others for the other is refused.
func (r *rewriter) brace() error {
	if q := repetition.FindString(r.rest()); q != "" {
		for _, n := range strings.Split(strings.Trim(q, "{}"), ",") {
			switch {
			case len(n) > 1 && n[0] == '0':
				return r.fail(r.i, "write "+strings.TrimLeft(n[:len(n)-1], "0")+n[len(n)-1:], "Perl takes no zero in front of a number in %s", q)
			case perlnum.Value(n) > 1000:
				return r.fail(r.i, "write + or *", "RE2 repeats at most 1000 times")
			}
		}
		return r.quantifier(q, len(q))
	}
	if q := looseRepetition.FindString(r.rest()); q != "" {
		return r.fail(r.i, `write {0,3}, for example, without blanks, or \{ for the character`, "versions of Perl differ about %s", q)
	}
	r.write(`\{`, 1)
	return nil
}
