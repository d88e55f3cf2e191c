package config

import (
	"bytes"
	"encoding"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"

	"github.com/backscatterd/backscatterd/queuesweep/rule/spell"
)

// decoder puts the values of a TOML document into a Config and remembers where
// each of them stood. It goes over the syntax tree itself, since toml.Decoder
// stops at the first value of a wrong type, and keeps no places.
type decoder struct {
	name     string
	data     []byte
	cfg      *Config
	parser   unstable.Parser
	places   map[string]place
	problems Problems
	stopped  bool // the document is no TOML: what was read means nothing
}

// place is where a key and its value stand.
type place struct {
	value int    // offset in the file
	line  int    // of the key, the first is 1
	raw   []byte // of a string: as it is written, with its quotes
}

func (d *decoder) decode() {
	d.places = make(map[string]place)
	// The library's own decoder finds keys and tables that are defined twice.
	var ignored map[string]any
	if err := toml.Unmarshal(d.data, &ignored); err != nil {
		d.syntax(err)
		return
	}
	root := reflect.ValueOf(d.cfg).Elem()
	table, path := root, ""
	d.parser.Reset(d.data)
	for d.parser.NextExpression() {
		switch n := d.parser.Expression(); n.Kind {
		case unstable.Table, unstable.ArrayTable:
			table, path = d.header(root, n)
		case unstable.KeyValue:
			d.keyValue(table, path, n)
		}
	}
	if err := d.parser.Error(); err != nil { // the decoder above took it
		d.syntax(err)
	}
}

func (d *decoder) syntax(err error) {
	d.stopped = true
	at, msg := 0, strings.TrimPrefix(err.Error(), "toml: ")
	var located *toml.DecodeError
	var unlocated *unstable.ParserError
	switch {
	case errors.As(err, &located):
		line, column := located.Position()
		at = d.offset(line, column)
	case errors.As(err, &unlocated):
		at = int(d.parser.Range(unlocated.Highlight).Offset)
	}
	d.failAt(at, syntaxHint(d.data, at, msg), msg)
}

// syntaxHint says what was probably meant where the document is no TOML.
func syntaxHint(data []byte, at int, msg string) string {
	switch {
	case strings.Contains(msg, "escape"):
		return `write patterns and conditions in single quotes: when = 'status matches "a\\.b"'`
	case strings.Contains(msg, "already"):
		return "a key or table stands once in a file; rules are written [[rule]], with two brackets"
	case strings.Contains(msg, "UTF-8") || strings.Contains(msg, "utf8"):
		return "save the file as UTF-8"
	case at < len(data) && strings.Contains(msg, "value"):
		return "text stands in quotes, lists in brackets: [\"a\", \"b\"]"
	}
	return ""
}

// offset is the byte of the document at a line and a column, as the library
// counts: from 1, columns in bytes.
func (d *decoder) offset(line, column int) int {
	at := 0
	for n := 1; n < line; n++ {
		nl := strings.IndexByte(string(d.data[at:]), '\n')
		if nl < 0 {
			return len(d.data)
		}
		at += nl + 1
	}
	return min(at+max(0, column-1), len(d.data))
}

// header finds the table of a [table] or [[table]] line. The value is invalid
// for one that does not exist.
func (d *decoder) header(root reflect.Value, n *unstable.Node) (reflect.Value, string) {
	table, path := root, ""
	keys := n.Key()
	for keys.Next() {
		key := keys.Node()
		field, full := d.field(table, path, key)
		if !field.IsValid() {
			return reflect.Value{}, ""
		}
		at := int(key.Raw.Offset)
		switch {
		case field.Kind() == reflect.Slice && field.Type().Elem().Kind() == reflect.Struct:
			if n.Kind != unstable.ArrayTable {
				d.failAt(at, fmt.Sprintf("write [[%s]], with two brackets", full), fmt.Sprintf("%s is a list of tables", full))
				return reflect.Value{}, ""
			}
			field, full = d.appendTable(field, full, at)
		case field.Kind() != reflect.Struct:
			d.failAt(at, fmt.Sprintf("write it below its section: %s = ...", key.Data), fmt.Sprintf("%s is no section", full))
			return reflect.Value{}, ""
		case n.Kind == unstable.ArrayTable:
			d.failAt(at, fmt.Sprintf("write [%s], with one bracket", full), fmt.Sprintf("there is one %s only", full))
			return reflect.Value{}, ""
		}
		d.places[full] = d.place(at, at)
		table, path = field, full
	}
	return table, path
}

