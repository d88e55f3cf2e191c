package qtool

import (
	"fmt"
	"math"
	"regexp"
	"strings"

	"github.com/backscatterd/backscatterd/queuesweep/perlnum"
)

// translator turns the parsed expression into a condition.
type translator struct {
	src   string
	words []string // constants and patterns seen
}

func (t *translator) errorAt(offset int, hint, format string, args ...any) error {
	s := scanner{src: t.src}
	return s.errorAt(offset, hint, format, args...)
}

// truth is the condition that holds where Perl takes the node for true.
func (t *translator) truth(n node) (cond, error) {
	switch n := ungroup(n).(type) {
	case logic:
		left, err := t.truth(n.left)
		if err != nil {
			return nil, err
		}
		right, err := t.truth(n.right)
		if err != nil {
			return nil, err
		}
		return joined{n.or, left, right}, nil
	case negation:
		inner, err := t.truth(n.inner)
		if err != nil {
			return nil, err
		}
		return inner.negate(), nil
	case comparison:
		return t.comparison(n)
	case match:
		return t.match(n)
	case existence:
		s, err := t.resolve(n.of)
		if err != nil {
			return nil, err
		}
		if s.exists == nil {
			return nil, t.errorAt(n.of.pos(), "compare it with a number", "whether $msg{%s} exists cannot be asked", n.of.name)
		}
		return s.exists, nil
	case numeral:
		return constant(n.value != 0), nil
	case text:
		return constant(n.value != "" && n.value != "0"), nil
	case reference:
		return t.valueTruth(n)
	default:
		return nil, t.errorAt(n.pos(), "", "this is not a condition")
	}
}

// valueTruth is Perl's truth of a text: all but "" and "0".
func (t *translator) valueTruth(r reference) (cond, error) {
	s, err := t.resolve(r)
	if err != nil {
		return nil, err
	}
	const falsehoods = ` in ["", "0"]`
	switch {
	case s.each():
		return anyOf(s.list, "# not"+falsehoods), nil
	case strings.HasPrefix(s.number, "number("):
		return test(s.text+" not"+falsehoods, s.text+falsehoods), nil
	}
	return test(s.number+" != 0", s.number+" == 0"), nil
}

// anyOf says that the predicate holds for one of a list.
func anyOf(list, predicate string) cond {
	return call("any("+list+", "+predicate+")", "none("+list+", "+predicate+")")
}

// match is =~ or !~.
func (t *translator) match(n match) (cond, error) {
	t.words = append(t.words, n.pattern.source)
	re, err := regexp.Compile(n.pattern.re2)
	if err != nil {
		return nil, t.errorAt(n.pattern.pos(), "", "the pattern does not compile: %v", err)
	}
	positive, err := t.matches(n, re)
	if err != nil {
		return nil, err
	}
	if n.negated {
		return positive.negate(), nil
	}
	return positive, nil
}

func (t *translator) matches(n match, re *regexp.Regexp) (cond, error) {
	v, err := t.operand(n.left, n.pos(), "=~")
	if err != nil {
		return nil, err
	}
	switch {
	case v.constant:
		return constant(re.MatchString(v.text)), nil
	case v.src.text == "":
		return nil, t.errorAt(n.left.pos(), "compare it with ==, <, > and the like", "this is a number, which has no text to match")
	}
	pattern := quote(n.pattern.re2)
	return overAll(v.src, func(item string) cond {
		return test(item+" matches "+pattern, item+" not matches "+pattern)
	}, func() cond { return constant(re.MatchString("")) }), nil
}

// overAll applies a test to a value, or to each of a list of them. An empty list
// is one absent value, as Perl has it: absent is what the test says of that.
func overAll(s source, test func(item string) cond, absent func() cond) cond {
	if !s.each() {
		return test(s.text)
	}
	some := anyOf(s.list, test("#").String())
	missing := call("len("+s.list+") == 0", "len("+s.list+") > 0")
	missing.binds = bindsComparison
	switch none := absent(); none.String() {
	case "false":
		return some
	case "true":
		return either{joined{true, missing, some}}
	default:
		return joined{true, joined{false, missing, none}, some}
	}
}

// either is an || that reads better negated in its parts.
type either struct{ joined }

func (e either) negate() cond {
	return joined{false, e.left.negate(), e.right.negate()}
}

// operand is one side of a comparison.
type operand struct {
	constant bool
	text     string  // the constant as text
	number   float64 // and as a number
	numeric  bool    // the text begins with a number, or is ""
	src      source  // what it is if no constant
}

