package qtool

import (
	"slices"
	"strconv"
	"strings"
)

// term reads a value, a constant, a test of existence, not, or parentheses.
func (p *parser) term() (node, error) {
	p.skip()
	start := p.i
	if p.terms++; p.terms > maxTerms {
		return nil, p.errorAt(start, "make several rules of it", "more than %d values in one expression", maxTerms)
	}
	switch c := p.peek(); {
	case p.i == len(p.src):
		return nil, p.errorAt(start, "complete it, or remove the operator before", "the expression ends where a value is expected")
	case c == '(':
		return p.parenthesis()
	case c == '$':
		return p.reference()
	case isDigit(c), c == '.' && isDigit(p.peekAt(1)):
		return p.number(false)
	case c == '\'', c == '"':
		s, err := p.quotedText()
		if err != nil {
			return nil, err
		}
		return text{at(start), s}, nil
	case c == '/':
		return nil, p.errorAt(start, "write what it is to match: $msg{message} =~ /.../", "a pattern stands here alone")
	case isWordStart(c):
		return p.wordTerm()
	}
	return nil, p.noTerm()
}

// noTerm is the error for a character that cannot begin a value.
func (p *parser) noTerm() error {
	switch c := p.peek(); c {
	case '`':
		return p.errorAt(p.i, "an expression may only ask about the message; run commands on what `--dry-run --json` prints", "backticks run a command and are not supported")
	case ')':
		return p.errorAt(p.i, "", "a value is missing before this parenthesis")
	case '@', '%', '&', '*', '\\':
		return p.errorAt(p.i, "$msg{recipient} without an index looks at every recipient; other values are $msg{name}", "arrays, hashes, references and calls are not supported")
	case '<':
		return p.errorAt(p.i, "", "reading files is not supported")
	case '[', '{':
		return p.errorAt(p.i, "group conditions with ( and )", "%s cannot begin a value", p.character())
	}
	if op := p.operator(); op != "" {
		return p.errorAt(p.i, "", "a value is missing before %s", op)
	}
	return p.errorAt(p.i, "values are $msg{name}, numbers, and texts in quotes", "%s cannot begin a value", p.character())
}

func (p *parser) parenthesis() (node, error) {
	start := p.i
	p.i++
	inner, err := p.nested(start, p.anyOf)
	if err != nil {
		return nil, err
	}
	p.skip()
	if p.i == len(p.src) {
		return nil, p.errorAt(start, "close it with )", "this parenthesis is never closed")
	}
	if p.peek() != ')' {
		return nil, p.leftover()
	}
	p.i++
	return group{at(start), inner}, nil
}

func (p *parser) wordTerm() (node, error) {
	start, w := p.i, p.word()
	switch w {
	case "not":
		return p.not()
	case "defined", "exists":
		return p.existence(w)
	case "q", "qq":
		if p.quoteFollows(len(w)) {
			s, err := p.quotedText()
			return text{at(start), s}, err
		}
	case "m", "qr":
		if p.quoteFollows(len(w)) {
			return nil, p.errorAt(start, "write what it is to match: $msg{message} =~ /.../", "a pattern stands here alone")
		}
	case "s", "tr", "y":
		if p.quoteFollows(len(w)) {
			return nil, p.errorAt(start, "ask with $msg{...} =~ /.../", "%s changes a text; an expression here may only ask", w)
		}
	case "time":
		return nil, p.errorAt(start, "use the option -s SECONDS, or age, since_attempt and duration(\"4h\") in a rule", "time is not supported")
	case "lc", "uc", "lcfirst", "ucfirst", "fc":
		return nil, p.errorAt(start, "ignore case with the flag i: $msg{...} =~ /^...$/i", "the function %s is not supported", w)
	case "index", "rindex", "substr", "length":
		return nil, p.errorAt(start, "use a pattern: $msg{...} =~ /.../", "the function %s is not supported", w)
	case "grep", "any", "first":
		return nil, p.errorAt(start, "$msg{recipient} without an index looks at every recipient", "the function %s is not supported", w)
	case "qx", "system", "exec":
		return nil, p.errorAt(start, "an expression may only ask about the message", "running commands is not supported")
	}
	if slices.Contains(wordOperators, w) {
		return nil, p.errorAt(start, "", "a value is missing before %s", w)
	}
	after := scanner{src: p.src, i: start + len(w)}
	if after.skip(); after.peek() == '(' {
		return nil, p.errorAt(start, "values are $msg{name}, numbers, and texts in quotes", "functions are not supported: %s", w)
	}
	return nil, p.errorAt(start, "a text needs quotes: \""+w+"\"; a value is $msg{name}", "%s is neither a value nor an operator known here", w)
}

