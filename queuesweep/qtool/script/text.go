package script

import (
	"path"
	"regexp"
	"strings"
	"sync"
)

var (
	textSets    = lazily(`(?:^|[\s;])([A-Za-z_][A-Za-z0-9_]*)=("[^"\n]*"|'[^'\n]*'|[^\s;'"]+)`)
	textCall    = lazily(`(?:^|[\s;&|(` + "`" + `'"])(\$\{?[A-Za-z_0-9]*\}?|[\w./-]*/)?(qtool(?:\.pl)?)?[ \t]+`)
	placeholder = lazily(`^<[^>]*>[.,;:)]*$|^\.\.\.$|^\[`)
)

// text finds command lines of qtool.pl in a text, such as a page on it, where
// several may stand in a line. One begins at a name or a variable of that name,
// or at sendmail's folder of programs, as pages have it from which a name was
// lost; it ends with the last word that can be a folder.
func (r *reading) text(src source, schedule string) {
	vars := make(map[string]string)
	at := 0
	for at < len(src.text) {
		m := textCall().FindStringSubmatchIndex(src.text[at:])
		if m == nil {
			break
		}
		start, behind := at+m[0], at+m[1]
		if c := src.text[start]; strings.IndexByte(" \t\r\n;&|(`'\"", c) >= 0 {
			start++
		}
		for _, set := range textSets().FindAllStringSubmatch(src.text[at:start], -1) {
			vars[set[1]] = unquote(set[2])
		}
		at = max(behind-1, at+1) // the blank may begin the next one
		name := strings.TrimSpace(src.text[start:behind])
		if !namesQtool(name) {
			// What was passed over may set variables all the same.
			for _, set := range textSets().FindAllStringSubmatch(" "+src.text[start:behind], -1) {
				vars[set[1]] = unquote(set[2])
			}
			continue
		}
		args, stop, shown := textWords(src, behind, vars)
		if len(args) == 0 {
			continue
		}
		for _, w := range args {
			if placeholder().MatchString(w.text) && shown {
				r.problem(src, w.offset, "not taken: "+w.text+" stands for something that this text does not tell")
				args = nil
				break
			}
		}
		if args != nil {
			r.call(src, start, stop, args, schedule, "")
		}
		at = stop
	}
}

// namesQtool tells whether a word in a text is how a call begins.
func namesQtool(name string) bool {
	base := path.Base(name)
	return base == "qtool.pl" || base == "qtool" || strings.HasPrefix(name, "$") && mentions(name) || name == "/usr/share/sendmail/"
}

// textWords reads the words of a call as qtool.pl takes them: options, then for
// a move the target, then sources while words can be one. shown tells that there
// are operands at all.
func textWords(src source, at int, vars map[string]string) (args []word, stop int, shown bool) {
	move, options, operands := true, true, 0
	stop = at
	for {
		w, next, ok := textWord(src, at, vars)
		if !ok {
			return args, stop, shown
		}
		switch {
		case options && len(w.text) > 1 && w.text[0] == '-':
			args = append(args, w)
			move = move && !strings.ContainsAny(w.text, "db")
			if last := w.text[len(w.text)-1]; strings.IndexByte("eCs", last) >= 0 && len(w.text) == 2 {
				if w, after, ok := textWord(src, next, vars); ok {
					args, next = append(args, w), after
				}
			}
		case placeholder().MatchString(w.text), strings.Contains(w.text, "/") && (w.text[0] == '/' || w.why != ""), w.why != "":
			if namesQtool(strings.TrimSpace(src.text[w.offset:next])) {
				return args, stop, shown
			}
			options, shown = false, true
			operands++
			w.text = strings.TrimRight(w.text, ".,:)") // of the sentence
			args = append(args, w)
			if w.text == "" && w.why == "" || operands > 50 {
				return args, next, shown
			}
		default:
			return args, stop, shown
		}
		at, stop = next, next
	}
}

// textWord reads a word of the shell's: quotes, backslashes, variables.
func textWord(src source, at int, vars map[string]string) (w word, next int, ok bool) {
	text := src.text
	for at < len(text) && (text[at] == ' ' || text[at] == '\t' || strings.HasPrefix(text[at:], "\\\n")) {
		at++
		if text[at-1] == '\\' {
			at++
		}
	}
	w.offset = at
	var b strings.Builder
	i := at
	for i < len(text) && strings.IndexByte(" \t\r\n;&|", text[i]) < 0 {
		switch c := text[i]; {
		case c == '\'':
			end := strings.IndexByte(text[i+1:], '\'')
			if end < 0 {
				return w, i, false
			}
			if i == at {
				w.literal, w.literalAt = true, i+1
			}
			b.WriteString(text[i+1 : i+1+end])
			i += end + 2
		case c == '"':
			end := i + 1
			for end < len(text) && text[end] != '"' {
				if text[end] == '\\' {
					end++
				}
				end++
			}
			if end >= len(text) {
				return w, i, false
			}
			inner := text[i+1 : end]
			if strings.Contains(strings.ReplaceAll(inner, `\$`, ""), "$") {
				w.why = "in double quotes the shell takes $ for a variable of its own: put the expression in single quotes"
			}
			b.WriteString(unescape(inner, true))
			i = end + 1
		case c == '$':
			name := strings.TrimPrefix(text[i+1:], "{")
			n := 0
			for n < len(name) && (name[n] == '_' || name[n]|0x20 >= 'a' && name[n]|0x20 <= 'z' || name[n] >= '0' && name[n] <= '9') {
				n++
			}
			end := i + 1 + n
			if strings.HasPrefix(text[i+1:], "{") {
				if end += 1; end < len(text) && text[end] == '}' {
					end++
				}
			}
			if v, set := vars[name[:n]]; set {
				b.WriteString(v)
			} else {
				w.why = "$" + name[:n] + " is not set in this file"
			}
			i = min(end, len(text))
		case c == '\\' && i+1 < len(text):
			b.WriteByte(text[i+1])
			i += 2
		default:
			b.WriteByte(c)
			i++
		}
	}
	w.text = b.String()
	w.literal = w.literal && strings.HasPrefix(text[w.literalAt:], w.text)
	return w, i, i > at
}

// lazily compiles a pattern when it is first asked for: the commands that do not
// import start without it.
func lazily(pattern string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(pattern) })
}
