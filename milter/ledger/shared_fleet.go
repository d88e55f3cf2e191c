package ledger

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"
)

// record is what a host reports of itself: a field of the hash of hosts.
type record struct {
	Instance string         `json:"instance"` // of the process
	Seq      uint64         `json:"seq"`      // moves on with each report
	Since    time.Time      `json:"since"`
	Written  time.Time      `json:"written"` // all that left before is on the server
	Stopped  bool           `json:"stopped,omitempty"`
	Gaps     []Gap          `json:"gaps,omitempty"`
	Marks    [marks]uint64  `json:"marks"`
	Days     map[string]int `json:"days,omitempty"` // messages
	Evicted  int64          `json:"evicted,omitempty"`
}

// A report stays small: all hosts read all of them.
const maxSharedGaps = 50

// gap adds a gap. Where there are too many, the oldest two become one.
func (r *record) gap(from, to time.Time, reason string) {
	r.addGap(Gap{From: from, To: to, Reason: reason})
}

func (r *record) addGap(g Gap) {
	g.From, g.To = g.From.UTC(), g.To.UTC()
	if n := len(r.Gaps); n > 0 {
		last := &r.Gaps[n-1]
		if last.Reason == g.Reason && last.Filled == g.Filled && g.From.Sub(last.To) <= gapJoin && !g.From.Before(last.From) {
			last.To = later(last.To, g.To)
			return
		}
	}
	r.Gaps = append(r.Gaps, g)
	if len(r.Gaps) > maxSharedGaps {
		a, b := r.Gaps[0], r.Gaps[1]
		joined := Gap{From: earlier(a.From, b.From), To: later(a.To, b.To), Reason: "several", Filled: a.Filled && b.Filled}
		r.Gaps = append([]Gap{joined}, r.Gaps[2:]...)
	}
}

// anew begins the coverage again: what was recorded before can no longer be
// relied on to be found.
func (r *record) anew(now time.Time) { r.Since, r.Gaps = now.UTC(), nil }

func (r *record) forget(before time.Time) {
	r.Gaps = slices.DeleteFunc(r.Gaps, func(g Gap) bool { return g.To.Before(before) })
	for day := range r.Days {
		if day < before.Format(time.DateOnly) {
			delete(r.Days, day)
		}
	}
}

// seen is a record, and when this host last saw it move on: the hosts' clocks
// need not agree on that.
type seen struct {
	record
	moved time.Time // zero: never
}

// trust is what an administrator says of a host that began at Of: that it sent
// nothing before, so that it counts as running since Is.
type trust struct {
	Of time.Time `json:"of"`
	Is time.Time `json:"is"`
}

// state is what the server has, read in one go.
type state struct {
	check string
	hosts map[string]record
	trust map[string]trust
	marks [marks]uint64 // of this host; 0 where there is none
}

func (s *Shared) read(ctx context.Context) (state, error) {
	var check *redis.StringCmd
	var hosts, trusted *redis.MapStringStringCmd
	var own [marks]*redis.StringCmd
	_, err := s.client.Pipelined(ctx, func(p redis.Pipeliner) error {
		if s.opts.Host != "" {
			for part := range own {
				own[part] = p.Get(ctx, s.mark(part))
			}
		}
		check = p.Get(ctx, s.checkKey())
		hosts, trusted = p.HGetAll(ctx, s.hostsKey()), p.HGetAll(ctx, s.trustKey())
		return nil
	})
	if err != nil && !errors.Is(err, redis.Nil) {
		return state{}, err
	}
	st := state{check: check.Val(), hosts: map[string]record{}, trust: map[string]trust{}}
	for host, text := range hosts.Val() {
		var r record
		if err := json.Unmarshal([]byte(text), &r); err != nil {
			return state{}, fmt.Errorf("report of the host %s cannot be read; if it is no longer used: backscatterd ledger forget %s: %w", host, host, err)
		}
		st.hosts[host] = r
	}
	for host, text := range trusted.Val() {
		var t trust
		if json.Unmarshal([]byte(text), &t) == nil {
			st.trust[host] = t
		}
	}
	for part, cmd := range own {
		if cmd != nil {
			st.marks[part], _ = cmd.Uint64()
		}
	}
	return st, nil
}

// claim marks a server that has no ledger yet as one of this secret.
func (s *Shared) claim(ctx context.Context) (check string, err error) {
	var got *redis.StringCmd
	_, err = s.client.Pipelined(ctx, func(p redis.Pipeliner) error {
		p.SetNX(ctx, s.checkKey(), s.check(), 0)
		got = p.Get(ctx, s.checkKey())
		return nil
	})
	return got.Val(), err
}