// appendTable adds an element to a list of tables. The first one in the file
// takes the place of the defaults.
func (d *decoder) appendTable(list reflect.Value, path string, at int) (reflect.Value, string) {
	if _, again := d.places[path]; !again {
		list.SetZero()
		d.places[path] = d.place(at, at)
	}
	list.Set(reflect.Append(list, reflect.Zero(list.Type().Elem())))
	i := list.Len() - 1
	return list.Index(i), element(path, i)
}

func element(path string, i int) string { return fmt.Sprintf("%s[%d]", path, i) }

// field finds the field of a struct that a key names.
func (d *decoder) field(table reflect.Value, path string, key *unstable.Node) (reflect.Value, string) {
	name := string(key.Data)
	fields := fieldsOf(table.Type())
	full := strings.TrimPrefix(path+"."+name, ".")
	if i, ok := fields[name]; ok {
		return table.Field(i), full
	}
	d.failAt(int(key.Raw.Offset), unknownHint(name, path, slices.Sorted(maps.Keys(fields))), fmt.Sprintf("unknown key %q", strings.TrimPrefix(section(path)+"."+name, ".")))
	return reflect.Value{}, ""
}

// section is the path of a table without the number of an element.
func section(path string) string {
	path, _, _ = strings.Cut(path, "[")
	return path
}

// otherWords are what other programs call things.
var otherWords = map[string]string{
	"action": "do", "condition": "when", "if": "when", "where": "when", "match": "when", "expression": "when",
	"queues": "queue", "rules": "rule", "logging": "log", "logs": "log", "interval": "schedule", "cron": "schedule",
}

// fieldsOf maps the keys of a table to the fields of its struct.
func fieldsOf(t reflect.Type) map[string]int {
	fields := make(map[string]int)
	for i := range t.NumField() {
		f := t.Field(i)
		if !f.IsExported() {
			continue
		}
		name := f.Tag.Get("toml")
		if name == "" {
			name = strings.ToLower(f.Name)
		}
		fields[name] = i
	}
	return fields
}

func unknownHint(name, path string, known []string) string {
	where := "the sections are: "
	if path != "" {
		where = fmt.Sprintf("the keys of [%s] are: ", path)
		if section(path) != path {
			where = fmt.Sprintf("the keys of [[%s]] are: ", section(path))
		}
	}
	list := where + strings.Join(known, ", ")
	near := otherWords[name]
	if !slices.Contains(known, near) {
		near = spell.Nearest(name, known)
	}
	if near != "" {
		return fmt.Sprintf("did you mean %q?\n%s", near, list)
	}
	for _, other := range slices.Sorted(maps.Keys(fieldsOf(reflect.TypeFor[Config]()))) {
		t := reflect.TypeFor[Config]().Field(fieldsOf(reflect.TypeFor[Config]())[other]).Type
		if t.Kind() == reflect.Slice {
			t = t.Elem()
		}
		if _, ok := fieldsOf(t)[name]; ok && other != section(path) {
			return fmt.Sprintf("there is one in the section %s; is the line in the wrong place?\n%s", other, list)
		}
	}
	return list
}

// keyValue decodes one "key = value".
func (d *decoder) keyValue(table reflect.Value, path string, n *unstable.Node) {
	if !table.IsValid() {
		return // of an unknown table, which was reported
	}
	keys := n.Key()
	for keys.Next() {
		key := keys.Node()
		field, full := d.field(table, path, key)
		if !field.IsValid() {
			return
		}
		at := int(key.Raw.Offset)
		if keys.IsLast() {
			d.value(field, full, at, n.Value())
			return
		}
		if field.Kind() != reflect.Struct {
			d.failAt(at, "", fmt.Sprintf("%s is no section", full))
			return
		}
		table, path = field, full
	}
}

