// Package script reads shell scripts and crontabs for the calls of qtool.pl in
// them, and writes the rules and schedules that these amount to.
//
// It is pure: bytes in, text out. No shell is run and no file is looked at. What
// a call would be given is worked out where the text alone tells it: variables
// that are set before, loops over lists, functions. It promises that no call is
// left out in silence: one that it cannot work out, or that a rule cannot stand
// for, is a [Problem] with its place and the reason.
package script

import (
	"bytes"
	"cmp"
	"fmt"
	"path"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/backscatterd/backscatterd/queuesweep/qtool"
)

// MaxFile is the size in bytes beyond which a file is not read: the parser goes
// as deep as the text does.
const MaxFile = 256 << 10

// maxCalls bounds the calls of all files, since loops in loops multiply them.
const maxCalls = 2000

// File is one file to be read.
type File struct {
	Name string // for places, and to find which crontab runs which script
	Data []byte
}

// Call is one call of qtool.pl.
type Call struct {
	File string
	Line int // the first is 1
	// Text is the call as it stands in the file, in one line.
	Text string
	// Schedule is that of the crontab line that makes the call, "" where none is
	// known; as the configuration takes it.
	Schedule string
	qtool.Invocation

	folders []string // the sources, as folders
}

// Problem is something that is not taken, or a Note on what is.
type Problem struct {
	File         string
	Line, Column int // the first is 1; the column counts characters
	Source       string
	Message      string
	// Note tells that nothing is lost by it.
	Note bool
}

// String has the place and the message, and below them the line with a caret.
func (p Problem) String() string {
	kind := ""
	if p.Note {
		kind = "note: "
	}
	text := fmt.Sprintf("%s:%d:%d: %s%s", p.File, p.Line, p.Column, kind, p.Message)
	if strings.TrimSpace(p.Source) == "" {
		return text
	}
	const before, width = 60, 120
	runes, at := []rune(p.Source), p.Column-1
	if len(runes) > width {
		from := max(0, min(at-before, len(runes)-width))
		runes, at = runes[from:from+width], at-from
	}
	for i, r := range runes {
		if r == '\t' || !unicode.IsPrint(r) {
			runes[i] = ' '
		}
	}
	return text + "\n    " + strings.TrimRight(string(runes), " ") + "\n    " + strings.Repeat(" ", max(0, min(at, len(runes)))) + "^"
}

// Read finds the calls of qtool.pl in files: shell scripts, crontabs, and text
// that holds command lines. A script that a crontab among them runs has that
// one's schedule. Problems and notes are in the order of the files.
func Read(files ...File) (calls []Call, problems []Problem) {
	r := &reading{schedules: make(map[string][]string), told: make(map[Problem]bool)}
	for _, f := range files {
		r.names = append(r.names, f.Name)
	}
	// Crontabs first: they say when the others run.
	kinds := make([]kind, len(files))
	perFile := make([]found, len(files))
	for i, f := range files {
		kinds[i] = kindOf(f)
	}
	for _, crontabs := range []bool{true, false} {
		for i, f := range files {
			if (kinds[i] == crontab) == crontabs {
				r.found = &perFile[i]
				r.file(f, kinds[i])
			}
		}
	}
	for _, f := range perFile {
		calls = append(calls, f.calls...)
		problems = append(problems, f.problems...)
	}
	return calls, problems
}

// kind is what a file is.
type kind int

const (
	shellScript kind = iota
	crontab
	tooLarge
	binary
)

func kindOf(f File) kind {
	switch {
	case len(f.Data) > MaxFile:
		return tooLarge
	case bytes.IndexByte(f.Data, 0) >= 0 || !utf8.Valid(f.Data):
		return binary
	case isCrontab(f):
		return crontab
	}
	return shellScript
}

// found is what a file has.
type found struct {
	calls    []Call
	problems []Problem
}

// reading is one call of Read.
type reading struct {
	names     []string
	schedules map[string][]string // of scripts, by the name of their file
	total     int
	told      map[Problem]bool
	*found
}

func (r *reading) file(f File, k kind) {
	src := whole(f)
	switch k {
	case tooLarge:
		r.problem(src, 0, fmt.Sprintf("%d bytes are more than a script has (%d): give the part of it that calls qtool.pl", len(f.Data), MaxFile))
	case binary:
		r.problem(src, 0, "this is no text in UTF-8: save it as UTF-8, or give another file")
	case crontab:
		r.crontab(src)
	default:
		r.script(src, r.scheduleOf(f.Name))
	}
}

// script reads a shell script, or what the shell would not take as text.
func (r *reading) script(src source, schedules []string) {
	before := *r.found
	for _, schedule := range schedules {
		if err := r.shell(src, schedule, nil); err != nil {
			*r.found = before
			r.note(src, err.offset, "this is no shell script from here on ("+err.text+"), so the file is taken as a text with command lines in it: loops and conditions are not seen")
			r.text(src, schedules[0])
			return
		}
	}
}