// take compares what the server has with what this host knows that it wrote.
func (s *Shared) take(st state) (doubt error) {
	now := s.opts.Now().UTC()
	s.mu.Lock()
	defer s.mu.Unlock()
	defer func() {
		if s.doubt = ""; doubt != nil {
			s.doubt = "the ledger's server: " + doubt.Error()
		}
	}()
	if st.check != "" && st.check != s.check() {
		return errSecret
	}
	// The server that answers now may be an older copy of the one before, and have
	// lost what another host wrote last: that host notices when it reports.
	if s.broken {
		clear(s.fleet)
		s.broken = false
	}
	for host, r := range st.hosts {
		if was, known := s.fleet[host]; known && was.Seq == r.Seq {
			continue
		} else if known {
			s.fleet[host] = seen{r, now}
		} else {
			s.fleet[host] = seen{record: r}
		}
	}
	for host := range s.fleet {
		if _, ok := st.hosts[host]; !ok {
			delete(s.fleet, host)
		}
	}
	s.trusted = st.trust
	if s.opts.Host == "" {
		s.loaded = true
		return nil
	}
	prior, found := st.hosts[s.opts.Host]
	if !s.loaded {
		return s.goOn(prior, found, st, now)
	}
	switch {
	case lost(st.marks, s.acked):
		s.own.anew(now)
		s.acked = st.marks
		return errLost
	case !found:
		s.own.anew(now)
		return fmt.Errorf("this host, %s, was forgotten: it begins anew", s.opts.Host)
	case prior.Instance != s.own.Instance:
		return fmt.Errorf("another process reports as the host %s too; give each host a name of its own (host in [milter.ledger_server])", s.opts.Host)
	}
	return nil
}

var (
	errLost   = errors.New("it has lost what was written to it: it was emptied, or fell back to an older copy. What it knew no longer counts, warm-up begins again")
	errSecret = errors.New("it was written with another secret: copy the folder of keys from the other hosts, or use another prefix")
)

func lost(have, acked [marks]uint64) bool {
	for part := range have {
		if have[part] < acked[part] {
			return true
		}
	}
	return false
}

// goOn continues what an earlier process of this host reported.
func (s *Shared) goOn(prior record, found bool, st state, now time.Time) (err error) {
	s.loaded = true
	s.acked = st.marks
	if !found {
		return nil
	}
	began, gaps, counted := s.own.Since, s.own.Gaps, s.own.Days
	instance := s.own.Instance
	s.own = prior
	s.own.Instance, s.own.Stopped = instance, false
	if s.own.Days == nil {
		s.own.Days = map[string]int{}
	}
	for day, n := range counted {
		s.own.Days[day] += n
	}
	if lost(st.marks, prior.Marks) {
		s.own.anew(began)
		err = errLost
	} else if began.After(prior.Written) {
		s.own.gap(prior.Written, began, "not running")
	}
	for _, g := range gaps {
		s.own.addGap(g)
	}
	for _, m := range st.marks {
		s.own.Seq = max(s.own.Seq, m)
	}
	s.own.Written = now
	return err
}

// Coverage implements Ledger: the time for which every host has reported.
func (s *Shared) Coverage() Coverage {
	now := s.opts.Now().UTC()
	s.mu.Lock()
	defer s.mu.Unlock()
	c := Coverage{Since: now.AddDate(0, 0, -s.opts.Keep), Until: now}
	if c.Why = s.unsure(); c.Why != "" {
		return Coverage{Why: c.Why}
	}
	for host, h := range s.fleet {
		if host == s.opts.Host {
			h.record = s.own
		}
		c.Since = later(c.Since, s.sinceOf(host, h.record))
		told := earlier(h.Written, h.moved)
		switch {
		case now.Sub(h.moved) > s.opts.Stale:
			if h.Written.Before(c.Until) {
				c.Until, c.Why = h.Written, fmt.Sprintf("the host %s has not reported since %s", host, h.Written.Format(time.RFC3339))
			}
		case host != s.opts.Host && (c.Late.IsZero() || told.Before(c.Late)):
			c.Late = told
		}
		c.Gaps = append(c.Gaps, h.Gaps...)
	}
	slices.SortFunc(c.Gaps, func(a, b Gap) int { return cmp.Or(a.From.Compare(b.From), a.To.Compare(b.To)) })
	return c
}

// unsure says why "not found" means nothing at all, or "".
func (s *Shared) unsure() string {
	switch {
	case !s.loaded:
		return "the ledger's server has not answered yet"
	case s.doubt != "":
		return s.doubt
	case s.evicting != "":
		return s.evicting
	}
	for _, host := range s.opts.Hosts {
		if _, ok := s.fleet[host]; !ok {
			return fmt.Sprintf("the host %s has never reported", host)
		}
	}
	if len(s.fleet) == 0 {
		return "no host has reported yet"
	}
	return ""
}

func (s *Shared) sinceOf(host string, r record) time.Time {
	if t, ok := s.trusted[host]; ok && t.Of.Equal(r.Since) {
		return t.Is
	}
	return r.Since
}
