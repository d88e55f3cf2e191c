package queuesweep

import (
	"bytes"
	"encoding/json"
	"fmt"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// JSONLine writes a value as one line of JSON, its newline included. It is safe
// to show on a terminal: JSON itself escapes the controls below blank only, but
// DEL, those from U+0080 on, and marks of direction do harm there too.
func JSONLine(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return Printable(b.Bytes()), nil
}

// Printable writes what could do harm on a terminal as JSON does, \u and four
// hex digits, and keeps a newline at the end. The line may be JSON or a line of
// a log.
func Printable(line []byte) []byte {
	text, end := bytes.CutSuffix(line, []byte{'\n'})
	if bytes.IndexFunc(text, unprintable) < 0 {
		return line
	}
	out := make([]byte, 0, len(line)+64)
	for len(text) > 0 {
		r, n := utf8.DecodeRune(text)
		switch high, low := utf16.EncodeRune(r); {
		case !unprintable(r):
			out = append(out, text[:n]...)
		case high != unicode.ReplacementChar:
			out = fmt.Appendf(out, `\u%04x\u%04x`, high, low)
		default:
			out = fmt.Appendf(out, `\u%04x`, r)
		}
		text = text[n:]
	}
	if end {
		out = append(out, '\n')
	}
	return out
}

func unprintable(r rune) bool { return !unicode.IsPrint(r) && r != utf8.RuneError }
