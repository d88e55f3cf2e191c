package dsn

import (
	"bytes"
	"io"
	"strings"

	"github.com/emersion/go-message/charset"
)

// decoder gives the text of the part that s is in: transfer encoding undone, and
// converted to UTF-8 where the charset is one that ASCII cannot be read in. It
// is nil where the lines can be read as they are.
//
// The standard decoders, and so go-message's, stop at the first bad byte, and
// at lines over 4 kB in quoted-printable: here, what can be decoded is.
func decoder(s *source, encoding, cs []byte) io.Reader {
	var r io.Reader
	switch {
	case equalFold(encoding, "base64"):
		r = &base64Reader{s: s}
	case equalFold(encoding, "quoted-printable"):
		r = &quotedReader{s: s}
	}
	if !asciiCompatible(cs) && !(hasPrefixFold(cs, "iso-2022") && r == nil && !s.pendingByte(0x1b)) {
		if r == nil {
			r = s
		}
		// An unknown charset is read as it is: go-message names it in an error.
		if c, err := charset.Reader(string(cs), r); err == nil {
			r = c
		}
	}
	return r
}

// pendingByte looks for a byte in what has been read ahead. ISO 2022 is nothing
// without its escapes: where there are none, the label is wrong.
func (s *source) pendingByte(c byte) bool { return bytes.IndexByte(s.buf[s.start:s.end], c) >= 0 }

// asciiCompatible reports whether bytes below 0x80 stand for themselves. Those
// of Shift_JIS, GBK, Big5 and of ISO 2022 can be halves of characters that look
// like @ or <.
func asciiCompatible(cs []byte) bool {
	name := strings.ToLower(string(cs))
	for _, odd := range []string{"iso-2022", "shift_jis", "shift-jis", "sjis", "utf-16", "utf-32", "big5", "gbk", "hz-gb", "ibm037", "cp1047"} {
		if strings.HasPrefix(name, odd) {
			return false
		}
	}
	return true
}

// A base64Reader decodes base64 and passes over everything else.
type base64Reader struct {
	s    *source
	out  []byte
	pos  int // up to which out was given
	acc  uint32
	bits int
}

func (b *base64Reader) Read(p []byte) (int, error) {
	for b.pos == len(b.out) {
		line, ok := b.s.next()
		if !ok {
			return 0, io.EOF
		}
		out := b.out[:0]
		for _, c := range line {
			v := base64Value(c)
			if v < 0 {
				if c == '=' {
					b.bits, b.acc = 0, 0
				}
				continue
			}
			b.acc = b.acc<<6 | uint32(v)
			if b.bits += 6; b.bits >= 8 {
				b.bits -= 8
				out = append(out, byte(b.acc>>b.bits))
			}
		}
		b.out, b.pos = out, 0
	}
	n := copy(p, b.out[b.pos:])
	b.pos += n
	return n, nil
}

func base64Value(c byte) int {
	switch {
	case c >= 'A' && c <= 'Z':
		return int(c - 'A')
	case c >= 'a' && c <= 'z':
		return int(c-'a') + 26
	case digit(c):
		return int(c-'0') + 52
	case c == '+' || c == '-':
		return 62
	case c == '/' || c == '_':
		return 63
	}
	return -1
}

// A quotedReader decodes quoted-printable. An = that begins no code is itself.
type quotedReader struct {
	s   *source
	out []byte
	pos int // up to which out was given
}

func (q *quotedReader) Read(p []byte) (int, error) {
	for q.pos == len(q.out) {
		line, ok := q.s.next()
		if !ok {
			return 0, io.EOF
		}
		q.out, q.pos = unquotePrintable(q.out[:0], line, q.s.more), 0
	}
	n := copy(p, q.out[q.pos:])
	q.pos += n
	return n, nil
}

func unquotePrintable(out, line []byte, more bool) []byte {
	if !more {
		line = bytes.TrimRight(line, " \t")
	}
	for i := 0; i < len(line); i++ {
		if line[i] != '=' {
			out = append(out, line[i])
			continue
		}
		if i+1 == len(line) {
			return out // a soft break
		}
		if i+2 < len(line) {
			if h, l := hexValue(line[i+1]), hexValue(line[i+2]); h >= 0 && l >= 0 {
				out = append(out, byte(h<<4|l))
				i += 2
				continue
			}
		}
		out = append(out, '=')
	}
	if !more {
		out = append(out, '\n')
	}
	return out
}

func hexValue(c byte) int {
	switch {
	case digit(c):
		return int(c - '0')
	case c >= 'A' && c <= 'F':
		return int(c-'A') + 10
	case c >= 'a' && c <= 'f':
		return int(c-'a') + 10
	}
	return -1
}

// htmlText gives the text of HTML: tags away, a line for each block.
type htmlText struct {
	s     *source
	out   []byte
	pos   int // up to which out was given
	inTag bool
	tag   []byte
}

func (h *htmlText) Read(p []byte) (int, error) {
	for h.pos == len(h.out) {
		line, ok := h.s.next()
		if !ok {
			return 0, io.EOF
		}
		h.out, h.pos = h.out[:0], 0
		for _, c := range line {
			h.put(c)
		}
		if !h.inTag {
			h.out = append(h.out, ' ')
		}
	}
	n := copy(p, h.out[h.pos:])
	h.pos += n
	return n, nil
}

func (h *htmlText) put(c byte) {
	switch {
	case h.inTag && c == '>':
		h.inTag = false
		if bytes.IndexByte(h.tag, '@') > 0 && bytes.IndexByte(h.tag, '=') < 0 {
			h.out = append(append(append(h.out, '<'), h.tag...), '>') // an address that was not escaped
		} else if tagBreaks(h.tag) {
			h.out = append(h.out, '\n')
		}
	case h.inTag:
		if len(h.tag) < 512 {
			h.tag = append(h.tag, c)
		}
	case c == '<':
		h.inTag, h.tag = true, h.tag[:0]
	case c == ';':
		h.entity()
	default:
		h.out = append(h.out, c)
	}
}

func tagBreaks(tag []byte) bool {
	name := string(bytes.ToLower(bytes.TrimLeft(tag, "/")))
	for _, t := range []string{"br", "p", "div", "tr", "li", "h1", "h2", "h3", "pre", "td", "table", "hr"} {
		if rest, ok := strings.CutPrefix(name, t); ok && (rest == "" || rest[0] == ' ' || rest[0] == '/') {
			return true
		}
	}
	return false
}

// entity replaces the entity that ends here, as far as it is written out.
func (h *htmlText) entity() {
	amp := bytes.LastIndexByte(h.out, '&')
	if amp < 0 || len(h.out)-amp > 8 {
		h.out = append(h.out, ';')
		return
	}
	char := byte(' ')
	switch name := string(h.out[amp+1:]); name {
	case "lt":
		char = '<'
	case "gt":
		char = '>'
	case "amp":
		char = '&'
	case "quot":
		char = '"'
	case "#64":
		char = '@'
	case "#39", "apos":
		char = '\''
	case "nbsp", "#160":
	default:
		h.out = append(h.out, ';')
		return
	}
	h.out = append(h.out[:amp], char)
}
