package queuesweep

import (
	"context"
	"time"

	"github.com/backscatterd/backscatterd/queuesweep/spool"
)

// Purge removes for good what has been in the removed store for longer than
// keep, a day's folder at a time.
func (s *Sweeper) Purge(ctx context.Context, keep time.Duration) error {
	store, err := spool.OpenStore(s.Disk, s.Store)
	if err != nil {
		return err
	}
	defer store.Close()
	ctx, cancel := context.WithTimeout(ctx, time.Hour)
	defer cancel()
	purged, err := store.Purge(ctx, s.Now(), keep)
	if len(purged.Days) > 0 {
		s.Log.Info("purged the removed store", "store", s.Store, "days", purged.Days, "messages", purged.Messages)
	}
	return err
}
