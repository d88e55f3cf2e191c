package dsn

import (
	"bytes"
	"strings"
)

// A parser is the state of reading one message.
type parser struct {
	limits Limits
	main   source
	report *Report // &result
	result Report
	outer  block // the header of the message itself
	part   block // of the part that is being read
	group  block // of delivery-status fields, and of headers found in text
	sign   signs // what the outer header says
	parts  int

	note    []byte // the text for people, as far as it matters
	low     string // ... in lower case, byte for byte
	html    bool   // ... was HTML
	quality int    // of the returned header, 0 if there is none yet
	groups  int    // of delivery-status fields
	unnamed Recipient

	found    []candidate
	searched bool

	sawStatus, sawFeedback, sawDisposition bool // parts of these types
	sawMessage                             bool // an attached or returned message
}

// Quality of a returned header: a better one replaces a worse one.
const (
	extract = 1 + iota // a few fields quoted in the text
	inText             // a header in the text
	inPart             // a part of its own
)

// body reads what follows a header: the message's own, or that of a part.
func (p *parser) body(s *source, b *block, depth int) {
	kind := mediaType(b.get("Content-Type"))
	if depth > p.limits.Depth {
		p.report.Cut = true
		return
	}
	if bytes.HasPrefix(kind, []byte("multipart/")) {
		p.multipart(s, param(b.get("Content-Type"), "boundary"), depth)
		return
	}
	if d := decoder(s, b.get("Content-Transfer-Encoding"), param(b.get("Content-Type"), "charset")); d != nil {
		sub := newSource(d, p.limits.Bytes)
		p.leaf(sub, kind, depth)
		p.report.Cut = p.report.Cut || sub.cut
		return
	}
	p.leaf(s, kind, depth)
}

// leaf reads a part that is no multipart, by its type.
func (p *parser) leaf(s *source, kind []byte, depth int) {
	switch string(kind) {
	case "message/delivery-status", "message/global-delivery-status":
		p.sawStatus = true
		p.status(s, depth)
	case "message/rfc822", "message/global", "message/rfc822-headers", "message/global-headers",
		"text/rfc822-headers", "message/partial", "text/rfc822", "message/rfc822-header", "text/rfc822-header":
		p.sawMessage = true
		p.returned(s)
	case "message/feedback-report":
		p.sawFeedback = true
		p.status(s, depth)
	case "message/disposition-notification", "message/global-disposition-notification":
		p.sawDisposition = true
		p.status(s, depth)
	case "text/html":
		if len(p.note) == 0 {
			p.html = true
			sub := newSource(&htmlText{s: s}, p.limits.Bytes)
			p.text(sub, depth)
		}
	case "", "text/plain", "text", "text/report", "message/notification", "text/x-moz-deleted":
		if p.html {
			p.note, p.html = p.note[:0], false // plain text is better
		}
		p.text(s, depth)
	}
}

// multipart reads the parts of a multipart. Without a boundary in the header,
// text finds it by the look of the first part.
func (p *parser) multipart(s *source, boundary []byte, depth int) {
	if len(boundary) == 0 {
		p.text(s, depth)
		return
	}
	me := len(s.open)
	s.open = append(s.open, string(boundary))
	if s.at < 0 {
		p.preamble(s, depth)
	}
	p.eachPart(s, me, depth)
	s.open = s.open[:me]
	if s.at == me { // our closing boundary: the rest belongs to the part around
		s.at = -1
	}
	if me == 0 && s.at < 0 && p.quality < inPart && !p.done() {
		p.text(s, p.limits.Depth) // some append what they return behind the last boundary
	}
}

func (p *parser) eachPart(s *source, me, depth int) {
	for s.at == me && !s.closing {
		s.at = -1
		if p.parts++; p.parts > p.limits.Parts {
			p.report.Cut = true
			return
		}
		b := &p.part
		p.scanPart(b, s)
		p.report.Cut = p.report.Cut || b.cut
		if isMessageHeader(b) {
			p.takeReturned(b, inPart)
		} else {
			p.body(s, b, depth+1)
		}
		if p.done() {
			return
		}
		s.skip()
	}
}

