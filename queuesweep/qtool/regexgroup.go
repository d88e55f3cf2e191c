package qtool

import "strings"

const notInRE2 = "not in RE2, the regular expressions of rules"

// extensions are the groups of Perl's that RE2 has not, longest first.
var extensions = []struct{ prefix, what, hint string }{
	{"(?<=", "lookbehind is ", "match what stands before as part of the pattern, or make two tests of it"},
	{"(?<!", "lookbehind is ", "make two tests of it: $msg{...} =~ /A/ && $msg{...} !~ /B/"},
	{"(?=", "lookahead is ", "make two tests of it: $msg{...} =~ /A/ && $msg{...} =~ /B/"},
	{"(?!", "lookahead is ", "make two tests of it: $msg{...} =~ /A/ && $msg{...} !~ /B/"},
	{"(?>", "atomic groups are ", "write (?:...)"},
	{"(?|", "branch reset is ", "write (?:...)"},
	{"(?{", "code in a pattern is ", "an expression may only ask"},
	{"(?p{", "code in a pattern is ", "an expression may only ask"},
	{"(??{", "code in a pattern is ", "an expression may only ask"},
	{"(?(", "a condition in a pattern is ", "make two tests of it"},
	{"(?P=", "references to groups are ", "spell out what is to be matched"},
	{"(?P>", "recursion is ", "spell out what is to be matched"},
	{"(?&", "recursion is ", "spell out what is to be matched"},
	{"(?R", "recursion is ", "spell out what is to be matched"},
	{"(?+", "recursion is ", "spell out what is to be matched"},
	{"(*", "verbs of Perl's are ", `write \(\* for the characters`},
}

// group opens a group, sets flags, or passes a comment.
func (r *rewriter) group() error {
	rest := r.rest()
	for _, e := range extensions {
		if strings.HasPrefix(rest, e.prefix) {
			return r.fail(r.i, e.hint, "%s%s", e.what, notInRE2)
		}
	}
	switch {
	case !strings.HasPrefix(rest, "(?"):
		r.opens("(", 1)
	case strings.HasPrefix(rest, "(?:"):
		r.opens("(?:", 3)
	case strings.HasPrefix(rest, "(?#"):
		comment, _, closed := strings.Cut(rest, ")")
		if !closed {
			return r.fail(r.i, "close it with )", "this comment is never closed")
		}
		r.i += len(comment) + 1
	case strings.HasPrefix(rest, "(?<"), strings.HasPrefix(rest, "(?P<"), strings.HasPrefix(rest, "(?'"):
		return r.namedGroup(rest)
	default:
		return r.inlineFlags(rest)
	}
	return nil
}

func (r *rewriter) opens(re2 string, n int) {
	r.open = append(r.open, r.i)
	r.write(re2, n)
	r.atom = false
}

// namedGroup drops the name: nothing can ask for it.
func (r *rewriter) namedGroup(rest string) error {
	from := strings.IndexAny(rest, "<'")
	w := leadingWord(rest[from+1:])
	end := from + 1 + len(w)
	if w == "" || end == len(rest) || rest[end] != '>' && rest[end] != '\'' {
		return r.fail(r.i, "write (...) or (?:...)", "this group's name is wrong")
	}
	r.opens("(", end+1)
	return nil
}

// inlineFlags is (?i) and (?i-s:...).
func (r *rewriter) inlineFlags(rest string) error {
	on, off, minus := "", "", false
	for i := 2; i < len(rest); i++ {
		switch c := rest[i]; {
		case c == '-' && !minus:
			minus = true
		case (c == 'i' || c == 'm' || c == 's') && minus:
			off += string(rune(c))
		case c == 'i' || c == 'm' || c == 's':
			on += string(rune(c))
		case c == ':' || c == ')':
			if off != "" {
				on += "-" + off
			}
			if c == ':' {
				r.opens("(?"+on+":", i+1)
				return nil
			}
			if on != "" {
				r.out.WriteString("(?" + on + ")")
			}
			r.i += i + 1
			r.atom = false
			return nil
		case c == 'x' || c == 'n':
			return r.fail(r.i+i, "put the flag x behind the pattern: /.../x", "the flag %c is not supported within a pattern", c)
		default:
			return r.fail(r.i, "flags are (?i) (?m) (?s), groups (...) and (?:...)", "this kind of group is %s", notInRE2)
		}
	}
	return r.fail(r.i, "close it with )", "this group is never closed")
}
