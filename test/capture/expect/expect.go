// Package expect holds what the story of a captured message says that the
// message must be read as, and compares a reading with it. Expectations are
// written from what was done to a message (which recipient a server refused
// with which words), never from what a reader found.
package expect

import (
	"bufio"
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/backscatterd/backscatterd/dsn"
)

// Expectation is what a notice says, as far as its story tells.
type Expectation struct {
	Kind       dsn.Kind
	MessageID  string // of the message reported on, no brackets
	EnvelopeID string // "" if the notice carries none
	Complete   bool   // the whole header of that message came back
	Recipients []Recipient
}

// Recipient is one of those reported on.
type Recipient struct {
	Address string
	Action  dsn.Kind
	Status  string // "" if the notice gives none
}

// String writes an expectation as [Parse] reads it: a word and its value a line.
func (e Expectation) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "kind %s\nmessage-id %s\n", e.Kind, e.MessageID)
	if e.EnvelopeID != "" {
		fmt.Fprintf(&b, "envelope-id %s\n", e.EnvelopeID)
	}
	fmt.Fprintf(&b, "complete %t\n", e.Complete)
	for _, r := range e.Recipients {
		fmt.Fprintf(&b, "recipient %s %s %s\n", r.Address, r.Action, orDash(r.Status))
	}
	return b.String()
}

// Parse reads an expectation. Every line must be understood, and a kind, a
// Message-ID, completeness and a recipient must be there.
func Parse(text []byte) (Expectation, error) {
	var e Expectation
	seen := map[string]bool{}
	lines := bufio.NewScanner(bytes.NewReader(text))
	for n := 1; lines.Scan(); n++ {
		name, value, _ := strings.Cut(lines.Text(), " ")
		if seen[name] && name != "recipient" || value == "" {
			return e, fmt.Errorf("line %d: %q stands there twice or says nothing", n, name)
		}
		seen[name] = true
		if err := e.set(name, value); err != nil {
			return e, fmt.Errorf("line %d: %w", n, err)
		}
	}
	for _, name := range []string{"kind", "message-id", "complete", "recipient"} {
		if !seen[name] {
			return e, fmt.Errorf("no line %q", name)
		}
	}
	return e, lines.Err()
}

func (e *Expectation) set(name, value string) (err error) {
	switch name {
	case "kind":
		e.Kind = dsn.Kind(value)
	case "message-id":
		e.MessageID = value
	case "envelope-id":
		e.EnvelopeID = value
	case "complete":
		e.Complete, err = strconv.ParseBool(value)
	case "recipient":
		words := strings.Fields(value)
		if len(words) != 3 {
			return fmt.Errorf("%q is no address, action and status", value)
		}
		e.Recipients = append(e.Recipients, Recipient{words[0], dsn.Kind(words[1]), strings.TrimPrefix(words[2], "-")})
	default:
		return fmt.Errorf("%q is nothing that is expected of a notice", name)
	}
	return err
}

// Differences says in which points a reading departs from the expectation.
func (e Expectation) Differences(r dsn.Report) []string {
	var out []string
	compare := func(what string, want, got any) {
		if want != got {
			out = append(out, fmt.Sprintf("%s: read %q, want %q", what, fmt.Sprint(got), fmt.Sprint(want)))
		}
	}
	compare("kind", e.Kind, r.Kind)
	compare("message-id", e.MessageID, r.MessageID)
	compare("envelope-id", e.EnvelopeID, r.EnvelopeID)
	compare("complete", e.Complete, r.Returned.Complete)
	// In which order a system lists its recipients is no part of any story.
	want, got := lines(e.Recipients), []string{}
	for _, x := range r.Recipients {
		got = append(got, Recipient{x.Final, x.Action, x.Status}.line())
	}
	slices.Sort(got)
	compare("recipients", strings.Join(want, ", "), strings.Join(got, ", "))
	return out
}

func lines(all []Recipient) []string {
	var out []string
	for _, r := range all {
		out = append(out, r.line())
	}
	slices.Sort(out)
	return out
}

func (r Recipient) line() string {
	return r.Address + " " + string(r.Action) + " " + orDash(r.Status)
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
