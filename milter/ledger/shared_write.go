package ledger

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// A group is written in pieces of this many entries.
const pieceLen = 2000

// beat reads what all hosts report, sees whether the server still has what it
// was given, writes what waits, and reports. err is of the server, doubt is about
// what it has.
func (s *Shared) beat() (err, doubt error) {
	s.flushMu.Lock()
	defer s.flushMu.Unlock()
	ctx, cancel := s.patient()
	defer cancel()
	st, err := s.read(ctx)
	if err == nil && st.check == "" && s.opts.Host != "" {
		st.check, err = s.claim(ctx)
	}
	if err == nil {
		doubt = s.take(st)
		s.look(ctx)
	}
	if errors.Is(doubt, errSecret) {
		err = doubt // to write would mix up two ledgers
	}
	if err == nil && s.opts.Host != "" {
		err = s.write(true)
	}
	s.settle(err, doubt)
	return err, doubt
}

// flush writes what waits, between two beats.
func (s *Shared) flush() error {
	s.flushMu.Lock()
	defer s.flushMu.Unlock()
	s.mu.Lock()
	idle := s.down != nil || s.failing != nil || !s.loaded
	s.mu.Unlock()
	if idle {
		return nil // the next beat tries
	}
	err := s.write(false)
	if err != nil {
		s.settle(err, nil)
	}
	return err
}

