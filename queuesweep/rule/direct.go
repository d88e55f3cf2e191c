package rule

import (
	"regexp"
	"strings"

	"github.com/expr-lang/expr/ast"
)

// The virtual machine costs some 100 ns a term, with a copy of each string
// that it handles. Most terms compare one value with one literal, like
//
//	status startsWith "Deferred"    header("X-Spam-Flag") contains "YES"    attempts > 50
//
// and these are bound to plain Go functions instead. What is not known here is
// left to the machine; that both give the same is what TestAsEvaluatedPlainly
// checks.

// direct makes the function of a term, from those of a Judge's environment.
type direct func(env map[string]any) func() bool

// directly returns nil for a term that is not of a known form.
func directly(n ast.Node) direct {
	switch n := n.(type) {
	case *ast.UnaryNode:
		if inner := directly(n.Node); inner != nil && (n.Operator == "!" || n.Operator == "not") {
			return func(env map[string]any) func() bool {
				f := inner(env)
				return func() bool { return !f() }
			}
		}
	case *ast.CallNode:
		name, _, ok := source(n)
		if _, isBool := prototypes[name].(func() bool); ok && isBool {
			return func(env map[string]any) func() bool { return env[name].(func() bool) }
		}
	case *ast.BinaryNode:
		switch right := n.Right.(type) {
		case *ast.StringNode:
			return compareText(n, right.Value)
		case *ast.IntegerNode:
			return compareNumber(n, right.Value)
		}
		if n.Operator == "||" || n.Operator == "or" {
			return either(directly(n.Left), directly(n.Right))
		}
	}
	return nil
}

// prototypes tell the types of the environment's functions.
var prototypes = environment(nil)

// source tells which function of the environment a node calls, and with what
// literal argument.
func source(n ast.Node) (name, argument string, ok bool) {
	call, ok := n.(*ast.CallNode)
	if !ok {
		return "", "", false
	}
	id, ok := call.Callee.(*ast.IdentifierNode)
	if !ok || prototypes[id.Value] == nil {
		return "", "", false
	}
	if len(call.Arguments) == 0 {
		return id.Value, "", true
	}
	literal, ok := call.Arguments[0].(*ast.StringNode)
	if !ok {
		return "", "", false
	}
	return id.Value, literal.Value, true
}

func compareText(n *ast.BinaryNode, literal string) direct {
	name, argument, ok := source(n.Left)
	test := textTest(n.Operator, literal)
	if !ok || test == nil {
		return nil
	}
	switch prototypes[name].(type) {
	case func() string:
		return func(env map[string]any) func() bool {
			value := env[name].(func() string)
			return func() bool { return test(value()) }
		}
	case func(string) string:
		return func(env map[string]any) func() bool {
			value := env[name].(func(string) string)
			return func() bool { return test(value(argument)) }
		}
	}
	return nil
}

func textTest(operator, literal string) func(string) bool {
	switch operator {
	case "==":
		return func(s string) bool { return s == literal }
	case "!=":
		return func(s string) bool { return s != literal }
	case "contains":
		return func(s string) bool { return strings.Contains(s, literal) }
	case "startsWith":
		return func(s string) bool { return strings.HasPrefix(s, literal) }
	case "endsWith":
		return func(s string) bool { return strings.HasSuffix(s, literal) }
	case "matches":
		if re, err := regexp.Compile(literal); err == nil {
			return re.MatchString
		}
	}
	return nil
}

func compareNumber(n *ast.BinaryNode, literal int) direct {
	name, _, ok := source(n.Left)
	test := numberTest(n.Operator, literal)
	if _, isInt := prototypes[name].(func() int); !ok || !isInt || test == nil {
		return nil
	}
	return func(env map[string]any) func() bool {
		value := env[name].(func() int)
		return func() bool { return test(value()) }
	}
}

func numberTest(operator string, literal int) func(int) bool {
	switch operator {
	case "==":
		return func(n int) bool { return n == literal }
	case "!=":
		return func(n int) bool { return n != literal }
	case "<":
		return func(n int) bool { return n < literal }
	case "<=":
		return func(n int) bool { return n <= literal }
	case ">":
		return func(n int) bool { return n > literal }
	case ">=":
		return func(n int) bool { return n >= literal }
	}
	return nil
}

func either(a, b direct) direct {
	if a == nil || b == nil {
		return nil
	}
	return func(env map[string]any) func() bool {
		f, g := a(env), b(env)
		return func() bool { return f() || g() }
	}
}
