package e2e

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/backscatterd/backscatterd/milter/ledger"
	"github.com/backscatterd/backscatterd/queuesweep"
	"github.com/backscatterd/backscatterd/test/lab"
)

// Mail leaves through one host; its bounce is known for ours by the others,
// by the ledger alone where the signing key is not held; a sweep on a third one
// takes what is stuck there. Then, while mail flows, the ledger's server is frozen
// and stopped, and the host that sends is cut off from it: no bounce of ours is
// ever called suspect, no forged one while nothing can be looked up, and all that
// left meanwhile is known later.
func TestFleet(t *testing.T) {
	f := newFleet(t)
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	f.covered(ctx)
	f.story(ctx)
	f.sweep(ctx)
	for _, o := range []outage{
		{"frozen", fleetNames, func() { f.redis.signal(unix.SIGSTOP) }, func() { f.redis.signal(unix.SIGCONT) }},
		{"stopped", fleetNames, f.redis.stop, f.redis.start},
		{"cut", fleetNames[:1], func() { f.net.cut(f.a.machine) }, func() { f.net.join(f.a.machine) }},
	} {
		f.outage(ctx, o)
	}
}

// outage is a time in which hosts do not reach the ledger's server.
type outage struct {
	name     string
	hosts    []string
	down, up func()
}

// everywhere: the host that judges bounces does not reach the server either.
func (o outage) everywhere() bool { return len(o.hosts) == len(fleetNames) }

// covered waits until the second host calls a forged bounce suspect.
func (f *fleet) covered(ctx context.Context) {
	f.t.Helper()
	number := 0
	f.soon("a forged bounce is suspect", func() error {
		number++
		status, err := f.judged(ctx, f.b, fmt.Sprintf("trial%d@mx.remote.example", time.Now().UnixNano()), number)
		if err == nil && status != "suspect kind=failed reasons=no-proof,not-in-ledger,not-seen-sending" {
			err = errors.New(status)
		}
		return err
	})
}

// judged hands in the bounce of a forged message and returns the verdict.
func (f *fleet) judged(ctx context.Context, h *fleetHost, id string, number int) (string, error) {
	returned, sender, recipient := forgery(number)
	return f.verdict(ctx, h, bounceOf(returned, sender, recipient, id), id)
}

func (f *fleet) verdict(ctx context.Context, h *fleetHost, bounce lab.Envelope, id string) (string, error) {
	if err := h.takes(ctx, f.net, bounce); err != nil {
		return "", err
	}
	d, err := h.delivered(ctx, id)
	if err != nil {
		return "", err
	}
	return header(f.t, d).Get("X-Backscatter-Status"), nil
}

// story is one message, whose bounce a real sendmail makes, and which is shown
// to two hosts.
func (f *fleet) story(ctx context.Context) {
	f.t.Helper()
	remote := newRemote(f.t)
	id := "story@" + ourDomain
	if _, err := f.a.Submit(ctx, lab.Envelope{From: "joe@" + ourDomain, To: lab.To("ann@remote.example"), Data: letter("joe@"+ourDomain, "ann@remote.example", id)}); err != nil {
		f.t.Fatal(err)
	}
	out := must(f.a.delivered(ctx, id))(f.t)
	if h := header(f.t, out); h.Get("X-Backscatter-Token") == "" {
		f.t.Errorf("it left unsigned:\n%s", out.Data)
	}
	back := bounced(f.t, ctx, remote, out)
	for _, c := range []struct {
		at   *fleetHost
		want string
	}{
		{f.b, "legit kind=failed reasons=ledger-message,ledger-recipient"},
		{f.c, "legit kind=failed reasons=token,ledger-message,ledger-recipient"},
		// Three times is more than max_uses says, counted across hosts.
		{f.b, "legit kind=failed reasons=ledger-message,ledger-recipient,replayed"},
	} {
		before := len(c.at.Stub.Deliveries())
		if err := c.at.takes(ctx, f.net, lab.Envelope{To: lab.To(back.To[0]), Data: back.Data}); err != nil {
			f.t.Fatal(err)
		}
		if err := c.at.Stub.Await(ctx, before+1); err != nil {
			f.t.Fatal(err)
		}
		if got := header(f.t, c.at.Stub.Deliveries()[before]).Get("X-Backscatter-Status"); got != c.want {
			f.t.Errorf("on %s, the bounce is %q; want %q", c.at.name, got, c.want)
		}
	}
}