// scheduleOf is when a script runs: as the crontabs say, or as the folder that
// run-parts goes through; one empty schedule where nothing tells.
func (r *reading) scheduleOf(name string) []string {
	if s := r.schedules[name]; len(s) > 0 {
		return s
	}
	for _, every := range []string{"hourly", "daily", "weekly", "monthly"} {
		if path.Base(path.Dir(name)) == "cron."+every {
			return []string{"@" + every}
		}
	}
	return []string{""}
}

// runs notes that a crontab runs a script, if that is one of the files.
func (r *reading) runs(command, schedule string) bool {
	for _, name := range r.names {
		if name == command || path.IsAbs(command) && !path.IsAbs(name) && path.Base(name) == path.Base(command) {
			if !slices.Contains(r.schedules[name], schedule) {
				r.schedules[name] = append(r.schedules[name], schedule)
			}
			return true
		}
	}
	return false
}

func (r *reading) problem(src source, offset int, message string) {
	r.tell(src, offset, message, false)
}
func (r *reading) note(src source, offset int, message string) { r.tell(src, offset, message, true) }

func (r *reading) tell(src source, offset int, message string, note bool) {
	p := src.place(offset)
	p.Message, p.Note = message, note
	if !r.told[p] { // a loop says the same again
		r.told[p] = true
		r.problems = append(r.problems, p)
	}
}

// source is a text with what is known of its places: a part of a file, from
// which some bytes may have been taken out.
type source struct {
	file File
	text string
	at   []int // offset in the file of each byte, and of the end
}

func whole(f File) source {
	at := make([]int, len(f.Data)+1)
	for i := range at {
		at[i] = i
	}
	return source{f, string(f.Data), at}
}

func (s source) part(from, to int) source { return source{s.file, s.text[from:to], s.at[from : to+1]} }

// place is where a byte of the text stands.
func (s source) place(offset int) Problem {
	at := s.at[max(0, min(offset, len(s.text)))]
	data := s.file.Data
	start := bytes.LastIndexByte(data[:at], '\n') + 1
	line, _, _ := bytes.Cut(data[start:], []byte{'\n'})
	return Problem{
		File: s.file.Name, Line: 1 + bytes.Count(data[:at], []byte{'\n'}), Column: 1 + utf8.RuneCount(data[start:at]),
		Source: strings.TrimRight(strings.ToValidUTF8(string(line), "\uFFFD"), "\r"),
	}
}

// word is a word of a command line, as far as it is known.
type word struct {
	text   string
	why    string // why text is not known, "" if it is
	offset int    // in the source
	// literal tells that text stands just so in the source, from literalAt on.
	literal   bool
	literalAt int
	named     string // the variable that the word is, "" if it is more or less than one
}

// call takes a call of qtool.pl: the words behind the name.
func (r *reading) call(src source, from, to int, args []word, schedule, cwd string) {
	if r.total++; r.total > maxCalls {
		if r.total == maxCalls+1 {
			r.problem(src, from, fmt.Sprintf("there are more than %d calls of qtool.pl by now: the rest is left out", maxCalls))
		}
		return
	}
	texts := make([]string, len(args))
	for i, w := range args {
		if w.why != "" {
			r.problem(src, w.offset, "not taken: "+w.why)
			return
		}
		texts[i] = w.text
	}
	inv, err := qtool.ParseArgs(texts)
	if err != nil {
		r.refused(src, from, args, err)
		return
	}
	p := src.place(from)
	c := Call{File: p.File, Line: p.Line, Text: oneLine(src.text[from:to]), Schedule: schedule, Invocation: inv}
	if why, at := c.resolve(args, cwd); why != "" {
		r.problem(src, cmp.Or(at, from), "not taken: "+why)
		return
	}
	r.calls = append(r.calls, c)
}

// refused tells of arguments that cannot be taken, with the place in the
// expression where that is known.
func (r *reading) refused(src source, from int, args []word, err error) {
	syntax, ok := err.(*qtool.SyntaxError)
	if !ok {
		r.problem(src, from, "not taken: "+strings.TrimSuffix(err.Error(), "; see backscatterd qtool --help"))
		return
	}
	message, at := "not taken: "+syntax.Msg, from
	for _, w := range args {
		if strings.HasSuffix(w.text, syntax.Expr) {
			at = w.offset
			if w.literal {
				at = w.literalAt + len(w.text) - len(syntax.Expr) + min(max(syntax.Offset, 0), len(syntax.Expr))
			} else {
				message = fmt.Sprintf("not taken: in %q, at its byte %d: %s", shorten(syntax.Expr), syntax.Offset+1, syntax.Msg)
			}
		}
	}
	if syntax.Hint != "" {
		message += " (" + syntax.Hint + ")"
	}
	if strings.HasPrefix(syntax.Expr, "{") || strings.Contains(syntax.Expr, "({") {
		message += "; in double quotes the shell takes $msg for a variable of its own: put the expression in single quotes"
	}
	r.problem(src, at, message)
}

func shorten(s string) string {
	if runes := []rune(s); len(runes) > 60 {
		return string(runes[:59]) + "…"
	}
	return s
}

// oneLine is a text as a comment can hold it.
func oneLine(s string) string {
	s = strings.ReplaceAll(s, "\\\n", " ")
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	return strings.TrimSpace(s)
}
