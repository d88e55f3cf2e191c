package queuesweep

import (
	"context"
	"errors"
	"sync"

	"github.com/backscatterd/backscatterd/queuesweep/rule"
	"github.com/backscatterd/backscatterd/queuesweep/spool"
)

// Near counts, by the name of the rule, the messages that no rule of the set
// matches now, and that one would if they had waited for longer or been tried
// more often.
func (s *Sweeper) Near(ctx context.Context, set *rule.Set) (map[string]int, error) {
	near := make(map[string]int)
	patient := set.Patient()
	if patient == nil {
		return near, nil
	}
	sp, partial := s.open()
	if sp == nil {
		return nil, partial
	}
	defer sp.Close()
	names := patient.Rules()
	now := s.Now()
	var mu sync.Mutex
	err := s.scan(ctx, sp.Folders(), func(rd *reader) func([]spool.Entry) error {
		judge, later := set.Judge(), patient.Judge()
		return rd.each(func(e spool.Entry) error {
			if e.Kind != spool.Active {
				return nil
			}
			msg, _, err := rd.read(e, now)
			if err != nil {
				return nil // other readings tell of those
			}
			i, err := later.First(msg)
			if err != nil || i < 0 {
				return nil
			}
			if now, err := judge.First(msg); err != nil || now >= 0 {
				return nil
			}
			mu.Lock()
			defer mu.Unlock()
			near[names[i].Name]++
			return nil
		})
	})
	return near, errors.Join(partial, err)
}
