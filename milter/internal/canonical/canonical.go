// Package canonical gives addresses and Message-IDs the one spelling that
// signatures and the ledger are made over, so that what other hosts do to them
// on the way does not matter.
package canonical

import (
	"slices"
	"strings"
)

// folding is the white space that a long line is folded with.
const folding = " \t\r\n"

// Address has no brackets, and ASCII in lower case: hosts fold what they send
// back.
func Address(s string) string {
	s = strings.TrimSuffix(strings.TrimPrefix(strings.TrimSpace(s), "<"), ">")
	if !strings.ContainsFunc(s, isUpper) {
		return s
	}
	b := []byte(s)
	for i, c := range b {
		if isUpper(rune(c)) {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}

// MessageID has no brackets and none of the white space of folding. Nothing
// else is changed: RFC 5322 section 3.6.4 gives a Message-ID no other spelling.
func MessageID(s string) string {
	if strings.ContainsAny(s, folding) {
		// By octets: what is no UTF-8 stays as it is.
		s = string(slices.DeleteFunc([]byte(s), func(c byte) bool { return strings.IndexByte(folding, c) >= 0 }))
	}
	return strings.TrimSuffix(strings.TrimPrefix(s, "<"), ">")
}

func isUpper(c rune) bool { return 'A' <= c && c <= 'Z' }
