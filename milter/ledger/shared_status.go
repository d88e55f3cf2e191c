package ledger

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"
)

// Host is what a host that keeps a shared ledger last reported.
type Host struct {
	Name    string    `json:"name"`
	Since   time.Time `json:"since"`
	Written time.Time `json:"written"` // all that left it before is in the ledger
	Stopped bool      `json:"stopped,omitempty"`
	Gaps    []Gap     `json:"gaps,omitempty"`
	Days    []Day     `json:"days,omitempty"`
}

// here is what this host knows of itself.
func (s *Shared) here() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := Status{
		At: s.opts.Now().UTC(), Server: s.opts.Server.String(), Pending: len(s.waiting) + len(s.writing),
		Failures: s.counts.failures, Dropped: s.counts.dropped,
		LookupErrors: s.counts.lookupErrors, OverBudget: s.counts.overBudget,
	}
	if out.Error = cmp.Or(s.doubt, s.evicting); s.failing != nil {
		out.Error = s.failing.Error()
	}
	return out
}

// Status asks the server what all hosts report; where it does not answer, the
// error comes with what this host knows of itself.
func (s *Shared) Status(ctx context.Context) (Status, error) {
	st, err := s.read(ctx)
	switch {
	case err != nil:
	case s.opts.Host == "":
		err = s.take(st)
	case st.check != "" && st.check != s.check():
		err = errSecret // a host compares the rest when it reports, and not while it writes
	}
	if err != nil {
		return s.here(), fmt.Errorf("ledger on %s: %w", s.opts.Server, err)
	}
	s.look(ctx)
	out := s.here()
	out.Running = len(st.hosts) > 0
	days := map[string]int{}
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, r := range st.hosts {
		h := Host{Name: name, Since: s.sinceOf(name, r), Written: r.Written, Stopped: r.Stopped, Gaps: r.Gaps, Days: newestFirst(r.Days)}
		out.Hosts = append(out.Hosts, h)
		out.Since = later(out.Since, h.Since)
		if out.Written.IsZero() || h.Written.Before(out.Written) {
			out.Written = h.Written
		}
		out.Gaps = append(out.Gaps, h.Gaps...)
		for day, n := range r.Days {
			days[day] += n
		}
	}
	for _, name := range s.opts.Hosts {
		if _, ok := st.hosts[name]; !ok {
			out.Hosts = append(out.Hosts, Host{Name: name})
		}
	}
	slices.SortFunc(out.Hosts, func(a, b Host) int { return cmp.Compare(a.Name, b.Name) })
	slices.SortFunc(out.Gaps, func(a, b Gap) int { return a.From.Compare(b.From) })
	out.Unbroken = Coverage{Since: out.Since, Gaps: out.Gaps}.Unbroken()
	out.Days = newestFirst(days)
	return out, nil
}

func newestFirst(days map[string]int) (out []Day) {
	for day, n := range days {
		out = append(out, Day{Day: day, Messages: n})
	}
	slices.SortFunc(out, func(a, b Day) int { return cmp.Compare(b.Day, a.Day) })
	return out
}

// Forget takes a host out that no longer sends. One that still runs begins anew
// with its next report.
func (s *Shared) Forget(ctx context.Context, host string) error {
	n, err := s.client.HDel(ctx, s.hostsKey(), host).Result()
	switch {
	case err != nil:
		return fmt.Errorf("ledger on %s: forget %s: %w", s.opts.Server, host, err)
	case n == 0:
		return fmt.Errorf("ledger on %s: no host %s has reported; see: backscatterd ledger status", s.opts.Server, host)
	}
	return s.client.HDel(ctx, s.trustKey(), host).Err()
}

// Trust says that a host sent no mail before it first reported, so that it need
// not warm up: the others' silence covers that time too. It holds until the host
// begins anew.
func (s *Shared) Trust(ctx context.Context, host string) error {
	st, err := s.read(ctx)
	if err != nil {
		return fmt.Errorf("ledger on %s: trust %s: %w", s.opts.Server, host, err)
	}
	r, ok := st.hosts[host]
	if !ok {
		return fmt.Errorf("ledger on %s: no host %s has reported; see: backscatterd ledger status", s.opts.Server, host)
	}
	text, err := json.Marshal(trust{Of: r.Since, Is: time.Unix(0, 0).UTC()})
	if err != nil {
		return err
	}
	if err := s.client.HSet(ctx, s.trustKey(), host, text).Err(); err != nil {
		return fmt.Errorf("ledger on %s: trust %s: %w", s.opts.Server, host, err)
	}
	return nil
}

// Ready waits for the first answer of the server.
func (s *Shared) Ready(ctx context.Context) error {
	for {
		s.mu.Lock()
		down := s.down
		s.mu.Unlock()
		if down == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("ledger on %s: %w", s.opts.Server, down)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Waiting is how many entries wait to be written.
func (s *Shared) Waiting() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.waiting) + len(s.writing)
}
