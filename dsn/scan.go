package dsn

import (
	"bytes"
	"strings"
)

// A block is one header as scanned: field after field, unfolded, in one buffer
// that is used again for the next header.
type block struct {
	buf   []byte
	spans []span
	junk  int  // lines in it that are no header fields
	cut   bool // longer than the limit
	ended bool // by a blank line
}

// A span is the place of one field in the buffer of its block.
type span struct{ name, colon, value, end int }

func (b *block) reset() { *b = block{buf: b.buf[:0], spans: b.spans[:0]} }

// add begins a field with a line, and reports whether the line is one.
func (b *block) add(line []byte) bool {
	colon := nameEnd(line)
	if colon < 0 {
		return false
	}
	name := len(b.buf)
	b.buf = append(b.buf, bytes.TrimRight(line[:colon], " \t")...)
	sp := span{name: name, colon: len(b.buf), value: len(b.buf)}
	value := line[bytes.IndexByte(line[colon:], ':')+colon+1:]
	b.buf = append(b.buf, bytes.Trim(value, " \t\r\n")...)
	sp.end = len(b.buf)
	b.spans = append(b.spans, sp)
	return true
}

// fold adds a continuation line to the last field: a blank, then its text.
func (b *block) fold(line []byte) {
	if len(b.spans) == 0 {
		return
	}
	last := &b.spans[len(b.spans)-1]
	line = bytes.Trim(line, " \t\r\n")
	if len(line) > 0 && last.end > last.value {
		b.buf = append(b.buf, ' ')
	}
	b.buf = append(b.buf, line...)
	last.end = len(b.buf)
}

// splice adds the next piece of an overlong line.
func (b *block) splice(piece []byte) {
	if len(b.spans) > 0 {
		b.buf = append(b.buf, piece...)
		b.spans[len(b.spans)-1].end = len(b.buf)
	}
}

func (b *block) name(i int) []byte  { return b.buf[b.spans[i].name:b.spans[i].colon] }
func (b *block) value(i int) []byte { return b.buf[b.spans[i].value:b.spans[i].end] }

// get is the first value of a field, any case, or nil. It is good until reset.
func (b *block) get(name string) []byte {
	for i := range b.spans {
		if equalFold(b.name(i), name) {
			return b.value(i)
		}
	}
	return nil
}

func (b *block) has(name string) bool {
	for i := range b.spans {
		if equalFold(b.name(i), name) {
			return true
		}
	}
	return false
}

// fields copies the block out: one string for all, cut into fields.
func (b *block) fields() []Field {
	all := string(b.buf)
	out := make([]Field, len(b.spans))
	for i, sp := range b.spans {
		out[i] = Field{all[sp.name:sp.colon], all[sp.value:sp.end]}
	}
	return out
}

// load fills the block from fields that were read elsewhere.
func (b *block) load(fields []Field) {
	b.reset()
	for _, f := range fields {
		sp := span{name: len(b.buf)}
		b.buf = append(b.buf, f.Name...)
		sp.colon, sp.value = len(b.buf), len(b.buf)
		b.buf = append(b.buf, f.Value...)
		sp.end = len(b.buf)
		b.spans = append(b.spans, sp)
	}
	b.ended = true
}

// scan reads a header up to the blank line after it, a boundary or the end of
// the input. Lines that are no fields are passed over: mbox's "From ", and up
// to three others, for there are filters and gateways that write them. Where
// there is no header at all, nothing is consumed but blank lines.
func (b *block) scan(s *source, limit int) {
	b.reset()
	long := false
	for {
		line, ok := s.next()
		if !ok {
			return
		}
		if long {
			if long = s.more; len(b.buf)+len(line) <= limit {
				b.splice(line)
			} else {
				b.cut = true
			}
			continue
		}
		blank := len(bytes.TrimLeft(line, " \t")) == 0
		if blank && len(b.spans) == 0 {
			b.ended = true
			if s.more {
				return
			}
			if line, ok = s.next(); !ok {
				return
			}
			// One blank line too many before a header is common; text after it is the body.
			if nameEnd(line) < 0 || !knownField(line[:nameEnd(line)]) {
				s.unread()
				return
			}
			b.ended = false
			s.unread()
			continue
		}
		if blank {
			b.ended = true
			return
		}
		if len(b.buf)+len(line) > limit {
			b.cut, long = true, s.more
			continue
		}
		switch {
		case (line[0] == ' ' || line[0] == '\t') && len(b.spans) > 0:
			b.fold(line)
		case b.add(line):
		case isMboxFrom(line):
		default:
			if b.junk++; len(b.spans) == 0 || b.junk > 3 || looksLikeBoundary(line) {
				s.unread()
				return
			}
		}
		long = s.more
	}
}

// nameEnd is the length of the field name that a line begins with, or -1
// (RFC 5322, section 2.2; blanks before the colon are allowed, as of old).
func nameEnd(line []byte) int {
	for i, c := range line {
		switch {
		case c == ':':
			if i == 0 {
				return -1
			}
			return i
		case c == ' ' || c == '\t':
			rest := bytes.TrimLeft(line[i:], " \t")
			if i > 0 && len(rest) > 0 && rest[0] == ':' {
				return i
			}
			return -1
		case c <= ' ' || c >= 0x7f:
			return -1
		}
	}
	return -1
}

func isMboxFrom(line []byte) bool {
	line = bytes.TrimPrefix(line, []byte(">"))
	return bytes.HasPrefix(line, []byte("From "))
}

func looksLikeBoundary(line []byte) bool {
	return len(line) > 8 && line[0] == '-' && line[1] == '-' && bytes.IndexByte(line, ' ') < 0
}

// knownField reports whether the name is one that mail headers are made of:
// what tells a returned header from lines of text that hold a colon.
func knownField(name []byte) bool {
	if len(name) < 2 {
		return false
	}
	switch name[0] | 0x20 {
	case 'x':
		return name[1] == '-'
	case 'r':
		return equalFold(name, "Received") || equalFold(name, "Return-Path") || equalFold(name, "Reply-To") ||
			equalFold(name, "References") || equalFold(name, "Received-SPF")
	case 'd':
		return equalFold(name, "Date") || equalFold(name, "Delivered-To") || equalFold(name, "DKIM-Signature") ||
			equalFold(name, "DomainKey-Signature") || equalFold(name, "Delivery-Date")
	case 'm':
		return equalFold(name, "Message-ID") || equalFold(name, "MIME-Version")
	case 's':
		return equalFold(name, "Subject") || equalFold(name, "Sender")
	case 'f', 't', 'c':
		return equalFold(name, "From") || equalFold(name, "To") || equalFold(name, "Cc") ||
			equalFold(name, "Content-Type") || equalFold(name, "Content-Transfer-Encoding")
	case 'a':
		return equalFold(name, "Authentication-Results") || len(name) > 4 && equalFold(name[:4], "ARC-")
	case 'e', 'l', 'p':
		return equalFold(name, "Envelope-To") || equalFold(name, "List-Id") || equalFold(name, "List-Unsubscribe") ||
			equalFold(name, "Precedence")
	}
	return false
}

// equalFold looks at the first letter before it compares: most names that are
// as long as the one looked for differ there.
func equalFold(b []byte, s string) bool {
	if len(b) != len(s) {
		return false
	}
	if len(s) > 0 && s[0] < 0x80 && b[0] < 0x80 && b[0]|0x20 != s[0]|0x20 {
		return false
	}
	return strings.EqualFold(string(b), s)
}
