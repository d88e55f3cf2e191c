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
	line := b.Bytes()
	if bytes.IndexFunc(line[:len(line)-1], unprintable) < 0 {
		return line, nil
	}
	out := make([]byte, 0, len(line)+64)
	for text := line[:len(line)-1]; len(text) > 0; {
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
	return append(out, '\n'), nil
}

func unprintable(r rune) bool { return !unicode.IsPrint(r) && r != utf8.RuneError }
