package dsn

import (
	"bytes"
	"net/mail"
	"strings"
	"time"
)

// status reads a message/delivery-status part: groups of fields with blank
// lines between them, the first about the message, each further one about a
// recipient (RFC 3464, section 2.1). Mailers put blank lines where none should
// be and leave out those that should, so a group is known by what it holds.
func (p *parser) status(s *source, depth int) {
	b := &p.group
	for {
		n, dashes := p.scanGroup(s, b)
		if len(b.spans) > 0 {
			p.groupDone(b)
		}
		if dashes != "" && depth < p.limits.Depth {
			p.adopt(s, dashes, depth) // a part behind a boundary that is not the one declared
			return
		}
		if n == 0 || len(p.report.Recipients) >= p.limits.Recipients && p.report.Cut {
			return
		}
	}
}

// scanGroup reads one group, and gives the number of lines that it took. Lines
// that are no fields are taken as continuations: some mailers do not fold. It
// ends early at what looks like a boundary and the Content- line after it.
func (p *parser) scanGroup(s *source, b *block) (n int, dashes string) {
	b.reset()
	for {
		line, ok := s.next()
		if !ok {
			return n, ""
		}
		n++
		if dashes != "" {
			if hasPrefixFold(line, "content-") {
				return n, dashes
			}
			dashes = ""
		}
		if looksLikeBoundary(line) {
			dashes = string(line[2:])
			continue
		}
		line = unquote(line)
		switch {
		case len(bytes.TrimSpace(line)) == 0:
			if len(b.spans) > 0 {
				return n, ""
			}
		case len(b.buf)+len(line) > p.limits.HeaderBytes:
			p.report.Cut = true
		case line[0] == ' ' || line[0] == '\t':
			if len(b.spans) == 0 {
				b.add(bytes.TrimLeft(line, " \t"))
			} else {
				b.fold(line)
			}
		case !b.add(line):
			b.fold(line)
		case startsRecipient(b):
			// No blank line between two recipients.
			last := b.spans[len(b.spans)-1]
			b.spans, b.buf = b.spans[:len(b.spans)-1], b.buf[:last.name]
			s.unread()
			return n, ""
		}
	}
}

// startsRecipient reports whether the field added last can only belong to
// another recipient than those before it: a second Final-Recipient.
func startsRecipient(b *block) bool {
	last := len(b.spans) - 1
	if !equalFold(b.name(last), "Final-Recipient") {
		return false
	}
	for i := range last {
		if equalFold(b.name(i), "Final-Recipient") {
			return true
		}
	}
	return false
}

func (p *parser) groupDone(b *block) {
	r := p.report
	var rcpt Recipient
	var action []byte
	var actual string
	for i := range b.spans {
		name, value := b.name(i), b.value(i)
		switch {
		case equalFold(name, "Final-Recipient"):
			rcpt.Final = typedAddress(value)
		case equalFold(name, "Original-Recipient"):
			rcpt.Original = typedAddress(value)
		case equalFold(name, "X-Actual-Recipient"):
			actual = typedAddress(value)
		case equalFold(name, "Action"):
			action = value
		case equalFold(name, "Status"):
			rcpt.Status = findStatus(value)
		case equalFold(name, "Diagnostic-Code"):
			if _, text := typed(value); rcpt.Diagnostic == "" || statusIn(text) != "" && statusIn([]byte(rcpt.Diagnostic)) == "" {
				rcpt.Diagnostic = p.words(text)
			}
		case equalFold(name, "Remote-MTA"):
			rcpt.RemoteMTA = hostName(value)
		case equalFold(name, "Last-Attempt-Date"):
			rcpt.LastAttempt = parseDate(value)
		case equalFold(name, "Will-Retry-Until"):
			rcpt.RetryUntil = parseDate(value)
		case equalFold(name, "Reporting-MTA"):
			r.ReportingMTA = hostName(value)
		case equalFold(name, "Received-From-MTA"):
			r.ReceivedFrom = hostName(value)
		case equalFold(name, "Arrival-Date"):
			r.ArrivalDate = parseDate(value)
		case equalFold(name, "Original-Envelope-Id"):
			r.EnvelopeID = string(value)
		}
	}
	p.groups++
	if strings.HasPrefix(rcpt.Final, "@") { // a source route whose address is lost
		rcpt.Final = ""
	}
	if rcpt.Final == "" {
		rcpt.Final = rcpt.Original
	}
	if rcpt.Final == "" {
		rcpt.Final = actual
	}
	if rcpt.Final == "" {
		p.looseGroup(rcpt, action)
		return
	}
	if rcpt.Original == rcpt.Final {
		rcpt.Original = ""
	}
	rcpt.Action = actionOf(action, rcpt.Status)
	rcpt.Status = refined(rcpt.Status, rcpt.Diagnostic)
	p.addRecipient(rcpt)
}

