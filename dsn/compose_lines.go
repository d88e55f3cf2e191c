package dsn

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"io"
	"mime/quotedprintable"
	"strings"
	"unicode/utf8"
)

// maxLine is how many bytes a line may have, CRLF apart (RFC 5322 section 2.1.1).
const maxLine = 998

var crlf = []byte("\r\n")

// content is what has to be known of a part's content to send it lawfully.
type content struct {
	eight    bool // bytes beyond ASCII
	binary   bool // a NUL, a CR that ends no line, or a line of more than maxLine
	boundary bool // a line that begins like the boundary
}

func (c content) plain() bool { return !c.eight && !c.binary }
func (c content) lines() bool { return !c.binary }

// survey reads a content to its end. Lines end in LF, with or without a CR.
func survey(open func() (io.ReadCloser, error), boundary string) (content, error) {
	var c content
	r, err := open()
	if err != nil {
		return c, err
	}
	defer r.Close()
	mark := "--" + boundary
	in := bufio.NewReaderSize(r, 64<<10)
	length, matched := 0, 0 // of the line so far; matched is -1 once it differs from mark
	var last byte
	for {
		b, err := in.ReadByte()
		if err == io.EOF {
			c.binary = c.binary || last == '\r'
			return c, nil
		}
		if err != nil {
			return c, err
		}
		if last == '\r' && b != '\n' || b == 0 {
			c.binary = true
		}
		last = b
		switch {
		case b == '\n':
			length, matched = 0, 0
			continue
		case b == '\r':
			continue // of its line, or found to be bare by the byte that follows
		case b >= utf8.RuneSelf:
			c.eight = true
		}
		if length++; length > maxLine {
			c.binary = true
		}
		if matched < 0 {
			continue
		}
		if b != mark[matched] {
			matched = -1
		} else if matched++; matched == len(mark) {
			c.boundary, matched = true, -1
		}
	}
}

// copyTo writes the part's content, encoded.
func (p *part) copyTo(w io.Writer) error {
	r, err := p.content()
	if err != nil {
		return err
	}
	defer r.Close()
	switch p.encoding {
	case "quoted-printable":
		return copyQuoted(w, r)
	case "base64":
		enc := base64.NewEncoder(base64.StdEncoding, &wrapper{w: w})
		if _, err := io.Copy(&crlfWriter{w: enc}, r); err != nil {
			return err
		}
		return enc.Close()
	}
	_, err = io.Copy(&crlfWriter{w: w}, r)
	return err
}

// crlfWriter ends each line in CRLF. A CR that ends no line stays.
type crlfWriter struct {
	w    io.Writer
	last byte
}

func (c *crlfWriter) Write(p []byte) (int, error) {
	done := 0
	for done < len(p) {
		rest := p[done:]
		i := bytes.IndexByte(rest, '\n')
		if i < 0 {
			i = len(rest)
		}
		if i > 0 {
			n, err := c.w.Write(rest[:i])
			done += n
			if err != nil {
				return done, err
			}
			c.last = rest[i-1]
		}
		if i == len(rest) {
			break
		}
		end := crlf
		if c.last == '\r' {
			end = crlf[1:]
		}
		if _, err := c.w.Write(end); err != nil {
			return done, err
		}
		c.last = '\n'
		done++
	}
	return len(p), nil
}

// wrapper breaks base64 into lines of 76 (RFC 2045 section 6.8).
type wrapper struct {
	w      io.Writer
	column int
}

func (b *wrapper) Write(p []byte) (int, error) {
	done := 0
	for done < len(p) {
		if b.column == 76 {
			if _, err := b.w.Write(crlf); err != nil {
				return done, err
			}
			b.column = 0
		}
		n, err := b.w.Write(p[done:min(len(p), done+76-b.column)])
		done += n
		b.column += n
		if err != nil {
			return done, err
		}
	}
	return done, nil
}

// copyQuoted writes quoted-printable, line by line: the library's writer would
// make a line end of a CR that is none.
func copyQuoted(w io.Writer, r io.Reader) error {
	in := bufio.NewReaderSize(r, 64<<10)
	for {
		line, err := in.ReadBytes('\n')
		text := bytes.TrimSuffix(line, []byte("\n"))
		ended := len(text) < len(line)
		if ended {
			text = bytes.TrimSuffix(text, []byte("\r"))
		}
		q := quotedprintable.NewWriter(w)
		q.Binary = true
		q.Write(text) // the first error stays, and Close tells it
		if err := q.Close(); err != nil {
			return err
		}
		if ended {
			if _, err := w.Write(crlf); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func fromString(s string) func() (io.ReadCloser, error) {
	return func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(s)), nil }
}

func ascii(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// toASCII puts a question mark for what is not ASCII.
func toASCII(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= utf8.RuneSelf {
			return '?'
		}
		return r
	}, s)
}

// cleanText is text for people: valid, without controls, ending in one LF.
func cleanText(s string) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return r
		case r == '\r':
			return -1
		case r < ' ' || r == 0x7f:
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	return strings.TrimRight(s, "\n ") + "\n"
}

// oneLine keeps a value in its field.
func oneLine(s string) string {
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 || r == '\u2028' || r == '\u2029' {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?")))
}
