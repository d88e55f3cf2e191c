package evidence

import (
	"strings"
	"time"

	"github.com/backscatterd/backscatterd/milter/batv"
	"github.com/backscatterd/backscatterd/milter/token"
)

// clockSkew is how far clocks may be apart.
const clockSkew = 5 * time.Minute

// proofs looks at everything that would prove the mail to be ours. All of them
// are looked at, so that classify can explain them; the first that holds is the
// one whose uses are counted.
func (w *weighing) proofs() {
	counted := ""
	for _, look := range []func() string{w.batvTag, w.tokens, w.messageInLedger, w.recipientInLedger, w.envelopeID} {
		if proof := look(); counted == "" {
			counted = proof
		}
	}
	if counted != "" {
		w.countUse(counted)
	}
	w.countBounces()
}

// noKeys accounts for a signature that cannot be checked.
func (w *weighing) noKeys(name Name) {
	if w.opts.KeysError != nil {
		w.proof(name, Errored, "the signing keys cannot be read: %v", w.opts.KeysError)
		return
	}
	w.proof(name, NotLooked, "there are no signing keys here (backscatterd key new makes one)")
}

func (w *weighing) batvTag() string {
	if w.opts.BATV == nil {
		w.noKeys(BATV)
		return ""
	}
	says := "the recipient carries no tag"
	if len(w.Envelope.Recipients) == 0 {
		says = "the recipient is not known"
	}
	for _, r := range w.Envelope.Recipients[:min(len(w.Envelope.Recipients), maxUsers)] {
		switch w.opts.BATV.Check(r, w.Now) {
		case batv.Valid:
			w.proof(BATV, Yes, "the recipient %s carries a valid tag of ours", r)
			return "batv " + strings.ToLower(r)
		case batv.Expired:
			says = "the tag of " + r + " is ours and has expired"
			w.support(ExpiredSignature, Yes, "%s: our mail, but long ago", says)
		case batv.Forged:
			says = "the tag of " + r + " names a key of ours and is wrong"
			w.contra(ForgedSignature, Yes, "%s", says)
		case batv.UnknownKey:
			says = "the tag of " + r + " names a key that we do not have"
		case batv.Foreign:
			says = "the tag of " + r + " is another system's"
		}
	}
	w.proof(BATV, No, "%s", says)
	return ""
}

func (w *weighing) tokens() string {
	if w.opts.Token == nil {
		w.noKeys(Token)
		return ""
	}
	values := w.Report.Returned.Headers(token.Header)
	switch {
	case len(w.Report.Returned.Fields) == 0:
		w.proof(Token, No, "no header of the returned message came back")
		return ""
	case len(values) == 0:
		w.proof(Token, No, "the returned header has no token")
		return ""
	case len(w.ids) == 0:
		w.proof(Token, No, "there is a token, but not the Message-ID that it was made for")
		return ""
	}
	if len(values) > maxIDs {
		values, w.more = values[:maxIDs], true
	}
	best, id := token.Absent, ""
	for _, v := range values {
		for _, id = range w.ids {
			switch r := w.opts.Token.Check(v, id, w.Now, w.senders...); r {
			case token.Valid:
				w.proof(Token, Yes, "the returned header carries our token for the message <%s>", id)
				return "message " + id
			case token.Expired:
				best = r
			default:
				if best != token.Expired {
					best = r
				}
			}
		}
	}
	w.signature(Token, best, "the token among the returned headers")
	return ""
}

func (w *weighing) envelopeID() string {
	if w.opts.Token == nil {
		w.noKeys(EnvelopeID)
		return ""
	}
	id := w.Report.EnvelopeID
	if id == "" {
		w.proof(EnvelopeID, No, "the bounce names no envelope id")
		return ""
	}
	switch r := w.opts.Token.CheckEnvelopeID(id, w.Now, w.senders...); r {
	case token.Valid:
		w.proof(EnvelopeID, Yes, "the envelope id %s is one that we signed", id)
		return "envid " + strings.ToLower(id)
	case token.Absent:
		w.proof(EnvelopeID, No, "the envelope id %s is not of the form of ours", id)
	default:
		w.signature(EnvelopeID, r, "the envelope id")
	}
	return ""
}

