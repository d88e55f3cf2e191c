package dsn

import (
	"cmp"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// status writes the fields of RFC 3464: a block about the message, then one
// about each recipient.
func (n *Notice) status() string {
	s := statusWriter{utf8: n.UTF8}
	r := &n.Report
	s.field("Original-Envelope-Id", r.EnvelopeID)
	s.typed("Reporting-MTA", "dns", r.ReportingMTA)
	s.typed("Received-From-MTA", "dns", r.ReceivedFrom)
	s.date("Arrival-Date", r.ArrivalDate)
	for _, rcpt := range r.Recipients {
		s.WriteByte('\n')
		action := cmp.Or(rcpt.Action, r.Kind, Failed)
		s.address("Original-Recipient", rcpt.Original)
		s.address("Final-Recipient", cmp.Or(rcpt.Final, rcpt.Original))
		s.field("Action", string(action))
		s.field("Status", cmp.Or(rcpt.Status, undefinedStatus(action)))
		s.typed("Remote-MTA", "dns", rcpt.RemoteMTA)
		s.typed("Diagnostic-Code", "smtp", rcpt.Diagnostic)
		s.date("Last-Attempt-Date", rcpt.LastAttempt)
		s.date("Will-Retry-Until", rcpt.RetryUntil)
	}
	return s.String()
}

// undefinedStatus is what RFC 3463 has where nothing more is known.
func undefinedStatus(action Kind) string {
	switch action {
	case Failed:
		return "5.0.0"
	case Delayed:
		return "4.0.0"
	}
	return "2.0.0"
}

// statusWriter writes fields, one a line. Nothing in a value begins another
// field. Without utf8 all is ASCII, as message/delivery-status has to be.
type statusWriter struct {
	strings.Builder
	utf8 bool
}

func (s *statusWriter) field(name, value string) {
	value = oneLine(value)
	if !s.utf8 {
		value = toASCII(value)
	}
	if value != "" {
		s.WriteString(foldLong(name + ": " + value))
		s.WriteByte('\n')
	}
}

func (s *statusWriter) typed(name, typ, value string) {
	if value != "" {
		s.field(name, typ+"; "+value)
	}
}

func (s *statusWriter) date(name string, t time.Time) {
	if !t.IsZero() {
		s.field(name, t.Format(time.RFC1123Z))
	}
}

// address writes a typed address: rfc822, the type that it carries, or utf-8
// (RFC 6533 section 3) where it needs that. In ASCII a utf-8 address is spelled
// with the code points of its characters.
func (s *statusWriter) address(name, address string) {
	typ := "rfc822"
	if t, rest, ok := strings.Cut(address, ";"); ok && isAtom(t) {
		typ, address = t, strings.TrimSpace(rest)
	}
	if !ascii(address) {
		typ = "utf-8"
		if !s.utf8 {
			address = codePoints(strings.ToValidUTF8(address, "?"))
		}
	}
	s.typed(name, typ, address)
}

func isAtom(s string) bool {
	for i := range len(s) {
		if c := s[i]; !wordByte(c) && c != '-' || c == '_' {
			return false
		}
	}
	return s != "" && len(s) <= 20
}

// codePoints writes the utf-8-addr-xtext of RFC 6533.
func codePoints(address string) string {
	var b strings.Builder
	for _, r := range address {
		if r >= utf8.RuneSelf || r == '\\' || r == '+' || r == '=' {
			fmt.Fprintf(&b, `\x{%X}`, r)
			continue
		}
		b.WriteRune(r)
	}
	return b.String()
}

// foldLong breaks a line that is too long to be sent, at blanks where there are any.
// Others stay whole: many readers know nothing of folds.
func foldLong(line string) string {
	const most = maxLine - 98
	var b strings.Builder
	for len(line) > most {
		cut := strings.LastIndexByte(line[1:most], ' ') + 1
		if cut < most/2 {
			for cut = most; !utf8.RuneStart(line[cut]); {
				cut--
			}
		}
		b.WriteString(line[:cut])
		b.WriteString("\n ")
		line = strings.TrimLeft(line[cut:], " ")
	}
	b.WriteString(line)
	return b.String()
}
