package evidence

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/backscatterd/backscatterd/dsn"
	"github.com/backscatterd/backscatterd/milter/batv"
)

// JudgeStored judges a message that lies in a mailbox, as of when it came: when
// its newest Received says so, which our own mail system wrote on delivery, else
// when it was stored, if that is not zero, else now.
func (e *Engine) JudgeStored(ctx context.Context, data []byte, stored, now time.Time) Judgement {
	header := scanHeader(data)
	report, err := dsn.Read(bytes.NewReader(data), e.opts.Limits)
	report.Cut = report.Cut || err != nil
	c := Case{Report: report, Envelope: EnvelopeOf(header), Now: arrived(header, stored, now)}
	if from := fieldValues(header, "From"); len(from) > 0 {
		c.From = from[0]
	}
	return e.Weigh(ctx, c)
}

func arrived(header []dsn.Field, stored, now time.Time) time.Time {
	if received := fieldValues(header, "Received"); len(received) > 0 {
		i := strings.LastIndexByte(received[0], ';')
		if d, err := parseDate(received[0][i+1:]); err == nil && !d.After(now.Add(clockSkew)) {
			return d
		}
	}
	if !stored.IsZero() && stored.Before(now) {
		return stored
	}
	return now
}

// maxHeader bounds the header that is looked at for the envelope.
const maxHeader = 256 << 10

// scanHeader reads the header of a message with whatever line ends it has. It
// passes over what is no field, and over the line of an mbox before it.
func scanHeader(data []byte) []dsn.Field {
	data = data[:min(len(data), maxHeader)]
	end := []byte("\n")
	if !bytes.Contains(data, end) {
		end = []byte("\r")
	}
	var out []dsn.Field
	for line := range bytes.SplitSeq(data, end) {
		line = bytes.Trim(line, "\r\n")
		if len(line) == 0 {
			break
		}
		if line[0] == ' ' || line[0] == '\t' {
			if n := len(out); n > 0 {
				out[n-1].Value += " " + string(bytes.TrimSpace(line))
			}
			continue
		}
		name, value, ok := bytes.Cut(line, []byte(":"))
		if name = bytes.TrimRight(name, " \t"); ok && len(name) > 0 && !bytes.ContainsAny(name, " \t") {
			out = append(out, dsn.Field{Name: string(name), Value: string(bytes.TrimSpace(value))})
		}
	}
	return out
}

// recipientFields are where mail systems note the envelope recipient on
// delivery, the surest first.
var recipientFields = []string{"X-Original-To", "Delivered-To", "Envelope-To", "X-Envelope-To", "X-Rcpt-To", "Apparently-To"}

// EnvelopeOf guesses the envelope of a message found in a file: from
// Return-Path, and from the field that the delivery left, else from the "for" of
// the newest Received, else from To and Cc. The tag of a recipient, which the
// filter takes off, is still in To.
func EnvelopeOf(header []dsn.Field) Envelope {
	e := Envelope{Offline: true}
	if path := fieldValues(header, "Return-Path"); len(path) > 0 {
		e.Sender, e.SenderKnown = bareAddress(path[0]), true
	}
	for _, name := range recipientFields {
		if len(e.Recipients) == 0 {
			e.addRecipients(fieldValues(header, name))
		}
	}
	if received := fieldValues(header, "Received"); len(received) > 0 && len(e.Recipients) == 0 {
		e.addRecipients([]string{receivedFor(received[0])})
	}
	shown := Envelope{}
	for _, name := range []string{"To", "Cc"} {
		shown.addRecipients(fieldValues(header, name))
	}
	if len(e.Recipients) == 0 {
		e.Recipients = shown.Recipients
	}
	for i, r := range e.Recipients {
		for _, to := range shown.Recipients {
			if tag, ok := batv.Parse(to); ok && plain(tag.Address) == plain(r) {
				e.Recipients[i] = to
			}
		}
	}
	return e
}

func (e *Envelope) addRecipients(values []string) {
	for _, v := range values {
		for _, a := range addresses(v) {
			if !slices.Contains(e.Recipients, a) && len(e.Recipients) < maxUsers {
				e.Recipients = append(e.Recipients, a)
			}
		}
	}
}

// receivedFor is the address after "for" in a Received field, or "".
func receivedFor(value string) string {
	next := false
	for word, comment := range receivedWords(value) {
		if comment {
			continue
		}
		if next {
			return bareAddress(strings.TrimRight(word, ";"))
		}
		next = strings.EqualFold(word, "for")
	}
	return ""
}
