package qtool_test

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/expr-lang/expr"
	"github.com/expr-lang/expr/vm"

	"github.com/backscatterd/backscatterd/queuesweep/perlnum"
	"github.com/backscatterd/backscatterd/queuesweep/qtool"
)

// message is a control file as far as conditions see it: the texts of its lines
// by their letters, and its headers in order.
type message struct {
	id      string
	state   string
	size    int
	dfAge   time.Duration
	lines   map[string][]string
	headers []header
}

type header struct{ condition, name, value string }

func (m message) first(code string) string {
	if all := m.lines[code]; len(all) > 0 {
		return all[0]
	}
	return ""
}

func (m message) number(code string) int {
	n, _ := strconv.Atoi(m.first(code))
	return n
}

func (m message) named(match func(header) bool) []string {
	found := []string{}
	for _, h := range m.headers {
		if match(h) {
			found = append(found, h.value)
		}
	}
	return found
}

// env has the names that translations may use, with the meaning that rules give
// them.
func (m message) env() map[string]any {
	raw := func(name string) []string {
		return m.named(func(h header) bool { return strings.EqualFold(h.name, name) })
	}
	return map[string]any{
		"id": m.id, "state": m.state, "size": m.size, "df_age": m.dfAge,
		"status": m.first("M"), "body_type": m.first("B"), "flags": m.first("F"), "quarantine": m.first("q"),
		"attempts": m.number("N"), "priority": m.number("P"),
		"line":        m.first,
		"lines":       func(code string) []string { return append([]string{}, m.lines[code]...) },
		"raw_headers": raw,
		"raw_header": func(name string) string {
			if all := raw(name); len(all) > 0 {
				return all[0]
			}
			return ""
		},
		"old_headers": func(name string) []string {
			return m.named(func(h header) bool {
				return strings.EqualFold(h.name, name) ||
					h.condition == "" && len(h.name) > 1 && strings.EqualFold(h.name[1:], name)
			})
		},
		"number": perlnum.Value,
	}
}

// compile compiles a condition as strictly as rules do.
func compile(condition string) (*vm.Program, error) {
	return expr.Compile(condition, expr.Env(message{}.env()), expr.AsBool(), expr.MaxNodes(4000),
		expr.DisableAllBuiltins(), expr.EnableBuiltin("any"), expr.EnableBuiltin("none"),
		expr.EnableBuiltin("len"), expr.EnableBuiltin("duration"))
}

func holds(t *testing.T, condition string, m message) bool {
	t.Helper()
	program, err := compile(condition)
	if err != nil {
		t.Fatalf("%s\ndoes not compile: %v", condition, err)
	}
	result, err := expr.Run(program, m.env())
	if err != nil {
		t.Fatalf("%s\nfails: %v", condition, err)
	}
	return result.(bool)
}

// translated translates what must be translatable, and checks that it compiles.
func translated(t *testing.T, perl string) string {
	t.Helper()
	condition, err := qtool.Translate(perl)
	if err != nil {
		t.Fatalf("%s\n%v", perl, err)
	}
	if _, err := compile(condition); err != nil {
		t.Fatalf("%s\nbecame %s\nwhich does not compile: %v", perl, condition, err)
	}
	return condition
}
