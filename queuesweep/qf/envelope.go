package qf

import (
	"bytes"
	"iter"
	"strings"
	"time"
)

// Line returns the text of the first line with this code, as it stands in the
// file: continuation lines included, the last newline not. ok tells an absent
// line from an empty one. Methods such as Sender follow the last instead.
func (f *File) Line(code byte) (value []byte, ok bool) {
	for i := range f.lines {
		if f.lines[i].code == code {
			return f.value(i), true
		}
	}
	return nil, false
}

// Lines goes over all lines of this code in file order.
func (f *File) Lines(code byte) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for i := range f.lines {
			if f.lines[i].code == code && !yield(f.value(i)) {
				return
			}
		}
	}
}

func (f *File) value(i int) []byte { return f.data[f.lines[i].from:f.lines[i].to] }

// last returns the line that counts of several with one code: readqf() takes
// each in turn, so that a later one wins.
func (f *File) last(code byte) (value []byte, ok bool) {
	for i := len(f.lines) - 1; i >= 0; i-- {
		if f.lines[i].code == code {
			return f.value(i), true
		}
	}
	return nil, false
}

func (f *File) text(code byte) string {
	v, _ := f.last(code)
	return Text(v)
}

// Text undoes the stuffing of a value: sendmail writes the bytes 0x80 to 0x9F
// and 0xFF, which mean macros inside it, behind a 0xFF. It does not unfold.
func Text(v []byte) string {
	if bytes.IndexByte(v, 0xFF) < 0 {
		return string(v)
	}
	out := make([]byte, 0, len(v))
	for i := 0; i < len(v); i++ {
		if v[i] == 0xFF && i+1 < len(v) && (v[i+1] == 0xFF || v[i+1] >= 0x80 && v[i+1] <= 0x9F) {
			i++
		}
		out = append(out, v[i])
	}
	return string(out)
}

// Created is the time of the T line, zero without one.
func (f *File) Created() time.Time { return f.time('T') }

// LastAttempt is the time of the last delivery attempt, zero if there was none.
func (f *File) LastAttempt() time.Time { return f.time('K') }

// lastSecond is the end of the year 9999, beyond which RFC 3339, and so JSON,
// can tell no time.
const lastSecond = 253402300799

// time reads a time; one that is too far ahead to be told is the last that can.
func (f *File) time(code byte) time.Time {
	if n := int64(f.number(code)); n > 0 {
		return time.Unix(min(n, lastSecond), 0)
	}
	return time.Time{}
}

func (f *File) number(code byte) int {
	v, _ := f.last(code)
	return leadingInt(v)
}

// Attempts is the number of delivery attempts so far.
func (f *File) Attempts() int { return f.number('N') }

// Priority is sendmail's: bigger is worse.
func (f *File) Priority() int { return f.number('P') }

// Flags are the letters of the F line, such as "rs"; of several lines they add
// up.
func (f *File) Flags() string {
	var flags string
	for v := range f.Lines('F') {
		flags += Text(v)
	}
	return flags
}

// BodyType is "7BIT", "8BITMIME" or "".
func (f *File) BodyType() string { return f.text('B') }

// EnvelopeID is the ENVID of RFC 3461 as it was given, in xtext.
func (f *File) EnvelopeID() string { return f.text('Z') }

// Quarantine is the reason for which the message is held, "" if it is not.
func (f *File) Quarantine() string { return f.text('q') }

// DataFolder names the queue folder that holds the df, relative to the root of
// the queues; "" means the folder of the control file.
func (f *File) DataFolder() string { return f.text('d') }

// Quarantined tells whether there is a q line, even an empty one. A file named
// qf that has one is passed over by sendmail's queue runs (gatherq).
func (f *File) Quarantined() bool {
	_, ok := f.Line('q')
	return ok
}

// Sender is the envelope sender without angle brackets, "" for the null
// reverse-path.
func (f *File) Sender() string {
	if f.NullSender() {
		return ""
	}
	v, _ := f.last('S')
	return Address(v)
}

// NullSender tells whether the envelope sender is null: "<>" as it came by
// SMTP, or MAILER-DAEMON, or the r flag of a DSN that this sendmail made.
func (f *File) NullSender() bool {
	v, _ := f.last('S')
	switch string(v) {
	case "", "<>", "MAILER-DAEMON":
		return true
	}
	return f.hasFlag('r')
}

func (f *File) hasFlag(letter byte) bool {
	for i := range f.lines {
		if f.lines[i].code == 'F' && bytes.IndexByte(f.value(i), letter) >= 0 {
			return true
		}
	}
	return false
}

// OwnDSN tells a bounce that this sendmail made itself (the r flag, which
// stands for EF_RESPONSE).
func (f *File) OwnDSN() bool { return f.hasFlag('r') }

// ReturnHeadersOnly tells whether the sender asked for RET=HDRS (RFC 3461).
func (f *File) ReturnHeadersOnly() bool { return f.hasFlag('n') }

// SMTPUTF8 tells whether the message needs RFC 6531 on its way.
func (f *File) SMTPUTF8() bool { return f.hasFlag('e') }

// Address undoes the stuffing of an address and takes off the angle brackets
// around it.
func Address(v []byte) string {
	s := Text(v)
	if len(s) >= 2 && s[0] == '<' && s[len(s)-1] == '>' {
		return s[1 : len(s)-1]
	}
	return s
}

// Status is the envelope's status message, such as "Deferred: Connection timed
// out with mx.example.". It is the M line that stands before the sender's S
// line; where there is none, the first M line before any recipient.
func (f *File) Status() string { return Text(f.RawStatus()) }

// RawStatus is the status message as the file has it: a view into its bytes.
func (f *File) RawStatus() []byte {
	for i := range f.lines {
		switch f.lines[i].code {
		case 'M':
			return f.value(i)
		case 'R':
			return nil
		}
	}
	return nil
}

// Macro returns the value that a $ line gives to a macro: Macro("r") is the
// protocol, Macro("auth_authen") the authenticated user. A later line wins, as
// in macdefine().
func (f *File) Macro(name string) string {
	name = strings.TrimSuffix(strings.TrimPrefix(name, "{"), "}")
	var value []byte
	for v := range f.Lines('$') {
		if n, rest := splitMacro(v); n == name {
			value = rest
		}
	}
	return Text(value)
}

// Macros goes over name and value of all macros in file order.
func (f *File) Macros() iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		for v := range f.Lines('$') {
			if n, rest := splitMacro(v); n != "" && !yield(n, Text(rest)) {
				return
			}
		}
	}
}

// splitMacro follows macid_parse(): one letter, or a name in braces.
func splitMacro(v []byte) (name string, value []byte) {
	if len(v) == 0 {
		return "", nil
	}
	if v[0] != '{' {
		return string(v[:1]), v[1:]
	}
	if i := bytes.IndexByte(v, '}'); i > 0 {
		return string(v[1:i]), v[i+1:]
	}
	return "", nil
}
