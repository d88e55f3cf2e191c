package script

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"mvdan.cc/sh/v3/syntax"
)

// value is what a variable holds.
type value struct {
	list []string // one, unless it is an array
	why  string   // why it is not known, "" if it is
}

// shell goes over a script as the shell would, as far as the text alone tells
// what it does.
type shell struct {
	*reading
	src      source
	schedule string

	vars  map[string]value
	funcs map[string]*syntax.Stmt
	cwd   string // "" is not known

	cond    string // why what is read may not be run, "" if it is
	guarded bool   // it is run where things are in place
	unsure  string // cond of all that follows: the script may have ended
	ended   bool
	live    bool // commands whose output is asked for are run now
	depth   int
	steps   *int
}

const (
	maxDepth = 50
	maxSteps = 200_000 // statements, loops counted as often as they go
)

// syntaxFault is why a text is no script.
type syntaxFault struct {
	text   string
	offset int
}

// shell reads a text as a script. Variables may be set before.
func (r *reading) shell(src source, schedule string, vars map[string]value) *syntaxFault {
	file, err := parse(src.text)
	if err != nil {
		fault := &syntaxFault{text: err.Error()}
		var at syntax.ParseError
		if errors.As(err, &at) {
			fault.text, fault.offset = at.Text, int(at.Pos.Offset())
		}
		return fault
	}
	s := &shell{reading: r, src: src, schedule: schedule, vars: maps.Clone(vars), funcs: make(map[string]*syntax.Stmt), steps: new(int)}
	if s.vars == nil {
		s.vars = make(map[string]value)
	}
	s.stmts(file.Stmts)
	return nil
}

// parse keeps a fault of the parser from ending the program.
func parse(text string) (file *syntax.File, err error) {
	defer func() {
		if p := recover(); p != nil {
			file, err = nil, fmt.Errorf("%v", p)
		}
	}()
	return syntax.NewParser(syntax.Variant(syntax.LangBash)).Parse(strings.NewReader(text), "")
}

func (s *shell) stmts(list []*syntax.Stmt) {
	for _, st := range list {
		if *s.steps++; s.ended || *s.steps > maxSteps {
			if *s.steps == maxSteps+1 {
				s.problem(s.src, offset(st), "the loops go on too long: what follows is left out")
			}
			return
		}
		s.stmt(st)
	}
}

func offset(n syntax.Node) int { return int(n.Pos().Offset()) }
func end(n syntax.Node) int    { return int(n.End().Offset()) }

// text is a part of the script, short and in one line.
func (s *shell) text(n syntax.Node) string {
	return shorten(oneLine(s.src.text[offset(n):max(offset(n), min(end(n), len(s.src.text)))]))
}

func (s *shell) line(n syntax.Node) int { return s.src.place(offset(n)).Line }

func (s *shell) stmt(st *syntax.Stmt) {
	switch c := st.Cmd.(type) {
	case *syntax.CallExpr:
		s.command(st, c)
	case *syntax.BinaryCmd:
		s.binary(c)
	case *syntax.IfClause:
		s.ifClause(c)
	case *syntax.WhileClause:
		s.while(c)
	case *syntax.ForClause:
		s.forClause(c)
	case *syntax.CaseClause:
		for _, item := range c.Items {
			s.branch(fmt.Sprintf("it runs in some cases only (case in line %d)", s.line(c)), func() { s.stmts(item.Stmts) })
		}
	case *syntax.Block:
		s.stmts(c.Stmts)
	case *syntax.Subshell:
		vars, cwd := maps.Clone(s.vars), s.cwd
		s.stmts(c.Stmts)
		s.vars, s.cwd, s.ended = vars, cwd, false
	case *syntax.FuncDecl:
		if c.Name != nil {
			s.funcs[c.Name.Value] = c.Body
		}
	case *syntax.DeclClause:
		for _, a := range c.Args {
			s.assign(a)
		}
	case *syntax.TimeClause:
		if c.Stmt != nil {
			s.stmt(c.Stmt)
		}
	case *syntax.CoprocClause:
		s.stmt(c.Stmt)
	}
}

