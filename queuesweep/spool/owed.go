package spool

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// Owed is a message of the store whose sender is still to be told: the bounce
// has not been handed over yet.
type Owed struct {
	Entry
	// Record is the store's; never nil.
	Record *Record
}

const owedName = "owed"

// note is what an owed file holds.
type note struct {
	Day     string `json:"day"`
	Control string `json:"control"`
}

// writeNote makes a note of a message durable in a folder of the store, before
// the message is changed.
func (s *Store) writeNote(folder, id string, n any) error {
	d, err := s.makeDir(folder)
	if err != nil {
		return fmt.Errorf("removed store: %w%s", err, hint(err))
	}
	defer d.close()
	var buf bytes.Buffer
	if err := json.NewEncoder(&buf).Encode(n); err != nil {
		return fmt.Errorf("note of message %s: %w", id, err)
	}
	if err := s.appendFile(d, id, unix.O_TRUNC, buf.Bytes()); err != nil {
		return fmt.Errorf("removed store: %w%s", err, hint(err))
	}
	return nil
}

// notesIn opens a folder of notes; nil where there never was one.
func (s *Store) notesIn(folder string) (*dir, error) {
	d, err := s.top.sub(folder)
	if errors.Is(err, unix.ENOENT) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("removed store: %w", err)
	}
	return d, nil
}

// notes are the ids of the messages that there is a note of.
func (s *Store) notes(ctx context.Context, d *dir) (ids []string, err error) {
	err = d.each(ctx, func(name []byte, _ byte) error {
		if validID(name) {
			ids = append(ids, string(name))
		}
		return nil
	})
	return ids, err
}

// readNote reads a note; ok is false where there is none, or one that was cut
// short: then its message has not left the queue.
func readNote(d *dir, id string) (n note, ok bool, err error) {
	data, err := readFile(d, id)
	if errors.Is(err, unix.ENOENT) {
		return n, false, nil
	}
	if err != nil {
		return n, false, err
	}
	return n, json.Unmarshal(data, &n) == nil && len(n.Control) > 2, nil
}

// EachOwed calls yield for every bounce that is owed and that only wants, and
// clears the note where it returns true. A note whose message is not in the
// store is cleared: the message never left the queue, or has been restored. It
// holds the message's lock meanwhile, so that no two processes send the same
// bounce and nobody restores the message; one that another process has in hand
// is passed over. The store's lock it holds for moments only. The order is
// random, so that one that fails slowly does not keep the same ones waiting.
func (s *Store) EachOwed(ctx context.Context, only func(id string) bool, yield func(context.Context, Owed) (paid bool)) error {
	d, err := s.notesIn(owedName)
	if d == nil {
		return err
	}
	defer d.close()
	ids, err := s.notes(ctx, d)
	if err != nil {
		return err
	}
	rand.Shuffle(len(ids), func(i, j int) { ids[i], ids[j] = ids[j], ids[i] })
	p := payer{store: s, notes: d, records: make(map[string]*records)}
	defer p.close()
	var errs []error
	for _, id := range ids {
		if err := ctx.Err(); err != nil {
			return errors.Join(append(errs, err)...)
		}
		if only(id) {
			errs = append(errs, p.pay(ctx, id, yield))
		}
	}
	return errors.Join(errs...)
}

// payer goes over owed bounces.
type payer struct {
	store   *Store
	notes   *dir
	records map[string]*records // by day, gone over once
}

func (p *payer) close() {
	for _, r := range p.records {
		r.close()
	}
}

func (p *payer) pay(ctx context.Context, id string, yield func(context.Context, Owed) bool) error {
	claim, record, err := p.claim(ctx, id)
	if claim == nil {
		return err
	}
	defer claim.Folder.qf.close()
	defer claim.Release()
	if !yield(ctx, Owed{Entry: claim.Entry, Record: record}) {
		return nil
	}
	return p.clear(id)
}

func (p *payer) clear(id string) error {
	return errors.Join(p.notes.remove(id), p.notes.fsync())
}

