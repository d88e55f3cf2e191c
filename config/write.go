package config

import (
	"bufio"
	"encoding"
	"fmt"
	"io"
	"reflect"
	"strconv"
	"strings"

	"github.com/backscatterd/backscatterd/queuesweep/rule"
)

// Write writes the effective configuration as a file that reads back as the
// same, with a comment on each key that says where its value is from.
func (c *Config) Write(w io.Writer) error {
	out := bufio.NewWriter(w)
	if c.name == "" {
		fmt.Fprintln(out, "# The built-in defaults: no configuration file was read.")
	} else {
		fmt.Fprintf(out, "# The configuration in effect, from %s.\n", strconv.Quote(c.name))
	}
	if len(c.Rules) == 0 { // with no rule below, the built-in ones would hold
		fmt.Fprintln(out, "\nrule = []")
	}
	v := reflect.ValueOf(c).Elem()
	for i := range v.NumField() {
		f := v.Type().Field(i)
		if f.IsExported() && f.Type.Kind() == reflect.Struct {
			c.writeTable(out, f.Tag.Get("toml"), v.Field(i))
		}
	}
	c.writeRules(out)
	return out.Flush()
}

func (c *Config) writeTable(out *bufio.Writer, path string, table reflect.Value) {
	fmt.Fprintf(out, "\n[%s]\n", path)
	var inner []int
	for i := range table.NumField() {
		key := table.Type().Field(i).Tag.Get("toml")
		if table.Field(i).Kind() == reflect.Struct {
			inner = append(inner, i)
			continue
		}
		fmt.Fprintf(out, "%s = %s # %s\n", key, literal(table.Field(i)), c.origin(path+"."+key))
	}
	for _, i := range inner {
		c.writeTable(out, path+"."+table.Type().Field(i).Tag.Get("toml"), table.Field(i))
	}
}

func (c *Config) writeRules(out *bufio.Writer) {
	for i, r := range c.Rules {
		key := element("rule", i)
		from := "built-in rule"
		if _, set := c.places[key]; set {
			from = c.origin(key)
		}
		fmt.Fprintf(out, "\n[[rule]] # %s\nname = %s\nwhen = %s\ndo = %s\n", from, quote(r.Name), quote(r.When), quote(string(r.Do)))
		if r.Do == rule.Hold {
			fmt.Fprintf(out, "reason = %s\n", quote(r.Reason))
		}
		if r.Schedule != "" {
			fmt.Fprintf(out, "schedule = %s\n", quote(r.Schedule))
		}
	}
}

// origin says where the value of a key is from.
func (c *Config) origin(key string) string {
	if p, ok := c.places[key]; ok {
		return fmt.Sprintf("line %d", p.line)
	}
	return "default"
}

func literal(v reflect.Value) string {
	if m, ok := v.Interface().(encoding.TextMarshaler); ok {
		if text, err := m.MarshalText(); err == nil {
			return quote(string(text))
		}
	}
	switch v.Kind() {
	case reflect.Bool:
		return strconv.FormatBool(v.Bool())
	case reflect.Int:
		return strconv.FormatInt(v.Int(), 10)
	case reflect.Float64:
		s := strconv.FormatFloat(v.Float(), 'f', -1, 64)
		if !strings.Contains(s, ".") {
			s += ".0"
		}
		return s
	case reflect.Slice:
		texts := make([]string, v.Len())
		for i := range texts {
			texts[i] = quote(v.Index(i).String())
		}
		return "[" + strings.Join(texts, ", ") + "]"
	}
	return quote(v.String())
}

// quote writes a string in single quotes where it has quotes or backslashes and
// can stand so, as conditions do, else in double quotes.
func quote(s string) string {
	if strings.ContainsAny(s, `"\`) && !strings.Contains(s, "'") && !strings.ContainsFunc(s, isControl) {
		return "'" + s + "'"
	}
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case isControl(r):
			fmt.Fprintf(&b, `\u%04X`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

func isControl(r rune) bool { return r < ' ' || r == 0x7F }