// refined gives the code of the other server's answer where the Status field
// has the class alone, "other undefined status" (RFC 3463, section 3.1): Exim and
// Courier write no more than that, and quote the answer beside it.
func refined(status, diagnostic string) string {
	if class, found := strings.CutSuffix(status, ".0.0"); found {
		if code := findStatus([]byte(diagnostic)); strings.HasPrefix(code, class+".") {
			return code
		}
	}
	return status
}

// looseGroup takes a group that names no recipient: a blank line too many put
// it apart from its recipient, or the mailer says only what happened.
func (p *parser) looseGroup(rcpt Recipient, action []byte) {
	if len(action) == 0 && rcpt.Status == "" && rcpt.Diagnostic == "" {
		return
	}
	rcpt.Action = actionOf(action, rcpt.Status)
	if n := len(p.report.Recipients); n > 0 {
		last := &p.report.Recipients[n-1]
		if last.Status == "" {
			last.Status = rcpt.Status
		}
		if last.Diagnostic == "" {
			last.Diagnostic = rcpt.Diagnostic
		}
		if len(action) > 0 {
			last.Action = rcpt.Action
		}
		return
	}
	p.unnamed = rcpt
}

// actionOf reads an action value, with the spellings met in the wild. Without
// one, the class of the status decides, and is else taken for a failure.
func actionOf(action []byte, status string) Kind {
	action = bytes.Trim(action, " \"<>().")
	for _, word := range actionWords {
		if hasPrefixFold(action, word.begins) {
			return word.kind
		}
	}
	if strings.HasPrefix(status, "2.") {
		return Delivered
	}
	return Failed
}

var actionWords = []struct {
	begins string
	kind   Kind
}{
	{"fail", Failed}, {"permanent", Failed}, {"error", Failed},
	{"delay", Delayed}, {"temporar", Delayed}, {"warn", Delayed},
	{"deliver", Delivered}, {"relay", Relayed}, {"expand", Expanded},
}

// typed splits "rfc822; x@y" into type and value. A value without a type is
// common.
func typed(value []byte) (kind, rest []byte) {
	i := bytes.IndexByte(value, ';')
	if i < 0 || i > 20 || bytes.IndexByte(value[:i], '@') >= 0 || bytes.IndexByte(value[:i], ' ') > 0 {
		return nil, value
	}
	return value[:i], bytes.TrimSpace(value[i+1:])
}

func typedAddress(value []byte) string {
	_, rest := typed(value)
	if addr, _, ok := findAddress(rest); ok && bytes.IndexFunc(rest, func(c rune) bool { return c >= 0x80 }) < 0 {
		return addr
	}
	rest = bytes.Trim(rest, " \t<>\"")
	if i := bytes.IndexAny(rest, " \t"); i >= 0 {
		rest = rest[:i]
	}
	return string(rest)
}

// hostName takes the name out of "dns; mx.example.net (192.0.2.1)".
func hostName(value []byte) string {
	_, rest := typed(value)
	if i := bytes.IndexAny(rest, " \t("); i > 0 {
		rest = rest[:i]
	}
	return string(bytes.Trim(rest, "<>[]"))
}

// parseDate reads RFC 5322 dates, and gives the zero time for anything else.
func parseDate(value []byte) time.Time {
	if i := bytes.IndexByte(value, '('); i > 0 {
		value = bytes.TrimRight(value[:i], " ")
	}
	// mail.ParseDate tries one layout after the other, for longer than the rest
	// of a report takes. These two are what mail systems write.
	layout := "Mon, 2 Jan 2006 15:04:05 -0700"
	if bytes.HasSuffix(value, []byte("GMT")) {
		layout = "Mon, 2 Jan 2006 15:04:05 GMT"
	}
	t, err := time.Parse(layout, string(value))
	if err != nil {
		t, err = mail.ParseDate(string(value))
	}
	if err != nil {
		return time.Time{}
	}
	return t
}