// sweep has a bounce stuck on the third host and sweeps there.
func (f *fleet) sweep(ctx context.Context) {
	f.t.Helper()
	m := must(f.c.StuckBounce(ctx))(f.t)
	found, _ := results(f.t, f.c.there("sweep", "--json"))
	if r := f.c.one(found, queuesweep.Done); r.ID != m.ID {
		f.t.Errorf("the sweep took %s, want %s", r.ID, m.ID)
	}
	if left := f.c.list(); len(left) != 0 {
		f.t.Errorf("left in the queue: %v", left)
	}
}

type span struct{ began, ended time.Time }

// outage has the server out of reach for some seconds while mail flows.
func (f *fleet) outage(ctx context.Context, o outage) {
	f.t.Helper()
	l := f.load(ctx, o.name)
	l.await(ctx, 3, time.Second)
	calm := f.b.metrics(ctx)
	o.down()
	away := time.Now()
	l.await(ctx, 2, 4500*time.Millisecond)
	f.metrics(ctx, o, calm)
	back := time.Now()
	o.up()
	l.await(ctx, 2, 3*time.Second)
	all := l.end(ctx)
	f.check(o, all, away, back)
	l.pace(o.name, away, back)
	f.known(ctx, o.name, l, away, back)
	f.covered(ctx)
	f.gap(o, away, back)
}

// metrics: what waits, and what fails, is shown while it does.
func (f *fleet) metrics(ctx context.Context, o outage, calm map[string]float64) {
	f.t.Helper()
	a, b := f.a.metrics(ctx), f.b.metrics(ctx)
	const took = "milter_answer_duration_seconds_"
	f.t.Logf("%s: the milter on %s took %.1f ms for a message before, %.1f ms meanwhile", o.name, f.b.name,
		1000*calm[took+"sum"]/calm[took+"count"], 1000*(b[took+"sum"]-calm[took+"sum"])/(b[took+"count"]-calm[took+"count"]))
	for _, want := range []struct {
		of   *fleetHost
		name string
		at   float64 // the least
		has  map[string]float64
	}{
		{f.a, "ledger_pending_entries", 1, a},
		{f.a, "ledger_write_errors_total", 1, a},
		{f.a, "ledger_dropped_messages_total", 0, a},
		{f.b, "ledger_lookup_errors_total", map[bool]float64{true: 1}[o.everywhere()], b},
		{f.b, "ledger_lookups_over_budget_total", 0, b},
	} {
		got, ok := want.has[want.name]
		f.t.Logf("%s: %s on %s is %v", o.name, want.name, want.of.name, got)
		if !ok || got < want.at {
			f.t.Errorf("%s: %s on %s is %v (%v); want at least %v", o.name, want.name, want.of.name, got, ok, want.at)
		}
	}
	if a["ledger_dropped_messages_total"] != 0 {
		f.t.Errorf("%s: messages were dropped", o.name)
	}
}

// check holds the verdicts against what may be said at their time.
func (f *fleet) check(o outage, all []shown, away, back time.Time) {
	f.t.Helper()
	counts := map[string]int{}
	for _, s := range all {
		verdict, _, _ := strings.Cut(s.status, " ")
		whose := map[bool]string{true: "ours", false: "forged"}[s.ours]
		when := s.when(away, back)
		counts[fmt.Sprintf("%s %s %s", when, whose, verdict)]++
		switch {
		case s.ours && verdict != "legit" && verdict != "unknown":
			f.t.Errorf("%s, %s: the bounce %s of mail of ours, shown %v after the outage began, is %q", o.name, when, s.id, s.began.Sub(away), s.status)
		case !s.ours && verdict != "suspect" && verdict != "unknown":
			f.t.Errorf("%s, %s: the forged bounce %s is %q", o.name, when, s.id, s.status)
		case o.everywhere() && when == "meanwhile" && !s.ours && verdict != "unknown":
			f.t.Errorf("%s: the server was away, and the forged bounce %s is %q", o.name, s.id, s.status)
		case strings.Contains(s.status, "forged-signature"):
			f.t.Errorf("%s: a signature of a key that is not held is held against %s: %q", o.name, s.id, s.status)
		}
	}
	f.t.Logf("%s: verdicts %v", o.name, counts)
	for _, want := range []string{"before ours legit", "before forged suspect", "meanwhile ours unknown", "meanwhile forged unknown"} {
		if counts[want] == 0 {
			f.t.Errorf("%s: there was no such verdict: %s", o.name, want)
		}
	}
}

