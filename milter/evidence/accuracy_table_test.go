package evidence_test

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"testing"
	"time"

	"github.com/backscatterd/backscatterd/milter/evidence"
	"github.com/backscatterd/backscatterd/milter/ledger"
)

// counts of verdicts, in the order legit, unknown, suspect.
type counts [3]int

func (c *counts) add(v evidence.Verdict) {
	c[slices.Index([]evidence.Verdict{evidence.Legit, evidence.Unknown, evidence.Suspect}, v)]++
}

func (c counts) total() int { return c[0] + c[1] + c[2] }

// row is how one group of bounces was judged.
type row struct {
	ours, tokenOnly, ledgerOnly counts // (a) we are the origin: with both, with one
	forged, neverSeen           counts // (b) only our domain is in From
	bare, pair                  counts // no returned header: without a trace in the ledger, and with the pair
}

func (r *row) columns() []*counts {
	return []*counts{&r.ours, &r.tokenOnly, &r.ledgerOnly, &r.forged, &r.neverSeen, &r.bare, &r.pair}
}

func (r *row) add(o *row) {
	for i, c := range r.columns() {
		for v, n := range o.columns()[i] {
			c[v] += n
		}
	}
}

func (r *row) String() string {
	s := ""
	for _, c := range r.columns() {
		s += fmt.Sprintf("  %4d %4d %4d", c[0], c[1], c[2])
	}
	return s
}

const heading = `                              -------- (a) we are the origin --------       -- (b) our domain forged --     - no header came back -
                               both           token alone    ledger alone    active user    never sends    no trace       pair known
family                         leg  unk  sus  leg  unk  sus  leg  unk  sus  leg  unk  sus  leg  unk  sus  leg  unk  sus  leg  unk  sus`

// worlds are the sites that judge.
type worlds struct {
	origin, forged, silent *site
	start, end             time.Time
}

func newWorlds(t *testing.T, all []*specimen) *worlds {
	w := &worlds{start: all[0].sent.AddDate(0, 0, -60), end: all[len(all)-1].came.AddDate(0, 0, 1)}
	w.origin, w.forged, w.silent = newSite(t, w.start), newSite(t, w.start), newSite(t, w.start)
	for _, s := range all {
		w.origin.at(s.sent)
		w.origin.ledger.Record(ledger.Message{MessageID: s.messageID, Sender: s.sender, Recipients: s.recipients})
		w.forged.at(s.sent)
		w.forged.ledger.Record(ledger.Message{MessageID: "other-" + s.messageID, Sender: s.victim(), Recipients: []string{"colleague@correspondent.example"}})
	}
	for _, s := range []*site{w.origin, w.forged, w.silent} {
		s.at(w.end)
	}
	return w
}

// victim is the one whose address is in the returned From.
func (s *specimen) victim() string {
	if a := firstAddress(s.report.Returned.Header("From")); a != "" {
		return a
	}
	return s.sender
}

var byHost = regexp.MustCompile(`(?i)(?:^|\s)by\s+([^\s;()]+)`)

// firstHost is the host that took the message in, by the oldest Received.
func (s *specimen) firstHost() []string {
	for _, r := range slices.Backward(s.report.Returned.Headers("Received")) {
		if m := byHost.FindStringSubmatch(r); m != nil {
			return []string{m[1]}
		}
	}
	return nil
}

func (w *worlds) judge(t *testing.T, s *specimen) (r row) {
	ours := evidence.Options{Domains: []string{domain(s.sender)}, Hosts: s.firstHost(), Token: w.origin.signer, BATV: w.origin.tags, Ledger: w.origin.ledger}
	others := evidence.Options{Domains: []string{domain(s.victim())}, Hosts: []string{"mx.forged-site.example"},
		Token: w.forged.signer, BATV: w.forged.tags, Ledger: w.forged.ledger}
	silent := others
	silent.Ledger = w.silent.ledger
	if !s.returned() {
		r.bare.add(judge(t, s.data, s.sender, others, s.came).Verdict)
		r.pair.add(judge(t, s.data, s.sender, ours, s.came).Verdict)
		return r
	}
	value, err := w.origin.signer.Sign(s.sender, s.messageID, s.sent)
	if err != nil {
		t.Fatal(err)
	}
	signed := s.withToken(value)
	check := func(c *counts, what string, data []byte, opts evidence.Options, victim string, want evidence.Verdict) {
		j := judge(t, data, victim, opts, s.came)
		c.add(j.Verdict)
		if j.Verdict != want {
			t.Logf("%s: %s: %s", s.file, what, j.Status())
		}
	}
	check(&r.ours, "(a)", signed, ours, s.sender, evidence.Legit)
	ours.Hosts = nil // as long as the administrator has not named them
	check(&r.ledgerOnly, "(a) ledger alone", s.data, ours, s.sender, evidence.Legit)
	ours.Hosts, ours.Ledger = s.firstHost(), nil
	check(&r.tokenOnly, "(a) token alone", signed, ours, s.sender, evidence.Legit)
	check(&r.forged, "(b)", s.data, others, s.victim(), evidence.Suspect)
	check(&r.neverSeen, "(b) never sends", s.data, silent, s.victim(), evidence.Suspect)
	return r
}

// Targets of the promise: of mail of ours, 95% legit and none suspect; of
// forged mail, 90% suspect. The rules were made by looking at every second
// family; the others are held out.
func TestAccuracy(t *testing.T) {
	all := loadSpecimens(t)
	w := newWorlds(t, all)
	families := map[string]*row{}
	for _, s := range all {
		if families[s.family] == nil {
			families[s.family] = &row{}
		}
		r := w.judge(t, s)
		families[s.family].add(&r)
	}
	var half [2]row
	var sum row
	t.Log("\n" + heading)
	for i, name := range slices.Sorted(maps.Keys(families)) {
		t.Logf("%-27s%s", name, families[name])
		half[i%2].add(families[name])
		sum.add(families[name])
	}
	t.Logf("%-27s%s", "looked at (every second)", &half[0])
	t.Logf("%-27s%s", "held out (the others)", &half[1])
	t.Logf("%-27s%s", "ALL", &sum)
	t.Logf("(a) legit %.1f%%, suspect %d; (b) suspect %.1f%%, legit %d; without returned header unknown %.1f%%",
		percent(sum.ours[0], sum.ours.total()), sum.ours[2], percent(sum.forged[2], sum.forged.total()), sum.forged[0], percent(sum.bare[1], sum.bare.total()))
	for name, r := range map[string]*row{"all": &sum, "looked at": &half[0], "held out": &half[1]} {
		if percent(r.ours[0], r.ours.total()) < 95 {
			t.Errorf("%s: (a) less than 95%% legit: %v", name, r.ours)
		}
		if n := r.ours[2] + r.tokenOnly[2] + r.ledgerOnly[2] + r.pair[2]; n > 0 {
			t.Errorf("%s: (a) %d bounces of our own mail are called suspect", name, n)
		}
		if percent(r.forged[2], r.forged.total()) < 90 {
			t.Errorf("%s: (b) less than 90%% suspect: %v", name, r.forged)
		}
		if r.bare[1] != r.bare.total() {
			t.Errorf("%s: without returned header and without a trace in the ledger, not all unknown: %v", name, r.bare)
		}
	}
}

func percent(a, b int) float64 {
	if b == 0 {
		return 100
	}
	return 100 * float64(a) / float64(b)
}
