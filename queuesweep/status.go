package queuesweep

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

var (
	// smtpReply is a reply code, perhaps with an enhanced one, in a status
	// message such as "Deferred: 450 4.7.1 Relay access denied". What stands
	// around it tells it from a number in an address.
	smtpReply = regexp.MustCompile(`(?:^|[: (])([45]\d\d)(?:[ -]([45]\.\d{1,3}\.\d{1,3})\b|[ -]|$)`)
	// peer is the host at the end of "Connection timed out with mx.example." and
	// "Connection refused by [192.0.2.1]".
	peer = regexp.MustCompile(` (?:with|by) (\[[0-9A-Za-z.:]+\]|[A-Za-z0-9_.-]+?)\.?$`)
)

// localStatuses are what sendmail writes where no other mail system said
// anything, and the codes that RFC 3463 has for it.
var localStatuses = []struct{ text, code string }{
	{"connection timed out", "4.4.1"},
	{"operation timed out", "4.4.1"},
	{"connection refused", "4.4.1"},
	{"host is down", "4.4.1"},
	{"connection reset", "4.4.2"},
	{"broken pipe", "4.4.2"},
	{"network is unreachable", "4.4.4"},
	{"no route to host", "4.4.4"},
	{"name server", "4.4.3"},
	{"host name lookup failure", "4.4.3"},
	{"tls handshake failed", "4.7.0"},
	{"user unknown", "5.1.1"},
	{"host unknown", "5.1.2"},
}

// replyStatuses are the enhanced codes of replies that carry none, as sendmail's
// smtptodsn() has them.
var replyStatuses = map[string]string{
	"450": "4.2.0", "451": "4.3.0", "452": "4.3.1",
	"500": "5.5.2", "501": "5.5.4", "502": "5.5.1", "503": "5.5.1", "504": "5.5.4",
	"550": "5.2.0", "551": "5.1.6", "552": "5.2.2", "553": "5.1.3",
}

// statusCode is the enhanced status code of a status message. A failure that
// nobody has explained is 4.4.7: the time allowed is over.
func statusCode(status string) string {
	if m := smtpReply.FindStringSubmatch(status); m != nil {
		switch {
		case m[2] != "":
			return m[2]
		case replyStatuses[m[1]] != "":
			return replyStatuses[m[1]]
		}
		return m[1][:1] + ".0.0"
	}
	lower := strings.ToLower(status)
	for _, l := range localStatuses {
		if strings.Contains(lower, l.text) {
			return l.code
		}
	}
	return "4.4.7"
}

// reply is what the other mail system answered, from its code on; "" where the
// status message has no answer.
func reply(status string) string {
	if m := smtpReply.FindStringSubmatchIndex(status); m != nil {
		return status[m[2]:]
	}
	return ""
}

func remoteMTA(status string) string {
	if m := peer.FindStringSubmatch(status); m != nil && strings.ContainsAny(m[1], ".[") {
		return m[1]
	}
	return ""
}

// typedAddress takes the type off "rfc822;user@x.example", and leaves others.
func typedAddress(s string) string {
	typ, address, ok := strings.Cut(s, ";")
	if ok && strings.EqualFold(strings.TrimSpace(typ), "rfc822") {
		return strings.TrimSpace(address)
	}
	return s
}

// originalAddress reads an ORCPT: in xtext (RFC 3461 section 4), or, of type
// utf-8, with code points (RFC 6533 section 3). Types other than rfc822 stay.
func originalAddress(s string) string {
	typ, address, ok := strings.Cut(s, ";")
	if !ok {
		return xtextDecode(s)
	}
	if strings.EqualFold(strings.TrimSpace(typ), "utf-8") {
		return codePoint.ReplaceAllStringFunc(strings.TrimSpace(address), func(m string) string {
			n, err := strconv.ParseUint(m[3:len(m)-1], 16, 21)
			if err != nil || n < ' ' {
				return m
			}
			return fmt.Sprintf("%c", rune(n))
		})
	}
	return typedAddress(typ + ";" + xtextDecode(address))
}

var codePoint = regexp.MustCompile(`\\x\{[0-9A-Fa-f]{1,6}\}`)

// xtextDecode undoes the xtext of RFC 3461 section 4.
func xtextDecode(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '+' && i+2 < len(s) {
			if c, err := strconv.ParseUint(s[i+1:i+3], 16, 8); err == nil {
				b.WriteByte(byte(c))
				i += 2
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
