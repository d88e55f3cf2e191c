package evidence

import (
	"context"
	"strings"

	"github.com/backscatterd/backscatterd/dsn"
)

// contras looks at what speaks against a bounce. The DNS list comes after them.
func (w *weighing) contras() {
	w.notInLedger()
	w.firstHop()
	w.heloOurDomain()
	w.neverSendsConfigured()
	w.notSeenSending()
	w.manyRecipients()
	switch {
	case w.found(ForgedSignature):
	case w.noSigner():
		w.contra(ForgedSignature, NotLooked, "there are no signing keys here")
	default:
		w.contra(ForgedSignature, No, "there is no wrong signature; a missing one is not held against a bounce")
	}
}

// notInLedger is C1: if the message had left here, the ledger would know it.
func (w *weighing) notInLedger() {
	r := &w.Report.Returned
	d := w.date
	switch {
	case w.opts.Ledger == nil:
		w.contra(NotInLedger, NotLooked, "there is no ledger here")
	case w.found(NotCovered):
		w.contra(NotInLedger, NotLooked, "the ledger need not know the mail of this domain")
	case !r.Complete:
		w.contra(NotInLedger, NotLooked, "the header of the returned message did not come back complete")
	case bareAddress(r.Header("Message-ID")) == "":
		w.contra(NotInLedger, NotLooked, "the returned header has no Message-ID to look for")
	case madeByMailSystem(r):
		w.contra(NotInLedger, NotLooked, "the returned message is itself a mail system's: what ours make themselves does not pass the filter")
	case !w.dated:
		w.contra(NotInLedger, NotLooked, "the returned header has no date that makes sense")
	case w.found(WarmUp) || w.found(Gap):
		w.contra(NotInLedger, NotLooked, "the ledger has not recorded for long enough, or not without a gap")
	case w.errored(LedgerMessage):
		w.contra(NotInLedger, NotLooked, "the ledger could not be asked")
	case w.found(LedgerMessage):
		w.contra(NotInLedger, No, "the ledger knows the message")
	case !w.cover.Covers(d.Add(-dateSkew), w.Now):
		w.contra(NotInLedger, NotLooked, "the returned message is of %s, when the ledger did not record yet", stamp(d))
	case !w.cover.Arrived(d):
		w.contra(NotInLedger, NotLooked, "the returned message is so new that another host may not have told the ledger yet")
	default:
		w.contra(NotInLedger, Yes, "the whole header came back, of %s; all that left since is in the ledger, and this is not", stamp(d))
	}
}

// madeByMailSystem reports whether a returned message is a bounce in its turn,
// or other mail that an MTA made: sendmail asks no filter about its own.
func madeByMailSystem(r *dsn.Returned) bool {
	if path := r.Headers("Return-Path"); len(path) > 0 && isDaemon(bareAddress(path[0])) {
		return true
	}
	kind := strings.ToLower(r.Header("Content-Type"))
	return strings.HasPrefix(kind, "multipart/report") || isDaemon(strings.Join(addresses(r.Header("From")), ""))
}

// isDaemon reports whether an address is one that only mail systems write under:
// the null one is. People write as postmaster.
func isDaemon(address string) bool {
	local, _, _ := strings.Cut(strings.ToLower(address), "@")
	return local == "" || local == "mailer-daemon"
}

func (w *weighing) errored(name Name) bool {
	for _, f := range w.findings {
		if f.Name == name && f.Outcome == Errored {
			return true
		}
	}
	return false
}

// firstHop is C2: what we send has been on a host of ours first. Mail that
// passed through one later is no worse: it came from inside, or was forwarded.
func (w *weighing) firstHop() {
	switch {
	case !w.knowsHosts():
		w.contra(FirstHopNotOurs, NotLooked, "the names of our mail servers are not configured (our_hosts)")
		return
	case len(w.hops) == 0:
		w.contra(FirstHopNotOurs, NotLooked, "no Received field of the returned message came back")
		return
	case !w.Report.Returned.Complete:
		w.contra(FirstHopNotOurs, NotLooked, "the returned header is not complete: the first hop may be missing")
		return
	}
	for _, h := range w.hops {
		if w.isHost(h.by) || w.isHost(h.helo) || w.isHost(h.from) {
			w.contra(FirstHopNotOurs, No, "the returned message names our host in: %s", short(h.raw))
			return
		}
		for _, a := range h.addrs {
			if isPublic(a) && w.isOurs(a) {
				w.contra(FirstHopNotOurs, No, "the returned message came from our address %s", a)
				return
			}
		}
	}
	w.contra(FirstHopNotOurs, Yes, "the returned message began at %s, and was on no host of ours", w.hops[0].by)
}

