package rule

import (
	"fmt"
	"maps"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"

	"github.com/expr-lang/expr/ast"

	"github.com/backscatterd/backscatterd/queuesweep/rule/spell"
)

// rewriter turns the names of a condition into calls of the environment's
// functions, replaces constant durations by their values, and refuses what
// conditions do not have.
type rewriter struct {
	src   string
	names map[string]bool // that were met
}

func (r *rewriter) rewrite(node *ast.Node) error {
	switch n := (*node).(type) {
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.StringNode:
		return nil
	case *ast.PointerNode:
		if n.Name != "" {
			return r.fail(n, `write "#" for the element`, "there is no #%s", n.Name)
		}
		return nil
	case *ast.IdentifierNode:
		return r.identifier(node, n)
	case *ast.UnaryNode:
		return r.rewrite(&n.Node)
	case *ast.BinaryNode:
		return r.binary(n)
	case *ast.ConditionalNode:
		return r.all(&n.Cond, &n.Exp1, &n.Exp2)
	case *ast.ArrayNode:
		return r.list(n.Nodes)
	case *ast.PredicateNode:
		return r.rewrite(&n.Node)
	case *ast.MemberNode:
		return r.member(node, n)
	case *ast.SliceNode:
		return r.all(&n.Node, &n.From, &n.To)
	case *ast.CallNode:
		return r.call(node, n)
	case *ast.BuiltinNode:
		if builtins[n.Name] == "" {
			return r.unknownFunction(n, n.Name)
		}
		return r.list(n.Arguments)
	}
	return r.fail(*node, "", "conditions have no %s", construct(*node))
}

func (r *rewriter) all(nodes ...*ast.Node) error {
	for _, n := range nodes {
		if *n == nil { // an open end of a slice
			continue
		}
		if err := r.rewrite(n); err != nil {
			return err
		}
	}
	return nil
}

func (r *rewriter) list(nodes []ast.Node) error {
	for i := range nodes {
		if err := r.rewrite(&nodes[i]); err != nil {
			return err
		}
	}
	return nil
}

func (r *rewriter) identifier(node *ast.Node, n *ast.IdentifierNode) error {
	switch {
	case fields[n.Value] != "":
		r.names[n.Value] = true
		r.replace(node, n.Value)
		return nil
	case functions[n.Value] != "":
		return r.fail(n, "for example "+functions[n.Value], "%s needs an argument", n.Value)
	case builtins[n.Value] != "":
		return r.fail(n, "for example "+builtins[n.Value], "%s needs an argument", n.Value)
	case n.Value == "returned":
		return r.fail(n, `for example returned.header("X-Spam-Flag")`, "returned is no value; it has header, headers, failed and status")
	}
	hint := "the names are: " + strings.Join(knownNames(), ", ")
	if near := spell.Nearest(n.Value, knownNames()); near != "" {
		hint = fmt.Sprintf("did you mean %q?", near)
	}
	return r.fail(n, hint, "unknown name %q", n.Value)
}

// replace puts a call of an environment's function in the place of a node.
func (r *rewriter) replace(node *ast.Node, function string, arguments ...ast.Node) {
	callee := &ast.IdentifierNode{Value: function}
	callee.SetLocation((*node).Location())
	ast.Patch(node, &ast.CallNode{Callee: callee, Arguments: arguments})
}

func (r *rewriter) binary(n *ast.BinaryNode) error {
	switch n.Operator {
	case "..", "??", "**", "^":
		return r.fail(n, "", "conditions have no %q", n.Operator)
	case "matches":
		if err := r.pattern(n.Right); err != nil {
			return err
		}
	}
	return r.all(&n.Left, &n.Right)
}

// pattern checks the right side of matches.
func (r *rewriter) pattern(n ast.Node) error {
	s, ok := n.(*ast.StringNode)
	if !ok {
		return r.fail(n, `write the pattern out: status matches "(?i)timed out"; "contains" takes any string`, "the pattern of matches has to be a literal string")
	}
	_, err := regexp.Compile(s.Value)
	if err == nil {
		return nil
	}
	loc := n.Location()
	from, to := byteOffset(r.src, loc.From), byteOffset(r.src, loc.To)
	msg, hint := err.Error(), ""
	if e, ok := err.(*syntax.Error); ok {
		msg = fmt.Sprintf("%s: %q", e.Code, e.Expr)
		if i := strings.LastIndex(r.src[from:max(from, to)], e.Expr); i >= 0 {
			from += i
		}
		switch {
		case e.Code == syntax.ErrInvalidPerlOp:
			hint = "patterns are RE2, which has no look-ahead and no look-behind; combine two conditions with && and not instead"
		case e.Code == syntax.ErrInvalidEscape:
			hint = "patterns are RE2, which has no back-references; a backslash makes a sign like . or * literal"
		case e.Code == syntax.ErrMissingRepeatArgument:
			hint = `put a backslash before a sign that is meant literally (two in double quotes): "\\*"`
		}
	}
	return errorAt(r.src, from, hint, "bad pattern: %s", msg)
}

