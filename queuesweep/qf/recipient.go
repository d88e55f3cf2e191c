package qf

import (
	"bytes"
	"iter"
	"strings"
)

// Recipient is one undelivered recipient.
type Recipient struct {
	// Address has no angle brackets.
	Address string
	// Flags are the letters before the colon: P primary, N NOTIFY was given,
	// S F D what it asks for, A from an alias, B blind copy.
	Flags string
	// Status is the recipient's own status message; "" if it has none.
	Status string
	// Original is the ORCPT of RFC 3461, such as "rfc822;u+2Bx@example.org".
	Original string
	// Final is the address as reported in a DSN, such as "RFC822; u@x.example".
	Final string
	// Controlling is the C line in force: "user:uid:gid:alias", or "".
	Controlling string
}

// Notify tells the NOTIFY parameter as MAIL would have it ("NEVER",
// "SUCCESS,FAILURE", ...), "" where none was given.
func (r Recipient) Notify() string {
	if !strings.Contains(r.Flags, "N") {
		return ""
	}
	var words []string
	for _, n := range [...]struct{ flag, word string }{{"S", "SUCCESS"}, {"F", "FAILURE"}, {"D", "DELAY"}} {
		if strings.Contains(r.Flags, n.flag) {
			words = append(words, n.word)
		}
	}
	if len(words) == 0 {
		return "NEVER"
	}
	return strings.Join(words, ",")
}

// Recipients goes over the undelivered recipients in file order. An M line
// after the sender's S line belongs to the recipient that follows it, as
// print_single_queue() reads it for mailq.
func (f *File) Recipients() iter.Seq[Recipient] {
	return func(yield func(Recipient) bool) {
		var r Recipient
		version := 0 // as of the V lines so far: readqf takes one line at a time
		for i := range f.lines {
			v := f.value(i)
			switch f.lines[i].code {
			case 'V':
				version = leadingInt(v)
			case 'S':
				r.Status = ""
			case 'M':
				r.Status = Text(v)
			case 'C':
				r.Controlling = Text(v)
			case 'Q':
				r.Original = Text(v)
			case 'r':
				r.Final = Text(v)
			case 'R':
				var ok bool
				if r.Flags, r.Address, ok = splitRecipient(version, v); ok {
					if !yield(r) {
						return
					}
					r.Status = ""
				}
				r.Original, r.Final = "", ""
			}
		}
	}
}

// splitRecipient divides an R line at its colon; one without is no recipient
// to sendmail. Version 0 has no flags, and every recipient of it is primary.
func splitRecipient(version int, v []byte) (flags, address string, ok bool) {
	if version == 0 {
		return "P", Address(v), true
	}
	before, after, found := bytes.Cut(v, []byte{':'})
	return Text(before), Address(after), found
}

// Statuses are the envelope's status message and each recipient's, without
// repeats and without empty ones.
func (f *File) Statuses() []string {
	var out []string
	seen := make(map[string]bool)
	for v := range f.Lines('M') {
		if s := Text(v); s != "" && !seen[s] {
			seen[s] = true
			out = append(out, s)
		}
	}
	return out
}
