package lab

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Message is a message that a story left in the queue.
type Message struct {
	ID        string
	Sender    string // as `mailq` lists it: "<a@b>" or "MAILER-DAEMON"
	Recipient string // no brackets
	// MessageID is the Message-ID header's value: of the message itself, or,
	// where that is a bounce, of the message that it returns.
	MessageID string
	Status    string // as `mailq` lists the envelope's
}

// Reasons for [Lab.Deferred] that are no reply of a server. They are what
// sendmail's status then has after "Deferred: ".
const (
	ConnectionTimedOut = "Connection timed out"
	ConnectionRefused  = "Connection refused"
	NetworkUnreachable = "Network is unreachable"
)

// storyTime bounds how long sendmail may take to get a message where a story
// wants it.
const storyTime = 30 * time.Second

// StuckBounce makes the stuck bounce of the field: a spammer's message, with
// these header lines, to somebody whom the stub does not know (550), from a
// forged sender whose host defers everything (450 4.7.1 Relay access denied).
// sendmail's own bounce stays in the queue as MAILER-DAEMON's, with the message
// in its df. The daemon must be running.
func (l *Lab) StuckBounce(ctx context.Context, headers ...string) (Message, error) {
	n := l.stories.Add(1)
	forged := fmt.Sprintf("spammer%d@forged.example", n)
	unknown := fmt.Sprintf("nobody%d@dest.example", n)
	l.Stub.Refuse(unknown, "550 5.1.1 User unknown")
	l.Stub.Refuse(forged, "450 4.7.1 Relay access denied")
	messageID := fmt.Sprintf("<story%d@forged.example>", n)
	headers = append(headers, "From: "+forged, "To: "+unknown, "Message-ID: "+messageID)
	if _, err := l.Submit(ctx, Envelope{From: forged, To: To(unknown), Data: Compose("buy now\n", headers...)}); err != nil {
		return Message{}, err
	}
	m, err := l.settle(ctx, "MAILER-DAEMON", forged)
	m.MessageID = messageID
	return m, err
}

// Deferred leaves a message with these header lines in the queue that could not
// be delivered for this reason and was tried so many times, at least once. The
// reason is one of the constants, or a reply that the stub gives ("450 4.7.1
// Relay access denied", "421 4.3.2 busy"). The daemon must be running.
//
// sendmail tries the message once; further attempts are written into the N
// line of its queue file while sendmail does not have it open (see
// [Lab.Edit]), as 50 real ones would take 50 runs of the queue.
func (l *Lab) Deferred(ctx context.Context, reason string, attempts int, headers ...string) (Message, error) {
	domain, known := map[string]string{
		ConnectionTimedOut: TimeoutDomain,
		ConnectionRefused:  RefusedDomain,
		NetworkUnreachable: UnreachableDomain,
	}[reason]
	if !known {
		if !strings.HasPrefix(reason, "4") {
			return Message{}, fmt.Errorf("%q defers nothing: use a reply that begins with 4, or one of the constants", reason)
		}
		domain = "dest.example"
	}
	n := l.stories.Add(1)
	sender := fmt.Sprintf("sender%d@customer.example", n)
	recipient := fmt.Sprintf("user%d@%s", n, domain)
	if !known {
		l.Stub.Refuse(recipient, reason)
	}
	messageID := fmt.Sprintf("<story%d@customer.example>", n)
	headers = append(headers, "From: "+sender, "To: "+recipient, "Message-ID: "+messageID)
	if _, err := l.Submit(ctx, Envelope{From: sender, To: To(recipient), Data: Compose("hello\n", headers...)}); err != nil {
		return Message{}, err
	}
	m, err := l.settle(ctx, "<"+sender+">", recipient)
	m.MessageID = messageID
	if err != nil || attempts <= 1 {
		return m, err
	}
	return m, l.Edit(ctx, m.ID, 'N', strconv.Itoa(attempts))
}

// settle runs the queue for what goes from the sender to this recipient (or
// will: a bounce) until that message has a status and nobody has it open.
func (l *Lab) settle(ctx context.Context, sender, recipient string) (Message, error) {
	ctx, cancel := context.WithTimeout(ctx, storyTime)
	defer cancel()
	for {
		listed, err := l.Mailq(ctx, false)
		if err != nil {
			return Message{}, err
		}
		// What is still on the way there has the recipient as its sender.
		origin := ""
		for _, m := range listed {
			if m.Sender == "<"+recipient+">" {
				origin = m.ID
			}
			if m.Sender != sender || len(m.Recipients) != 1 || m.Recipients[0].Address != "<"+recipient+">" {
				continue
			}
			if m.Status != "" && m.State != '*' {
				return Message{ID: m.ID, Sender: m.Sender, Recipient: recipient, Status: m.Status}, nil
			}
			origin = m.ID
		}
		if origin != "" {
			if _, err := l.RunQueue(ctx, "-qI"+origin); err != nil {
				return Message{}, err
			}
			continue
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return Message{}, fmt.Errorf("waiting for a message from %s to %s to be stuck in the queue: %w", sender, recipient, ctx.Err())
		}
	}
}
