package qtool

import "unicode/utf8"

const (
	maxSource = 16 << 10 // bytes of an expression
	maxDepth  = 100      // parentheses and negations in one another
	maxTerms  = 1000     // values, constants and patterns
)

// parser is a recursive descent over Perl's precedences, the loosest first:
// or; and; not; ||; &&; == and eq; < and lt; =~; !; terms (perlop, "Operator
// Precedence and Associativity"). What stands between them in Perl is refused.
type parser struct {
	scanner
	depth int
	terms int
}

func parse(expr string) (node, error) {
	p := parser{scanner: scanner{src: expr}}
	if len(expr) > maxSource {
		return nil, p.errorAt(maxSource, "make several rules of it", "an expression may have at most %d bytes", maxSource)
	}
	for i, r := range expr {
		if r == utf8.RuneError {
			if _, n := utf8.DecodeRuneInString(expr[i:]); n == 1 {
				return nil, p.errorAt(i, "write the expression in UTF-8", "this byte (0x%02x) is not UTF-8", expr[i])
			}
		}
	}
	if p.skip(); p.i == len(expr) {
		return nil, p.errorAt(len(expr), `write a condition, such as '$msg{num_delivery_attempts} > 50'`, "the expression is empty")
	}
	n, err := p.anyOf()
	if err != nil {
		return nil, err
	}
	if p.skip(); p.i < len(expr) {
		return nil, p.leftover()
	}
	return n, nil
}

// leftover is the error for what follows a whole expression.
func (p *parser) leftover() error {
	if op := p.operator(); op != "" && op != "not" && op != "!" {
		return p.unsupported(op)
	}
	switch p.peek() {
	case ')':
		return p.errorAt(p.i, "remove it, or open it before", "this parenthesis closes nothing")
	case '(', '[', '{':
		return p.errorAt(p.i, "values are $msg{name}, $msg{name}[0] and $msg{headers}->{Name}", "%s cannot follow here", p.character())
	}
	return p.errorAt(p.i, "join conditions with && and ||; compare with =~ eq ne lt gt le ge == != < > <= >=", "an operator is expected here")
}

// anyOf is or.
func (p *parser) anyOf() (node, error) {
	return p.joined(p.allOf, true, "or")
}

// allOf is and. What not negates is read with the terms.
func (p *parser) allOf() (node, error) {
	return p.joined(p.tightAnyOf, false, "and")
}

// tightAnyOf is ||.
func (p *parser) tightAnyOf() (node, error) {
	return p.joined(p.tightAllOf, true, "||")
}

// tightAllOf is &&.
func (p *parser) tightAllOf() (node, error) {
	return p.joined(p.equality, false, "&&")
}

func (p *parser) joined(operand func() (node, error), or bool, op string) (node, error) {
	left, err := operand()
	if err != nil {
		return nil, err
	}
	for {
		_, offset, ok := p.accept(op)
		if !ok {
			return left, nil
		}
		right, err := operand()
		if err != nil {
			return nil, err
		}
		left = logic{at(offset), or, left, right}
	}
}

func (p *parser) equality() (node, error) {
	return p.chain(p.relation, "==", "!=", "eq", "ne")
}

func (p *parser) relation() (node, error) {
	return p.chain(p.binding, "<=", ">=", "<", ">", "lt", "gt", "le", "ge")
}

// chain reads comparisons. Since Perl 5.32 A < B < C means A < B && B < C. What
// stands in the middle is written twice then, so it must be a single value.
func (p *parser) chain(operand func() (node, error), ops ...string) (node, error) {
	left, err := operand()
	if err != nil {
		return nil, err
	}
	var all node
	for {
		op, offset, ok := p.accept(ops...)
		if !ok {
			break
		}
		if err := p.refuseNegated(left, op); err != nil {
			return nil, err
		}
		if all != nil {
			switch ungroup(left).(type) {
			case reference, numeral, text:
			default:
				return nil, p.errorAt(offset, "write A < B && B < C", "what stands between two comparisons must be a single value")
			}
		}
		right, err := operand()
		if err != nil {
			return nil, err
		}
		one := node(comparison{at(offset), op, left, right})
		if all != nil {
			one = logic{at(offset), false, all, one}
		}
		all, left = one, right
	}
	if all == nil {
		return left, nil
	}
	return all, nil
}

// refuseNegated catches !A == B, which is (!A) == B in Perl and meant by nobody.
func (p *parser) refuseNegated(left node, op string) error {
	n, ok := left.(negation)
	if !ok {
		return nil
	}
	instead := map[string]string{"==": "!=", "!=": "==", "eq": "ne", "ne": "eq", "=~": "!~", "!~": "=~"}[op]
	hint := "put the comparison in parentheses: !(A " + op + " B)"
	if instead != "" {
		hint = "write A " + instead + " B, or !(A " + op + " B)"
	}
	return p.errorAt(n.pos(), hint, "this negation belongs to the left side of %s only, not to the comparison", op)
}

// binding is =~ and !~.
func (p *parser) binding() (node, error) {
	left, err := p.unary()
	if err != nil {
		return nil, err
	}
	for {
		op, offset, ok := p.accept("=~", "!~")
		if !ok {
			return left, nil
		}
		if err := p.refuseNegated(left, op); err != nil {
			return nil, err
		}
		switch n := ungroup(left).(type) {
		case reference, text, numeral:
		case existence:
			return nil, p.errorAt(n.pos(), "join the two with &&", "%s gives yes or no, which has no text to match", n.word)
		default:
			return nil, p.errorAt(offset, "match each value by itself and join with && and ||", "the left side of %s must be a single value", op)
		}
		p.skip()
		pat, err := p.pattern(op)
		if err != nil {
			return nil, err
		}
		left = match{at(offset), left, op == "!~", pat}
	}
}

// unary is ! and the sign of a number.
func (p *parser) unary() (node, error) {
	p.skip()
	start := p.i
	switch c := p.peek(); {
	case c == '!' && p.peekAt(1) != '~':
		p.i++
		inner, err := p.nested(start, p.unary)
		if err != nil {
			return nil, err
		}
		return negation{at(start), inner}, nil
	case (c == '-' || c == '+') && p.peekAt(1) != c:
		p.i++
		p.skip()
		if !isDigit(p.peek()) && !(p.peek() == '.' && isDigit(p.peekAt(1))) {
			return nil, p.errorAt(start, "", "a sign may stand before a number only")
		}
		return p.number(c == '-')
	}
	return p.term()
}

func (p *parser) number(negative bool) (node, error) {
	p.terms++
	n, err := p.numeral(negative)
	if err != nil {
		return nil, err
	}
	return n, nil
}

// nested reads what lies one level deeper.
func (p *parser) nested(start int, read func() (node, error)) (node, error) {
	if p.depth++; p.depth > maxDepth {
		return nil, p.errorAt(start, "make several rules of it", "more than %d levels of parentheses and negations", maxDepth)
	}
	defer func() { p.depth-- }()
	return read()
}
