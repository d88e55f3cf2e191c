package ledger

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"go.etcd.io/bbolt"
)

const (
	// Gaps this close together are one.
	gapJoin = time.Minute
	// More gaps than these are not told apart: the last one grows.
	maxGaps = 500
	// Steps of the clock up to this are the work of a time daemon.
	clockStep = 2 * time.Second
	// After a step back beyond this, coverage begins anew: as a gap it would
	// last until the wrong time has come.
	clockJump = 24 * time.Hour
)

// coverage is what the ledger knows of its own running.
type coverage struct {
	since   time.Time
	seen    time.Time // the newest time at which it ran
	written time.Time // all that was recorded before is on disk
	gaps    []Gap
	group   uint64 // the last group that went to the file
}

func (c coverage) clone() coverage {
	c.gaps = slices.Clone(c.gaps)
	return c
}

// gap adds a gap, or widens the last one.
func (c *coverage) gap(from, to time.Time, reason string) {
	if n := len(c.gaps); n > 0 {
		last := &c.gaps[n-1]
		near := from.Sub(last.To) <= gapJoin && last.From.Sub(to) <= gapJoin
		if near && last.Reason == reason || n >= maxGaps {
			last.From, last.To = earlier(last.From, from), later(last.To, to)
			return
		}
	}
	c.gaps = append(c.gaps, Gap{From: from.UTC(), To: to.UTC(), Reason: reason})
}

// alive notes that the ledger runs now. After a clock that was set back, what
// was recorded in the time that will come again has the wrong times.
func (c *coverage) alive(now time.Time) {
	switch back := c.seen.Sub(now); {
	case back > clockJump:
		c.since, c.gaps = now.UTC(), nil
	case back > clockStep:
		c.gap(now, c.seen, "clock set back")
	}
	c.seen = now.UTC()
}

// forget drops what lies before a time.
func (c *coverage) forget(before time.Time) {
	c.since = later(c.since, before)
	c.gaps = slices.DeleteFunc(c.gaps, func(g Gap) bool { return g.To.Before(c.since) })
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b.UTC()
	}
	return a.UTC()
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b.UTC()
	}
	return a.UTC()
}

// Coverage implements Ledger.
func (l *Embedded) Coverage() Coverage {
	now := l.opts.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.stopping {
		l.cover.alive(now)
	}
	return Coverage{Since: l.cover.since, Until: l.cover.seen, Gaps: slices.Clone(l.cover.gaps)}
}

// What the bucket "meta" holds: a check of the secret, and the coverage.
var (
	metaBucket = []byte("meta")
	checkKey   = []byte("check")
	coverKey   = []byte("coverage")
)

// savedCoverage is the form of coverage in the file.
type savedCoverage struct {
	Since   time.Time `json:"since"`
	Running time.Time `json:"running"`
	Gaps    []Gap     `json:"gaps,omitempty"`
	Group   uint64    `json:"group"`
}

// loadMeta reads the coverage of an old file, or begins that of a new one.
func (l *Embedded) loadMeta(tx *bbolt.Tx, now time.Time) (coverage, error) {
	check := l.hash.sum('C', "backscatterd ledger 1")
	meta := tx.Bucket(metaBucket)
	if meta == nil {
		if len(days(tx)) > 0 {
			return coverage{}, &Damaged{Cause: errors.New("it does not say since when it runs")}
		}
		meta, err := tx.CreateBucket(metaBucket)
		if err != nil {
			return coverage{}, err
		}
		c := coverage{since: now.UTC(), seen: now.UTC(), written: now.UTC()}
		if err := meta.Put(checkKey, protect(checkKey, check[:])); err != nil {
			return coverage{}, err
		}
		return c, l.saveMeta(tx, c)
	}
	got, err := unprotect(checkKey, meta.Get(checkKey))
	if err != nil {
		return coverage{}, &Damaged{Cause: err}
	}
	if !bytes.Equal(got, check[:]) {
		return coverage{}, &Damaged{Cause: errors.New("it was written with another secret; its entries cannot be found with this one")}
	}
	saved, err := readCoverage(meta)
	if err != nil {
		return coverage{}, err
	}
	c := coverage{since: saved.Since, seen: saved.Running, gaps: saved.Gaps, group: saved.Group}
	if now.After(c.seen) {
		c.gap(c.seen, now, "not running")
	}
	c.alive(now)
	c.written = c.seen
	return c, l.saveMeta(tx, c)
}

func readCoverage(meta *bbolt.Bucket) (saved savedCoverage, err error) {
	stored, err := unprotect(coverKey, meta.Get(coverKey))
	if err == nil {
		err = json.Unmarshal(stored, &saved)
	}
	if err != nil {
		return savedCoverage{}, &Damaged{Cause: err}
	}
	return saved, nil
}

func (l *Embedded) saveMeta(tx *bbolt.Tx, c coverage) error {
	value, err := json.Marshal(savedCoverage{Since: c.since, Running: c.seen, Gaps: c.gaps, Group: c.group})
	if err != nil {
		return err
	}
	return tx.Bucket(metaBucket).Put(coverKey, protect(coverKey, value))
}

// messages reads the count of a day.
func (l *Embedded) messages(day *bbolt.Bucket) (int, error) {
	e, _, err := get(day, l.hash.key(kindTotal))
	return int(e.count), err
}
