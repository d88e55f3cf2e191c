package dsn

import (
	"fmt"
	"io"
	"sync"
)

// Read reads a whole message, header and body, with whatever line ends and
// mbox lines it has. It stops reading when the answer is known, so r may be
// left in the middle. The error is that of r; the report then holds what was
// understood up to there.
func Read(r io.Reader, limits Limits) (Report, error) {
	p := newParser(limits)
	defer p.free()
	s := p.source(r)
	p.outer.scan(s, p.limits.HeaderBytes)
	p.report.Cut = p.outer.cut
	return p.run(s)
}

// ReadBody reads a message whose header is known already, as in sendmail's
// queue: the header is in the qf, the body in the df. A caller that knows the
// envelope sender puts it first as a Return-Path field ("<>" for the null one):
// it tells bounces from letters about bounces better than anything else.
func ReadBody(header []Field, body io.Reader, limits Limits) (Report, error) {
	p := newParser(limits)
	defer p.free()
	p.outer.load(header)
	return p.run(p.source(body))
}

// parsers keeps the memory of past readings: 20 kB for each message would else
// cost more than reading it. Nothing in a Report refers to it.
var parsers = sync.Pool{New: func() any {
	return &parser{main: source{buf: make([]byte, bufferSize)}, note: make([]byte, 0, 4<<10)}
}}

func newParser(limits Limits) *parser {
	p := parsers.Get().(*parser)
	p.limits = limits.withDefaults()
	p.report = &p.result
	return p
}

func (p *parser) source(r io.Reader) *source {
	p.main = source{r: r, left: p.limits.Bytes, at: -1, buf: p.main.buf, open: p.main.open[:0]}
	return &p.main
}

// free gives the parser back, unless a message has made it big.
func (p *parser) free() {
	if cap(p.outer.buf)+cap(p.part.buf)+cap(p.group.buf)+cap(p.note) > 256<<10 ||
		cap(p.outer.spans)+cap(p.part.spans)+cap(p.group.spans)+cap(p.found) > 4<<10 {
		return
	}
	p.outer.reset()
	p.part.reset()
	p.group.reset()
	clear(p.found)
	*p = parser{
		main:  source{buf: p.main.buf, open: p.main.open[:0]},
		outer: p.outer, part: p.part, group: p.group,
		note: p.note[:0], found: p.found[:0],
	}
	parsers.Put(p)
}

func (p *parser) run(s *source) (Report, error) {
	p.sign = readSigns(&p.outer)
	if p.sign.candidate() {
		p.body(s, &p.outer, 0)
	}
	p.report.Cut = p.report.Cut || s.cut || s.err != nil
	if p.report.Cut && p.report.Returned.Fields != nil && p.quality < inPart {
		p.report.Returned.Complete = false
	}
	p.judge()
	if s.err != nil {
		return *p.report, fmt.Errorf("reading a message: %w", s.err)
	}
	return *p.report, nil
}
