package ledger

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"go.etcd.io/bbolt"
)

// Record implements Ledger. It only touches memory; when more waits than may,
// because the disk is full or too slow, the message is dropped and leaves a gap.
func (l *Embedded) Record(m Message) {
	now := l.opts.Now()
	entries := l.hash.entries(m, now)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stopping || len(l.waiting)+len(l.writing)+len(entries) > l.opts.Queue {
		l.cover.gap(now, now, "queue full")
		l.dropped++
	} else {
		for k, e := range entries {
			l.waiting[k] = l.waiting[k].merge(e)
		}
	}
	l.nudge()
}

// Missed implements Ledger.
func (l *Embedded) Missed() {
	now := l.opts.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cover.gap(now, now, "message not recorded")
	l.nudge()
}

func (l *Embedded) nudge() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// run writes in groups until Close. Open starts it, Close waits for it.
func (l *Embedded) run() {
	defer close(l.done)
	heartbeat := time.NewTicker(l.opts.Heartbeat)
	defer heartbeat.Stop()
	pause := func(d time.Duration) bool {
		select {
		case <-l.stop:
			return false
		case <-time.After(d):
			return true
		}
	}
	for {
		select {
		case <-l.stop:
			return
		case <-heartbeat.C:
			l.beat()
			continue
		case <-l.wake:
		}
		if !pause(l.opts.Group) {
			return
		}
		// A disk that is full stays so for a while. The heartbeat tries too.
		if err := l.flush(); err != nil && !pause(4*l.opts.Group) {
			return
		}
	}
}

// beat notes that the ledger runs, and drops the days that are over.
func (l *Embedded) beat() {
	failed := l.flush() != nil
	if err := l.expire(); err != nil && !failed {
		l.report(fmt.Errorf("ledger %s: drop old days: %w", l.opts.File, err))
	}
	// Where the one cannot be written, the other seldom can; flush has said so.
	if err := l.writeStatus(); err != nil && !failed {
		l.report(fmt.Errorf("ledger %s: write its status: %w", l.opts.File, err))
	}
}

// report leaves out damage, which is reported where it is found.
func (l *Embedded) report(err error) {
	var damage *Damaged
	if !errors.As(err, &damage) {
		l.opts.Report(err)
	}
}

// groupLen is how many entries are written in one transaction. Hashes lie far
// apart: each entry of a large file has bbolt take a page of its own apart, some
// 12 kB, until the transaction ends.
const groupLen = 2000

// flush writes what waits, the coverage, and that all before now is written.
// When it fails, what is not written is kept and tried again; look-ups see it
// meanwhile.
func (l *Embedded) flush() error {
	l.flushMu.Lock()
	defer l.flushMu.Unlock()
	l.mu.Lock()
	now := l.opts.Now()
	l.cover.alive(now)
	keys := slices.Collect(maps.Keys(l.waiting))
	l.mu.Unlock()
	// In their order, as far as they lie on one page it is taken apart once.
	slices.SortFunc(keys, func(a, b key) int { return bytes.Compare(a[:], b[:]) })
	for len(keys) > groupLen {
		if err := l.flushGroup(keys[:groupLen], now, false); err != nil {
			return err
		}
		keys = keys[groupLen:]
	}
	return l.flushGroup(keys, now, true)
}

