package dsn

import "bytes"

// findAddress gives the first mail address in text, and what comes after it.
// It is lenient: what stands around an @ and could be a local part and a
// domain is an address. Local parts of RFC 6531 are looked for behind an angle
// bracket only: in plain text, words of languages without blanks would run into
// them (see also typedAddress).
func findAddress(text []byte) (addr string, rest []byte, ok bool) {
	from, to := addressSpan(text)
	if from < 0 {
		return "", nil, false
	}
	return string(text[from:to]), text[to:], true
}

func addressSpan(text []byte) (from, to int) {
	for base := 0; ; {
		i := bytes.IndexByte(text[base:], '@')
		if i < 0 {
			return -1, -1
		}
		i += base
		base = i + 1
		from = localStart(text, i)
		to = i + 1 + domainLen(text[i+1:])
		if from < i && to > i+1 {
			return from, to
		}
	}
}

// localStart goes back from the @ over a local part, quoted or not.
func localStart(text []byte, at int) int {
	i := at
	if i > 0 && text[i-1] == '"' {
		if j := bytes.LastIndexByte(text[:i-1], '"'); j >= 0 && i-j <= 66 {
			return j
		}
		return at
	}
	for i > 0 && at-i < 256 && localByte(text[i-1]) {
		i--
	}
	if i > 0 && text[i-1] >= 0x80 {
		j := i
		for j > 0 && at-j < 256 && (text[j-1] >= 0x80 || localByte(text[j-1])) {
			j--
		}
		if j > 0 && text[j-1] == '<' {
			return j
		}
	}
	// An SMTP source route, a mailto: and the like end in a colon; quotes and
	// dashes stand around addresses in text, not in them.
	for i < at && (text[i] == '\'' || text[i] == '.' || text[i] == '*' || text[i] == '|' || text[i] == '`') {
		i++
	}
	return i
}

func localByte(c byte) bool {
	switch c {
	case '!', '#', '$', '%', '&', '\'', '*', '+', '-', '/', '=', '?', '^', '_', '`', '{', '|', '}', '~', '.':
		return true
	}
	return wordByte(c)
}

func domainLen(text []byte) int {
	if len(text) > 0 && text[0] == '[' {
		if i := bytes.IndexByte(text, ']'); i > 1 && i < 64 {
			return i + 1
		}
		return 0
	}
	n := 0
	for n < len(text) && n < 255 && (wordByte(text[n]) || text[n] == '-' || text[n] == '.' || text[n] >= 0x80) {
		n++
	}
	for n > 0 && (text[n-1] == '.' || text[n-1] == '-') {
		n--
	}
	return n
}

// localOf is what comes before the last @.
func localOf(addr []byte) []byte {
	if i := bytes.LastIndexByte(addr, '@'); i >= 0 {
		return addr[:i]
	}
	return addr
}
