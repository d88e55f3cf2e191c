package config

import (
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
)

// scalar decodes a string, a number or a truth value, false if n is none that
// fits.
func scalar(field reflect.Value, n *unstable.Node) bool {
	switch k := field.Kind(); {
	case k == reflect.String && n.Kind == unstable.String:
		field.SetString(string(n.Data))
	case k == reflect.Bool && n.Kind == unstable.Bool:
		field.SetBool(string(n.Data) == "true")
	case k == reflect.Int && n.Kind == unstable.Integer:
		v, err := strconv.ParseInt(string(n.Data), 0, 0) // takes 0x, 0o, 0b and _ as TOML does
		if err != nil {
			return false
		}
		field.SetInt(v)
	case k == reflect.Float64 && (n.Kind == unstable.Float || n.Kind == unstable.Integer):
		v, err := strconv.ParseFloat(strings.ReplaceAll(string(n.Data), "_", ""), 64)
		if err != nil || math.IsNaN(v) || math.IsInf(v, 0) {
			return false
		}
		field.SetFloat(v)
	default:
		return false
	}
	return true
}

func (d *decoder) wrongType(field reflect.Value, path string, at int, n *unstable.Node) {
	name := path[strings.LastIndexByte(path, '.')+1:]
	d.failAt(at, fmt.Sprintf("for example %s = %s", name, example(field)), fmt.Sprintf("%s takes %s, not %s", name, typeName(field), kindName(n)))
}

func typeName(field reflect.Value) string {
	switch field.Interface().(type) {
	case Duration:
		return "a duration in quotes"
	case Size:
		return "a size in quotes"
	case []string:
		return "a list of strings"
	}
	switch field.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.Int:
		return "a whole number"
	case reflect.Float64:
		return "a number"
	}
	return "a string in quotes"
}

func example(field reflect.Value) string {
	switch field.Interface().(type) {
	case Duration:
		return `"30d" or "1h30m"`
	case Size:
		return `"32MB"`
	case []string:
		return `["a", "b"]`
	}
	switch field.Kind() {
	case reflect.Bool:
		return "true"
	case reflect.Int:
		return "100"
	case reflect.Float64:
		return "0.5"
	}
	return `"text"`
}

func kindName(n *unstable.Node) string {
	switch n.Kind {
	case unstable.String:
		return "a string"
	case unstable.Bool:
		return "a truth value"
	case unstable.Integer, unstable.Float:
		return "the number " + string(n.Data)
	case unstable.Array:
		return "a list"
	case unstable.InlineTable:
		return "a table"
	}
	return "a date or time"
}