// flushGroup writes the entries of some keys. The last group of a flush says
// that all before now is written, those before it do not: after a crash in
// between, the time until now counts as a gap.
func (l *Embedded) flushGroup(keys []key, now time.Time, last bool) error {
	l.mu.Lock()
	l.group++
	number := l.group
	group := make(map[key]entry, len(keys))
	for _, k := range keys {
		group[k] = l.waiting[k]
		delete(l.waiting, k)
	}
	l.writing = group
	l.mu.Unlock()

	err := l.reopen()
	if err == nil {
		err = l.withFile(func(db *bbolt.DB) error {
			// Taken here, for it belongs to the file that is written.
			l.mu.Lock()
			cover := l.cover.clone()
			l.mu.Unlock()
			if cover.seen, cover.group = now.UTC(), number; !last {
				cover.seen = earlier(cover.written, now)
			}
			return db.Update(func(tx *bbolt.Tx) error { return l.writeGroup(tx, group, cover) })
		})
	}

	l.mu.Lock()
	was := l.failing
	l.failing = err
	switch {
	case err != nil:
		l.failures++
		// What came meanwhile is newer than what could not be written.
		for k, e := range group {
			l.waiting[k] = e.merge(l.waiting[k])
		}
		l.nudge()
	case last:
		l.cover.written = now
	}
	l.writing = nil
	l.mu.Unlock()
	switch {
	case err != nil && was == nil:
		l.report(fmt.Errorf("ledger %s: cannot write, will go on trying; mail is not held up, and once %d entries wait it leaves a gap: %w",
			l.opts.File, l.opts.Queue, err))
	case err == nil && was != nil:
		l.report(fmt.Errorf("ledger %s: writes again", l.opts.File))
	}
	return err
}

func (l *Embedded) writeGroup(tx *bbolt.Tx, group map[key]entry, cover coverage) error {
	buckets := map[string]*bbolt.Bucket{}
	first := dayName(cover.seen.AddDate(0, 0, -l.opts.Keep))
	for k, e := range group {
		day := dayName(time.Unix(int64(e.at), 0))
		if day < first {
			continue // waited so long that its day was dropped
		}
		bucket := buckets[day]
		if bucket == nil {
			var err error
			if bucket, err = tx.CreateBucketIfNotExists([]byte(day)); err != nil {
				return err
			}
			buckets[day] = bucket
		}
		old, found, err := get(bucket, k)
		if err != nil {
			return err
		}
		if found {
			e = old.merge(e)
		}
		if err := bucket.Put(k[:], protect(k[:], e.encode())); err != nil {
			return err
		}
	}
	return l.saveMeta(tx, cover)
}

// expire drops whole days. Coverage then begins with what is left.
func (l *Embedded) expire() error {
	now := l.opts.Now()
	first := dayName(now.AddDate(0, 0, -l.opts.Keep))
	l.mu.Lock()
	done := l.expired == first
	l.mu.Unlock()
	if done {
		return nil
	}
	err := l.withFile(func(db *bbolt.DB) error {
		return db.Update(func(tx *bbolt.Tx) error {
			for _, day := range days(tx) {
				if day >= first {
					continue
				}
				if err := tx.DeleteBucket([]byte(day)); err != nil {
					return err
				}
			}
			return nil
		})
	})
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.expired = first
	l.cover.forget(dayStart(first))
	return nil
}

func get(b *bbolt.Bucket, k key) (entry, bool, error) {
	stored := b.Get(k[:])
	if stored == nil {
		return entry{}, false, nil
	}
	value, err := unprotect(k[:], stored)
	if err != nil {
		return entry{}, false, &Damaged{Cause: err}
	}
	e, err := decodeEntry(value)
	if err != nil {
		return entry{}, false, &Damaged{Cause: err}
	}
	return e, true, nil
}

// The bucket of a day is named day-2026-11-24, in UTC: names sort as days do.
const dayPrefix = "day-"

func dayName(t time.Time) string { return dayPrefix + t.UTC().Format(time.DateOnly) }

func dayStart(name string) time.Time {
	t, err := time.Parse(dayPrefix+time.DateOnly, name)
	if err != nil {
		return time.Time{}
	}
	return t
}

// days returns the names of the day buckets, oldest first.
func days(tx *bbolt.Tx) (names []string) {
	c := tx.Cursor()
	for name, _ := c.Seek([]byte(dayPrefix)); name != nil; name, _ = c.Next() {
		if !dayStart(string(name)).IsZero() {
			names = append(names, string(name))
		}
	}
	return names
}

// pending looks for an entry that is not yet written.
func (l *Embedded) pending(k key) (entry, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var e entry
	found := false
	for _, m := range []map[key]entry{l.writing, l.waiting} {
		if newer, ok := m[k]; ok {
			e, found = e.merge(newer), true
		}
	}
	return e, found
}

// pendingLen is how many entries wait.
func (l *Embedded) pendingLen() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.waiting) + len(l.writing)
}