// write sends the group that waits, then the marks of the parts it touched, then
// the report. A mark is sent after all that it stands for.
func (s *Shared) write(all bool) error {
	s.mu.Lock()
	now := s.opts.Now().UTC()
	s.writing, s.waiting = s.waiting, map[key]int64{}
	group, seq := s.writing, s.own.Seq+1
	s.mu.Unlock()

	touched, err := s.writeEntries(group)
	if all {
		for part := range touched {
			touched[part] = true
		}
	}
	if err == nil {
		err = s.writeMarks(touched, seq, now)
	}

	s.mu.Lock()
	s.writing = nil
	if err != nil {
		// What came meanwhile is newer. Entries that did get through are sent
		// again: that changes nothing.
		maps.Copy(group, s.waiting)
		s.waiting = group
		s.mu.Unlock()
		return err
	}
	for part := range touched {
		if touched[part] {
			s.acked[part] = seq
		}
	}
	s.own.Seq, s.own.Marks, s.own.Stopped = seq, s.acked, s.stopping
	s.own.Written = now
	s.own.forget(now.AddDate(0, 0, -s.opts.Keep))
	report, err := json.Marshal(s.own)
	s.mu.Unlock()
	if err != nil {
		return err
	}
	ctx, cancel := s.patient()
	defer cancel()
	if err := s.client.HSet(ctx, s.hostsKey(), s.opts.Host, report).Err(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	own := s.own
	s.fleet[s.opts.Host] = seen{own, now}
	return nil
}

func (s *Shared) writeEntries(group map[key]int64) (touched [marks]bool, err error) {
	p := s.client.Pipeline()
	for k, v := range group {
		touched[k.part()] = true
		p.SetArgs(context.Background(), s.name(k), strconv.FormatInt(v, 10), redis.SetArgs{ExpireAt: s.expiry(sharedTime(k[0], v))})
		if p.Len() >= pieceLen {
			if err := s.send(p); err != nil {
				return touched, err
			}
		}
	}
	return touched, s.send(p)
}

// send waits for each piece anew: many of them may take long, and do get on.
func (s *Shared) send(p redis.Pipeliner) error {
	if p.Len() == 0 {
		return nil
	}
	ctx, cancel := s.patient()
	defer cancel()
	_, err := p.Exec(ctx)
	return err
}

func (s *Shared) writeMarks(touched [marks]bool, seq uint64, now time.Time) error {
	p := s.client.Pipeline()
	for part := range touched {
		if touched[part] {
			p.SetArgs(context.Background(), s.mark(part), seq, redis.SetArgs{ExpireAt: s.expiry(now)})
		}
	}
	return s.send(p)
}

// look asks the server whether it may throw entries away.
func (s *Shared) look(ctx context.Context) {
	s.mu.Lock()
	due := s.opts.Now().Sub(s.looked) >= time.Minute || s.evicting != ""
	s.mu.Unlock()
	if !due {
		return
	}
	why, evicted, err := s.eviction(ctx)
	var said redis.Error
	if errors.As(err, &said) {
		why = fmt.Sprintf("the ledger's server does not say whether it throws entries away; allow +info to its user: %v", err)
	} else if err != nil {
		return // the next look-up says more
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.looked, s.evicting = s.opts.Now(), why
	if s.opts.Host != "" && err == nil {
		if evicted > s.own.Evicted && s.own.Seq > 0 {
			s.own.anew(s.opts.Now())
		}
		s.own.Evicted = evicted
	}
}

// eviction asks every node: why entries may be thrown away, and how many were.
func (s *Shared) eviction(ctx context.Context) (why string, evicted int64, err error) {
	node := func(ctx context.Context, c *redis.Client) error {
		info, err := c.Info(ctx, "memory", "stats").Result()
		if err != nil {
			return err
		}
		fields := map[string]string{}
		for line := range strings.Lines(info) {
			name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
			fields[name] = value
		}
		if policy := fields["maxmemory_policy"]; fields["maxmemory"] != "0" && policy != "noeviction" {
			why = fmt.Sprintf("the ledger's server throws entries away when it is full: set maxmemory-policy noeviction there, it is %s", policy)
		}
		n, _ := strconv.ParseInt(fields["evicted_keys"], 10, 64)
		evicted += n
		return nil
	}
	switch c := s.client.(type) {
	case *redis.ClusterClient:
		// ForEachMaster asks them at the same time.
		var one = make(chan struct{}, 1)
		err = c.ForEachMaster(ctx, func(ctx context.Context, c *redis.Client) error {
			one <- struct{}{}
			defer func() { <-one }()
			return node(ctx, c)
		})
	case *redis.Client:
		err = node(ctx, c)
	}
	return why, evicted, err
}

// settle takes note of how a report went: err is of the server, doubt is about
// what it has. What changes is told.
func (s *Shared) settle(err, doubt error) {
	trouble := s.note(err, doubt)
	s.mu.Lock()
	before := s.trouble
	s.trouble = trouble
	s.mu.Unlock()
	switch {
	case trouble == before, err != nil && before != "":
	case trouble != "":
		s.opts.Report(fmt.Errorf("ledger on %s: %s", s.opts.Server, trouble))
	default:
		s.opts.Report(fmt.Errorf("ledger on %s: %w", s.opts.Server, ErrWell))
	}
}

func (s *Shared) note(err, doubt error) (trouble string) {
	now := s.opts.Now().UTC()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failing = err
	if err != nil {
		s.counts.failures++
		s.broken = true
		if s.down = nil; !refusesWrites(err) {
			s.down = fmt.Errorf("%w: %w", ErrAway, err)
		}
		if s.away.IsZero() {
			s.away = s.own.Written
		}
		return fmt.Sprintf("cannot be written to, will go on trying; mail is not held up, no bounce is called suspect for what is not found, and once %d entries wait it leaves a gap: %v", s.opts.Queue, err)
	}
	s.down = nil
	if !s.away.IsZero() && s.opts.Host != "" {
		s.own.addGap(Gap{From: s.away, To: now, Reason: "server away, written later", Filled: true})
	}
	s.away = time.Time{}
	if doubt != nil {
		return doubt.Error()
	}
	return s.evicting
}

// refusesWrites: a server that is full, or may not write, does answer look-ups.
func refusesWrites(err error) bool {
	var said redis.Error
	return errors.As(err, &said) && slices.ContainsFunc([]string{"OOM ", "MISCONF ", "READONLY ", "NOREPLICAS "}, func(word string) bool {
		return strings.HasPrefix(said.Error(), word)
	})
}