// when tells whether a thing was wholly before the outage, or in it.
func (s span) when(away, back time.Time) string {
	switch {
	case s.ended.Before(away):
		return "before"
	case s.began.After(away) && s.ended.Before(back):
		return "meanwhile"
	}
	return "later"
}

// pace tells how long sendmail took for messages. What a busy machine adds is in
// all of it.
func (l *load) pace(name string, away, back time.Time) {
	bounces := make([]span, len(l.shown))
	for i, s := range l.shown {
		bounces[i] = s.span
	}
	for what, spans := range map[string][]span{"a message through the first host": l.submit, "a bounce into the second": bounces} {
		for _, when := range []string{"before", "meanwhile", "later"} {
			var took []time.Duration
			for _, s := range spans {
				if s.when(away, back) == when {
					took = append(took, s.ended.Sub(s.began))
				}
			}
			if len(took) > 0 {
				slices.Sort(took)
				l.f.t.Logf("%s: %s, %s: half of %d took %v, the slowest %v", name, what, when, len(took), took[len(took)/2].Round(time.Millisecond), took[len(took)-1].Round(time.Millisecond))
			}
		}
	}
}

// known: everything that left meanwhile is known in the end. A look-up may fail on
// a busy machine, and is then tried again.
func (f *fleet) known(ctx context.Context, name string, l *load, away, back time.Time) {
	f.t.Helper()
	for i, d := range l.sent {
		if l.submit[i].when(away, back) != "meanwhile" {
			continue
		}
		f.soon(fmt.Sprintf("the bounce of %s, which left while the server was %s, is legit", d.MessageID, name), func() error {
			id := fmt.Sprintf("later%d@mx.remote.example", time.Now().UnixNano())
			status, err := f.verdict(ctx, f.b, bounceOf(d.Data, d.From, d.To[0], id), id)
			if err == nil && !strings.HasPrefix(status, "legit kind=failed reasons=ledger-message") {
				err = errors.New(status)
			}
			return err
		})
	}
}

// gap: the time when the server was out of reach is shown for each host that
// records, and does not count.
func (f *fleet) gap(o outage, away, back time.Time) {
	f.t.Helper()
	s := must(f.b.status())(f.t)
	if len(s.Hosts) != len(fleetNames) {
		f.t.Errorf("hosts %+v", s.Hosts)
	}
	for _, h := range s.Hosts {
		if time.Since(h.Written) > 10*time.Second {
			f.t.Errorf("%s was last seen at %v", h.Name, h.Written)
		}
		if h.Since.Unix() != 0 { // as an administrator said
			f.t.Errorf("%s: %s begins anew at %v", o.name, h.Name, h.Since)
		}
		shows := slices.ContainsFunc(h.Gaps, func(g ledger.Gap) bool {
			return g.Filled && g.Reason == "server away, written later" && g.From.Before(away.Add(time.Second)) && g.To.After(back.Add(-time.Second))
		})
		if shows != slices.Contains(o.hosts, h.Name) {
			f.t.Errorf("%s: from %v to %v, %s shows the gaps %+v", o.name, away, back, h.Name, h.Gaps)
		}
	}
	text := f.c.there("ledger", "status")
	for _, want := range append([]string{"server away, written later; does not count"}, fleetNames...) {
		if !strings.Contains(text, want) {
			f.t.Errorf("%s: ledger status does not say %q:\n%s", o.name, want, text)
		}
	}
}