func (r *rewriter) member(node *ast.Node, n *ast.MemberNode) error {
	if n.Optional {
		return r.fail(n, "", `conditions have no "?."`)
	}
	name, isName := n.Property.(*ast.StringNode)
	if id, ok := n.Node.(*ast.IdentifierNode); ok && id.Value == "returned" {
		isFunction, known := members[""], false
		if isName {
			isFunction, known = members[name.Value]
		}
		switch {
		case !known && isName:
			return r.unknownMember(n, name.Value)
		case !known:
			return r.fail(n, `for example returned.header("X-Spam-Flag")`, "returned is no list; it has header, headers, failed and status")
		case isFunction:
			return r.fail(n, fmt.Sprintf(`for example returned.%s("X-Spam-Flag")`, name.Value), "returned.%s needs the name of a header", name.Value)
		}
		r.names["returned"] = true
		r.replace(node, "returned "+name.Value)
		return nil
	}
	if isName && strings.HasPrefix(r.src[byteOffset(r.src, n.Location().From):], "[") {
		return r.fail(name, "for example recipients[0], which is the first", "an element is chosen by its number")
	}
	if isName {
		if err := r.rewrite(&n.Node); err != nil {
			return err
		}
		return r.fail(n, "", "nothing but returned has parts with a dot, so there is no .%s here", name.Value)
	}
	return r.all(&n.Node, &n.Property)
}

func (r *rewriter) unknownMember(n ast.Node, name string) error {
	names := slices.Sorted(maps.Keys(members))
	hint := "it has " + strings.Join(names, ", ")
	if near := spell.Nearest(name, names); near != "" {
		hint = fmt.Sprintf("did you mean returned.%s? %s", near, hint)
	}
	return r.fail(n, hint, "returned has no %q", name)
}

func (r *rewriter) call(node *ast.Node, n *ast.CallNode) error {
	var name string
	switch callee := n.Callee.(type) {
	case *ast.IdentifierNode:
		name = callee.Value
		if err := r.function(callee); err != nil {
			return err
		}
	case *ast.MemberNode:
		part, isName := callee.Property.(*ast.StringNode)
		id, isID := callee.Node.(*ast.IdentifierNode)
		if !isName || !isID || id.Value != "returned" {
			return r.fail(n, "", "only names can be called")
		}
		isFunction, known := members[part.Value]
		if !known {
			return r.unknownMember(n, part.Value)
		}
		if !isFunction {
			return r.fail(n, "leave out the parentheses", "returned.%s is a value", part.Value)
		}
		r.names["returned"] = true
		r.replace(node, "returned "+part.Value, n.Arguments...)
		name, n = "header", (*node).(*ast.CallNode)
	default:
		return r.fail(n, "", "only names can be called")
	}
	if name == "duration" {
		return r.duration(node, n)
	}
	if err := r.argument(name, n); err != nil {
		return err
	}
	return r.list(n.Arguments)
}

func (r *rewriter) function(callee *ast.IdentifierNode) error {
	switch name := callee.Value; {
	case functions[name] != "":
		r.names[name] = true
		return nil
	case fields[name] != "":
		return r.fail(callee, "leave out the parentheses", "%s is a value (%s), no function", name, fields[name])
	default:
		return r.unknownFunction(callee, name)
	}
}

func (r *rewriter) unknownFunction(n ast.Node, name string) error {
	known := slices.Collect(maps.Keys(functions))
	known = slices.AppendSeq(known, maps.Keys(builtins))
	slices.Sort(known)
	hint := "the functions are: " + strings.Join(known, ", ")
	if near := spell.Nearest(name, known); near != "" {
		hint = fmt.Sprintf("did you mean %q?", near)
	}
	return r.fail(n, hint, "unknown function %q", name)
}

// duration puts the value in the place of duration("4h"). Only a literal is
// taken, so that its faults are found now.
func (r *rewriter) duration(node *ast.Node, n *ast.CallNode) error {
	const hint = `for example duration("30d") or duration("1h30m")`
	if len(n.Arguments) != 1 {
		return r.fail(n, hint, "duration takes one literal string")
	}
	s, ok := n.Arguments[0].(*ast.StringNode)
	if !ok {
		return r.fail(n.Arguments[0], hint, "duration takes a literal string")
	}
	d, err := ParseDuration(s.Value)
	if err != nil {
		return r.fail(s, hint, "%v", err)
	}
	ast.Patch(node, &ast.ConstantNode{Value: d})
	return nil
}

// argument checks the literal argument of a function that takes a name, where
// it would otherwise never find anything.
func (r *rewriter) argument(function string, n *ast.CallNode) error {
	if len(n.Arguments) != 1 {
		return nil // for the type check to tell
	}
	arg, ok := n.Arguments[0].(*ast.StringNode)
	if !ok {
		return nil
	}
	switch function {
	case "line", "lines":
		if len(arg.Value) != 1 {
			return r.fail(arg, `for example line("S") for the sender`, "%s takes one letter, the code of a line", function)
		}
	case "header", "headers", "raw_header", "raw_headers", "old_headers":
		if name := strings.TrimRight(arg.Value, ": "); name != arg.Value && name != "" {
			return r.fail(arg, fmt.Sprintf("write %s(%q)", function, name), "a header's name has no colon or blank at its end")
		}
		if arg.Value == "" || strings.ContainsFunc(arg.Value, func(c rune) bool { return c <= ' ' || c == ':' || c == 0x7F }) {
			return r.fail(arg, "for example "+functions["header"], "%q is no name of a header", arg.Value)
		}
	}
	return nil
}

func (r *rewriter) fail(n ast.Node, hint, format string, args ...any) error {
	return errorAt(r.src, byteOffset(r.src, n.Location().From), hint, format, args...)
}

// construct names a part of the language that conditions do not have.
func construct(n ast.Node) string {
	switch n.(type) {
	case *ast.NilNode:
		return `nil; what is absent is "", 0 or an empty list`
	case *ast.BytesNode:
		return "byte strings"
	case *ast.ChainNode:
		return `"?."`
	case *ast.VariableDeclaratorNode:
		return "variables"
	case *ast.SequenceNode:
		return `";"`
	case *ast.MapNode:
		return "maps"
	}
	return "such a thing"
}
