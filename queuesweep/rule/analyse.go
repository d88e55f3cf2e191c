package rule

import (
	"reflect"
	"time"

	"github.com/expr-lang/expr/ast"
)

// dependsOnStatus tells whether a term uses no name but status: its value then
// is the same for all messages with the same status.
func dependsOnStatus(n ast.Node) bool {
	only := true
	ast.Walk(&n, visitor(func(n ast.Node) {
		call, ok := n.(*ast.CallNode)
		if !ok {
			return
		}
		id, ok := call.Callee.(*ast.IdentifierNode)
		// number is a pure function of its argument.
		only = only && ok && (id.Value == "status" || id.Value == "number")
	}))
	return only
}

type visitor func(ast.Node)

func (v visitor) Visit(n *ast.Node) { v(*n) }

// safe tells whether the evaluation of n certainly gives a value. It knows
// operations that do on the types that n was checked to have; all others count
// as ones that may fail.
func safe(n ast.Node) bool {
	switch n := n.(type) {
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.StringNode, *ast.ConstantNode, *ast.PointerNode:
		return true
	case *ast.UnaryNode:
		return safe(n.Node)
	case *ast.BinaryNode:
		return safeOperation(n)
	case *ast.PredicateNode:
		return safe(n.Node)
	case *ast.CallNode:
		return allSafe(n.Arguments)
	case *ast.BuiltinNode:
		switch n.Name {
		case "len", "lower", "upper", "trim", "any", "all", "none", "one", "count":
			return allSafe(n.Arguments)
		}
	}
	return false
}

func allSafe(nodes []ast.Node) bool {
	for _, n := range nodes {
		if !safe(n) {
			return false
		}
	}
	return true
}

func safeOperation(n *ast.BinaryNode) bool {
	if !safe(n.Left) || !safe(n.Right) {
		return false
	}
	switch n.Operator {
	case "&&", "and", "||", "or":
		return isBool(n.Left) && isBool(n.Right)
	case "==", "!=", "<", "<=", ">", ">=":
		return ordered(n.Left) && ordered(n.Right)
	case "contains", "startsWith", "endsWith", "matches":
		return isString(n.Left) && isString(n.Right)
	case "in":
		return isString(n.Left)
	}
	return false
}

func isBool(n ast.Node) bool { return n.Type().Kind() == reflect.Bool }

func isString(n ast.Node) bool { return n.Type().Kind() == reflect.String }

func ordered(n ast.Node) bool {
	t := n.Type()
	switch t.Kind() {
	case reflect.Int, reflect.Float64, reflect.String, reflect.Bool:
		return true
	}
	return t == reflect.TypeFor[time.Duration]()
}
