package queuesweep

import (
	"strings"

	"github.com/backscatterd/backscatterd/queuesweep/qf"
)

// refuse says why the sender of a message must not be told, "" if he may be. A
// bounce of what is forged, automatic or from a list is backscatter.
func (o *BounceOptions) refuse(f *qf.File) string {
	sender := f.Sender()
	switch {
	case f.NullSender():
		return "null sender: a bounce is never bounced"
	case isReport(f):
		return "it is a bounce itself, though its sender is not null"
	case !mailable(sender):
		return "a bounce cannot be sent to the sender's address as it is written"
	case anyHeader(f, "X-Spam-Flag", func(v string) bool { return hasPrefixFold(v, "YES") }):
		return "marked as spam (X-Spam-Flag): its sender is likely forged"
	case anyHeader(f, "X-Backscatter-Flag", func(v string) bool { return hasPrefixFold(v, "YES") }):
		return "marked as backscatter (X-Backscatter-Flag)"
	case anyHeader(f, "X-Backscatter-Status", func(v string) bool { return hasPrefixFold(v, "suspect") }):
		return "marked as backscatter (X-Backscatter-Status)"
	case isList(f):
		return "mailing list or bulk mail"
	}
	if why := autoSubmitted(f); why != "" {
		return why
	}
	for _, never := range o.Never {
		if never.MatchString(sender) {
			return "the sender matches bounce.never_bounce " + never.String()
		}
	}
	for r := range f.Recipients() {
		if reported(r) {
			return ""
		}
	}
	return "no recipient is to be reported on (NOTIFY)"
}

func anyHeader(f *qf.File, name string, is func(value string) bool) bool {
	for h := range f.Headers() {
		if strings.EqualFold(h.Name, name) && is(h.Value()) {
			return true
		}
	}
	return false
}

func hasPrefixFold(s, prefix string) bool {
	return len(s) >= len(prefix) && strings.EqualFold(s[:len(prefix)], prefix)
}

// isReport tells a bounce whose maker has not given it the null sender that RFC
// 3461 section 6 demands.
func isReport(f *qf.File) bool {
	local, _, _ := strings.Cut(f.Sender(), "@")
	return strings.EqualFold(local, "MAILER-DAEMON") || anyHeader(f, "Content-Type", func(v string) bool {
		v = strings.ToLower(v)
		return strings.HasPrefix(v, "multipart/report") && strings.Contains(v, "delivery-status")
	})
}

// isList follows what RFC 3834 section 2 and the field hold for list and bulk
// mail.
func isList(f *qf.File) bool {
	if f.Header("List-Id") != "" || f.Header("List-Post") != "" {
		return true
	}
	return anyHeader(f, "Precedence", func(v string) bool {
		switch strings.ToLower(v) {
		case "list", "bulk", "junk":
			return true
		}
		return false
	})
}

// autoSubmitted says why automatic mail is not bounced, "" if it is.
//
// RFC 3834 section 2 forbids to answer whatever is Auto-Submitted, but it speaks
// of responders; that a bounce may follow automatic mail is what its null sender
// is for. Who has cron or a shop send mail (auto-generated) wants to know that
// it did not arrive. A reply that a program gave (auto-replied) went to an
// address that nobody has looked at, often a forged one, and nobody waits for
// its bounce. X-Auto-Response-Suppress is Exchange's way to ask for none.
func autoSubmitted(f *qf.File) string {
	if anyHeader(f, "Auto-Submitted", func(v string) bool { return hasPrefixFold(v, "auto-replied") }) {
		return "an automatic reply (Auto-Submitted)"
	}
	if anyHeader(f, "X-Auto-Response-Suppress", func(v string) bool {
		for word := range strings.SplitSeq(v, ",") {
			if word = strings.TrimSpace(word); strings.EqualFold(word, "All") || strings.EqualFold(word, "NDR") {
				return true
			}
		}
		return false
	}) {
		return "its sender asks for no bounce (X-Auto-Response-Suppress)"
	}
	return ""
}

// mailable tells whether an address is one, and nothing else, to an SMTP server
// and on sendmail's command line, where a comma or a parenthesis would make
// another address of it, and a pipe a program.
func mailable(address string) bool {
	local, domain := address, ""
	if at := strings.LastIndexByte(address, '@'); at >= 0 {
		if local, domain = address[:at], address[at+1:]; domain == "" {
			return false
		}
	}
	if local == "" || len(address) > 320 || local[0] == '|' || local[0] == '/' && domain == "" {
		return false
	}
	if local[0] == '"' {
		return isQuoted(local) && isDomain(domain)
	}
	return strings.IndexFunc(local, func(r rune) bool { return !isAtext(r) && r != '.' }) < 0 && (domain == "" || isDomain(domain))
}

// isAtext is RFC 5322 section 3.2.3, with RFC 6532 section 3.2.
func isAtext(r rune) bool {
	switch {
	case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
		return true
	case r >= 0x80:
		return r != '\uFFFD' && !unprintable(r)
	}
	return strings.ContainsRune("!#$%&'*+-/=?^_`{|}~", r)
}

// isQuoted is the quoted string of RFC 5321 section 4.1.2.
func isQuoted(s string) bool {
	if len(s) < 3 || s[len(s)-1] != '"' {
		return false
	}
	inside := s[1 : len(s)-1]
	for i := 0; i < len(inside); i++ {
		switch c := inside[i]; {
		case c < ' ' || c >= 0x7f || c == '"':
			return false
		case c == '\\':
			if i++; i == len(inside) {
				return false
			}
		}
	}
	return true
}

// isDomain takes a host name or an address literal.
func isDomain(s string) bool {
	if inside, ok := strings.CutPrefix(s, "["); ok {
		inside, ok = strings.CutSuffix(inside, "]")
		return ok && inside != "" && strings.Trim(inside, "0123456789abcdefABCDEFIPv:.") == ""
	}
	return s != "" && s[0] != '-' && strings.IndexFunc(s, func(r rune) bool {
		return r != '.' && r != '-' && r != '_' && !(r >= 0x80 && isAtext(r)) && !(r >= '0' && r <= '9') && !(r|0x20 >= 'a' && r|0x20 <= 'z')
	}) < 0
}
