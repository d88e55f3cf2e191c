package lab

import (
	"context"
	"errors"
	"fmt"
	"net/textproto"
	"strings"
	"time"
)

// Envelope is a message to submit, with what MAIL and RCPT say of it.
type Envelope struct {
	From string      // no brackets; "" is the null reverse-path
	Mail []string    // MAIL parameters as they are sent: "RET=HDRS", "ENVID=x", "BODY=8BITMIME", "SMTPUTF8"
	To   []Recipient // at least one
	Data []byte      // header and body; LF becomes CRLF
}

// Recipient is one recipient with its RCPT parameters ("NOTIFY=NEVER",
// "ORCPT=rfc822;u@x") as they are sent.
type Recipient struct {
	Address string // no brackets
	Args    []string
}

// To are recipients without parameters.
func To(addresses ...string) []Recipient {
	all := make([]Recipient, len(addresses))
	for i, address := range addresses {
		all[i].Address = address
	}
	return all
}

// Compose makes a message of header lines ("Subject: x") and a body.
func Compose(body string, headers ...string) []byte {
	return []byte(strings.Join(headers, "\n") + "\n\n" + body)
}

// Submit sends messages to the daemon over one SMTP connection and returns the
// queue id of each. A message for recipients in several queue groups is split
// by sendmail, and has further ids then. At the first failure it stops, with
// the ids so far; a refusal by sendmail is a *textproto.Error.
func (l *Lab) Submit(ctx context.Context, envelopes ...Envelope) ([]string, error) {
	conn, err := dialIn(ctx, l.options.Network, l.Addr)
	if err != nil {
		return nil, fmt.Errorf("submitting to sendmail (is the daemon started?): %w", err)
	}
	defer conn.Close()
	// A deadline in the past ends a read when the context ends.
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })()
	c := submission{textproto.NewConn(conn)}
	ids, err := c.all(envelopes)
	if err != nil {
		if ctx.Err() != nil {
			err = errors.Join(ctx.Err(), err)
		}
		return ids, fmt.Errorf("submitting message %d of %d to sendmail: %w", len(ids)+1, len(envelopes), err)
	}
	return ids, nil
}

// submission is a client of SMTP that sends whatever parameters it is given,
// those too that the server does not announce.
type submission struct{ *textproto.Conn }

func (c submission) all(envelopes []Envelope) (ids []string, err error) {
	if _, _, err := c.ReadResponse(220); err != nil {
		return nil, err
	}
	if _, err := c.command(250, "EHLO client.example"); err != nil {
		return nil, err
	}
	for _, e := range envelopes {
		id, err := c.message(e)
		if err != nil {
			return ids, err
		}
		ids = append(ids, id)
	}
	_, err = c.command(221, "QUIT")
	return ids, err
}

// message sends one message and returns its queue id.
func (c submission) message(e Envelope) (string, error) {
	if _, err := c.command(250, path("MAIL FROM", e.From, e.Mail)); err != nil {
		return "", err
	}
	for _, to := range e.To {
		if _, err := c.command(25, path("RCPT TO", to.Address, to.Args)); err != nil {
			return "", err
		}
	}
	if _, err := c.command(354, "DATA"); err != nil {
		return "", err
	}
	w := c.DotWriter()
	if _, err := w.Write(e.Data); err != nil {
		return "", err
	}
	if err := w.Close(); err != nil {
		return "", err
	}
	_, text, err := c.ReadResponse(250)
	if err != nil {
		return "", err
	}
	// "2.0.0 6AO0lZ09014487 Message accepted for delivery"
	if words := strings.Fields(text); len(words) > 1 {
		return words[1], nil
	}
	return "", fmt.Errorf("no queue id in sendmail's answer %q", text)
}

// command sends a line, named in the error if the answer is another than code
// (two digits stand for all that begin so).
func (c submission) command(code int, line string) (string, error) {
	if err := c.PrintfLine("%s", line); err != nil {
		return "", err
	}
	_, text, err := c.ReadResponse(code)
	if err != nil {
		return "", fmt.Errorf("%s: %w", line, err)
	}
	return text, nil
}

func path(verb, address string, args []string) string {
	return strings.Join(append([]string{verb + ":<" + address + ">"}, args...), " ")
}
