package config

import (
	"bytes"
	"unicode/utf8"
)

// sourceOffset tells where in a TOML string, as it is written, the byte at
// offset of its value comes from, so that a fault in a condition can be shown
// in the file.
func sourceOffset(raw []byte, offset int) int {
	multi := bytes.HasPrefix(raw, []byte(`"""`)) || bytes.HasPrefix(raw, []byte(`'''`))
	pos := 1
	if multi {
		pos = 3
		switch { // a newline right behind the quotes is not part of the value
		case bytes.HasPrefix(raw[pos:], []byte("\r\n")):
			pos += 2
		case bytes.HasPrefix(raw[pos:], []byte("\n")):
			pos++
		}
	}
	if len(raw) == 0 {
		return 0
	}
	if raw[0] != '"' {
		return min(pos+offset, len(raw)-1)
	}
	for value := 0; pos < len(raw)-1; {
		in, out := escape(raw[pos:])
		if value+out > offset {
			break
		}
		pos, value = pos+in, value+out
	}
	return min(pos, len(raw)-1)
}

// escape tells how many bytes of a basic string, as it is written, make how
// many bytes of its value.
func escape(s []byte) (in, out int) {
	if s[0] != '\\' || len(s) < 2 {
		return 1, 1
	}
	digits := 0
	switch s[1] {
	case 'x':
		digits = 2
	case 'u':
		digits = 4
	case 'U':
		digits = 8
	case ' ', '\t', '\r', '\n': // the end of the line and the blanks of the next are left out
		return 1 + len(s[1:]) - len(bytes.TrimLeft(s[1:], " \t\r\n")), 0
	default:
		return 2, 1
	}
	var r rune
	for _, c := range s[2:min(2+digits, len(s))] {
		switch {
		case c >= '0' && c <= '9':
			r = r<<4 | rune(c-'0')
		default:
			r = r<<4 | rune(c|0x20-'a'+10)
		}
	}
	return min(2+digits, len(s)), max(1, utf8.RuneLen(r))
}
