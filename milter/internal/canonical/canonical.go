// Package canonical gives addresses and Message-IDs the one spelling that
// signatures and the ledger are made over, so that what other hosts do to them
// on the way does not matter.
package canonical

import "strings"

// Address has no brackets, and ASCII in lower case: hosts fold what they send
// back.
func Address(s string) string {
	s = strings.TrimSuffix(strings.TrimPrefix(strings.TrimSpace(s), "<"), ">")
	b := []byte(s)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}

// MessageID has no brackets and none of the white space of folding. Nothing
// else is changed: RFC 5322 section 3.6.4 gives a Message-ID no other spelling.
func MessageID(s string) string {
	s = strings.NewReplacer(" ", "", "\t", "", "\r", "", "\n", "").Replace(s)
	return strings.TrimSuffix(strings.TrimPrefix(s, "<"), ">")
}
