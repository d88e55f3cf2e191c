package ledger

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/backscatterd/backscatterd/milter/internal/canonical"
)

// Sent implements Ledger.
func (s *Shared) Sent(ctx context.Context, messageID, sender string) (Hit, error) {
	id := canonical.MessageID(messageID)
	if id == "" {
		return Hit{}, nil
	}
	v, found, err := s.newest(ctx, s.hash.key(kindMessage, id))
	if err != nil || !found {
		return Hit{}, err
	}
	same := entry{sender: s.hash.sender(sender)}.senderHash() == v&(1<<senderBits-1)
	return Hit{Found: true, At: sharedTime(kindMessage, v), SameSender: same}, nil
}

// Wrote implements Ledger.
func (s *Shared) Wrote(ctx context.Context, sender, recipient string) (Hit, error) {
	k, err := s.hash.wrote(sender, recipient)
	if err != nil {
		return Hit{}, err
	}
	v, found, err := s.newest(ctx, k)
	if err != nil || !found {
		return Hit{}, err
	}
	return Hit{Found: true, At: sharedTime(k[0], v), SameSender: sender != ""}, nil
}

// newest returns the value of a key: from memory, else from the server. "Not
// found" is said only by a node that still has this host's mark.
func (s *Shared) newest(ctx context.Context, k key) (v int64, found bool, err error) {
	s.mu.Lock()
	for _, m := range []map[key]int64{s.writing, s.waiting} {
		if newer, ok := m[k]; ok {
			v, found = newer, true
		}
	}
	down, acked := s.down, s.acked[k.part()]
	s.mu.Unlock()
	if found {
		return v, true, nil
	}
	if down != nil {
		return 0, false, s.lookupError(down)
	}
	var value, mark *redis.StringCmd
	began := time.Now()
	_, err = s.client.Pipelined(ctx, func(p redis.Pipeliner) error {
		value = p.Get(ctx, s.name(k))
		if s.opts.Host != "" {
			mark = p.Get(ctx, s.mark(k.part()))
		}
		return nil
	})
	if err != nil && !errors.Is(err, redis.Nil) {
		return 0, false, s.lookupError(s.fell(err, time.Since(began)))
	}
	v, err = value.Int64()
	switch {
	case err == nil:
		return v, true, nil
	case !errors.Is(err, redis.Nil):
		return 0, false, s.lookupError(err)
	}
	if mark != nil {
		if m, err := mark.Uint64(); err != nil || m < acked {
			nudge(s.hurry)
			return 0, false, s.lookupError(errors.New("it has lost what was written to it"))
		}
	}
	return 0, false, nil
}

// Use implements Ledger. Counts are forgotten when they were not added to for as
// long as entries are kept.
func (s *Shared) Use(ctx context.Context, proof string) (int, error) {
	k := s.hash.key(kindUse, proof)
	s.mu.Lock()
	down := s.down
	s.mu.Unlock()
	if down != nil {
		return 0, s.lookupError(down)
	}
	var count *redis.IntCmd
	began := time.Now()
	_, err := s.client.Pipelined(ctx, func(p redis.Pipeliner) error {
		count = p.Incr(ctx, s.name(k))
		p.ExpireAt(ctx, s.name(k), s.expiry(s.opts.Now()))
		return nil
	})
	if err != nil {
		return 0, s.lookupError(s.fell(err, time.Since(began)))
	}
	return int(count.Val()), nil
}

// expiry is when an entry of a time is dropped.
func (s *Shared) expiry(at time.Time) time.Time {
	return at.AddDate(0, 0, s.opts.Keep).Truncate(time.Second)
}

// slow is how long a server must not have answered to be taken for away: a look-up
// may also end because others about the same message took its time.
const slow = 20 * time.Millisecond

// fell takes note that the server does not answer in time: until the next report
// gets through, no mail waits for it.
func (s *Shared) fell(err error, waited time.Duration) error {
	var said redis.Error
	if errors.As(err, &said) || errors.Is(err, context.Canceled) {
		return err // it does answer, or nobody waits for it
	}
	var network net.Error
	late := errors.Is(err, context.DeadlineExceeded) || errors.As(err, &network) && network.Timeout()
	s.mu.Lock()
	defer s.mu.Unlock()
	if late {
		s.counts.overBudget++
		if waited < slow {
			return err
		}
	} else {
		s.broken = true
	}
	if s.down == nil {
		s.down = fmt.Errorf("%w: %w", ErrAway, err)
	}
	nudge(s.hurry)
	return err
}

// lookupError is what a look-up says that did not succeed.
func (s *Shared) lookupError(err error) error {
	s.mu.Lock()
	s.counts.lookupErrors++
	s.mu.Unlock()
	return fmt.Errorf("ledger on %s: look up: %w", s.opts.Server, err)
}