// claim locks a message whose bounce is owed. Where it returns none without an
// error there is nothing to do. What a note stands for can be told only under the
// store's lock: in the midst of a move its message is not in the store yet.
func (p *payer) claim(ctx context.Context, id string) (*Claim, *Record, error) {
	fd, err := p.store.lock(ctx)
	if err != nil {
		return nil, nil, err
	}
	defer p.store.disk.Close(fd)
	under, _, err := journal{p.store}.read()
	if err != nil || slices.ContainsFunc(under, func(in intent) bool { return in.ID == id }) {
		return nil, nil, err
	}
	n, ok, err := readNote(p.notes, id)
	if err != nil {
		return nil, nil, err
	}
	if !ok {
		return nil, nil, p.clear(id)
	}
	day, err := p.store.day(n.Day, false)
	if errors.Is(err, unix.ENOENT) {
		return nil, nil, p.clear(id)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("removed store: %w", err)
	}
	claim, record, err := p.claimIn(ctx, day, id, n)
	if claim == nil {
		day.qf.close()
	}
	return claim, record, err
}

func (p *payer) claimIn(ctx context.Context, day *Folder, id string, n note) (*Claim, *Record, error) {
	claim, err := Entry{Folder: day, Kind: Kind(n.Control[0]), ID: id}.Claim()
	switch {
	case errors.Is(err, ErrGone):
		return nil, nil, p.clear(id)
	case errors.Is(err, ErrLocked):
		return nil, nil, nil
	case err != nil:
		return nil, nil, fmt.Errorf("bounce of message %s: %w", id, err)
	}
	record, err := p.record(ctx, day, n.Day, id)
	if err != nil {
		claim.Release()
		return nil, nil, err
	}
	return claim, record, nil
}

func (p *payer) record(ctx context.Context, day *Folder, name, id string) (*Record, error) {
	if p.records[name] == nil {
		r, err := openRecords(ctx, day.qf)
		if err != nil {
			return nil, err
		}
		p.records[name] = r
	}
	record, err := p.records[name].of(id)
	if record == nil {
		record = &Record{ID: id}
	}
	return record, err
}

// Owing are the ids of the messages that there is a note of: a bounce is owed,
// unless the message has been restored since.
func (s *Store) Owing(ctx context.Context) (map[string]bool, error) {
	owing := make(map[string]bool)
	err := s.eachNote(ctx, func(id string, _ note) { owing[id] = true })
	return owing, err
}

// owedDays are the days whose folders hold messages that a bounce is owed for.
func (s *Store) owedDays(ctx context.Context) (map[string]bool, error) {
	days := make(map[string]bool)
	err := s.eachNote(ctx, func(_ string, n note) { days[n.Day] = true })
	return days, err
}

func (s *Store) eachNote(ctx context.Context, yield func(id string, n note)) error {
	d, err := s.notesIn(owedName)
	if d == nil {
		return err
	}
	defer d.close()
	ids, err := s.notes(ctx, d)
	if err != nil {
		return err
	}
	for _, id := range ids {
		n, ok, err := readNote(d, id)
		if err != nil {
			return err
		}
		if ok {
			yield(id, n)
		}
	}
	return nil
}

// RecordsSince calls yield for the record of every message that was put into
// the store since then.
func (s *Store) RecordsSince(ctx context.Context, since time.Time, yield func(*Record)) error {
	days, err := s.days(ctx)
	if err != nil {
		return err
	}
	for _, name := range days {
		if name < since.UTC().Format(dayFormat) {
			continue
		}
		day, err := s.day(name, false)
		if errors.Is(err, unix.ENOENT) { // purged meanwhile
			continue
		}
		if err != nil {
			return fmt.Errorf("removed store: %w", err)
		}
		records, err := openRecords(ctx, day.qf)
		day.qf.close()
		if err != nil {
			return err
		}
		err = records.each(ctx, func(r *Record) {
			if !r.Time.Before(since) {
				yield(r)
			}
		})
		records.close()
		if err != nil {
			return err
		}
	}
	return nil
}
