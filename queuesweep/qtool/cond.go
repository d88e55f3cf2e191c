package qtool

import (
	"fmt"
	"regexp"
	"strings"
	"unicode"
)

// A rule's condition is limited in its length and in the nodes of its syntax
// tree. Some of both is left for what the options add.
const (
	maxCondition = 16<<10 - 256
	maxNodes     = 3900
)

var conditionToken = regexp.MustCompile(`"(?:[^"\\]|\\.)*"|` + "`[^`]*`" + `|\w+\(|[\w.]+|[^\w\s(),:\]"` + "`]+")

// nodes is the most nodes that the syntax tree of a condition may have: a call
// has up to three beside its arguments, any other token is one.
func nodes(condition string) int {
	n := 0
	for _, token := range conditionToken.FindAllString(condition, -1) {
		if n++; strings.HasSuffix(token, "(") {
			n += 2
		}
	}
	return n
}

// cond is a condition in the rules' own language, as a tree, so that it can be
// negated and joined without more parentheses than a reader needs.
type cond interface {
	fmt.Stringer
	negate() cond
	binding() int // how tightly it holds together
}

const (
	bindsOr = iota
	bindsAnd
	bindsComparison
	bindsTight // calls and negations
)

// atom is a test that is not taken apart any more, and its opposite; "" where
// the language has no word for that.
type atom struct {
	yes, no string
	binds   int
}

// call is an atom that needs no parentheses anywhere.
func call(yes, no string) atom { return atom{yes, no, bindsTight} }

// test is an atom with an operator in it.
func test(yes, no string) atom { return atom{yes, no, bindsComparison} }

func (a atom) String() string { return a.yes }
func (a atom) binding() int   { return a.binds }

func (a atom) negate() cond {
	if a.no == "" {
		return negated{a}
	}
	return atom{a.no, a.yes, a.binds}
}

type negated struct{ of cond }

func (n negated) String() string { return "!" + within(n.of, bindsTight) }
func (n negated) negate() cond   { return n.of }
func (n negated) binding() int   { return bindsTight }

// joined is && or || of two conditions.
type joined struct {
	or          bool
	left, right cond
}

func (j joined) negate() cond { return negated{j} }

func (j joined) binding() int {
	if j.or {
		return bindsOr
	}
	return bindsAnd
}

// String puts && within || in parentheses too: few know by heart which of the
// two goes first.
func (j joined) String() string {
	if j.or {
		return j.operand(j.left) + " || " + j.operand(j.right)
	}
	return j.operand(j.left) + " && " + j.operand(j.right)
}

func (j joined) operand(c cond) string {
	if inner, ok := c.(joined); ok && inner.or == j.or {
		return c.String()
	}
	return within(c, bindsComparison)
}

// within puts what binds more loosely than wanted in parentheses.
func within(c cond, wanted int) string {
	if c.binding() < wanted {
		return "(" + c.String() + ")"
	}
	return c.String()
}

func constant(b bool) cond {
	if b {
		return call("true", "false")
	}
	return call("false", "true")
}

// quote writes a text as a literal of the rules' language: raw where that spares
// the reader the backslashes.
func quote(s string) string {
	printable := strings.IndexFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) < 0
	switch {
	case printable && !strings.ContainsAny(s, `"\`):
		return `"` + s + `"`
	case printable && !strings.Contains(s, "`"):
		return "`" + s + "`"
	}
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteString(`\t`)
		case r == '\r':
			b.WriteString(`\r`)
		case unicode.IsPrint(r):
			b.WriteRune(r)
		case r > 0xffff:
			fmt.Fprintf(&b, `\U%08x`, r)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	b.WriteByte('"')
	return b.String()
}