// heloOurDomain is C2 too: our servers greet with their own names. A stranger
// who wants to pass for us greets with the domain.
func (w *weighing) heloOurDomain() {
	if !w.knowsHosts() {
		w.contra(HELOOurDomain, NotLooked, "the names of our mail servers are not configured (our_hosts)")
		return
	}
	for _, h := range w.hops {
		if w.domains[h.helo] && !w.isHost(h.helo) && len(h.addrs) > 0 && !w.cameFromUs(h) {
			w.contra(HELOOurDomain, Yes, "%s greeted %s with our bare domain %s, and is none of ours", h.addrs[0], h.by, h.helo)
			return
		}
	}
	w.contra(HELOOurDomain, No, "no stranger greeted with a bare domain of ours")
}

func (w *weighing) cameFromUs(h hop) bool {
	if w.isHost(h.by) {
		return true
	}
	for _, a := range h.addrs {
		if !isPublic(a) || w.isOurs(a) {
			return true
		}
	}
	return false
}

// neverSendsConfigured is C3, said by the administrator.
func (w *weighing) neverSendsConfigured() {
	switch {
	case len(w.neverSends) == 0:
		w.contra(NeverSends, NotLooked, "no recipient is configured as one that never sends (never_sends)")
		return
	case len(w.users) == 0:
		w.contra(NeverSends, NotLooked, "the recipient is not known")
		return
	}
	for _, user := range w.users {
		if !w.neverSending(user) {
			w.contra(NeverSends, No, "%s may send", user)
			return
		}
	}
	w.contra(NeverSends, Yes, "%s never sends (never_sends)", several(w.users))
}

// notSeenSending is C3, learned: in all its time, the ledger has seen nothing
// from the recipient.
func (w *weighing) notSeenSending() {
	switch {
	case w.opts.Ledger == nil:
		w.contra(NotSeenSending, NotLooked, "there is no ledger here")
		return
	case w.found(NotCovered):
		w.contra(NotSeenSending, NotLooked, "the ledger need not know the mail of this domain")
		return
	case w.found(WarmUp) || !w.cover.Covers(w.Now.Add(-w.opts.WarmUp), w.Now):
		w.contra(NotSeenSending, NotLooked, "the ledger has not recorded for long enough, or not without a gap")
		return
	}
	for _, user := range w.users {
		hit, err := w.opts.Ledger.Wrote(w.ledgerCtx, user, "")
		if err != nil {
			w.contra(NotSeenSending, Errored, "the ledger cannot be asked: %v", err)
			return
		}
		if hit.Found {
			w.contra(NotSeenSending, No, "%s sent mail on %s", user, stamp(hit.At))
			return
		}
	}
	w.contra(NotSeenSending, Yes, "the ledger has seen no mail of %s", several(w.users))
}

// manyRecipients is C4: a bounce goes to one sender (RFC 5321, section 6.1).
func (w *weighing) manyRecipients() {
	e := w.Envelope
	switch {
	case e.Offline:
		w.contra(ManyRecipients, NotLooked, "the envelope is not known")
	case !e.SenderKnown || e.Sender != "":
		w.contra(ManyRecipients, No, "it does not have the null sender")
	case len(w.users) < 2:
		w.contra(ManyRecipients, No, "it has the null sender and one recipient, as it should")
	default:
		w.contra(ManyRecipients, Yes, "it has the null sender and %d recipients; a bounce answers one", len(w.users))
	}
}

// blocklist is C5. It costs a question to a stranger, so it is asked last, and
// only where the answer can change the verdict.
func (w *weighing) blocklist(ctx context.Context) {
	e := w.Envelope
	switch {
	case w.opts.Blocklist == nil:
		w.contra(Listed, NotLooked, "no DNS list is configured (dns_list)")
		return
	case e.Offline || !e.Client.IsValid():
		w.contra(Listed, NotLooked, "it is not known which host handed it in")
		return
	case !e.SenderKnown || e.Sender != "":
		w.contra(Listed, NotLooked, "it does not have the null sender")
		return
	case !w.listWouldDecide():
		w.contra(Listed, NotLooked, "the DNS list was not asked: its answer would change nothing")
		return
	}
	ctx, cancel := context.WithTimeout(ctx, w.opts.BlocklistTimeout)
	defer cancel()
	listed, err := w.opts.Blocklist.Listed(ctx, e.Client)
	switch {
	case err != nil:
		w.contra(Listed, Errored, "the DNS list cannot be asked about %s: %v", e.Client, err)
	case listed:
		w.contra(Listed, Yes, "%s is in the DNS list", e.Client)
	default:
		w.contra(Listed, No, "%s is not in the DNS list", e.Client)
	}
}

// listWouldDecide: the verdict is unknown now, and would be suspect with it.
func (w *weighing) listWouldDecide() bool {
	with := append(w.findings[:len(w.findings):len(w.findings)], Finding{Name: Listed, Role: Contra, Outcome: Yes})
	return decide(w.Kind(), w.findings) == Unknown && decide(w.Kind(), with) == Suspect
}

// short cuts a field to what fits into a line.
func short(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	if runes := []rune(s); len(runes) > 100 {
		return string(runes[:99]) + "…"
	}
	return s
}
