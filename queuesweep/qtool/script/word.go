package script

import (
	"fmt"
	"path"
	"strconv"
	"strings"

	"mvdan.cc/sh/v3/syntax"
)

// wrappers are commands that run the one that is given to them.
var wrappers = map[string]bool{
	"sudo": true, "doas": true, "nice": true, "ionice": true, "perl": true, "exec": true, "env": true, "command": true, "time": true,
	"timeout": true, "flock": true, "nohup": true, "chronic": true, "setsid": true, "builtin": true, "taskset": true, "chrt": true, "lckdo": true,
}

// lookers are commands to which qtool.pl is a file or a text like any other.
var lookers = map[string]bool{
	"[": true, "test": true, "echo": true, "printf": true, "logger": true, "ls": true, "chmod": true, "chown": true, "cp": true, "mv": true, "ln": true,
	"rm": true, "which": true, "type": true, "cat": true, "grep": true, "egrep": true, "sed": true, "head": true, "man": true, "hash": true, "alias": true,
	"pgrep": true, "pkill": true, "killall": true, "stat": true, "file": true, "mkdir": true, "touch": true, "trap": true, "perldoc": true, "cd": true,
	"export": true, "find": true, "pidof": true, "mail": true, "wc": true, "source": true, ".": true, "read": true, "unset": true, "set": true,
}

// isQtool tells whether a command's name is qtool.pl.
func isQtool(w word) bool {
	if base := path.Base(w.text); w.why == "" && w.text != "" {
		return base == "qtool.pl" || base == "qtool"
	}
	return mentions(w.named) // a variable of that name, whatever it holds
}

// qtoolIn finds qtool.pl in the words of a command: as its name, or behind
// commands that run others. Of another place, why says that nobody knows what
// becomes of it.
func (s *shell) qtoolIn(words []word) (args []word, why string, found bool) {
	for i, w := range words {
		if !isQtool(w) {
			continue
		}
		switch {
		case i == 0:
			return words[1:], "", true
		case s.funcs[words[0].text] != nil || lookers[path.Base(words[0].text)]:
			return nil, "", false
		case path.Base(words[0].text) == "xargs":
			return nil, "xargs gives it the messages when it runs; write a rule for what was looked for", true
		case wrappers[path.Base(words[0].text)]:
			return words[i+1:], "", true
		}
		return nil, fmt.Sprintf("nobody knows what %q does with it", words[0].text), true
	}
	return nil, "", false
}

// words are the words of a command after expansion.
func (s *shell) words(list []*syntax.Word) (all []word) {
	for _, w := range list {
		all = append(all, s.expand(w)...)
	}
	return all
}

// joined is a word as an assignment takes it: not divided.
func (s *shell) joined(w *syntax.Word) word {
	e := expansion{shell: s, whole: true}
	e.parts(w.Parts, false)
	return e.cur
}

// expand does to a word what the shell does: variables are put in, and where
// they are not quoted, divided at blanks. Wildcards stay as they are.
func (s *shell) expand(w *syntax.Word) []word {
	e := expansion{shell: s, offset: offset(w)}
	e.cur.offset = e.offset
	e.parts(w.Parts, false)
	e.flush()
	if len(e.done) == 1 && len(w.Parts) == 1 {
		switch p := w.Parts[0].(type) {
		case *syntax.SglQuoted:
			e.done[0].literal, e.done[0].literalAt = !p.Dollar, offset(p)+1
		case *syntax.Lit:
			e.done[0].literal, e.done[0].literalAt = p.Value == e.done[0].text, offset(p)
		case *syntax.DblQuoted:
			if len(p.Parts) == 1 {
				if lit, ok := p.Parts[0].(*syntax.Lit); ok {
					e.done[0].literal, e.done[0].literalAt = lit.Value == e.done[0].text, offset(lit)
				}
			}
		}
	}
	return e.done
}

// expansion is a word on its way to words.
type expansion struct {
	*shell
	offset int
	whole  bool // never divided
	done   []word
	cur    word
	begun  bool
}

func (e *expansion) flush() {
	if e.begun {
		e.done = append(e.done, e.cur)
	}
	e.cur, e.begun = word{offset: e.offset}, false
}

func (e *expansion) add(text string) {
	if len(e.cur.text)+len(text) > MaxFile {
		e.unknown("it grows too long")
		return
	}
	e.cur.text += text
	e.begun = true
}

func (e *expansion) unknown(why string) {
	e.cur.why = firstOf(e.cur.why, why)
	e.begun = true
}

// value puts in what a variable holds.
func (e *expansion) value(text string, quoted bool) {
	if quoted || e.whole {
		e.add(text)
		return
	}
	fields := strings.Fields(text)
	for i, f := range fields {
		if i > 0 || strings.TrimLeft(text, " \t\n") != text {
			e.flush()
		}
		e.add(f)
	}
	if len(fields) > 0 && strings.TrimRight(text, " \t\n") != text {
		e.flush()
	}
}

