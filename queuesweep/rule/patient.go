package rule

import "github.com/expr-lang/expr/ast"

// waiting are the names whose values only grow while a message waits.
var waiting = map[string]bool{"attempts": true, "age": true, "since_attempt": true}

// dependsOnWaiting tells whether a term uses no names but those of waiting, and
// one of them.
func dependsOnWaiting(n ast.Node) bool {
	uses, only := false, true
	ast.Walk(&n, visitor(func(n ast.Node) {
		call, ok := n.(*ast.CallNode)
		if !ok {
			return
		}
		id, ok := call.Callee.(*ast.IdentifierNode)
		switch {
		case ok && waiting[id.Value]:
			uses = true
		case ok && (id.Value == "number" || id.Value == "duration"):
		default:
			only = false
		}
	}))
	return uses && only
}

// Patient returns the rules of the set that ask for a number of attempts or an
// age, without these terms: what one of them matches, its rule may match later.
// Rules that ask for nothing else are left out. nil if there is none.
func (s *Set) Patient() *Set {
	p := &Set{statusTerms: s.statusTerms}
	for i, c := range s.compiled {
		var rest []term
		for _, t := range c.terms {
			if !t.waits {
				rest = append(rest, t)
			}
		}
		if len(rest) == 0 || len(rest) == len(c.terms) {
			continue
		}
		p.rules = append(p.rules, s.rules[i])
		p.compiled = append(p.compiled, compiled{terms: rest, held: c.held})
	}
	if len(p.rules) == 0 {
		return nil
	}
	return p
}