// preamble passes over what stands before the first boundary. It goes to the
// note all the same: where the boundary never comes, it is all there is.
func (p *parser) preamble(s *source, depth int) {
	p.text(s, depth)
	if s.at >= 0 && p.parts == 0 {
		p.note = p.note[:0]
	}
}

// done reports whether there is nothing left to learn from further parts.
func (p *parser) done() bool {
	return p.quality == inPart && p.sawStatus && len(p.report.Recipients) > 0
}

// returned reads the header of the returned message from a part of its own.
func (p *parser) returned(s *source) {
	if p.quality == inPart {
		return
	}
	b := &p.group
	p.scanPart(b, s)
	for p.quality < inPart {
		if len(b.spans) == 0 {
			line, ok := s.next()
			if !ok {
				return
			}
			// Not a header. Perhaps it is below, or quoted.
			if line = unquote(line); nameEnd(line) > 0 && knownField(line[:nameEnd(line)]) {
				s.last = line
				s.unread()
				p.scanPart(b, s)
			}
			continue
		}
		p.report.Cut = p.report.Cut || b.cut
		p.takeReturned(b, inPart)
	}
}

// scanPart reads a header within a part. One that ends with the input, and not
// with a blank line or a boundary, was cut in the middle.
func (p *parser) scanPart(b *block, s *source) {
	b.scan(s, p.limits.HeaderBytes)
	if len(b.spans) > 0 && !b.ended && s.at < 0 && len(s.open) > 0 {
		b.cut = true
	}
}

// takeReturned keeps a header as the returned one if it is the best so far.
func (p *parser) takeReturned(b *block, quality int) {
	if quality <= p.quality {
		return
	}
	p.quality = quality
	p.report.Returned = Returned{Fields: b.fields()}
	whole := b.has("From") && b.has("Date") && (b.has("Message-ID") || b.has("Received"))
	p.report.Returned.Complete = quality > extract && whole && !b.cut && b.junk == 0
}

// isMessageHeader reports whether the header of a part is that of a message:
// some bounces put the returned message there without a header of its own.
func isMessageHeader(b *block) bool {
	n := 0
	for _, name := range []string{"Received", "From", "Date", "Subject", "Message-ID", "To"} {
		if b.has(name) {
			n++
		}
	}
	return n >= 3
}

// mediaType is the type of a Content-Type value in lower case, parameters off.
func mediaType(value []byte) []byte {
	value = bytes.TrimLeft(value, " \t\"")
	if i := bytes.IndexAny(value, "; \t\""); i >= 0 { // a forgotten semicolon is common
		value = value[:i]
	}
	for _, c := range value {
		if c >= 'A' && c <= 'Z' {
			return bytes.ToLower(value)
		}
	}
	return value
}

// param gives a parameter of a Content-Type, unquoted. It takes what
// mime.ParseMediaType refuses: unquoted specials, stray semicolons, text after
// the quotes.
func param(value []byte, name string) []byte {
	for {
		i := bytes.IndexByte(value, ';')
		if i < 0 {
			return nil
		}
		value = bytes.TrimLeft(value[i+1:], " \t\r\n")
		eq := bytes.IndexByte(value, '=')
		if eq < 0 {
			return nil
		}
		found := equalFold(bytes.TrimRight(value[:eq], " \t"), name)
		rest := bytes.TrimLeft(value[eq+1:], " \t")
		var v []byte
		if len(rest) > 0 && rest[0] == '"' {
			rest = rest[1:]
			if j := bytes.IndexByte(rest, '"'); j >= 0 {
				v, rest = rest[:j], rest[j+1:]
			} else {
				v, rest = rest, nil
			}
			if bytes.IndexByte(v, '\\') >= 0 {
				v = []byte(strings.ReplaceAll(string(v), `\`, ""))
			}
		} else {
			j := bytes.IndexAny(rest, "; \t")
			if j < 0 {
				j = len(rest)
			}
			v, rest = rest[:j], rest[j:]
		}
		if found {
			return bytes.TrimRight(v, " ")
		}
		value = rest
	}
}
