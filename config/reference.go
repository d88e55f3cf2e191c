package config

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"reflect"
	"regexp"
	"strings"
)

// ruleKeys are the keys of a [[rule]], which the default file shows by example.
var ruleKeys = [][2]string{
	{"name", "What it is called, in results, the audit log and metrics: letters, digits, `.`, `_` and `-`. Required, and no two the same."},
	{"when", "The condition. Required."},
	{"do", "`move` (where it is missing), `delete`, `expire`, `bounce`, `hold`, `release` or `log`."},
	{"reason", "With `do = \"hold\"`: the text that mailq shows. Without it, the name of the rule."},
	{"schedule", "A schedule of its own, instead of `sweep.schedule`."},
}

// defaultKey is a line of the default file that names a key and its default.
var defaultKey = regexp.MustCompile(`^# ([a-z_]+) = (.+)$`)

// WriteReference writes the reference of all keys in Markdown: what each is for
// from the default file, what it takes from the types that it is read into.
func WriteReference(out io.Writer) error {
	w := bufio.NewWriter(out)
	fmt.Fprint(w, "# Configuration\n\n<!-- Made by \"backscatterd config reference\"; a test compares. -->\n\n"+
		"`"+DefaultPath+"`, or the file of `-c`, in [TOML](https://toml.io). A key that\n"+
		"is missing has the value shown here behind the `=`. Unknown keys are errors.\n"+
		"`backscatterd config check` tells all that is wrong with a file, `backscatterd config show`\n"+
		"what is in effect, and from which line.\n\n")
	// The file's first two paragraphs speak of the file itself.
	text := bytes.SplitN(defaultFile, []byte("\n#\n"), 3)[2]
	text, _, _ = bytes.Cut(text, []byte("\n[[rule]]"))
	var section string
	var said, keys []string
	flush := func() {
		if len(keys) > 0 {
			fmt.Fprintf(w, "- %s", strings.Join(keys, "<br>"))
			if len(said) > 0 {
				fmt.Fprint(w, "<br>")
			}
			fmt.Fprintln(w)
		}
		for _, line := range said {
			if len(keys) > 0 {
				fmt.Fprint(w, "  ")
			}
			fmt.Fprintln(w, line)
		}
		if len(keys)+len(said) > 0 {
			fmt.Fprintln(w)
		}
		said, keys = nil, nil
	}
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSuffix(line, "\n")
		switch key := defaultKey.FindStringSubmatch(line); {
		case strings.HasPrefix(line, "["):
			said = nil
			section = strings.Trim(line, "[]")
			fmt.Fprintf(w, "## [%s]\n\n", section)
		case key != nil:
			takes, err := taken(section, key[1])
			if err != nil {
				return err
			}
			keys = append(keys, fmt.Sprintf("`%s = %s`, %s", key[1], key[2], takes))
		case line == "" && section == "serve" && len(keys) == 0 && len(said) > 0:
			said = nil // what stands over the rules
		case line == "" || !strings.HasPrefix(line, "#"):
			flush()
		case line == "#":
			said = append(said, "")
		default:
			said = append(said, strings.ReplaceAll(strings.TrimPrefix(line, "# "), "*", `\*`))
		}
	}
	said = nil
	flush()
	fmt.Fprint(w, "## [[rule]]\n\nThe rules, tried in their order. A file that has any replaces all built-in ones.\n"+
		"[rules.md](rules.md) explains them, [cookbook.md](cookbook.md) the built-in ones.\n\n")
	for _, k := range ruleKeys {
		fmt.Fprintf(w, "- `%s`, a string in quotes<br>\n  %s\n", k[0], k[1])
	}
	return w.Flush()
}

// taken says what a key takes, or that there is no such key.
func taken(section, key string) (string, error) {
	at := reflect.ValueOf(Config{})
	for _, name := range append(strings.Split(section, "."), key) {
		field, ok := fieldOf(at, name)
		if !ok {
			return "", fmt.Errorf("default.toml names %s.%s, which is no key", section, key)
		}
		at = field
	}
	return typeName(at), nil
}

func fieldOf(v reflect.Value, key string) (reflect.Value, bool) {
	if v.Kind() != reflect.Struct {
		return v, false
	}
	for i := range v.NumField() {
		if v.Type().Field(i).Tag.Get("toml") == key {
			return v.Field(i), true
		}
	}
	return v, false
}