func (t *translator) operand(n node, opPos int, op string) (operand, error) {
	switch n := ungroup(n).(type) {
	case numeral:
		t.words = append(t.words, n.text)
		return operand{constant: true, text: n.text, number: n.value, numeric: true}, nil
	case text:
		t.words = append(t.words, n.value)
		v := operand{constant: true, text: n.value}
		v.number, v.numeric = perlnum.Leading(n.value)
		v.numeric = v.numeric && !math.IsInf(v.number, 0) && !math.IsNaN(v.number) || strings.TrimSpace(n.value) == ""
		return v, nil
	case reference:
		s, err := t.resolve(n)
		return operand{src: s}, err
	case logic:
		word := "&&"
		if n.or {
			word = "||"
		}
		return operand{}, t.errorAt(n.pos(), fmt.Sprintf("write A %s B %s A %s C instead of A %s (B %s C)", op, word, op, op, word),
			"the result of %s is no value to compare", word)
	default:
		c, err := t.truth(n)
		if err != nil {
			return operand{}, err
		}
		// Perl's true and false are the texts "1" and "".
		inner := within(c, bindsComparison)
		return operand{src: source{text: "(" + inner + ` ? "1" : "")`, number: "(" + inner + " ? 1 : 0)"}}, nil
	}
}

// symbol is what a comparing operator is in our rules, for texts and numbers.
var symbol = map[string]string{
	"eq": "==", "ne": "!=", "lt": "<", "gt": ">", "le": "<=", "ge": ">=",
	"==": "==", "!=": "!=", "<": "<", ">": ">", "<=": "<=", ">=": ">=",
}

func (t *translator) comparison(n comparison) (cond, error) {
	left, err := t.operand(n.left, n.pos(), n.op)
	if err != nil {
		return nil, err
	}
	right, err := t.operand(n.right, n.pos(), n.op)
	if err != nil {
		return nil, err
	}
	if left.src.each() && right.src.each() {
		left.src, right.src = left.src.single(), right.src.single()
	}
	if left.src.each() && right.src.each() {
		return nil, t.errorAt(n.pos(), "give one of them an index, such as [0]", "both sides of %s may stand more than once", n.op)
	}
	op := symbol[n.op]
	negative := op == "!="
	if negative {
		op = "=="
	}
	var positive cond
	if op == n.op || n.op == "!=" {
		positive, err = t.compareNumbers(n, op, left, right)
	} else {
		positive, err = t.compareTexts(n, op, left, right)
	}
	if err != nil {
		return nil, err
	}
	if negative {
		return positive.negate(), nil
	}
	return positive, nil
}

// sides is a comparison of two sides that are written already. Only equality has
// an opposite: to NaN, < and >= are both false.
func sides(op, left, right string) cond {
	if op == "==" {
		return test(left+" == "+right, left+" != "+right)
	}
	return test(left+" "+op+" "+right, "")
}

func (t *translator) compareNumbers(n comparison, op string, left, right operand) (cond, error) {
	for _, side := range []struct {
		v operand
		n node
	}{{left, n.left}, {right, n.right}} {
		if side.v.constant && !side.v.numeric {
			hint := map[string]string{"==": "eq", "!=": "ne", "<": "lt", ">": "gt", "<=": "le", ">=": "ge"}[n.op]
			return nil, t.errorAt(ungroup(side.n).pos(), "texts are compared with "+hint, "%s compares numbers, and this text is none: to Perl it is 0, as is every other such text", n.op)
		}
	}
	if left.constant && right.constant {
		return constant(holds(op, left.number, right.number)), nil
	}
	write := func(v operand, item string) string {
		switch {
		case v.constant:
			return numberLiteral(v.number)
		case v.src.each():
			return item
		}
		return v.src.number
	}
	return t.overEither(left, right, "number(#)", "0", func(item string) cond {
		return sides(op, write(left, item), write(right, item))
	}, func(a, b operand) bool { return holds(op, a.number, b.number) }), nil
}

func (t *translator) compareTexts(n comparison, op string, left, right operand) (cond, error) {
	if left.constant && right.constant {
		return constant(holds(op, left.text, right.text)), nil
	}
	for _, side := range []*operand{&left, &right} {
		// In qtool.pl values end in a newline, and so did the texts of those
		// who knew.
		side.text = strings.TrimSuffix(side.text, "\n")
	}
	for _, side := range []struct {
		v operand
		n node
	}{{left, n.left}, {right, n.right}} {
		if !side.v.constant && side.v.src.text == "" {
			hint := "compare it with == != < > <= >="
			return nil, t.errorAt(side.n.pos(), hint, "this is a number, which has no text to compare")
		}
	}
	write := func(v operand, item string) string {
		switch {
		case v.constant:
			return quote(v.text)
		case v.src.each():
			return item
		}
		return v.src.text
	}
	return t.overEither(left, right, "#", `""`, func(item string) cond {
		return sides(op, write(left, item), write(right, item))
	}, func(a, b operand) bool { return holds(op, a.text, b.text) }), nil
}

// overEither applies a comparison where one side may be a list. item is its
// element, absent what stands for it where the list is empty; known compares
// what are constants then.
func (t *translator) overEither(left, right operand, item, absent string, test func(item string) cond, known func(a, b operand) bool) cond {
	list := left.src
	if right.src.each() {
		list = right.src
	}
	return overAll(list, func(string) cond { return test(item) }, func() cond {
		if left.constant || right.constant {
			return constant(known(left, right))
		}
		return test(absent)
	})
}

// holds compares two constants.
func holds[T float64 | string](op string, a, b T) bool {
	switch op {
	case "==":
		return a == b
	case "<":
		return a < b
	case ">":
		return a > b
	case "<=":
		return a <= b
	default:
		return a >= b
	}
}