// not is a term of the loosest binding: it negates all up to the next and, or,
// or closing parenthesis. Only with a parenthesis right behind it does it bind
// like a function.
func (p *parser) not() (node, error) {
	start := p.i
	p.i += len("not")
	read := p.tightAnyOf
	if p.skip(); p.peek() == '(' {
		read = p.parenthesis
	}
	inner, err := p.nested(start, read)
	if err != nil {
		return nil, err
	}
	return negation{at(start), inner}, nil
}

func (p *parser) existence(w string) (node, error) {
	start := p.i
	p.i += len(w)
	p.skip()
	open := -1
	if p.peek() == '(' {
		open = p.i
		p.i++
		p.skip()
	}
	if p.peek() != '$' {
		return nil, p.errorAt(p.i, "write "+w+" $msg{name}", "%s asks about a value of the message only", w)
	}
	r, err := p.reference()
	if err != nil {
		return nil, err
	}
	p.skip()
	if open >= 0 {
		if p.peek() != ')' {
			return nil, p.errorAt(p.i, "write "+w+"($msg{name})", "%s asks about a single value; a closing parenthesis is expected here", w)
		}
		p.i++
	}
	return existence{at(start), w, r.(reference)}, nil
}

// reference reads $msg{name}, {Header} behind it, and [index].
func (p *parser) reference() (node, error) {
	const forms = "values are $msg{name}, $msg{name}[0] and $msg{headers}->{Name}"
	r := reference{at: at(p.i), headerPos: -1, indexPos: -1}
	p.i++
	p.skip()
	if w := p.word(); w != "msg" {
		return nil, p.errorAt(r.pos(), forms, "$msg is the only variable here")
	}
	p.i += len("msg")
	p.skip()
	switch {
	case strings.HasPrefix(p.rest(), "->"):
		return nil, p.errorAt(p.i, "write $msg{name} without the arrow", "$msg is a hash, not a reference to one")
	case p.peek() != '{':
		return nil, p.errorAt(p.i, forms, "$msg needs a name in braces")
	}
	var err error
	if r.name, r.namePos, err = p.key(); err != nil {
		return nil, err
	}
	for {
		p.skip()
		arrow := p.i
		if strings.HasPrefix(p.rest(), "->") {
			p.i += len("->")
			p.skip()
		}
		switch c := p.peek(); {
		case c == '{' && r.headerPos < 0 && r.indexPos < 0:
			r.header, r.headerPos, err = p.key()
		case c == '[' && r.indexPos < 0:
			r.index, r.indexPos, err = p.index()
		case c == '{' || c == '[':
			return nil, p.errorAt(p.i, forms, "there is nothing that deep")
		case p.i > arrow:
			return nil, p.errorAt(arrow, forms, "only {Name} or [number] can follow ->")
		default:
			return r, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

// key reads a name in braces, quoted or bare.
func (p *parser) key() (name string, offset int, err error) {
	open := p.i
	p.i++
	p.skip()
	offset = p.i
	if c := p.peek(); c == '\'' || c == '"' {
		name, err = p.quotedText()
	} else {
		name = p.word()
		p.i += len(name)
	}
	if err != nil {
		return "", 0, err
	}
	p.skip()
	if p.peek() == '}' && p.i > offset {
		p.i++
		return name, offset, nil
	}
	inside, _, closed := strings.Cut(p.src[open+1:], "}")
	if !closed {
		return "", 0, p.errorAt(open, "close it with }", "this brace is never closed")
	}
	inside = strings.TrimSpace(inside)
	switch {
	case inside == "":
		return "", 0, p.errorAt(open, "write $msg{sender}, for example", "a name is missing in these braces")
	case !strings.ContainsAny(inside, "\"'$@`\\()"):
		return "", 0, p.errorAt(offset, "write {"+strconv.Quote(inside)+"}", "a name with other characters than letters, digits and _ needs quotes")
	}
	return "", 0, p.errorAt(p.i, "write $msg{name} or {\"Header-Name\"}", "only a name may stand in braces")
}

// index reads a whole number in brackets.
func (p *parser) index() (n, offset int, err error) {
	const hint = "write [0] for the first, [-1] for the last"
	open := p.i
	p.i++
	p.skip()
	offset = p.i
	if p.peek() == '-' {
		p.i++
	}
	from := p.i
	for isDigit(p.peek()) {
		p.i++
	}
	digits := p.src[from:p.i]
	p.skip()
	n, convErr := strconv.Atoi(digits)
	switch {
	case p.i == len(p.src):
		return 0, 0, p.errorAt(open, "close it with ]", "this bracket is never closed")
	case digits == "" || p.peek() != ']':
		return 0, 0, p.errorAt(offset, hint, "an index must be a whole number")
	case convErr != nil || n > 1e6 || len(digits) > 1 && digits[0] == '0':
		return 0, 0, p.errorAt(offset, hint, "this index is out of range")
	}
	p.i++
	if p.src[from-1] == '-' {
		n = -n
	}
	return n, open, nil
}
