package milter

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/emersion/go-milter"

	"github.com/backscatterd/backscatterd/milter/batv"
	"github.com/backscatterd/backscatterd/milter/ledger"
	"github.com/backscatterd/backscatterd/milter/token"
)

// id is the Message-ID: the header's, or the one that the MTA gave the message.
func (s *session) id() string {
	if s.msg.messageID != "" {
		return s.msg.messageID
	}
	return s.state.Macro("msg_id")
}

// record remembers mail of ours. It comes first: mail may leave though the rest
// fails.
func (s *session) record() {
	s.filter.outgoing.Add(1)
	l := s.filter.opts.Ledger
	if l == nil {
		return
	}
	id := s.id()
	to := make([]string, len(s.msg.to))
	for i, r := range s.msg.to {
		to[i] = stripTag(r)
	}
	l.Record(ledger.Message{MessageID: id, Sender: s.msg.plain, Recipients: to})
	s.msg.recorded = true
	if id == "" {
		l.Missed() // a bounce that names its Message-ID will not be known by that
	}
}

// send marks mail of ours.
func (s *session) send(m *milter.Modifier) error {
	if err := s.removeCopies(m, s.msg.copies); err != nil {
		return err
	}
	if err := s.stripTags(m); err != nil {
		return err
	}
	if err := s.addToken(m); err != nil {
		return err
	}
	return s.signSender(m)
}

// addToken puts the token in. One of ours that is there already, from when the
// message passed for the first time, has been removed; it will be the same.
func (s *session) addToken(m *milter.Modifier) error {
	signer, id := s.msg.rules.Token, s.id()
	if signer == nil || id == "" {
		return nil
	}
	value, err := signer.Sign(s.msg.plain, id, s.msg.began)
	if errors.Is(err, token.ErrNoKey) {
		return nil // said at the start
	}
	if err != nil {
		return fmt.Errorf("sign a message: %w", err)
	}
	return m.AddHeader(token.Header, value)
}

// signSender gives the envelope sender its BATV tag, and the message an envelope
// id of ours, unless the client gave it one. Mail that stays here needs neither,
// and its readers see the sender as it is.
func (s *session) signSender(m *milter.Modifier) error {
	msg := s.msg
	scheme := msg.rules.BATV
	if scheme == nil || !msg.rules.batvDomains[domainOf(msg.plain)] ||
		!slices.ContainsFunc(msg.to, func(to string) bool { return !msg.rules.isOurs(to) }) {
		return nil
	}
	tagged, err := scheme.Sign(msg.plain, msg.began)
	switch {
	case errors.Is(err, batv.ErrTagged), errors.Is(err, batv.ErrTooLong), errors.Is(err, batv.ErrNotSignable), errors.Is(err, batv.ErrNoKey):
		return nil
	case err != nil:
		return fmt.Errorf("sign a sender: %w", err)
	case msg.plain != msg.sender:
		return nil // a tag that it came with, and keeps
	}
	return m.ChangeFrom("<" + tagged + ">\x00" + strings.Join(s.arguments(), " "))
}

// arguments are those of MAIL, with an envelope id. Given any, sendmail forgets
// those that it had (reset_mail_esmtp_args in srvrsmtp.c).
func (s *session) arguments() []string {
	var args []string
	for _, a := range s.state.Mail().Args {
		name, _, _ := strings.Cut(a, "=")
		if keptArguments[strings.ToUpper(name)] {
			args = append(args, a)
		}
	}
	signer := s.msg.rules.Token
	if _, set := s.state.Mail().Arg("ENVID"); set || signer == nil {
		return args
	}
	id, err := signer.SignEnvelopeID(s.msg.plain, s.id(), s.msg.began)
	if err != nil {
		return args
	}
	return append(args, "ENVID="+id)
}

// keptArguments are those that belong to the envelope. SIZE was for the asking.
var keptArguments = map[string]bool{"RET": true, "ENVID": true, "BODY": true, "BY": true, "AUTH": true, "SMTPUTF8": true}

func stripTag(address string) string {
	plain, _ := batv.Strip(address)
	return plain
}
