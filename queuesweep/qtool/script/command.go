package script

import (
	"fmt"
	"path"
	"strings"

	"mvdan.cc/sh/v3/syntax"
)

// command reads a simple command.
func (s *shell) command(st *syntax.Stmt, c *syntax.CallExpr) {
	if len(c.Args) == 0 {
		for _, a := range c.Assigns {
			s.assign(a)
		}
		return
	}
	s.live = true
	words := s.words(c.Args)
	s.live = false
	if len(words) == 0 {
		return
	}
	name := words[0]
	if args, wrapper, found := s.qtoolIn(words); found {
		s.qtool(st, c, args, wrapper)
		return
	}
	if body := s.funcs[name.text]; body != nil && name.why == "" {
		s.function(name.text, body, words[1:])
		return
	}
	switch name.text {
	case "exit", "exec", "return":
		if name.text != "exec" || len(words) > 1 {
			s.ended = s.ended || !s.guarded
		}
	case "cd":
		s.chdir(words[1:])
	case "shift", "read", "getopts", "unset", "set":
		for _, w := range words[1:] {
			s.vars[w.text] = value{why: fmt.Sprintf("$%s is known only when the script runs (%s in line %d)", w.text, name.text, s.line(c))}
		}
		if name.text == "shift" || name.text == "set" && len(words) > 1 && !strings.HasPrefix(words[1].text, "-") {
			for i := range 10 {
				delete(s.vars, fmt.Sprint(i))
			}
			delete(s.vars, "@")
		}
	default:
		s.inner(words)
	}
}

func (s *shell) chdir(args []word) {
	to := ""
	if len(args) == 1 && args[0].why == "" && (path.IsAbs(args[0].text) || s.cwd != "") {
		to = args[0].text
		if !path.IsAbs(to) {
			to = path.Join(s.cwd, to)
		}
	}
	s.cwd = to
}

// function reads a function's body with its arguments.
func (s *shell) function(name string, body *syntax.Stmt, args []word) {
	if s.depth++; s.depth > maxDepth {
		s.problem(s.src, offset(body), fmt.Sprintf("the function %s calls itself too often", name))
		s.depth--
		return
	}
	outer := make(map[string]value)
	for _, p := range []string{"1", "2", "3", "4", "5", "6", "7", "8", "9", "@", "*"} {
		outer[p] = s.vars[p]
		s.vars[p] = value{list: []string{""}}
	}
	all := value{list: []string{}}
	for i, w := range args {
		if i < 9 {
			s.vars[fmt.Sprint(i+1)] = value{[]string{w.text}, w.why}
		}
		all.list, all.why = append(all.list, w.text), firstOf(all.why, w.why)
	}
	s.vars["@"], s.vars["*"] = all, all
	ended := s.ended
	s.stmt(body)
	s.ended = ended
	for p, v := range outer {
		if s.vars[p] = v; v.list == nil && v.why == "" {
			delete(s.vars, p)
		}
	}
	s.depth--
}

// inner reads the commands that a command is given as a text: sh -c '...'.
func (s *shell) inner(words []word) {
	for i, w := range words {
		switch path.Base(w.text) {
		case "sh", "bash", "dash", "ksh", "su", "eval", "runuser":
		default:
			continue
		}
		for k, arg := range words[i+1:] {
			if isC := arg.text == "-c" || arg.text == "-lc" || arg.text == "-ec"; !isC && w.text != "eval" {
				continue
			} else if isC {
				if k++; i+1+k >= len(words) {
					return
				}
				arg = words[i+1+k]
			}
			s.innerText(arg)
			return
		}
		return
	}
}

func (s *shell) innerText(arg word) {
	if !mentions(arg.text) {
		return
	}
	if arg.why != "" || s.depth >= maxDepth {
		s.problem(s.src, arg.offset, "not taken: "+firstOf(arg.why, "it is nested too deeply"))
		return
	}
	src := source{s.src.file, arg.text, make([]int, len(arg.text)+1)}
	for i := range src.at {
		if src.at[i] = s.src.at[arg.offset]; arg.literal {
			src.at[i] = s.src.at[min(arg.literalAt+i, len(s.src.text))]
		}
	}
	if s.cond != "" || s.unsure != "" {
		s.problem(s.src, arg.offset, "not taken: "+firstOf(s.cond, s.unsure))
		return
	}
	if fault := s.reading.shell(src, s.schedule, s.vars); fault != nil {
		s.problem(src, fault.offset, "not taken: "+fault.text)
	}
}

// mentions tells whether a text may call qtool.pl.
func mentions(text string) bool { return strings.Contains(strings.ToLower(text), "qtool") }

// qtool reads a call.
func (s *shell) qtool(st *syntax.Stmt, c *syntax.CallExpr, args []word, wrapper string) {
	at := offset(c)
	switch {
	case wrapper != "":
		s.problem(s.src, at, "not taken: "+wrapper)
		return
	case s.cond != "" || s.unsure != "":
		s.problem(s.src, at, "not taken: "+firstOf(s.cond, s.unsure)+"; say that in a rule, or leave this line to the script")
		return
	}
	if len(st.Redirs) > 0 {
		s.note(s.src, offset(st.Redirs[0]), "left out: what a sweep does stands in the audit log")
	}
	s.call(s.src, at, end(c), args, s.schedule, s.cwd)
}
