package evidence

import (
	"net/mail"
	"strings"
	"time"

	"github.com/backscatterd/backscatterd/dsn"
)

// brakes looks at what keeps us from knowing enough to call a bounce suspect.
func (w *weighing) brakes() {
	if !w.Kind().IsBounce() {
		w.brake(KindNeverSuspect, Yes, "it is no delivery report (%s): such mail is never called suspect", w.Kind())
	} else {
		w.brake(KindNeverSuspect, No, "it is a delivery report (%s)", w.Kind())
	}
	w.exempt()
	switch {
	case w.Report.Cut:
		w.brake(Cut, Yes, "it was not read to its end: what is missing may have been there")
	case w.more:
		w.brake(Cut, Yes, "it names more addresses than are looked up")
	default:
		w.brake(Cut, No, "it was read as far as it matters")
	}
	w.covered()
	w.ledgerRuns()
}

// Kind is the kind of the message.
func (c *Case) Kind() dsn.Kind { return c.Report.Kind }

func (w *weighing) exempt() {
	e := w.Envelope
	switch {
	case e.Offline:
		w.brake(Exempt, NotLooked, "it is not known which host handed it in")
	case e.Auth != "":
		w.brake(Exempt, Yes, "it was handed in by a user of ours, %s", e.Auth)
	case w.isOurs(e.Client):
		w.brake(Exempt, Yes, "it was handed in by a host of ours, %s", e.Client)
	case !e.Client.IsValid():
		w.brake(Exempt, Yes, "it was handed in on this host")
	default:
		w.brake(Exempt, No, "it was handed in by %s, which is none of ours", e.Client)
	}
}

// covered: all mail of the recipients' domains leaves through us, so that we
// can know what they sent.
func (w *weighing) covered() {
	if len(w.users) == 0 {
		w.brake(NotCovered, Yes, "it is not known whose mail it is about")
		return
	}
	for _, user := range w.users {
		if !w.domains[domainOf(user)] {
			w.brake(NotCovered, Yes, "%s is not among our domains (our_domains): its mail may leave elsewhere", user)
			return
		}
	}
	// Also of the domains that the returned header names: a newsletter service may
	// send with one domain in From, and have the bounces come to another.
	for _, sender := range w.senders {
		if d := domainOf(sender); w.notCovered[d] {
			w.brake(NotCovered, Yes, "mail from %s also leaves elsewhere (not_covered)", d)
			return
		}
	}
	w.brake(NotCovered, No, "mail from %s leaves through us", several(w.users))
}

// ledgerRuns: whether the ledger can know what left in the time that matters.
func (w *weighing) ledgerRuns() {
	if w.opts.Ledger == nil {
		w.brake(WarmUp, NotLooked, "there is no ledger here")
		w.brake(Gap, NotLooked, "there is no ledger here")
		return
	}
	cover := w.cover
	if cover.Since.IsZero() {
		w.brake(WarmUp, Yes, "it is not known what the ledger has recorded%s", because(cover.Why))
	} else if cover.Since.After(w.Now.Add(-w.opts.WarmUp)) {
		w.brake(WarmUp, Yes, "the ledger has not yet run for %s, it began on %s", days(w.opts.WarmUp), stamp(cover.Since))
	} else {
		w.brake(WarmUp, No, "the ledger has run since %s", stamp(cover.Since))
	}
	// Before it began, the ledger has no gap: it was not there.
	from := w.leftAfter()
	if cover.Since.After(from) {
		from = cover.Since
	}
	switch {
	case cover.Since.After(w.Now):
		w.brake(Gap, NotLooked, "this message came before the ledger began")
	case w.Now.After(cover.Until):
		w.brake(Gap, Yes, "what is known of the ledger ends on %s, before this message came%s", stamp(cover.Until), because(cover.Why))
	case !cover.Covers(from, w.Now):
		w.brake(Gap, Yes, "the ledger has a gap after %s, in which the message may have left unrecorded", stamp(from))
	default:
		w.brake(Gap, No, "the ledger has no gap after %s", stamp(from))
	}
}

func because(why string) string {
	if why == "" {
		return ""
	}
	return ": " + why
}

// dateSkew is how much earlier than its Date a message may have left: clocks of
// people's machines are set wrong, and time zones are.
const dateSkew = 24 * time.Hour

// leftAfter is the time after which the returned message left, if it left here:
// by its Date, or else by the longest life in a queue.
func (w *weighing) leftAfter() time.Time {
	if w.dated {
		return w.date.Add(-dateSkew)
	}
	return w.Now.Add(-w.opts.WarmUp)
}

// parseDate reads the date of a message, also without a time zone (UTC then) or
// without the comma.
//
// The form that nearly all mail has comes first: net/mail tries some twenty
// others before it, each of which leaves an error behind.
func parseDate(value string) (time.Time, error) {
	plain, _, _ := strings.Cut(value, "(")
	if d, err := time.Parse("Mon, 2 Jan 2006 15:04:05 -0700", strings.TrimSpace(plain)); err == nil {
		return d, nil
	}
	d, err := mail.ParseDate(value)
	if err == nil {
		return d, nil
	}
	for _, layout := range []string{"Mon, 2 Jan 2006 15:04:05", "2 Jan 2006 15:04:05", "Mon 2 Jan 2006 15:04:05 -0700"} {
		if d, err := time.Parse(layout, strings.TrimSpace(value)); err == nil {
			return d, nil
		}
	}
	return time.Time{}, err
}
