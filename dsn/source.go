package dsn

import (
	"bytes"
	"io"
)

// bufferSize is the memory for input of one source, and the longest line that
// is seen in one piece.
const bufferSize = 8 << 10

// A source gives the lines of a message, or of a decoded part of one, and
// stops at the boundaries of the multiparts that are open in it.
type source struct {
	r    io.Reader
	left int64 // bytes that may still be read
	cut  bool  // there was more than that
	err  error // of r, but for io.EOF

	buf        []byte
	start, end int
	eof        bool
	crOnly     bool // lines end in a bare CR, as on old Macs
	decided    bool // crOnly is known

	last  []byte // the line given last
	more  bool   // ... and it goes on in the next one, being too long
	again bool   // give it once more

	open    []string // boundaries of the multiparts we are in, outermost first
	at      int      // index in open of the boundary just met, or -1
	closing bool     // ... which was the closing one
}

func newSource(r io.Reader, limit int64) *source {
	return &source{r: r, left: limit, at: -1, buf: make([]byte, bufferSize)}
}

// next gives the next line of the part that is being read, without its end.
// The slice is good until the call after. Too long lines come in pieces (more).
// It is false at a boundary of any open multipart, and at the end of the input.
func (s *source) next() ([]byte, bool) {
	if s.at >= 0 {
		return nil, false
	}
	whole := !s.more
	line, ok := s.line()
	if !ok {
		return nil, false
	}
	if whole && len(s.open) > 0 && len(line) > 2 && line[0] == '-' && line[1] == '-' && s.boundary(line[2:]) {
		return nil, false
	}
	return line, true
}

// unread makes next give the last line again.
func (s *source) unread() { s.again = true }

// skip reads on to the next boundary or the end of the input.
func (s *source) skip() {
	for {
		if _, ok := s.next(); !ok {
			return
		}
	}
}

// boundary looks for text, a line without its two dashes, among the open
// boundaries. The innermost is tried first; blanks after it are allowed
// (RFC 2046, section 5.1.1).
func (s *source) boundary(text []byte) bool {
	text = bytes.TrimRight(text, " \t")
	for i := len(s.open) - 1; i >= 0; i-- {
		b := s.open[i]
		if len(text) < len(b) || string(text[:len(b)]) != b {
			continue
		}
		switch rest := text[len(b):]; {
		case len(rest) == 0:
			s.at, s.closing = i, false
			return true
		case len(rest) >= 2 && rest[0] == '-' && rest[1] == '-':
			s.at, s.closing = i, true
			return true
		}
	}
	return false
}

func (s *source) line() ([]byte, bool) {
	if s.again {
		s.again = false
		return s.last, true
	}
	seen := 0
	for {
		if !s.decided {
			s.decideEnds()
		}
		end := byte('\n')
		if s.crOnly {
			end = '\r'
		}
		pending := s.buf[s.start:s.end]
		if i := bytes.IndexByte(pending[seen:], end); i >= 0 {
			i += seen
			s.start += i + 1
			return s.give(pending[:i], false), true
		}
		seen = len(pending)
		if s.eof {
			s.start = s.end
			if seen == 0 {
				return nil, false
			}
			return s.give(pending, false), true
		}
		if seen == len(s.buf) {
			s.start = s.end
			return s.give(pending, true), true
		}
		s.fill()
	}
}

func (s *source) give(line []byte, more bool) []byte {
	if s.crOnly {
		line = bytes.TrimPrefix(line, []byte("\n"))
	} else if !more {
		for len(line) > 0 && line[len(line)-1] == '\r' {
			line = line[:len(line)-1]
		}
	}
	s.last, s.more = line, more
	return line
}

// decideEnds finds out from the first line how lines end.
func (s *source) decideEnds() {
	pending := s.buf[s.start:s.end]
	i := bytes.IndexByte(pending, '\n')
	if i < 0 {
		i = len(pending)
	}
	if j := bytes.IndexByte(pending[:i], '\r'); j >= 0 {
		i = j
	}
	if i == len(pending) || (pending[i] == '\r' && i+1 == len(pending) && !s.eof) {
		return
	}
	s.decided = true
	rest := bytes.TrimLeft(pending[i:], "\r")
	s.crOnly = pending[i] == '\r' && (len(rest) == 0 || rest[0] != '\n')
}

// fill reads more, behind what is pending. Readers that give neither data nor
// an error are given up on.
func (s *source) fill() {
	if s.start > 0 {
		s.end = copy(s.buf, s.buf[s.start:s.end])
		s.start = 0
	}
	space := s.buf[s.end:]
	if s.left <= 0 {
		space = space[:1] // only to see whether there is more
	} else if int64(len(space)) > s.left {
		space = space[:s.left]
	}
	for range 100 {
		n, err := s.r.Read(space)
		if n > 0 && s.left <= 0 {
			s.cut, s.eof = true, true
			return
		}
		s.end += n
		s.left -= int64(n)
		if err != nil {
			s.eof = true
			if err != io.EOF {
				s.err = err
			}
			return
		}
		if n > 0 {
			return
		}
	}
	s.eof, s.err = true, io.ErrNoProgress
}

// Read gives the lines of the part that is being read with a newline after
// each: what the decoders of base64 and quoted-printable take.
func (s *source) Read(p []byte) (int, error) {
	n := 0
	for n < len(p) {
		line, ok := s.next()
		if !ok {
			if n > 0 {
				return n, nil
			}
			return 0, io.EOF
		}
		if len(line)+1 > len(p)-n {
			if n > 0 {
				s.unread()
				return n, nil
			}
			n = copy(p, line) // a buffer smaller than the line: the rest comes next
			s.last = line[n:]
			s.unread()
			return n, nil
		}
		n += copy(p[n:], line)
		if !s.more {
			p[n] = '\n'
			n++
		}
	}
	return n, nil
}
