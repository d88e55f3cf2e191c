package dsn

import (
	"slices"
	"strings"
	"time"
)

// Kind says what a message is.
type Kind string

// The kinds. The first five are delivery status notifications, with the
// action values of RFC 3464, section 2.3.3.
const (
	Failed      Kind = "failed"      // could not be delivered, at least to one recipient
	Delayed     Kind = "delayed"     // not delivered yet, the reporting system tries on
	Delivered   Kind = "delivered"   // arrived
	Relayed     Kind = "relayed"     // handed to a system that sends no notifications
	Expanded    Kind = "expanded"    // delivered to a list or alias that sent it on
	Disposition Kind = "disposition" // RFC 8098: read, deleted, denied
	AutoReply   Kind = "auto-reply"  // vacation notices, ticket receipts (RFC 3834)
	Challenge   Kind = "challenge"   // asks the sender to prove himself
	Feedback    Kind = "feedback"    // RFC 5965 abuse reports, DMARC and TLS reports
	Other       Kind = "other"       // made by a machine (lists, null sender), none of the above
	None        Kind = "none"        // ordinary mail
)

// IsBounce reports whether the kind is a delivery status notification.
func (k Kind) IsBounce() bool {
	switch k {
	case Failed, Delayed, Delivered, Relayed, Expanded:
		return true
	}
	return false
}

// The values of Report.Form that are not names of the vendor table.
const (
	FormReport = "mime report" // multipart/report, or a message/delivery-status part anywhere
	FormText   = "text"        // understood from the text, by no vendor's form in particular
)

// A Field is one header field. The value is unfolded and trimmed, its bytes
// otherwise as they came: RFC 2047 words are not decoded.
type Field struct{ Name, Value string }

// A Report is what a message says about the fate of another one.
type Report struct {
	Kind Kind

	// Form says how the message was understood: FormReport, FormText, the name
	// of a vendor's form ("qmail"), or "" where the kind is no bounce.
	Form string

	// Recipients are those reported on, in the order in which they are named,
	// each once.
	Recipients []Recipient

	// Status is the enhanced status code (RFC 3463, "5.1.1") of the gravest
	// recipient, or "".
	Status string

	// EnvelopeID is Original-Envelope-Id: the ENVID that the message was sent with.
	EnvelopeID string

	// ReportingMTA and ReceivedFrom are host names, without the "dns;" before them.
	ReportingMTA string
	ReceivedFrom string

	// ArrivalDate is when the reporting MTA received the message; zero if unknown.
	ArrivalDate time.Time

	// MessageID is that of the message reported on, without angle brackets:
	// from the returned header, else from a field or line of the report that
	// names it, else from the In-Reply-To of the report. "" if unknown.
	MessageID string

	// Returned is the header of the message reported on, as far as it came back.
	Returned Returned

	// Cut says that a limit was reached before the end, or that the message
	// ended in the middle of a part: what is absent may have been there.
	Cut bool
}

// A Recipient is one recipient of the message reported on. Addresses carry
// neither angle brackets nor the "rfc822;" or "utf-8;" before them.
type Recipient struct {
	Final    string // Final-Recipient: the address where delivery ended
	Original string // Original-Recipient: the address as the sender wrote it, or ""

	Action Kind   // Failed, Delayed, Delivered, Relayed or Expanded
	Status string // "5.1.1", or "" if none was given

	Diagnostic  string // Diagnostic-Code without its type, unfolded
	RemoteMTA   string // host name
	LastAttempt time.Time
	RetryUntil  time.Time // Will-Retry-Until, for delayed ones
}

// Address is the original address if it is known, else the final one.
func (r Recipient) Address() string {
	if r.Original != "" {
		return r.Original
	}
	return r.Final
}

// FailedRecipients are the addresses (final ones) whose delivery failed, or, in
// a delay notice, is delayed.
func (r *Report) FailedRecipients() []string {
	var out []string
	for _, rcpt := range r.Recipients {
		if rcpt.Action == r.Kind && (r.Kind == Failed || r.Kind == Delayed) {
			out = append(out, rcpt.Final)
		}
	}
	return out
}

// Returned is the header of the message reported on.
type Returned struct {
	// Fields are in the order in which they came.
	Fields []Field

	// Complete says that these are all the header fields of that message: they
	// came in a part of their own or after a mark, ran to their proper end, and
	// hold what every message's header holds (RFC 5322, section 3.6).
	Complete bool
}

// Header is the first value of the named field, any case, or "".
func (r *Returned) Header(name string) string { return lookup(r.Fields, name) }

// Headers are all values of the named field, any case, in their order.
func (r *Returned) Headers(name string) []string {
	var out []string
	for _, f := range r.Fields {
		if strings.EqualFold(f.Name, name) {
			out = append(out, f.Value)
		}
	}
	return out
}

func lookup(fields []Field, name string) string {
	i := slices.IndexFunc(fields, func(f Field) bool { return strings.EqualFold(f.Name, name) })
	if i < 0 {
		return ""
	}
	return fields[i].Value
}
