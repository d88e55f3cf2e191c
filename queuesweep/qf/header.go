package qf

import (
	"bytes"
	"iter"
	"strings"
)

// Header is one H line.
type Header struct {
	// Condition is what stands between the question marks: "" for always,
	// mailer flags such as "P", or a macro such as "${x}". A header with a
	// condition is a template that may never be sent.
	Condition string
	// Name is the field's name as it is written.
	Name string

	raw []byte
}

// Raw is the value as the file has it, less the stuffing: a leading blank, and
// the newlines of folds, are kept.
func (h Header) Raw() string { return Text(h.raw) }

// Value is the value unfolded and trimmed: each newline of a fold is taken
// out, the blanks that follow it become one.
func (h Header) Value() string { return unfold(Text(h.raw)) }

// Headers goes over the headers in file order. An H line without a colon, or
// whose name has other than printable ASCII, is no header to sendmail either,
// and is passed over.
func (f *File) Headers() iter.Seq[Header] {
	return func(yield func(Header) bool) {
		for i := range f.lines {
			if f.lines[i].code != 'H' {
				continue
			}
			cond, name, value, ok := splitHeader(f.value(i))
			if ok && !yield(Header{string(cond), string(name), value}) {
				return
			}
		}
	}
}

// Header is the first value of a header, unfolded and trimmed, "" if the
// message has none. The name is full and in any case.
func (f *File) Header(name string) string {
	if v, ok := f.firstHeader(name); ok {
		return unfold(Text(v))
	}
	return ""
}

// RawHeader is the first value of a header as the file has it.
func (f *File) RawHeader(name string) (value string, ok bool) {
	v, ok := f.firstHeader(name)
	return Text(v), ok
}

func (f *File) firstHeader(name string) (value []byte, ok bool) {
	for i := range f.lines {
		if f.lines[i].code != 'H' {
			continue
		}
		if _, n, v, ok := splitHeader(f.value(i)); ok && equalFold(n, name) {
			return v, true
		}
	}
	return nil, false
}

// equalFold compares ASCII letters in any case, without an allocation.
func equalFold(a []byte, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		x, y := a[i], b[i]
		if x != y && (x|0x20 != y|0x20 || x|0x20 < 'a' || x|0x20 > 'z') {
			return false
		}
	}
	return true
}

// splitHeader divides the value of an H line, "?cond?Name: value", as
// chompheader() does. Files of version 0 may lack the question marks.
func splitHeader(v []byte) (cond, name, value []byte, ok bool) {
	if len(v) > 0 && v[0] == '?' {
		end := bytes.IndexByte(v[1:], '?')
		if end < 0 {
			return nil, nil, nil, false
		}
		cond, v = v[1:1+end], v[2+end:]
	}
	end := 0
	for end < len(v) && v[end] > ' ' && v[end] < 0x7F && v[end] != ':' {
		end++
	}
	colon := end
	for colon < len(v) && (v[colon] == ' ' || v[colon] >= '\t' && v[colon] <= '\r') {
		colon++
	}
	if end == 0 || colon == len(v) || v[colon] != ':' {
		return nil, nil, nil, false
	}
	return cond, v[:end], v[colon+1:], true
}

// unfold joins the lines of a folded value (RFC 5322 section 2.2.3), folds of
// several blanks or tabs becoming one blank.
func unfold(s string) string {
	s = strings.Trim(s, " \t\r\n")
	if strings.IndexByte(s, '\n') < 0 {
		return s
	}
	var b strings.Builder
	b.Grow(len(s))
	for i := 0; i < len(s); {
		nl := strings.IndexByte(s[i:], '\n')
		if nl < 0 {
			b.WriteString(s[i:])
			break
		}
		b.WriteString(strings.TrimRight(s[i:i+nl], " \t\r"))
		b.WriteByte(' ')
		i += nl + 1
		for i < len(s) && (s[i] == ' ' || s[i] == '\t' || s[i] == '\r' || s[i] == '\n') {
			i++
		}
	}
	return b.String()
}

// Template tells whether the value still holds a macro that sendmail expands
// when it sends the message, as in "Return-Path: <$g>": a byte of 0x80 to 0x9F
// that is not stuffed.
func (h Header) Template() bool {
	for i := 0; i < len(h.raw); i++ {
		switch c := h.raw[i]; {
		case c == 0xFF:
			i++
		case c >= 0x80 && c <= 0x9F:
			return true
		}
	}
	return false
}