// value decodes a value into a field of any type that a Config has.
func (d *decoder) value(field reflect.Value, path string, keyAt int, n *unstable.Node) {
	at := d.position(n, keyAt)
	p := d.place(keyAt, at)
	if n.Kind == unstable.String {
		p.raw = slices.Clone(d.parser.Raw(n.Raw))
	}
	if field.Kind() == reflect.Slice && field.Type().Elem().Kind() == reflect.Struct {
		d.tables(field, path, keyAt, n)
		return
	}
	d.places[path] = p
	if u, ok := field.Addr().Interface().(encoding.TextUnmarshaler); ok {
		if n.Kind != unstable.String {
			d.wrongType(field, path, at, n)
		} else if err := u.UnmarshalText(n.Data); err != nil {
			d.failAt(at, "for example "+example(field), err.Error())
		}
		return
	}
	switch field.Kind() {
	case reflect.Struct:
		if n.Kind != unstable.InlineTable {
			d.failAt(keyAt, fmt.Sprintf("write [%s] on a line of its own, its keys below", path), fmt.Sprintf("%s is a section", path))
			return
		}
		for it := n.Children(); it.Next(); {
			if it.Node().Kind == unstable.KeyValue {
				d.keyValue(field, path, it.Node())
			}
		}
	case reflect.Slice:
		d.list(field, path, keyAt, n)
	default:
		if !scalar(field, n) {
			d.wrongType(field, path, at, n)
		}
	}
}

// tables decodes rule = [{name = "..."}, ...].
func (d *decoder) tables(field reflect.Value, path string, keyAt int, n *unstable.Node) {
	if n.Kind != unstable.Array {
		d.failAt(keyAt, fmt.Sprintf("write [[%s]] on a line of its own, its keys below", path), fmt.Sprintf("%s is a list of tables", path))
		return
	}
	field.SetZero()
	d.places[path] = d.place(keyAt, keyAt)
	for it := n.Children(); it.Next(); {
		at := d.position(it.Node(), keyAt)
		if it.Node().Kind != unstable.InlineTable {
			d.failAt(at, fmt.Sprintf("write [[%s]] on a line of its own, its keys below", path), fmt.Sprintf("%s is a list of tables", path))
			return
		}
		table, full := d.appendTable(field, path, at)
		d.places[full] = d.place(at, at)
		for pairs := it.Node().Children(); pairs.Next(); {
			if pairs.Node().Kind == unstable.KeyValue {
				d.keyValue(table, full, pairs.Node())
			}
		}
	}
}

// list decodes a list of strings.
func (d *decoder) list(field reflect.Value, path string, keyAt int, n *unstable.Node) {
	if n.Kind != unstable.Array {
		d.wrongType(field, path, d.position(n, keyAt), n)
		return
	}
	var out []string
	for it := n.Children(); it.Next(); {
		child := it.Node()
		at := d.position(child, keyAt)
		if child.Kind != unstable.String {
			d.wrongType(field, path, at, child)
			return
		}
		d.places[element(path, len(out))] = d.place(at, at)
		out = append(out, string(child.Data))
	}
	field.Set(reflect.ValueOf(out))
}

// position is where a value starts. The library tells it for strings, numbers
// and truth values; for an array the key's place has to do.
func (d *decoder) position(n *unstable.Node, otherwise int) int {
	if n.Raw.Length > 0 {
		return int(n.Raw.Offset)
	}
	return otherwise
}

// fail reports a problem of a key: at its value, or at the table that lacks it.
func (d *decoder) fail(key, hint, message string) {
	d.failAt(d.find(key), hint, message)
}

func (d *decoder) find(key string) int {
	for key != "" {
		if p, ok := d.places[key]; ok {
			return p.value
		}
		key = key[:max(0, strings.LastIndexAny(key, ".["))]
	}
	return 0
}

func (d *decoder) line(key string) int { return d.places[key].line }

func (d *decoder) place(keyAt, valueAt int) place {
	return place{value: valueAt, line: 1 + bytes.Count(d.data[:keyAt], []byte{'\n'})}
}

func (d *decoder) failAt(at int, hint, message string) {
	d.problems = append(d.problems, problemAt(d.name, d.data, at, hint, message))
}
