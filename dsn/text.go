package dsn

import "bytes"

// noteLimit bounds the text for people that is kept to be understood. What
// matters of it stands in its first page.
const noteLimit = 32 << 10

// text reads a text part into the note, until the returned message begins: a
// run of header lines, quoted or indented perhaps, with or without a mark.
func (p *parser) text(s *source, depth int) {
	f := finder{p: p, block: &p.group}
	var dashes []byte
	for {
		line, ok := s.next()
		if !ok {
			break
		}
		if len(dashes) > 0 && depth < p.limits.Depth && p.mayAdopt() && hasPrefixFold(line, "content-") && nameEnd(line) > 0 {
			// Parts that no header announced.
			p.adopt(s, string(dashes), depth)
			return
		}
		dashes = dashes[:0]
		if looksLikeBoundary(line) || len(line) > 4 && line[0] == '-' && line[1] == '-' && bytes.IndexByte(line, ' ') < 0 {
			dashes = append(dashes, line[2:]...)
		}
		if f.feed(line, s.more) {
			return
		}
		p.keep(line)
	}
	f.finish(true)
}

func (p *parser) keep(line []byte) {
	if len(p.note)+len(line) < noteLimit {
		p.note = append(append(p.note, line...), '\n')
	}
}

// mayAdopt reports whether parts that no header announced are looked for: in
// what mail systems write, and not in letters that bounces are pasted into.
func (p *parser) mayAdopt() bool {
	s := &p.sign
	return s.null || s.strict || s.report || s.vendor || hasPrefixFold(p.outer.get("Content-Type"), "multipart/")
}

// adopt reads the parts between boundaries that were found by their look. The
// line after the first boundary is the current one.
func (p *parser) adopt(s *source, boundary string, depth int) {
	me := len(s.open)
	s.unread()
	s.open = append(s.open, boundary)
	s.at, s.closing = me, false
	p.eachPart(s, me, depth+1)
	s.open = s.open[:me]
	if s.at == me {
		s.at = -1
	}
}

// A finder looks for the header of the returned message in text.
type finder struct {
	p      *parser
	block  *block
	active bool
	prefix []byte // what stands before each line of it: "> ", blanks
	mark   int    // where it begins in the note
	long   bool   // the last line goes on
}

// feed takes a line of text, and reports whether the returned header has been
// found and read, so that what follows is the returned body.
func (f *finder) feed(line []byte, more bool) bool {
	long := f.long
	f.long = more
	if f.active && long {
		if f.fits(line) {
			f.block.splice(line)
		}
		return false
	}
	if f.active && f.continues(line) {
		return false
	}
	if f.active && f.finish(f.block.ended) {
		return true
	}
	rest := unquote(line)
	if n := nameEnd(rest); n > 0 && knownField(rest[:n]) {
		f.active, f.mark = true, len(f.p.note)
		f.prefix = append(f.prefix[:0], line[:len(line)-len(rest)]...)
		f.block.reset()
		f.block.add(rest)
	}
	return false
}

// continues adds a line to the header, and is false at the end of it.
func (f *finder) continues(line []byte) bool {
	if len(bytes.Trim(line, "> \t|")) == 0 {
		f.block.ended = true
		return false
	}
	rest, ok := bytes.CutPrefix(line, f.prefix)
	switch {
	case !ok:
		return false
	case rest[0] == ' ' || rest[0] == '\t':
		if f.fits(rest) {
			f.block.fold(rest)
		}
	case nameEnd(rest) > 0:
		if f.fits(rest) {
			f.block.add(rest)
		}
	default:
		return false
	}
	return true
}

// fits reports whether there is room for a line, and notes it where there is not.
func (f *finder) fits(line []byte) bool {
	if len(f.block.buf)+len(line) > f.p.limits.HeaderBytes {
		f.block.cut, f.p.report.Cut = true, true
		return false
	}
	return true
}

// finish judges what was collected. A few fields are quoted by many mailers
// among their own words; a real header has a Received or a Message-ID.
func (f *finder) finish(ended bool) bool {
	if !f.active {
		return false
	}
	f.active = false
	b := f.block
	known := 0
	for i := range b.spans {
		if knownField(b.name(i)) {
			known++
		}
	}
	traced := b.has("Received") || b.has("Message-ID")
	indented := bytes.IndexByte(f.prefix, '>') < 0 && len(f.prefix) > 0
	switch {
	case known >= 3 && traced && b.has("From") && !indented:
		f.p.note = f.p.note[:min(f.mark, len(f.p.note))]
		b.ended = b.ended || ended
		if !b.ended {
			b.junk++ // it broke off
		}
		f.p.takeReturned(b, inText)
		return true
	case known >= 3 && (traced || b.has("From")), known >= 2 && b.has("Received"):
		f.p.note = f.p.note[:min(f.mark, len(f.p.note))]
		f.p.takeReturned(b, extract)
	}
	return false
}

// unquote takes quoting and indentation off a line.
func unquote(line []byte) []byte { return bytes.TrimLeft(line, "> \t|") }

func hasPrefixFold(b []byte, lower string) bool {
	return len(b) >= len(lower) && equalFold(b[:len(lower)], lower)
}
