package rule

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/file"

	"github.com/backscatterd/backscatterd/queuesweep/rule/spell"
)

// plain puts names of types as this package's comment has them.
var plain = strings.NewReplacer(
	"time.Duration", "duration", "[]string", "list of string", "[]interface {}", "list",
	"float64", "float", "[]int", "list of int",
	"returned header", "returned.header", "returned headers", "returned.headers",
	"Operator(", "", "Identifier(", "", "Bracket(", "", "String(", "", "Number(", "", "EOF", "end of the condition",
)

// token is how the parser names what it did not expect.
var token = regexp.MustCompile(`^unexpected token (?:\w+\((".*")\)|(EOF))$`)

// syntaxError places an error of the parser.
func syntaxError(src string, err error) error {
	located := locate(err)
	at := byteOffset(src, located.From)
	msg := located.Message
	if m := token.FindStringSubmatch(msg); m != nil {
		msg = "unexpected " + m[1]
		if m[2] != "" {
			return errorAt(src, len(strings.TrimRight(src, " \t\r\n")), "", "the condition ends too early")
		}
	}
	return errorAt(src, at, syntaxHint(src[at:], msg, strings.Contains(src, "$msg")), "%s", msg)
}

// perlWords are operators of Perl and what conditions have instead.
var perlWords = map[string]string{"eq": "==", "ne": "!=", "lt": "<", "gt": ">", "le": "<=", "ge": ">=", "xor": "!="}

// operatorWords are those that are words.
var operatorWords = []string{"contains", "startsWith", "endsWith", "matches", "in", "and", "or", "not"}

// syntaxHint says what was probably meant by the text that was not understood.
func syntaxHint(rest, msg string, perl bool) string {
	word := rest[:len(rest)-len(strings.TrimLeft(rest, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_"))]
	starts := func(prefixes ...string) bool {
		for _, p := range prefixes {
			if strings.HasPrefix(rest, p) {
				return true
			}
		}
		return false
	}
	switch {
	case perl || starts("$"):
		return "this looks like Perl; what qtool.pl -e takes is translated by: backscatterd qtool --print-rule -e '...'"
	case strings.Contains(msg, "invalid char escape"):
		return "write a backslash twice in double or single quotes, or use back quotes: `a\\.b`"
	case strings.Contains(msg, "not terminated"):
		return "the closing quote is missing"
	case starts("=~", "~", "!~"):
		return `a pattern is matched so: status matches "timed out"`
	case starts("=") && !starts("=="):
		return "equal is written =="
	case starts("&") && !starts("&&"):
		return "and is written &&"
	case perlWords[word] != "":
		return fmt.Sprintf("%s is written %s", word, perlWords[word])
	case word != "":
		if near := spell.Nearest(word, operatorWords); near != "" {
			return fmt.Sprintf("did you mean %q?", near)
		}
	}
	return ""
}

// typeError places an error of the type check.
func typeError(src string, root ast.Node, err error) error {
	located := locate(err)
	if located.Message == "" { // the condition as a whole is no bool
		got := plain.Replace(strings.TrimPrefix(err.Error(), "expected bool, but got "))
		return errorAt(src, byteOffset(src, root.Location().From),
			`compare it with something, such as: status contains "timed out"`,
			"a condition has to be true or false, this is a value (%s)", got)
	}
	msg := located.Message
	return errorAt(src, byteOffset(src, located.From), typeHint(msg), "%s", strings.TrimSpace(plain.Replace(msg)))
}

func locate(err error) *file.Error {
	var located *file.Error
	if errors.As(err, &located) {
		return located
	}
	return &file.Error{}
}

var toCall = regexp.MustCompile(` to call (\w+) ?$`)

var mismatch = regexp.MustCompile(`^invalid operation: (\S+) \(mismatched types (.+) and (.+)\)$`)

const notHint = `"!" and "not" bind to the name that follows; write: status not contains "...", or !(status contains "...")`

// typeHint says what was probably meant by an operation on the wrong types.
func typeHint(msg string) string {
	if m := toCall.FindStringSubmatch(msg); m != nil && functions[m[1]]+builtins[m[1]] != "" {
		return "for example " + functions[m[1]] + builtins[m[1]]
	}
	if strings.HasPrefix(msg, "invalid operation: ! (") || strings.HasPrefix(msg, "invalid operation: not (") {
		return notHint
	}
	m := mismatch.FindStringSubmatch(msg)
	if m == nil {
		return ""
	}
	op, left, right := m[1], m[2], m[3]
	number := func(t string) bool { return t == "int" || t == "float64" }
	one := func(t string) bool { return left == t && right != t || right == t && left != t }
	switch {
	case one("time.Duration"):
		return `a duration is compared with a duration: age > duration("4h")`
	case left == "[]string" && right == "string":
		return `to look into a list, write: any(recipients, # ` + op + ` "..."), or "..." in recipients`
	case left == "bool" && right == "string":
		return notHint
	case op == "in" && left == "string" && right == "string":
		return `"in" is for lists; write: status contains "..."`
	case one("string") && (number(left) || number(right)):
		return `a string becomes a number with number(...): number(header("X-Spam-Score")) > 5`
	}
	return ""
}
