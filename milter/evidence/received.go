package evidence

import (
	"net/netip"
	"strings"
)

// A hop is what one Received field says (RFC 5321, section 4.4), as far as it
// can be understood. Names are in lower case, without a dot at the end.
type hop struct {
	from  string       // the name after "from"
	helo  string       // what the client called itself; mostly the same
	addrs []netip.Addr // of the client
	by    string       // the host that wrote the field
	id    string       // its queue id
	raw   string
}

// hops reads the Received fields of a returned header, oldest first. What names
// no host that wrote it ("(qmail 1234 invoked by uid 89)") is no hop.
func hops(received []string) []hop {
	var out []hop
	for i := len(received) - 1; i >= 0; i-- {
		if h := parseReceived(received[i]); h.by != "" {
			out = append(out, h)
		}
	}
	return out
}

// parseReceived is total. Mailers agree on the words from, by and id, not on
// where they put the rest.
func parseReceived(value string) hop {
	h := hop{raw: value}
	if i := strings.LastIndexByte(value, ';'); i >= 0 {
		value = value[:i]
	}
	// The sections are those between the keywords; comments belong to the
	// section they stand in.
	const none, from, by, id = 0, 1, 2, 3
	section, fresh := none, false
	for word, comment := range receivedWords(value) {
		if comment {
			if section == from {
				h.client(word)
			}
			continue
		}
		switch strings.ToLower(word) {
		case "from":
			section, fresh = from, h.from == ""
			continue
		case "by":
			section, fresh = by, h.by == ""
			continue
		case "id":
			section, fresh = id, h.id == ""
			continue
		case "with", "via", "for", "envelope-from":
			section, fresh = none, false
			continue
		}
		if !fresh {
			continue
		}
		fresh = false
		switch section {
		case from:
			h.from = hostOf(word)
			h.address(word)
		case by:
			h.by = hostOf(word)
		case id:
			h.id = strings.Trim(word, "<>.,")
		}
	}
	if h.helo == "" {
		h.helo = h.from
	}
	return h
}

// receivedWords gives the words of a value, comments as one word without their
// outer parentheses.
func receivedWords(value string) func(yield func(word string, comment bool) bool) {
	return func(yield func(string, bool) bool) {
		for i := 0; i < len(value); {
			switch c := value[i]; {
			case c == ' ' || c == '\t' || c == '\r' || c == '\n':
				i++
			case c == '(':
				depth, start := 0, i+1
				for ; i < len(value); i++ {
					if value[i] == '(' {
						depth++
					} else if value[i] == ')' {
						if depth--; depth == 0 {
							break
						}
					}
				}
				if !yield(value[min(start, len(value)):i], true) {
					return
				}
				i++
			default:
				start := i
				for i < len(value) && !strings.ContainsRune(" \t\r\n(", rune(value[i])) {
					i++
				}
				if !yield(value[start:i], false) {
					return
				}
			}
		}
	}
}

// client reads the comment after "from": "mx.example [192.0.2.1]",
// "HELO mx.example", "[192.0.2.1] helo=mx.example", "192.0.2.1".
func (h *hop) client(comment string) {
	words := strings.FieldsFunc(comment, func(r rune) bool { return r == ' ' || r == '\t' || r == '(' || r == ')' || r == ',' })
	for i, w := range words {
		low := strings.ToLower(w)
		name, ok := strings.CutPrefix(low, "helo=")
		if !ok && (low == "helo" || low == "ehlo") && i+1 < len(words) {
			name, ok = words[i+1], true
		}
		if ok && h.helo == "" {
			h.helo = hostOf(name)
			continue
		}
		h.address(w)
	}
}

// address notes a word that is an IP address, in brackets or not, with or
// without a port.
func (h *hop) address(word string) {
	word = strings.Trim(word, "<>,;")
	if rest, ok := strings.CutPrefix(word, "["); ok {
		if i := strings.IndexByte(rest, ']'); i >= 0 {
			word = rest[:i]
		}
	}
	if len(word) > 5 && strings.EqualFold(word[:5], "ipv6:") {
		word = word[5:]
	}
	if at := strings.LastIndexByte(word, '@'); at >= 0 { // ident@[192.0.2.1]
		word = strings.Trim(word[at+1:], "[]")
	}
	if a, err := netip.ParseAddr(word); err == nil && len(h.addrs) < 8 {
		h.addrs = append(h.addrs, a.Unmap().WithZone(""))
	}
}

// hostOf is a host name in lower case; what stands around it is taken off.
func hostOf(word string) string {
	return strings.TrimSuffix(strings.ToLower(strings.Trim(word, "<>[]\",;")), ".")
}

// plausibleID reports whether a queue id could be one: sendmail's, Postfix's and
// Exim's have six to forty letters, digits and dashes, a digit among them.
func plausibleID(id string) bool {
	digit := false
	for _, c := range []byte(id) {
		switch {
		case c >= '0' && c <= '9':
			digit = true
		case c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '-':
		default:
			return false
		}
	}
	return digit && len(id) >= 6 && len(id) <= 40
}
