package milter

import (
	"net/textproto"
	"strings"
	"sync"
	"time"

	"github.com/emersion/go-milter"

	"github.com/backscatterd/backscatterd/dsn"
	"github.com/backscatterd/backscatterd/milter/evidence"
	"github.com/backscatterd/backscatterd/milter/internal/frame"
	"github.com/backscatterd/backscatterd/milter/token"
)

// session is one connection. frame calls its callbacks one at a time, and ends
// each message with Abort. A callback that has nothing to say returns nil, of
// which frame makes the answer at less cost than go-milter would.
type session struct {
	milter.NoOpMilter
	filter *Filter
	state  *frame.State
	msg    *message // nil between messages
}

// message is what is known of the message in hand.
type message struct {
	rules *rules
	began time.Time

	sender string // as it came
	plain  string // without a BATV tag
	to     []string

	// trusted: handed in by a user or host of ours. ours: and its sender is one
	// of us.
	trusted, ours bool

	// header begins with a Return-Path of the envelope's sender, the only one.
	header    []dsn.Field
	kept      *[]dsn.Field // where the memory of header goes back to
	copies    [3]int       // of each of ourHeaders that came with the message
	messageID string
	spam      bool

	body     *reading // of what may be a bounce, else nil
	recorded bool
}

// ourHeaders are those that are not to be believed when they come from outside.
var ourHeaders = [3]string{evidence.FlagHeader, evidence.StatusHeader, token.Header}

const tokenCopies = 2 // index of token.Header

// headers keeps the memory of past headers.
var headers = sync.Pool{New: func() any {
	h := make([]dsn.Field, 0, 64)
	return &h
}}

func (s *session) MailFrom(string, *milter.Modifier) (milter.Response, error) {
	s.filter.messages.Add(1)
	sender := s.state.Mail().Address
	m := &message{rules: s.filter.rules.Load(), began: s.filter.opts.Now(), sender: sender}
	m.plain = stripTag(sender)
	if domainOf(m.plain) == "" && sender != "" {
		// A user of this host, whom the MTA gave its own name.
		m.plain = stripTag(strings.Trim(s.state.Macro("mail_addr"), "<>"))
	}
	m.trusted = s.isTrusted(m.rules)
	m.ours = m.trusted && m.rules.isOurs(m.plain)
	m.kept = headers.Get().(*[]dsn.Field)
	m.header = append((*m.kept)[:0], dsn.Field{Name: "Return-Path", Value: "<" + sender + ">"})
	s.msg = m
	return nil, nil
}

// isTrusted: authenticated, from a network of ours, or submitted on this host.
func (s *session) isTrusted(r *rules) bool {
	client := s.state.Client()
	if s.state.Macro("auth_authen") != "" || s.isLocal() {
		return true
	}
	if !client.Addr.IsValid() {
		return false
	}
	for _, n := range r.Networks {
		if n.Contains(client.Addr.WithZone("")) {
			return true
		}
	}
	return false
}

// isLocal: sendmail -bs and the like have no address, and this name.
func (s *session) isLocal() bool {
	client := s.state.Client()
	return client.Family == milter.FamilyUnix || client.Family == milter.FamilyUnknown && strings.EqualFold(client.Host, "localhost")
}

func (s *session) RcptTo(string, *milter.Modifier) (milter.Response, error) {
	if s.msg != nil {
		s.msg.to = append(s.msg.to, s.state.Rcpt().Address)
	}
	return nil, nil
}

func (s *session) Header(name, value string, _ *milter.Modifier) (milter.Response, error) {
	m := s.msg
	if m == nil || strings.EqualFold(name, "Return-Path") {
		return nil, nil
	}
	value = unfold(value)
	m.header = append(m.header, dsn.Field{Name: name, Value: value})
	for i, ours := range ourHeaders {
		if strings.EqualFold(name, ours) {
			m.copies[i]++
		}
	}
	switch {
	case m.messageID == "" && strings.EqualFold(name, "Message-ID"):
		m.messageID = value
	case strings.EqualFold(name, "X-Spam-Flag"):
		m.spam = m.spam || len(value) >= 3 && strings.EqualFold(value[:3], "YES")
	}
	return nil, nil
}

// Headers is the end of the header: mail of which nothing more has to be seen
// and nothing changed is done with here.
func (s *session) Headers(textproto.MIMEHeader, *milter.Modifier) (milter.Response, error) {
	m := s.msg
	if m == nil {
		return milter.RespAccept, nil
	}
	switch {
	case m.ours:
	case evidence.NeedsBody(m.header, evidence.Envelope{}):
		m.body = &reading{header: m.header}
	case !s.hasChanges():
		return milter.RespAccept, nil
	}
	return nil, nil
}

// hasChanges reports whether something is to be changed at the end of a message
// that is not of ours, whatever its body says.
func (s *session) hasChanges() bool {
	m := s.msg
	return m.copies[0]+m.copies[1] > 0 || m.nullsSender() || m.hasTags()
}

// BodyChunk is a part of the body. go-milter makes each chunk anew, so that it
// can be kept.
func (s *session) BodyChunk(chunk []byte, _ *milter.Modifier) (milter.Response, error) {
	if s.msg == nil || s.msg.body == nil || !s.msg.body.feed(chunk) {
		return frame.Skip, nil
	}
	return nil, nil
}

// Body is the end of the message: the only place where it can be changed.
func (s *session) Body(m *milter.Modifier) (milter.Response, error) {
	if s.msg == nil {
		return milter.RespAccept, nil
	}
	if o := s.filter.opts.Observer; o != nil {
		began := time.Now()
		defer func() { o.Answered(time.Since(began)) }()
	}
	if s.msg.ours {
		s.record()
		return nil, s.send(m)
	}
	return s.take(m)
}

// Abort ends every message. Where a bug ended one of ours before it was recorded,
// or before it was known whose it is, it may be passed on all the same: that
// makes a gap in the ledger.
func (s *session) Abort(*milter.Modifier) error {
	m := s.msg
	s.msg = nil
	if l := s.filter.opts.Ledger; l != nil && s.state.Failed() && (m == nil || m.ours && !m.recorded) {
		l.Missed()
	}
	if m == nil {
		return nil
	}
	if m.body != nil {
		m.body.abandon()
	}
	// Not more than mail usually has.
	if cap(m.header) <= 1024 {
		clear(m.header)
		*m.kept = m.header[:0]
		headers.Put(m.kept)
	}
	return nil
}

// unfold takes the line ends out of a value (RFC 5322, section 2.2.3).
func unfold(value string) string {
	if strings.ContainsAny(value, "\r\n") {
		value = lineEnds.Replace(value)
	}
	return strings.TrimSpace(value)
}

var lineEnds = strings.NewReplacer("\r", "", "\n", "")