func (s *shell) binary(c *syntax.BinaryCmd) {
	s.stmt(c.X)
	switch c.Op {
	case syntax.AndStmt:
		if s.guard(c.X) {
			s.inPlace(func() { s.stmt(c.Y) })
			return
		}
		s.branch(fmt.Sprintf("it runs only if this succeeds: %s", s.text(c.X)), func() { s.stmt(c.Y) })
	case syntax.OrStmt:
		if s.guard(c.X) && ends(c.Y) {
			return // a check that all is in place
		}
		s.branch(fmt.Sprintf("it runs only if this fails: %s", s.text(c.X)), func() { s.stmt(c.Y) })
	default: // a pipe
		if call, ok := c.X.Cmd.(*syntax.CallExpr); ok && s.cond == "" && s.unsure == "" {
			if _, why, found := s.qtoolIn(s.words(call.Args)); found && why == "" {
				s.note(s.src, int(c.OpPos.Offset()), "left out: what a sweep does stands in the audit log")
			}
		}
		s.stmt(c.Y)
	}
}

// ends tells whether a statement is only a way out, with a message perhaps.
func ends(st *syntax.Stmt) bool {
	switch c := st.Cmd.(type) {
	case *syntax.CallExpr:
		return len(c.Args) > 0 && (c.Args[0].Lit() == "exit" || c.Args[0].Lit() == "return")
	case *syntax.Block:
		return len(c.Stmts) > 0 && ends(c.Stmts[len(c.Stmts)-1])
	}
	return false
}

// branch reads what is run only on a condition.
func (s *shell) branch(cond string, f func()) {
	vars, cwd, outer, guarded := maps.Clone(s.vars), s.cwd, s.cond, s.guarded
	s.cond, s.guarded = cond, false
	f()
	if s.ended {
		s.unsure, s.ended = "the script may have ended before: "+cond, false
	}
	s.cond, s.guarded = outer, guarded
	for name, v := range s.vars {
		if old, set := vars[name]; !set || !slices.Equal(old.list, v.list) || old.why != v.why {
			s.vars[name] = value{why: fmt.Sprintf("$%s is set on a condition only", name)}
		}
	}
	if s.cwd != cwd {
		s.cwd = ""
	}
}

// inPlace reads what is run where files and folders are in place, which rules
// take for granted.
func (s *shell) inPlace(f func()) {
	guarded := s.guarded
	s.guarded = true
	f()
	s.guarded = guarded
}

func (s *shell) ifClause(c *syntax.IfClause) {
	s.stmts(c.Cond)
	good := len(c.Cond) > 0
	for _, st := range c.Cond {
		good = good && s.guard(st)
	}
	if good && !(len(c.Then) > 0 && ends(c.Then[len(c.Then)-1])) {
		s.inPlace(func() { s.stmts(c.Then) })
	} else if !good {
		s.branch(fmt.Sprintf("it runs on a condition only (if in line %d)", s.line(c)), func() { s.stmts(c.Then) })
	}
	for e := c.Else; e != nil; e = e.Else {
		s.branch(fmt.Sprintf("it runs on a condition only (if in line %d)", s.line(c)), func() { s.stmts(e.Cond); s.stmts(e.Then) })
	}
}

func (s *shell) while(c *syntax.WhileClause) {
	for _, st := range c.Cond {
		if call, ok := st.Cmd.(*syntax.CallExpr); ok && len(c.Cond) == 1 && !c.Until && !st.Negated && len(call.Args) == 1 {
			if name := call.Args[0].Lit(); name == "true" || name == ":" {
				s.stmts(c.Do)
				return
			}
		}
	}
	s.stmts(c.Cond)
	s.branch(fmt.Sprintf("nobody knows how often and with what it runs (loop in line %d)", s.line(c)), func() { s.stmts(c.Do) })
}

