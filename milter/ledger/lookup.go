package ledger

import (
	"context"
	"fmt"
	"strings"
	"time"

	"go.etcd.io/bbolt"

	"github.com/backscatterd/backscatterd/milter/internal/canonical"
)

// Sent implements Ledger.
func (l *Embedded) Sent(_ context.Context, messageID, sender string) (Hit, error) {
	id := canonical.MessageID(messageID)
	if id == "" {
		return Hit{}, nil
	}
	e, found, err := l.newest(l.hash.key(kindMessage, id))
	if err != nil || !found {
		return Hit{}, err
	}
	return Hit{Found: true, At: e.time(), SameSender: e.sender == l.hash.sender(sender)}, nil
}

// Wrote implements Ledger.
func (l *Embedded) Wrote(_ context.Context, sender, recipient string) (Hit, error) {
	k, err := l.hash.wrote(sender, recipient)
	if err != nil {
		return Hit{}, err
	}
	e, found, err := l.newest(k)
	if err != nil || !found {
		return Hit{}, err
	}
	return Hit{Found: true, At: e.time(), SameSender: sender != ""}, nil
}

func (e entry) time() time.Time { return time.Unix(int64(e.at), 0).UTC() }

// newest returns the newest entry of a key: from memory, else from the newest
// day that has it.
func (l *Embedded) newest(k key) (e entry, found bool, err error) {
	if e, found = l.pending(k); found {
		return e, true, nil
	}
	err = l.view(func(tx *bbolt.Tx) error {
		return eachDay(tx, k, func(stored entry) bool {
			e, found = stored, true
			return false
		})
	})
	return e, found, err
}

// Use implements Ledger. Counts expire with the day on which they were made.
func (l *Embedded) Use(ctx context.Context, proof string) (int, error) {
	k := l.hash.key(kindUse, proof)
	// Counted first: of two that come at once, one must see the other.
	l.mu.Lock()
	if !l.stopping && len(l.waiting)+len(l.writing) < l.opts.Queue {
		l.waiting[k] = l.waiting[k].merge(entry{at: seconds(l.opts.Now()), count: 1})
		l.nudge()
	}
	l.mu.Unlock()
	for {
		total, sure, err := l.uses(k)
		if err == nil && !sure {
			err = ctx.Err()
		}
		if sure || err != nil {
			return total, err
		}
	}
}

// uses counts what memory and file have of a key. It is not sure where so much
// was written meanwhile that it cannot say what was counted twice, or not at all.
func (l *Embedded) uses(k key) (total int, sure bool, err error) {
	l.mu.Lock()
	writing, waiting, group := l.writing[k].count, l.waiting[k].count, l.group
	l.mu.Unlock()
	err = l.view(func(tx *bbolt.Tx) error {
		saved, err := readCoverage(tx.Bucket(metaBucket))
		if err != nil {
			return err
		}
		// A group that was written meanwhile is not counted twice. One that
		// failed becomes part of the next.
		sure, total = saved.Group <= group, int(waiting)
		if saved.Group < group {
			total += int(writing)
		}
		return eachDay(tx, k, func(e entry) bool {
			total += int(e.count)
			return true
		})
	})
	return total, sure, err
}

func (l *Embedded) view(f func(*bbolt.Tx) error) error {
	err := l.withFile(func(db *bbolt.DB) error { return db.View(f) })
	if err != nil {
		return fmt.Errorf("ledger %s: look up: %w", l.opts.File, err)
	}
	return nil
}

// eachDay calls f for the entries of a key on disk, newest day first, until it
// returns false.
func eachDay(tx *bbolt.Tx, k key, f func(entry) bool) error {
	// Days sort behind the bucket that follows them, if there is any.
	c := tx.Cursor()
	name, _ := c.Seek([]byte(dayPrefix + "\xff"))
	if name == nil {
		name, _ = c.Last()
	} else {
		name, _ = c.Prev()
	}
	for ; isDay(name); name, _ = c.Prev() {
		e, found, err := get(tx.Bucket(name), k)
		if err != nil {
			return err
		}
		if found && !f(e) {
			return nil
		}
	}
	return nil
}

// isDay reports whether a bucket is named as those of days are; only load and
// expire have to know that there is such a day.
func isDay(name []byte) bool {
	return len(name) == len(dayPrefix+time.DateOnly) && strings.HasPrefix(string(name), dayPrefix)
}
