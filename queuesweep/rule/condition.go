package rule

import (
	"reflect"

	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/checker"
	"github.com/expr-lang/expr/compiler"
	"github.com/expr-lang/expr/conf"
	"github.com/expr-lang/expr/file"
	"github.com/expr-lang/expr/parser"
	"github.com/expr-lang/expr/vm"
)

const (
	maxSource = 16 << 10 // bytes of one condition
	maxNodes  = 4000     // of its syntax tree
	maxMemory = 4 << 20  // elements that one evaluation may make
)

// condition is a condition taken apart at its top-level "and"s.
type condition struct {
	terms []term
	names map[string]bool // that it uses
}

// term is a part of a condition that is true or false by itself.
type term struct {
	program    *vm.Program
	direct     direct // does the same faster; nil if the term is not that simple
	id         int    // among the terms of the set that depend on the status alone
	statusOnly bool   // depends on the status alone, or on nothing
	safe       bool   // evaluation cannot fail
	waits      bool   // depends on attempts and age alone
}

// parseCondition checks and compiles a condition. The error is a
// *ConditionError.
func parseCondition(src string) (_ *condition, err error) {
	// The library is known to be sound on what the fuzz test tried; should it
	// panic on something else, that is the fault of one condition, no more.
	defer func() {
		if r := recover(); r != nil {
			err = errorAt(src, 0, "write it in a simpler way", "the condition cannot be compiled: %v", r)
		}
	}()
	cfg := newConfig()
	tree, names, err := checkedTree(src, cfg)
	if err != nil {
		return nil, err
	}
	c := &condition{names: names}
	for _, n := range conjuncts(tree.Node, nil) {
		t, err := compileTerm(src, n, cfg)
		if err != nil {
			return nil, err
		}
		c.terms = append(c.terms, t)
	}
	return c, nil
}

func newConfig() *conf.Config {
	cfg := conf.New(environment(nil))
	cfg.Expect = reflect.Bool
	cfg.MaxNodes = maxNodes
	cfg.DisableIfOperator = true
	for name := range cfg.Builtins {
		if builtins[name] == "" {
			cfg.Disabled[name] = true
			delete(cfg.Builtins, name)
		}
	}
	return cfg
}

// checkedTree parses a condition, and checks its names and types.
func checkedTree(src string, cfg *conf.Config) (*parser.Tree, map[string]bool, error) {
	if len(src) > maxSource {
		return nil, nil, errorAt(src, maxSource, "divide it into several rules", "the condition is longer than %d bytes", maxSource)
	}
	if blank(src) {
		return nil, nil, errorAt(src, 0, `say what it should match, such as: status contains "Connection timed out"`, "the condition is empty")
	}
	tree, err := parser.ParseWithConfig(src, cfg)
	if err != nil {
		return nil, nil, syntaxError(src, err)
	}
	r := &rewriter{src: src, names: make(map[string]bool)}
	if err := r.rewrite(&tree.Node); err != nil {
		return nil, nil, err
	}
	if _, err := checker.Check(tree, cfg); err != nil {
		return nil, nil, typeError(src, tree.Node, err)
	}
	return tree, r.names, nil
}

// conjuncts appends the operands of the "and"s at the top of n, in the order in
// which they are evaluated.
func conjuncts(n ast.Node, list []ast.Node) []ast.Node {
	if b, ok := n.(*ast.BinaryNode); ok && (b.Operator == "&&" || b.Operator == "and") {
		return conjuncts(b.Right, conjuncts(b.Left, list))
	}
	return append(list, n)
}

// compileTerm compiles one term. The library's optimizer is not used: it makes
// "a && false" false even where a fails.
func compileTerm(src string, n ast.Node, cfg *conf.Config) (term, error) {
	ast.Walk(&n, visitor(constantLists))
	program, err := compiler.Compile(&parser.Tree{Node: n, Source: file.NewSource(src)}, cfg)
	if err != nil {
		return term{}, errorAt(src, byteOffset(src, n.Location().From), "write it in a simpler way", "this cannot be compiled")
	}
	return term{program: program, direct: directly(n), statusOnly: dependsOnStatus(n), safe: safe(n), waits: dependsOnWaiting(n)}, nil
}

// constantLists turns the list of: sender in ["a", "b"] into a set, so that it
// is not built for each message anew.
func constantLists(n ast.Node) {
	in, ok := n.(*ast.BinaryNode)
	if !ok || in.Operator != "in" || !isString(in.Left) {
		return
	}
	list, ok := in.Right.(*ast.ArrayNode)
	if !ok {
		return
	}
	set := make(map[string]struct{}, len(list.Nodes))
	for _, element := range list.Nodes {
		s, ok := element.(*ast.StringNode)
		if !ok {
			return
		}
		set[s.Value] = struct{}{}
	}
	constant := &ast.ConstantNode{Value: set}
	constant.SetType(reflect.TypeOf(set))
	ast.Patch(&in.Right, constant)
}

func blank(s string) bool {
	for _, r := range s {
		if r != ' ' && r != '\t' && r != '\n' && r != '\r' {
			return false
		}
	}
	return true
}
