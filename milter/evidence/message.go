package evidence

import (
	"io"
	"net/mail"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/backscatterd/backscatterd/dsn"
	"github.com/backscatterd/backscatterd/milter/batv"
)

// Envelope is with whom a message came, and from where. Addresses are without
// angle brackets.
type Envelope struct {
	// Offline says that the message was found in a file: the rest is guessed
	// from its header, and nothing is known of the client.
	Offline bool

	Sender      string // "" is the null reverse-path, where SenderKnown
	SenderKnown bool
	Recipients  []string // BATV tags and all

	Client netip.Addr // not valid if unknown, as for local submission
	Auth   string     // the name that the client authenticated with, or ""
}

// Message is a whole message as it comes in.
type Message struct {
	Header   []dsn.Field // in their order, values unfolded
	Body     io.Reader   // read only as far as needed
	Envelope Envelope
	Now      time.Time // when it came
}

// Case is a message that has been read.
type Case struct {
	Report   dsn.Report
	From     string // the From field of the bounce itself
	Envelope Envelope
	Now      time.Time // when it came
	// Terse leaves the details out of the findings: they are for people, and
	// writing them takes longer than finding them.
	Terse bool
}

// header is what dsn is to see: with an envelope, the Return-Path is the
// envelope's, whatever the message claims.
func (m *Message) header() []dsn.Field {
	if m.Envelope.Offline || !m.Envelope.SenderKnown {
		return m.Header
	}
	// dsn goes by the first one.
	return slices.Insert(slices.Clone(m.Header), 0, dsn.Field{Name: "Return-Path", Value: "<" + m.Envelope.Sender + ">"})
}

// NeedsBody reports whether the body matters: what is no bounce by its header
// is ordinary mail whatever its body says. It looks at no evidence.
func NeedsBody(header []dsn.Field, envelope Envelope) bool {
	m := Message{Header: header, Envelope: envelope}
	var asked asking
	dsn.ReadBody(m.header(), &asked, dsn.Limits{})
	return bool(asked)
}

// asking is an empty body that notes whether it was read.
type asking bool

func (a *asking) Read([]byte) (int, error) {
	*a = true
	return 0, io.EOF
}

func fieldValues(header []dsn.Field, name string) []string {
	var out []string
	for _, f := range header {
		if strings.EqualFold(f.Name, name) {
			out = append(out, f.Value)
		}
	}
	return out
}

// addresses are those of a From or To field, also where it is malformed.
func addresses(value string) []string {
	if len(value) > 64<<10 {
		value = value[:64<<10]
	}
	var out []string
	if list, err := mail.ParseAddressList(value); err == nil {
		for _, a := range list {
			out = append(out, a.Address)
		}
		return out
	}
	for word := range strings.FieldsFuncSeq(value, func(r rune) bool { return strings.ContainsRune(" \t\r\n,;", r) }) {
		if a := bareAddress(word); strings.IndexByte(a, '@') > 0 {
			out = append(out, a)
		}
	}
	return out
}

// bareAddress takes an address out of angle brackets, if it is in any.
func bareAddress(s string) string {
	s = strings.TrimSpace(s)
	if i := strings.IndexByte(s, '<'); i >= 0 {
		s = s[i+1:]
		if j := strings.IndexByte(s, '>'); j >= 0 {
			s = s[:j]
		}
	}
	return strings.TrimSpace(s)
}

// plain is an address without a BATV tag, its ASCII letters in lower case.
func plain(address string) string {
	stripped, _ := batv.Strip(address)
	b := []byte(stripped)
	for i, c := range b {
		if c >= 'A' && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}

// domainOf is what follows the last @, in lower case, or "".
func domainOf(address string) string {
	if i := strings.LastIndexByte(address, '@'); i >= 0 {
		return strings.TrimSuffix(strings.ToLower(address[i+1:]), ".")
	}
	return ""
}