// signature accounts for a signature of our form that proves nothing.
func (w *weighing) signature(name Name, r token.Result, what string) {
	switch r {
	case token.Expired:
		w.proof(name, No, "%s is ours and has expired", what)
		w.support(ExpiredSignature, Yes, "%s is ours and has expired: our mail, but long ago", what)
	case token.Forged:
		w.proof(name, No, "%s names a key of ours and is wrong", what)
		w.contra(ForgedSignature, Yes, "%s names a key of ours and is wrong", what)
	case token.UnknownKey:
		w.proof(name, No, "%s names a key that we do not have", what)
	default:
		w.proof(name, No, "%s cannot be read: damaged on its way, perhaps", what)
	}
}

func (w *weighing) messageInLedger() string {
	switch {
	case w.opts.Ledger == nil:
		w.proof(LedgerMessage, NotLooked, "there is no ledger here")
		return ""
	case len(w.ids) == 0:
		w.proof(LedgerMessage, No, "no Message-ID of the returned message is known")
		return ""
	}
	sender := ""
	if len(w.users) > 0 {
		sender = w.users[0]
	}
	for _, id := range w.ids {
		hit, err := w.opts.Ledger.Sent(w.ledgerCtx, id, sender)
		if err != nil {
			w.proof(LedgerMessage, Errored, "the ledger cannot be asked: %v", err)
			return ""
		}
		if hit.Found {
			as := ""
			if !hit.SameSender {
				as = ", with another envelope sender"
			}
			w.proof(LedgerMessage, Yes, "the message <%s> left here on %s%s", id, stamp(hit.At), as)
			return "message " + id
		}
	}
	w.proof(LedgerMessage, No, "the ledger does not know the message <%s>", w.ids[0])
	return ""
}

func (w *weighing) recipientInLedger() string {
	switch {
	case w.opts.Ledger == nil:
		w.proof(LedgerRecipient, NotLooked, "there is no ledger here")
		return ""
	case len(w.users) == 0 || len(w.failed) == 0:
		w.proof(LedgerRecipient, No, "it is not known who wrote to whom")
		return ""
	}
	for _, user := range w.users {
		for _, rcpt := range w.failed {
			hit, err := w.opts.Ledger.Wrote(w.ledgerCtx, user, rcpt)
			if err != nil {
				w.proof(LedgerRecipient, Errored, "the ledger cannot be asked: %v", err)
				return ""
			}
			if hit.Found && w.lately(hit.At) {
				w.proof(LedgerRecipient, Yes, "%s wrote to %s on %s", user, rcpt, stamp(hit.At))
				return "pair " + user + " " + rcpt
			}
		}
	}
	w.proof(LedgerRecipient, No, "%s did not write to %s in the last %s", several(w.users), several(w.failed), days(w.opts.Lately))
	return ""
}

// lately: not too long before the bounce, and not after it.
func (w *weighing) lately(at time.Time) bool {
	return !at.After(w.Now.Add(clockSkew)) && w.Now.Sub(at) <= w.opts.Lately
}

// countUse counts the use of a proof: whoever got a message of ours can show
// its proof again and again.
func (w *weighing) countUse(proof string) {
	if w.opts.Uses == nil {
		return
	}
	n, err := w.opts.Uses.Use(w.ledgerCtx, proof)
	switch {
	case err != nil:
		w.add(Note, Replayed, NotLooked, "the uses of this proof cannot be counted: %v", err)
	case n > w.opts.MaxUses:
		w.add(Note, Replayed, Yes, "the %d. message that shows this proof; more than %d are not plausible", n, w.opts.MaxUses)
	default:
		w.add(Note, Replayed, No, "shown %d times, plausible are up to %d", n, w.opts.MaxUses)
	}
}

// countBounces counts the bounces to an address of ours in a day: a wave of
// backscatter, and a mail loop, show in that before anything else.
func (w *weighing) countBounces() {
	if w.opts.Uses == nil || !w.Kind().IsBounce() || len(w.users) == 0 || w.Envelope.Offline {
		return
	}
	n, err := w.opts.Uses.Use(w.ledgerCtx, "bounces to "+w.users[0]+" on "+w.Now.UTC().Format(time.DateOnly))
	switch {
	case err != nil:
		w.add(Note, Flood, NotLooked, "the bounces to %s cannot be counted: %v", w.users[0], err)
	case n > w.opts.MaxBounces:
		w.add(Note, Flood, Yes, "the %d. bounce to %s today; more than %d are not plausible", n, w.users[0], w.opts.MaxBounces)
	default:
		w.add(Note, Flood, No, "%s got %d today, plausible are up to %d", w.users[0], n, w.opts.MaxBounces)
	}
}
