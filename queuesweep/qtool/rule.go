package qtool

import (
	"fmt"
	"strings"
	"unicode"
)

// Condition is the condition of the messages that the command line is about:
// those older than -s says, for which -e holds. With -Q it holds for held
// messages only. Without options it is "true".
//
// The error is a *[SyntaxError] in the expression.
func (inv Invocation) Condition() (string, error) {
	c, _, err := inv.condition()
	if err != nil {
		return "", err
	}
	return c.String(), nil
}

func (inv Invocation) condition() (c cond, words []string, err error) {
	and := func(more cond) {
		if c == nil {
			c = more
		} else {
			c = joined{false, c, more}
		}
	}
	if inv.Quarantined {
		and(test(`state == "held"`, `state != "held"`))
	}
	if inv.OlderThan > 0 {
		and(test(fmt.Sprintf(`df_age > duration("%ds")`, int64(inv.OlderThan.Seconds())), ""))
	}
	if inv.Expr != "" {
		t, err := translate(inv.Expr)
		if err != nil {
			return nil, nil, err
		}
		and(t.cond)
		words = t.words
	}
	if c == nil {
		c = constant(true)
	}
	return c, words, nil
}

// Rule is the command line as a rule of the configuration: a TOML table, with
// comments that say where it came from. Its name is made of the action and of
// the constants in the expression, so the same command line always gets the
// same name. The error is a *[SyntaxError] in the expression.
func (inv Invocation) Rule() (string, error) {
	c, words, err := inv.condition()
	if err != nil {
		return "", err
	}
	var b strings.Builder
	if inv.Expr != "" {
		fmt.Fprintf(&b, "# qtool.pl -e %s\n", oneLine(inv.Expr))
	}
	if inv.Action == Move && inv.Target != "" {
		fmt.Fprintf(&b, "# qtool.pl moved to %s; a rule moves to the removed store\n", oneLine(inv.Target))
	}
	b.WriteString("[[rule]]\n")
	fmt.Fprintf(&b, "name = %s\n", tomlString(inv.name(words)))
	fmt.Fprintf(&b, "when = %s\n", tomlString(c.String()))
	fmt.Fprintf(&b, "do = %s\n", tomlString(string(inv.Action)))
	return b.String(), nil
}

// Name is the name of the rule that the command line amounts to: lower case
// letters, digits and - between them. The error is a *[SyntaxError] in the
// expression.
func (inv Invocation) Name() (string, error) {
	_, words, err := inv.condition()
	if err != nil {
		return "", err
	}
	return inv.name(words), nil
}

// TOML writes a line of valid UTF-8 as a string of TOML, in quotes without
// escapes where that can be.
func TOML(s string) string { return tomlString(s) }

// maxName is where the name of a rule is cut.
const maxName = 60

func (inv Invocation) name(words []string) string {
	var b strings.Builder
	b.WriteString(string(inv.Action))
	if inv.Quarantined {
		b.WriteString(" held")
	}
	if inv.OlderThan > 0 {
		fmt.Fprintf(&b, " %ds", int64(inv.OlderThan.Seconds()))
	}
	for _, w := range words {
		b.WriteString(" " + w)
	}
	slug := strings.Join(strings.FieldsFunc(strings.ToLower(b.String()), func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9')
	}), "-")
	if len(slug) > maxName {
		slug = slug[:maxName]
		slug = strings.TrimRight(slug[:max(strings.LastIndexByte(slug, '-'), maxName/2)], "-")
	}
	return slug
}

// oneLine is a text as a comment can hold it.
func oneLine(s string) string {
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t' || r == '\r':
			return ' '
		case !unicode.IsPrint(r):
			return '?'
		}
		return r
	}, strings.ToValidUTF8(s, "?")))
}

// tomlString writes a text so that it is read as it stands: in quotes without
// escapes where that can be. What gets here is valid UTF-8 in one line.
func tomlString(s string) string {
	plain := strings.IndexFunc(s, unicode.IsControl) < 0
	switch {
	case plain && !strings.ContainsAny(s, `"\`):
		return `"` + s + `"`
	case plain && !strings.Contains(s, "'"):
		return "'" + s + "'"
	case plain && !strings.Contains(s, "'''") && !strings.HasSuffix(s, "'"):
		return "'''" + s + "'''"
	}
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteString(`\` + string(r))
		case unicode.IsControl(r):
			fmt.Fprintf(&b, `\u%04X`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}
