// Package ledger remembers what we sent, so that a bounce can be held against
// it: the returned Message-ID, or that this sender wrote to that recipient.
//
// It promises three things. No address and no Message-ID is kept in clear, only
// keyed hashes of them. It never holds up mail and never fails it: records are
// written behind the mail flow, and what cannot be written leaves a gap. And it
// knows what it does not know: Coverage tells for which times every message was
// recorded, so that "not found" is evidence only where it means "not sent".
package ledger

import (
	"context"
	"time"
)

// Ledger is what the milter asks. All methods may be called concurrently; a
// look-up ends with its context at the latest.
// Addresses come without angle brackets and BATV tags; their case does not
// matter. Message-IDs are taken with or without brackets.
type Ledger interface {
	// Record notes a message that leaves. It returns at once.
	Record(m Message)
	// Missed says that a message left unrecorded, which makes a gap.
	Missed()
	// Sent looks for a message by its Message-ID.
	Sent(ctx context.Context, messageID, sender string) (Hit, error)
	// Wrote looks for mail from a sender to a recipient. A recipient "@domain"
	// stands for anybody there, "" for anybody at all; a sender "" stands for
	// any of our users and goes with "@domain" only.
	Wrote(ctx context.Context, sender, recipient string) (Hit, error)
	// Use counts one more use of a proof, and returns the count with this one.
	Use(ctx context.Context, proof string) (int, error)
	// Coverage tells for which times the ledger is complete.
	Coverage() Coverage
}

// Message is what is remembered of an outgoing message.
type Message struct {
	MessageID  string
	Sender     string
	Recipients []string
}

// Hit is the answer to a look-up. An error beside it means that nothing is
// known, which is not the same as not found.
type Hit struct {
	Found bool
	// At is when the newest such message left, to the second.
	At time.Time
	// SameSender: the message that was found by its Message-ID had the sender
	// asked for. False says little where an MTA rewrites senders.
	SameSender bool
}

// Coverage tells for which times every outgoing message was recorded.
type Coverage struct {
	// Since when the ledger has run, or what it still keeps begins.
	Since time.Time
	// Until when it has been seen running.
	Until time.Time
	// Gaps between the two, oldest first.
	Gaps []Gap
	// Late: records of what left after it may still be on their way here, from
	// another host. Zero: none can be.
	Late time.Time
	// Why nothing is covered, or nothing after Until; "" where that needs no
	// words.
	Why string
}

// Gap is a time in which messages may have left unrecorded.
type Gap struct {
	From   time.Time `json:"from"`
	To     time.Time `json:"to"`
	Reason string    `json:"reason"`
	// Filled: what left meanwhile was recorded later. It is shown, and does not
	// count.
	Filled bool `json:"filled,omitempty"`
}

// Covers reports whether every message that left from one time to the other,
// both included, was recorded.
func (c Coverage) Covers(from, to time.Time) bool {
	if c.Since.IsZero() || from.Before(c.Since) || to.After(c.Until) || to.Before(from) {
		return false
	}
	for _, g := range c.Gaps {
		if !g.Filled && !g.To.Before(from) && !g.From.After(to) {
			return false
		}
	}
	return true
}

// Arrived reports whether the record of a message that left in this second is
// here, if there is one.
func (c Coverage) Arrived(second time.Time) bool {
	return c.Late.IsZero() || second.Add(time.Second).Before(c.Late)
}

// Unbroken is since when there has been no gap.
func (c Coverage) Unbroken() time.Time {
	since := c.Since
	for _, g := range c.Gaps {
		if !g.Filled && g.To.After(since) {
			since = g.To
		}
	}
	return since
}
