package doctor

import (
	"fmt"
	"slices"
	"strings"

	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/parser"

	"github.com/backscatterd/backscatterd/queuesweep/rule"
)

// rules finds those that never decide: since their condition cannot hold, or
// since an earlier one of the same schedule holds whenever theirs does. It
// compares what is joined by && as text; that finds no more than the plain
// cases, and none that is not one.
func (x *examination) rules() {
	const check = "rules"
	type known struct {
		rule.Rule
		terms []string
	}
	var before []known
	idle := 0
	for _, r := range x.Rules {
		terms, never := termsOf(r.When)
		spec := firstSet(r.Schedule, x.Sweep.Schedule)
		if never != "" {
			idle++
			x.warn(check, "Mend its condition, or take it out. To see what it matches:\n  backscatterd rule try "+shellQuote(r.When), "%q never holds: %s", r.Name, never)
			continue
		}
		for _, b := range before {
			if firstSet(b.Schedule, x.Sweep.Schedule) != spec || !within(b.terms, terms) || judgesHeld(r.When) && !judgesHeld(b.When) {
				continue
			}
			idle++
			advice := fmt.Sprintf("Put %q ahead of %q, or take it out.", r.Name, b.Name)
			x.warn(check, advice, "%q never decides: %q holds whenever it does, and comes first", r.Name, b.Name)
			break
		}
		before = append(before, known{r, terms})
	}
	if idle == 0 && len(x.Rules) > 0 {
		x.ok(check, "none of %d is plainly idle", len(x.Rules))
	}
}

func shellQuote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// judgesHeld is a rough test: more conditions pass it than name the two.
func judgesHeld(when string) bool {
	return strings.Contains(when, "state") || strings.Contains(when, "quarantine")
}

// within tells whether all terms of the first are among those of the second.
func within(a, b []string) bool {
	return !slices.ContainsFunc(a, func(t string) bool { return t != "true" && !slices.Contains(b, t) })
}

// What some names can be.
var possible = map[string][]string{
	"state":   {"active", "held", "locked"},
	"verdict": {"legit", "suspect", "unknown", ""},
}

// termsOf divides a condition at its && and says why it cannot hold, if that is
// plain.
func termsOf(when string) (terms []string, never string) {
	tree, err := parser.Parse(when)
	if err != nil {
		return []string{when}, "" // it compiled; it is one term to us
	}
	equal := make(map[string]string)
	var walk func(n ast.Node)
	walk = func(n ast.Node) {
		b, ok := n.(*ast.BinaryNode)
		if ok && (b.Operator == "&&" || b.Operator == "and") {
			walk(b.Left)
			walk(b.Right)
			return
		}
		terms = append(terms, n.String())
		if c, ok := n.(*ast.BoolNode); ok && !c.Value {
			never = "it is false"
		}
		if !ok || b.Operator != "==" {
			return
		}
		name, isName := b.Left.(*ast.IdentifierNode)
		text, isText := b.Right.(*ast.StringNode)
		if !isName || !isText {
			return
		}
		if can := possible[name.Value]; can != nil && !slices.Contains(can, text.Value) {
			never = fmt.Sprintf("%s is never %q", name.Value, text.Value)
		}
		if other, twice := equal[name.Value]; twice && other != text.Value {
			never = fmt.Sprintf("%s cannot be both %q and %q", name.Value, other, text.Value)
		}
		equal[name.Value] = text.Value
	}
	walk(tree.Node)
	return terms, never
}
