package main

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/parser"

	"github.com/backscatterd/backscatterd/queuesweep"
)

// reason is a part of a condition that holds for a message, with the words of
// the message that it holds for.
type reason struct {
	Of    string `json:"of"`    // what was looked at, as the condition names it
	Text  string `json:"text"`  // its value
	Match string `json:"match"` // the part of it that made the condition hold; all of a number
	at    int    // of Match in Text
}

// show marks the words in their text.
func (r reason) show(out terminal) string {
	before, after := r.Text[:r.at], r.Text[r.at+len(r.Match):]
	of, match, around := clean(r.Of), clean(r.Match), 60
	if out.width > 0 {
		// The name, the match and the marks around it take the rest of the line.
		match = fit(match, max(out.width/2, 8))
		around = min(around, max((out.width-12-columns(of+match))/2, 4))
	}
	if n := len([]rune(before)); n > around {
		before = "…" + string([]rune(before)[n-around:])
	}
	open, shut := "»", "«"
	if out.colour {
		open, shut = "", ""
	}
	return of + ": " + clean(before) + open + out.paint(cyan, match) + shut + fit(clean(after), around)
}

// reasons are the comparisons of a condition whose words can be shown.
type reasons []comparison

// comparison is one of a subject with a text or a number.
type comparison struct {
	of     string
	values func(queuesweep.Listed) []string
	find   func(value string) (from, to int, ok bool)
}

// newReasons goes over a condition that compiles. What it does not know how to
// show it leaves out.
func newReasons(condition string) reasons {
	tree, err := parser.Parse(condition)
	if err != nil {
		return nil
	}
	var r reasons
	r.walk(tree.Node, nil)
	return r
}

// walk collects comparisons; list is what # stands for.
func (r *reasons) walk(n, list ast.Node) {
	switch n := n.(type) {
	case *ast.BinaryNode:
		if c, ok := compare(n, list); ok {
			*r = append(*r, c)
			return
		}
		if n.Operator == "&&" || n.Operator == "||" || n.Operator == "and" || n.Operator == "or" {
			r.walk(n.Left, list)
			r.walk(n.Right, list)
		}
	case *ast.BuiltinNode:
		if n.Name == "any" && len(n.Arguments) == 2 {
			r.walk(n.Arguments[1], n.Arguments[0])
		}
	case *ast.PredicateNode:
		r.walk(n.Node, list)
	}
}

func compare(n *ast.BinaryNode, list ast.Node) (comparison, bool) {
	subject := n.Left
	if _, isElement := subject.(*ast.PointerNode); isElement && list != nil {
		subject = list
	}
	values, ok := valuesOf(subject)
	if !ok {
		return comparison{}, false
	}
	c := comparison{of: subject.String(), values: values}
	if text, ok := n.Right.(*ast.StringNode); ok {
		c.find = finder(n.Operator, text.Value)
		return c, c.find != nil
	}
	if number, ok := n.Right.(*ast.IntegerNode); ok {
		c.find = func(v string) (int, int, bool) {
			got, err := strconv.Atoi(v)
			return 0, len(v), err == nil && compares(n.Operator, got, number.Value)
		}
		return c, true
	}
	return comparison{}, false
}

func compares(operator string, a, b int) bool {
	switch operator {
	case "<":
		return a < b
	case "<=":
		return a <= b
	case ">":
		return a > b
	case ">=":
		return a >= b
	case "==":
		return a == b
	}
	return false
}

// finder finds the words in a value.
func finder(operator, text string) func(string) (int, int, bool) {
	at := func(find func(string, string) int) func(string) (int, int, bool) {
		return func(v string) (int, int, bool) {
			i := find(v, text)
			return i, i + len(text), i >= 0
		}
	}
	switch operator {
	case "contains":
		return at(strings.Index)
	case "startsWith":
		return at(func(v, text string) int {
			if strings.HasPrefix(v, text) {
				return 0
			}
			return -1
		})
	case "endsWith":
		return at(func(v, text string) int {
			if strings.HasSuffix(v, text) {
				return len(v) - len(text)
			}
			return -1
		})
	case "==":
		return at(func(v, text string) int {
			if v == text {
				return 0
			}
			return -1
		})
	case "matches":
		re, err := regexp.Compile(text)
		if err != nil {
			return nil
		}
		return func(v string) (int, int, bool) {
			m := re.FindStringIndex(v)
			if m == nil {
				return 0, 0, false
			}
			return m[0], m[1], true
		}
	}
	return nil
}

// valuesOf is how the value of a name is taken from what is listed.
func valuesOf(n ast.Node) (func(queuesweep.Listed) []string, bool) {
	one := func(get func(queuesweep.Listed) any) (func(queuesweep.Listed) []string, bool) {
		return func(m queuesweep.Listed) []string { return []string{fmt.Sprint(get(m))} }, true
	}
	switch n := n.(type) {
	case *ast.IdentifierNode:
		switch n.Value {
		case "id":
			return one(func(m queuesweep.Listed) any { return m.ID })
		case "queue":
			return one(func(m queuesweep.Listed) any { return m.Queue })
		case "state":
			return one(func(m queuesweep.Listed) any { return m.State })
		case "sender":
			return one(func(m queuesweep.Listed) any { return m.Sender })
		case "status":
			return one(func(m queuesweep.Listed) any { return m.Status })
		case "attempts":
			return one(func(m queuesweep.Listed) any { return m.Attempts })
		case "priority":
			return one(func(m queuesweep.Listed) any { return m.Priority })
		case "size":
			return one(func(m queuesweep.Listed) any { return m.Size })
		case "flags":
			return one(func(m queuesweep.Listed) any { return m.Flags })
		case "quarantine":
			return one(func(m queuesweep.Listed) any { return m.Quarantine })
		case "body_type":
			return one(func(m queuesweep.Listed) any { return m.BodyType })
		case "recipients":
			return func(m queuesweep.Listed) (all []string) {
				for _, r := range m.Recipients {
					all = append(all, r.Address)
				}
				return all
			}, true
		case "statuses":
			return func(m queuesweep.Listed) []string {
				all := []string{m.Status}
				for _, r := range m.Recipients {
					all = append(all, r.Status)
				}
				return all
			}, true
		}
	case *ast.CallNode:
		return headersOf(n)
	}
	return nil, false
}

// headersOf takes header("Name") and its kin.
func headersOf(n *ast.CallNode) (func(queuesweep.Listed) []string, bool) {
	callee, ok := n.Callee.(*ast.IdentifierNode)
	if !ok || len(n.Arguments) != 1 {
		return nil, false
	}
	name, ok := n.Arguments[0].(*ast.StringNode)
	if !ok {
		return nil, false
	}
	first := callee.Value == "header" || callee.Value == "raw_header"
	switch callee.Value {
	case "header", "headers", "raw_header", "raw_headers", "old_headers":
	default:
		return nil, false
	}
	return func(m queuesweep.Listed) (all []string) {
		for _, h := range m.Headers {
			old := callee.Value == "old_headers" && len(h[0]) > 1 && strings.EqualFold(h[0][1:], name.Value)
			if strings.EqualFold(h[0], name.Value) || old {
				all = append(all, h[1])
			}
		}
		if first && len(all) > 1 {
			all = all[:1]
		}
		return all
	}, true
}

// of finds what made a message match, at most one reason a comparison.
func (r reasons) of(m queuesweep.Listed) []reason {
	found := []reason{}
	for _, c := range r {
		for _, v := range c.values(m) {
			if from, to, ok := c.find(v); ok {
				found = append(found, reason{c.of, v, v[from:to], from})
				break
			}
		}
	}
	return found
}
