package qf

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"strconv"
)

// MaxVersion is the newest file format that is understood (QF_VERSION in
// sendmail 8.13 to 8.18).
const MaxVersion = 8

var (
	// ErrIncomplete tells a file without its final "." line: sendmail is
	// still writing it, or its writer died.
	ErrIncomplete = errors.New(`no "." line at the end: the file is being written or was cut short`)
	// ErrEmpty tells a file of no bytes, which sendmail has just made. It
	// must not even be locked: sendmail opens it before it locks it.
	ErrEmpty = errors.New("the file is empty: sendmail has just made it")
	// ErrVersion tells a format newer than MaxVersion.
	ErrVersion = errors.New("unknown version of the queue file format")
)

// SyntaxError tells a line that sendmail would not take.
type SyntaxError struct {
	Line int // the first is 1; a continued line counts where it starts
	Msg  string
}

func (e *SyntaxError) Error() string { return fmt.Sprintf("line %d: %s", e.Line, e.Msg) }

// File is one parsed control file. Its values are views into the bytes that
// were parsed: they hold as long as those bytes are not changed. Methods only
// read and may run concurrently, Reset may not.
type File struct {
	// Version is the value of the V line, 0 without one.
	Version int

	data  []byte
	lines []line
}

// line is one logical line: a code letter and what follows it, continuation
// lines included, without the last newline and without what follows a NUL.
type line struct {
	code     byte
	from, to int // of the value in data
}

// Parse reads a control file. The error, if any, is ErrEmpty, ErrIncomplete,
// wraps ErrVersion, or is a *SyntaxError; the File is then nil.
func Parse(data []byte) (*File, error) {
	f := new(File)
	if err := f.Reset(data); err != nil {
		return nil, err
	}
	return f, nil
}

// Reset parses data into f and reuses the memory that f has. After an error f
// holds the lines before the fault, for showing only.
func (f *File) Reset(data []byte) error {
	f.data, f.lines, f.Version = data, f.lines[:0], 0
	if len(data) == 0 {
		return ErrEmpty
	}
	nul := bytes.IndexByte(data, 0) >= 0
	var number int // of physical lines before pos
	for pos := 0; pos < len(data); {
		start := number + 1
		next, newlines := endOfLine(data, pos)
		number += newlines
		l := line{code: data[pos], from: pos + 1, to: trimEOL(data, pos, next)}
		if l.to < l.from { // a blank line has no code
			return &SyntaxError{start, "blank line"}
		}
		// To readqf the line is a string of C's. But the name of a folder that has a
		// NUL stays as it is, which none has: nobody is to be led by half of it.
		if nul && l.code != '.' && l.code != 'd' {
			if n := bytes.IndexByte(data[l.from:l.to], 0); n >= 0 {
				l.to = l.from + n
			}
		}
		if err := f.take(l, start); err != nil {
			return err
		}
		pos = next
		if l.code == '.' {
			if pos < len(data) {
				return &SyntaxError{number + 1, `data after the "." that ends the file`}
			}
			if _, ok := f.last('S'); !ok {
				// Its run of the queue ends there and then (SM_ASSERT in sendall).
				return &SyntaxError{start, "no S line: sendmail would die of a file without a sender"}
			}
			return nil
		}
	}
	return ErrIncomplete
}

// endOfLine finds where the logical line that starts at pos ends: behind the
// first newline that neither space nor tab follows (fgetfolded in util.c).
func endOfLine(data []byte, pos int) (next, newlines int) {
	for {
		i := bytes.IndexByte(data[pos:], '\n')
		if i < 0 {
			return len(data), newlines
		}
		newlines++
		pos += i + 1
		if pos == len(data) || data[pos] != ' ' && data[pos] != '\t' {
			return pos, newlines
		}
	}
}

// trimEOL takes the newline, or CR and newline, off data[from:to].
func trimEOL(data []byte, from, to int) int {
	if to > from && data[to-1] == '\n' {
		to--
		if to > from && data[to-1] == '\r' {
			to--
		}
	}
	return to
}

// take checks one line as readqf does and keeps it.
func (f *File) take(l line, number int) error {
	value := f.data[l.from:l.to]
	f.lines = append(f.lines, l)
	switch l.code {
	case 'T', 'K', 'N', 'P', 'I', 'q', 'M', '$', 'S', 'Z', 'C', 'Q', 'r', 'R', 'H', '!':
	case 'D', 'E', 'L': // obsolete, ignored by readqf
	case 'V':
		f.Version = leadingInt(value)
		if f.Version > MaxVersion || f.Version < 0 {
			return fmt.Errorf("line %d: %w: %d, the newest known is %d", number, ErrVersion, f.Version, MaxVersion)
		}
	case 'F':
		if bytes.HasPrefix(value, []byte("rom ")) { // text of a mail, put there by somebody else
			return &SyntaxError{number, `"From " is no line of a queue file`}
		}
	case 'd':
		if len(value) == 0 { // no queue folder has an empty name
			return &SyntaxError{number, "the folder of the df has no name"}
		}
	case 'A':
		if !xtextOK(value) {
			return &SyntaxError{number, "AUTH= value is no xtext"}
		}
	case 'B':
		if !bytes.EqualFold(value, []byte("7BIT")) && !bytes.EqualFold(value, []byte("8BITMIME")) {
			return &SyntaxError{number, "body type is neither 7BIT nor 8BITMIME"}
		}
	case '.':
		if len(value) > 0 {
			return &SyntaxError{number, `text behind the "." that ends the file`}
		}
	default:
		return &SyntaxError{number, "unknown line code " + strconv.QuoteRune(rune(l.code))}
	}
	return nil
}

// xtextOK follows xtextok() in util.c: printable ASCII, where "=" does not
// occur and "+" starts two hex digits (RFC 3461 section 4, but small ones too).
func xtextOK(v []byte) bool {
	for i := 0; i < len(v); i++ {
		switch c := v[i]; {
		case c == '+':
			if i+2 >= len(v) || !isHex(v[i+1]) || !isHex(v[i+2]) {
				return false
			}
			i += 2
		case c < '!' || c > '~' || c == '=':
			return false
		}
	}
	return true
}

func isHex(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'A' && c <= 'F' || c >= 'a' && c <= 'f'
}

// leadingInt reads as C's atoi does: blanks, a sign, digits, then anything. It
// stops growing short of overflow.
func leadingInt(v []byte) int {
	v = bytes.TrimLeft(v, " \t\n\v\f\r")
	negative := len(v) > 0 && v[0] == '-'
	if negative || len(v) > 0 && v[0] == '+' {
		v = v[1:]
	}
	n := 0
	for _, c := range v {
		if c < '0' || c > '9' {
			break
		}
		if n > (math.MaxInt-9)/10 {
			break
		}
		n = n*10 + int(c-'0')
	}
	if negative {
		return -n
	}
	return n
}
