package qtool

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/backscatterd/backscatterd/queuesweep/perlnum"
)

// scanner reads the text of an expression from left to right. Perl cannot be
// cut into tokens beforehand: what / or < begins depends on what stands before.
type scanner struct {
	src string
	i   int
}

func (s *scanner) errorAt(offset int, hint, format string, args ...any) error {
	return &SyntaxError{Expr: s.src, Offset: offset, Msg: fmt.Sprintf(format, args...), Hint: hint}
}

// skip passes blanks and comments, and the backslashes with which a shell script
// breaks a line, where they were copied into the expression.
func (s *scanner) skip() {
	for s.i < len(s.src) {
		switch c := s.src[s.i]; {
		case isBlank(c), c == '\\' && isBlank(s.peekAt(1)):
			s.i++
		case c == '#':
			if end := strings.IndexByte(s.src[s.i:], '\n'); end >= 0 {
				s.i += end
			} else {
				s.i = len(s.src)
			}
		default:
			return
		}
	}
}

func (s *scanner) rest() string { return s.src[s.i:] }

// peek is the byte at hand, 0 at the end.
func (s *scanner) peek() byte { return s.peekAt(0) }

func (s *scanner) peekAt(n int) byte {
	if s.i+n < len(s.src) {
		return s.src[s.i+n]
	}
	return 0
}

// word is the Perl identifier at hand, "" if there is none.
func (s *scanner) word() string { return leadingWord(s.rest()) }

func leadingWord(text string) string {
	if text == "" || !isWordStart(text[0]) {
		return ""
	}
	n := 1
	for n < len(text) && isWordByte(text[n]) {
		n++
	}
	return text[:n]
}

// character is the character at hand as an error names it.
func (s *scanner) character() string {
	r, n := utf8.DecodeRuneInString(s.rest())
	if n == 0 {
		return "the end"
	}
	return fmt.Sprintf("%q", r)
}

func isBlank(c byte) bool {
	return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f' || c == '\v'
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func isLetter(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }

func isWordStart(c byte) bool { return c == '_' || isLetter(c) }

func isWordByte(c byte) bool { return isWordStart(c) || isDigit(c) }

// symbols are Perl's operators that are no words, those that begin with another
// one before it. Most are known only to be refused by name.
var symbols = []string{
	"<=>", "**=", "||=", "&&=", "//=", "<<=", ">>=", "...",
	"=~", "!~", "==", "!=", "<=", ">=", "&&", "||", "//", "->", "++", "--", "**", "<<", ">>",
	"..", "=>", "+=", "-=", "*=", "/=", ".=", "%=", "x=", "&=", "|=", "^=",
	"<", ">", "=", "?", ":", ",", ";", ".", "+", "-", "*", "/", "%", "&", "|", "^", "~", "!",
}

// wordOperators are Perl's operators that are words.
var wordOperators = []string{
	"eq", "ne", "lt", "gt", "le", "ge", "and", "or", "xor", "not", "cmp", "x", "isa",
	"if", "unless", "while", "until", "for", "foreach",
}

// operator is the operator at hand, not passed; "" if there is none.
func (s *scanner) operator() string {
	s.skip()
	if w := s.word(); w != "" {
		for _, op := range wordOperators {
			if w == op {
				return op
			}
		}
		return ""
	}
	for _, op := range symbols {
		if strings.HasPrefix(s.rest(), op) {
			return op
		}
	}
	return ""
}

// accept passes the operator at hand if it is one of those given.
func (s *scanner) accept(ops ...string) (op string, offset int, ok bool) {
	op = s.operator()
	if op == "" {
		return "", 0, false
	}
	for _, want := range ops {
		if op == want {
			offset = s.i
			s.i += len(op)
			return op, offset, true
		}
	}
	return "", 0, false
}

// numeral reads a number written in decimal.
func (s *scanner) numeral(negative bool) (numeral, error) {
	start := s.i
	if s.peek() == '0' && (isWordByte(s.peekAt(1))) && !isExponent(s.src[s.i+1:]) {
		return numeral{}, s.errorAt(start, "write it in decimal", "a number that begins with 0 is octal, hexadecimal or binary in Perl")
	}
	digits := func() string {
		from := s.i
		for isDigit(s.peek()) || s.peek() == '_' && s.i > from {
			s.i++
		}
		return strings.ReplaceAll(s.src[from:s.i], "_", "")
	}
	written := digits()
	whole := true
	if s.peek() == '.' && s.peekAt(1) != '.' {
		whole = false
		s.i++
		written += "." + digits()
	}
	if n := perlnum.ExponentLength(s.rest()); n > 0 {
		whole = false
		written += s.src[s.i : s.i+n]
		s.i += n
	}
	n := numeral{at: at(start), value: perlnum.Value(written), text: written}
	if n.value > maxNumber {
		return numeral{}, s.errorAt(start, "", "this number is too large")
	}
	if !whole || len(written) > len("18446744073709551615")-1 {
		n.text = floatText(n.value)
	}
	if negative && n.value != 0 {
		n.value, n.text = -n.value, "-"+n.text
	}
	return n, nil
}

// maxNumber is past every time, size and count that a queue file can hold.
const maxNumber = 1e300

func isExponent(text string) bool { return perlnum.ExponentLength(text) > 0 }

// unsupported says of an operator of Perl's that is none of ours why, and what
// to write instead.
func (s *scanner) unsupported(op string) error {
	const rule = "only tests can be translated; a rule of its own can do more (see the documentation of rules)"
	switch op {
	case "=":
		return s.errorAt(s.i, "compare texts with eq, numbers with ==, and patterns with =~", "this would change a value; an expression here may only ask")
	case "<=>", "cmp":
		return s.errorAt(s.i, "use eq, ne, lt, gt, le, ge for texts and ==, !=, <, >, <=, >= for numbers", "%s gives an order, not a yes or no", op)
	case "?", ":":
		return s.errorAt(s.i, "write (A && B) || (!A && C) for A ? B : C", "?: is not supported")
	case "//":
		return s.errorAt(s.i, "use || or defined $msg{...}", "// is not supported")
	case "&", "|", "^", "~":
		return s.errorAt(s.i, "for conditions write && and || and !", "%s works on bits and is not supported", op)
	case "xor":
		return s.errorAt(s.i, "write (A || B) && !(A && B)", "xor is not supported")
	case ";":
		return s.errorAt(s.i, "join conditions with && and ||", "a single expression is expected; a semicolon ends it")
	case ",", "=>":
		return s.errorAt(s.i, "join conditions with && and ||", "lists are not supported")
	case "if", "unless", "while", "until", "for", "foreach":
		return s.errorAt(s.i, "join conditions with && and ||, and negate them with !", "%s makes a statement; a single expression is expected", op)
	case "->":
		return s.errorAt(s.i, "values are $msg{name}, $msg{name}[0] and $msg{headers}->{Name}", "-> has nothing to follow here")
	case "++", "--", "**=", "||=", "&&=", "//=", "<<=", ">>=", "+=", "-=", "*=", "/=", ".=", "%=", "x=", "&=", "|=", "^=":
		return s.errorAt(s.i, "", "%s would change a value; an expression here may only ask", op)
	}
	return s.errorAt(s.i, rule, "the operator %s is not supported", op)
}
