package batv

import "strings"

// Tag is a tagged address taken apart.
type Tag struct {
	// Value is the tag itself. In the prvs form of the draft: key digit, three
	// digits of day, six hexadecimal digits.
	Value string
	// Address is the address without its tag.
	Address string
	// Form is one of the Form constants.
	Form Form
}

// Form is the way in which a tag was written into the local part.
type Form int

const (
	FormPrvs         Form = iota // prvs=TAG=USER, draft-levine-smtp-batv
	FormPrvsReversed             // prvs=USER=TAG
	FormSubaddress               // USER+prvs=TAG, USER-prvs=TAG
	FormBtv1                     // btv1==HEX==USER
	FormMsprvs1                  // msprvs1=TAG=USER
)

// prvs reports whether the value has the shape that we make ourselves.
func (t Tag) prvs() bool {
	return t.Form <= FormSubaddress && isDraftTag(t.Value)
}

// Strip returns the recipient without its tag, whoever made it, and whether
// there was one.
func Strip(recipient string) (plain string, tagged bool) {
	if t, ok := Parse(recipient); ok {
		return t.Address, true
	}
	return recipient, false
}

// Parse takes a tagged address, without angle brackets, apart. It accepts any
// input, and any case of the tag.
func Parse(address string) (Tag, bool) {
	local, domain, ok := split(address)
	if !ok {
		return Tag{}, false
	}
	// Some hosts quote a local part for its "=", which RFC 5321 §4.1.2 allows
	// and does not ask for.
	if n := len(local); n > 2 && local[0] == '"' && local[n-1] == '"' {
		local = local[1 : n-1]
	}
	t, user, ok := parseLocal(local)
	if !ok || !signable(user) {
		return Tag{}, false
	}
	t.Address = user + "@" + domain
	return t, true
}

func parseLocal(local string) (t Tag, user string, ok bool) {
	if rest, found := cutPrefixFold(local, "prvs="); found {
		return parsePrvs(rest)
	}
	if rest, found := cutPrefixFold(local, "btv1=="); found {
		value, user, found := strings.Cut(rest, "==")
		return Tag{Value: value, Form: FormBtv1}, user, found && isHex(value)
	}
	if rest, found := cutPrefixFold(local, "msprvs1="); found {
		value, user, found := strings.Cut(rest, "=")
		return Tag{Value: value, Form: FormMsprvs1}, user, found && value != ""
	}
	const mark = "prvs="
	if at := strings.LastIndex(fold(local), mark); at > 1 && (local[at-1] == '+' || local[at-1] == '-') {
		value := local[at+len(mark):]
		return Tag{Value: value, Form: FormSubaddress}, local[:at-1], isDraftTag(value)
	}
	return Tag{}, "", false
}

// parsePrvs reads what follows "prvs=". A user may hold "=" himself, and may
// look like a tag; the draft's own order wins.
func parsePrvs(rest string) (t Tag, user string, ok bool) {
	value, user, found := strings.Cut(rest, "=")
	if found && isDraftTag(value) {
		return Tag{Value: value, Form: FormPrvs}, user, true
	}
	if at := strings.LastIndexByte(rest, '='); at >= 0 && isForeignTag(rest[at+1:]) {
		return Tag{Value: rest[at+1:], Form: FormPrvsReversed}, rest[:at], true
	}
	return Tag{Value: value, Form: FormPrvs}, user, found && isForeignTag(value)
}

// isDraftTag: tag-val of draft-levine-smtp-batv-01 for prvs.
func isDraftTag(s string) bool {
	if len(s) != 10 || !isHex(s[4:]) {
		return false
	}
	for _, c := range []byte(s[:4]) {
		if c < '0' || c > '9' {
			return false
		}
	}
	return true
}

// isForeignTag: appliances write between eight and sixteen hexadecimal digits.
func isForeignTag(s string) bool {
	return len(s) >= 8 && len(s) <= 16 && isHex(s)
}

func isHex(s string) bool {
	for _, c := range []byte(s) {
		if !('0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F') {
			return false
		}
	}
	return s != ""
}

func cutPrefixFold(s, prefix string) (string, bool) {
	if len(s) < len(prefix) || fold(s[:len(prefix)]) != prefix {
		return "", false
	}
	return s[len(prefix):], true
}

func split(address string) (local, domain string, ok bool) {
	at := strings.LastIndexByte(address, '@')
	if at < 1 || at == len(address)-1 {
		return "", "", false
	}
	return address[:at], address[at+1:], true
}

// signable: a part of an address that can be written without quotes; also no
// source route (RFC 5321 appendix C) and nothing that could end a line.
func signable(part string) bool {
	return part != "" && !strings.ContainsFunc(part, func(r rune) bool {
		return r <= ' ' || r == 0x7f || strings.ContainsRune(`"\<>(),:;@`, r)
	})
}