func (s *shell) forClause(c *syntax.ForClause) {
	loop, ok := c.Loop.(*syntax.WordIter)
	if !ok || c.Select || !loop.InPos.IsValid() {
		s.branch(fmt.Sprintf("nobody knows how often and with what it runs (loop in line %d)", s.line(c)), func() { s.stmts(c.Do) })
		return
	}
	for _, item := range loop.Items {
		for _, w := range s.expand(item) {
			s.vars[loop.Name.Value] = value{[]string{w.text}, w.why}
			s.stmts(c.Do)
			if s.ended {
				return
			}
		}
	}
}

// guard tells whether a statement only sees to it that things are in place, or
// makes no difference to those behind it.
func (s *shell) guard(st *syntax.Stmt) bool {
	switch c := st.Cmd.(type) {
	case *syntax.BinaryCmd:
		return (c.Op == syntax.AndStmt || c.Op == syntax.OrStmt) && s.guard(c.X) && s.guard(c.Y)
	case *syntax.Block:
		return !slices.ContainsFunc(c.Stmts, func(st *syntax.Stmt) bool { return !s.guard(st) })
	case *syntax.TestClause:
		return fileTest(c.X)
	case *syntax.CallExpr:
		return s.guardCall(c)
	}
	return st.Cmd == nil
}

func (s *shell) guardCall(c *syntax.CallExpr) bool {
	if len(c.Args) == 0 {
		return true
	}
	switch name := c.Args[0].Lit(); name {
	case "[", "test":
		return testsFiles(c.Args[1:])
	case "true", ":", "cd", "mkdir", "chmod", "chown", "echo", "printf", "logger", "date", "sleep", "umask", "touch", "export", "command", "which", "type", "hash", "exit", "return":
		return true
	}
	_, _, found := s.qtoolIn(s.words(c.Args))
	return found // qtool.pl always ends well
}

// testsFiles tells whether the words of [ ask for nothing but files.
func testsFiles(words []*syntax.Word) bool {
	for i := 0; i < len(words); i++ {
		switch w := words[i].Lit(); w {
		case "!", "-a", "-o", "]":
		case "-e", "-f", "-d", "-x", "-r", "-w", "-s", "-L", "-h":
			i++ // its file
		default:
			return false
		}
	}
	return len(words) > 0
}

func fileTest(x syntax.TestExpr) bool {
	switch x := x.(type) {
	case *syntax.ParenTest:
		return fileTest(x.X)
	case *syntax.BinaryTest:
		return (x.Op == syntax.AndTest || x.Op == syntax.OrTest) && fileTest(x.X) && fileTest(x.Y)
	case *syntax.UnaryTest:
		switch x.Op {
		case syntax.TsNot:
			return fileTest(x.X)
		case syntax.TsExists, syntax.TsRegFile, syntax.TsDirect, syntax.TsExec, syntax.TsRead, syntax.TsWrite, syntax.TsNoEmpty, syntax.TsSmbLink:
			return true
		}
	}
	return false
}

func (s *shell) assign(a *syntax.Assign) {
	if a.Name == nil || a.Naked {
		return
	}
	v := value{list: []string{""}}
	switch {
	case a.Index != nil:
		v = value{why: "$" + a.Name.Value + " is set element by element"}
	case a.Array != nil:
		v.list = nil
		for _, e := range a.Array.Elems {
			if e.Value == nil || e.Index != nil {
				v.why = "$" + a.Name.Value + " is set element by element"
				continue
			}
			for _, w := range s.expand(e.Value) {
				v.list, v.why = append(v.list, w.text), firstOf(v.why, w.why)
			}
		}
	case a.Value != nil:
		s.live = true
		w := s.joined(a.Value)
		s.live = false
		v = value{[]string{w.text}, w.why}
	}
	if a.Append {
		old := s.vars[a.Name.Value]
		v.why = firstOf(old.why, v.why)
		if a.Array != nil {
			v.list = append(slices.Clone(old.list), v.list...)
		} else if len(old.list) > 0 && len(v.list) > 0 && len(old.list[0]) < MaxFile {
			v.list = []string{old.list[0] + v.list[0]}
		}
	}
	s.vars[a.Name.Value] = v
}

func firstOf(texts ...string) string {
	for _, t := range texts {
		if t != "" {
			return t
		}
	}
	return ""
}
