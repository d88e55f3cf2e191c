package dsn

import (
	"bytes"
	"strings"
)

// findStatus gives the first enhanced status code in text, "" if there is none
// (RFC 3463, section 2).
func findStatus(text []byte) string {
	code, _ := enhanced(text)
	return code
}

// statusIn gives the first enhanced status code in text; failing that, one of
// the class of the first SMTP reply code: "5.0.0" for 550.
func statusIn(text []byte) string {
	if code, _ := enhanced(text); code != "" {
		return code
	}
	for i := 0; i+3 <= len(text); i++ {
		if (text[i] == '4' || text[i] == '5') && digit(text[i+1]) && text[i+1] < '8' && digit(text[i+2]) &&
			(i == 0 || !wordByte(text[i-1]) && text[i-1] != '.') &&
			(i+3 == len(text) || text[i+3] == ' ' || text[i+3] == '-' && (i+4 == len(text) || !digit(text[i+4]) || i+5 < len(text) && text[i+5] == '.') ||
				text[i+3] == ',' || text[i+3] == ':') {
			return string(text[i]) + ".0.0"
		}
	}
	return ""
}

// enhanced finds class.subject.detail, with no digit, dot or letter before or
// after: no address and no version.
func enhanced(text []byte) (string, int) {
	for i := 0; i+5 <= len(text); i++ {
		j := bytes.IndexByte(text[i:], '.')
		if j < 0 {
			return "", -1
		}
		i += j
		if i == 0 || (text[i-1] != '5' && text[i-1] != '4' && text[i-1] != '2') {
			continue
		}
		if i >= 2 && (wordByte(text[i-2]) || text[i-2] == '.' || text[i-2] == '_') {
			continue
		}
		a := digits(text[i+1:])
		if a == 0 || a > 3 || i+1+a >= len(text) || text[i+1+a] != '.' {
			continue
		}
		b := digits(text[i+2+a:])
		end := i + 2 + a + b
		if b == 0 || b > 3 || end < len(text) && (wordByte(text[end]) || text[end] == '.' && end+1 < len(text) && digit(text[end+1])) {
			continue
		}
		return string(text[i-1 : end]), i - 1
	}
	return "", -1
}

func digits(b []byte) int {
	n := 0
	for n < len(b) && digit(b[n]) {
		n++
	}
	return n
}

func digit(c byte) bool { return c >= '0' && c <= '9' }

func wordByte(c byte) bool {
	return digit(c) || c|0x20 >= 'a' && c|0x20 <= 'z' || c == '_'
}

// graver reports whether status a is worse than b: 5 over 4 over 2 over none.
func graver(a, b string) bool {
	switch {
	case a == "" || b == "":
		return b == "" && a != ""
	case a[0] != b[0]:
		return a[0] > b[0]
	}
	return b[1:] == ".0.0" && a[1:] != ".0.0"
}

// succeeded drops a status that is none of a success: of a transcript that tells
// of errors on the way, too.
func succeeded(status string) string {
	if strings.HasPrefix(status, "2.") {
		return status
	}
	return ""
}

// fate is what a text says has happened, where no delivery-status field does.
func (p *parser) fate(f finding) Kind {
	switch {
	case f.form != nil && f.form.kind != "":
		return f.form.kind
	case p.sign.receipt:
		// sendmail (savemail.c) puts no group for an alias of several
		// addresses into its report, only this line.
		if strings.Contains(p.low, "expanded to multiple addresses") {
			return Expanded
		}
		return Delivered
	case f.delayed || p.sign.delayed && !f.failed:
		return Delayed
	}
	return Failed
}
