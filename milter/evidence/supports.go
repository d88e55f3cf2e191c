package evidence

import (
	"strings"
)

// supports looks at what speaks for a bounce and could be forged.
func (w *weighing) supports() {
	switch {
	case w.found(ExpiredSignature):
	case w.noSigner():
		w.support(ExpiredSignature, NotLooked, "there are no signing keys here")
	default:
		w.support(ExpiredSignature, No, "there is no signature of ours that has expired")
	}
	w.ourRelay()
	w.ourAddress()
	w.ourMessageID()
	w.wroteToDomain()
}

// noSigner: no signature can be checked.
func (w *weighing) noSigner() bool { return w.opts.Token == nil && w.opts.BATV == nil }

func (w *weighing) found(name Name) bool { return holds(w.findings, name) }

// ourRelay: a host of ours wrote one of the returned Received fields, with a
// queue id as an MTA writes it.
func (w *weighing) ourRelay() {
	if !w.knowsHosts() {
		w.support(OurRelay, NotLooked, "the names of our mail servers are not configured (our_hosts)")
		return
	}
	for _, h := range w.hops {
		switch {
		case !w.isHost(h.by):
		case plausibleID(h.id):
			w.support(OurRelay, Yes, "the returned message went through our host %s as %s", h.by, h.id)
			return
		default:
			w.support(OurRelay, No, "the returned header names our host %s, but no queue id as it gives them", h.by)
			return
		}
	}
	w.support(OurRelay, No, "%s names no host of ours", w.received())
}

func (w *weighing) knowsHosts() bool { return len(w.hosts)+len(w.hostSuffixes) > 0 }

// received says what there is of returned Received fields.
func (w *weighing) received() string {
	if len(w.hops) == 0 {
		return "the returned header has no Received field, and so"
	}
	return "the Received fields of the returned header:"
}

// ourAddress: another host got the message from an address of ours. Private
// addresses are everybody's.
func (w *weighing) ourAddress() {
	public := false
	for _, n := range w.opts.Networks {
		public = public || isPublic(n.Addr())
	}
	if !public {
		w.support(OurAddress, NotLooked, "no public network of ours is configured (our_networks)")
		return
	}
	for _, h := range w.hops {
		for _, a := range h.addrs {
			if isPublic(a) && w.isOurs(a) {
				w.support(OurAddress, Yes, "%s got the returned message from our address %s", h.by, a)
				return
			}
		}
	}
	w.support(OurAddress, No, "no Received field of the returned header has an address of ours")
}

// ourMessageID: only a Message-ID with the name of a host of ours counts. One
// with the domain of the sender does not, since whoever forges the sender makes
// it up along with it.
func (w *weighing) ourMessageID() {
	if !w.knowsHosts() {
		w.support(OurMessageID, NotLooked, "the names of our mail servers are not configured (our_hosts)")
		return
	}
	for _, id := range w.ids {
		if w.isHost(domainOf(id)) {
			w.support(OurMessageID, Yes, "the Message-ID <%s> has the name of a host of ours", id)
			return
		}
	}
	w.support(OurMessageID, No, "no Message-ID with the name of a host of ours came back")
}

// wroteToDomain: this user wrote to somebody in the domain that the bounce is
// from or about. Mail that was forwarded there fails under another address. It
// has to be this user: somebody here writes to each large domain every day.
func (w *weighing) wroteToDomain() {
	if w.opts.Ledger == nil {
		w.support(WroteToDomain, NotLooked, "there is no ledger here")
		return
	}
	var domains []string
	for _, rcpt := range w.failed {
		domains = w.note(domains, domainOf(rcpt), maxFailed)
	}
	for _, a := range addresses(w.From) {
		domains = w.note(domains, domainOf(a), maxFailed)
	}
	if _, parent, ok := strings.Cut(strings.ToLower(w.Report.ReportingMTA), "."); ok && strings.Contains(parent, ".") {
		domains = w.note(domains, parent, maxFailed)
	}
	for _, user := range w.users {
		for _, d := range domains {
			if w.domains[d] {
				continue
			}
			hit, err := w.opts.Ledger.Wrote(w.ledgerCtx, user, "@"+d)
			if err != nil {
				w.support(WroteToDomain, Errored, "the ledger cannot be asked: %v", err)
				return
			}
			if hit.Found {
				w.support(WroteToDomain, Yes, "%s wrote to somebody at %s on %s", user, d, stamp(hit.At))
				return
			}
		}
	}
	w.support(WroteToDomain, No, "%s wrote to nobody at %s", several(w.users), several(domains))
}