func (e *expansion) parts(parts []syntax.WordPart, quoted bool) {
	for _, p := range parts {
		switch p := p.(type) {
		case *syntax.Lit:
			if !quoted && strings.Contains(p.Value, "{") && strings.Contains(p.Value, ",") && strings.Contains(p.Value, "}") {
				e.unknown("write the words of {...,...} out")
			}
			e.add(unescape(p.Value, quoted))
		case *syntax.SglQuoted:
			if p.Dollar && strings.Contains(p.Value, `\`) {
				e.unknown(`write $'...' with \ in it as '...'`)
			}
			e.add(p.Value)
		case *syntax.DblQuoted:
			e.begun = true
			e.parts(p.Parts, true)
		case *syntax.ParamExp:
			e.param(p, quoted)
		case *syntax.ArithmExp:
			if n, ok := e.arithmetic(p.X); ok {
				e.add(strconv.Itoa(n))
			} else {
				e.unknown("this sum is known only when the script runs")
			}
		case *syntax.CmdSubst:
			e.unknown("what a command prints is known only when the script runs")
			for _, st := range p.Stmts {
				if e.live && mentions(e.shell.text(st)) {
					e.stmt(st)
				}
			}
		default:
			e.unknown("this is known only when the script runs")
		}
	}
}

// param puts in a variable.
func (e *expansion) param(p *syntax.ParamExp, quoted bool) {
	if p.Param == nil {
		e.unknown("this is known only when the script runs")
		return
	}
	name := p.Param.Value
	if e.cur.text == "" {
		e.cur.named = name
	}
	v, set := e.vars[name]
	plain := !p.Excl && !p.Length && !p.Width && p.Index == nil && p.Slice == nil && p.Repl == nil && p.Names == 0 && p.NestedParam == nil
	switch {
	case plain && p.Exp != nil && (p.Exp.Op == syntax.DefaultUnset || p.Exp.Op == syntax.DefaultUnsetOrNull ||
		p.Exp.Op == syntax.AssignUnset || p.Exp.Op == syntax.AssignUnsetOrNull):
		if (!set || v.why == "" && len(v.list) == 1 && v.list[0] == "") && p.Exp.Word != nil {
			w := e.shell.joined(p.Exp.Word)
			v, set = value{[]string{w.text}, w.why}, true
		}
	case plain && p.Exp == nil:
	case p.Index != nil && p.Exp == nil && p.Slice == nil && p.Repl == nil && !p.Excl && !p.Length && isAll(p.Index):
	case plain && (p.Exp.Op == syntax.RemSmallSuffix || p.Exp.Op == syntax.RemLargeSuffix) && p.Exp.Word.Lit() == "/" && len(v.list) == 1:
		v.list = []string{strings.TrimSuffix(v.list[0], "/")}
	default:
		v = value{why: fmt.Sprintf("what becomes of $%s here is known only when the script runs", name)}
		set = true
	}
	switch {
	case !set && strings.Trim(name, "0123456789@*") == "":
		e.unknown(fmt.Sprintf("$%s is given to the script when it runs", name))
	case !set:
		e.unknown(fmt.Sprintf("$%s is not set in this file", name))
		if name == "msg" {
			e.cur.why = "in double quotes the shell takes $msg for a variable of its own: put the expression in single quotes, or write \\$msg"
		}
	case v.why != "":
		e.unknown(v.why)
	default:
		e.list(v.list, quoted)
	}
}

func (e *expansion) list(list []string, quoted bool) {
	for i, text := range list {
		if i > 0 && e.whole {
			e.add(" ")
		} else if i > 0 {
			e.flush()
		}
		e.value(text, quoted)
	}
}

// isAll is the @ or * of ${list[@]}.
func isAll(index syntax.ArithmExpr) bool {
	w, ok := index.(*syntax.Word)
	return ok && (w.Lit() == "@" || w.Lit() == "*")
}

// unescape takes out the backslashes that quote.
func unescape(s string, inQuotes bool) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' || i+1 == len(s) {
			b.WriteByte(s[i])
			continue
		}
		switch next := s[i+1]; {
		case next == '\n':
			i++
		case inQuotes && strings.IndexByte("$`\"\\", next) < 0:
			b.WriteByte('\\')
		default:
			b.WriteByte(next)
			i++
		}
	}
	return b.String()
}

// arithmetic works out $((...)) of numbers and variables that are known.
func (e *expansion) arithmetic(x syntax.ArithmExpr) (int, bool) {
	const most = 1 << 31
	switch x := x.(type) {
	case *syntax.Word:
		text := e.shell.joined(x)
		if v, ok := e.vars[text.text]; ok && v.why == "" && len(v.list) == 1 {
			text = word{text: v.list[0]}
		}
		n, err := strconv.Atoi(text.text)
		return n, err == nil && text.why == "" && n < most && n > -most && (text.text == "0" || text.text[0] != '0')
	case *syntax.ParenArithm:
		return e.arithmetic(x.X)
	case *syntax.BinaryArithm:
		a, ok := e.arithmetic(x.X)
		b, also := e.arithmetic(x.Y)
		if !ok || !also {
			return 0, false
		}
		n := 0
		switch x.Op {
		case syntax.Add:
			n = a + b
		case syntax.Sub:
			n = a - b
		case syntax.Mul:
			n = a * b
		case syntax.Quo:
			if b == 0 {
				return 0, false
			}
			n = a / b
		default:
			return 0, false
		}
		return n, n < most && n > -most
	}
	return 0, false
}
