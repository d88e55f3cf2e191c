package ledger

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"go.etcd.io/bbolt"
)

// Status is what `ledger status` shows. A ledger in a file writes it beside that
// with each heartbeat, for nobody else can open the file while it is in use.
type Status struct {
	At       time.Time `json:"at"`
	Running  bool      `json:"running"` // false once it was closed in order
	File     string    `json:"file,omitempty"`
	Size     int64     `json:"size,omitempty"`
	Server   string    `json:"server,omitempty"` // of a shared ledger
	Hosts    []Host    `json:"hosts,omitempty"`
	Since    time.Time `json:"since"`
	Unbroken time.Time `json:"unbroken"` // since when there has been no gap
	Gaps     []Gap     `json:"gaps,omitempty"`
	Days     []Day     `json:"days,omitempty"`
	Pending  int       `json:"pending"` // entries that wait to be written
	Written  time.Time `json:"written"` // all that was recorded before is on disk
	Error    string    `json:"error,omitempty"`

	// The following are counted since it was opened, by who keeps it.
	Failures     int64 `json:"failures,omitempty"` // writes that failed; they are tried again
	Dropped      int64 `json:"dropped,omitempty"`  // messages that left unrecorded since too much waited
	LookupErrors int64 `json:"lookup_errors,omitempty"`
	OverBudget   int64 `json:"over_budget,omitempty"` // look-ups that were not answered in time
}

// Day is what one day's bucket holds.
type Day struct {
	Day      string `json:"day"` // 2026-11-24, UTC
	Messages int    `json:"messages"`
}

func statusFile(ledger string) string { return ledger + ".status" }

// Status describes the ledger as it is now.
func (l *Embedded) Status() (Status, error) {
	cover := l.Coverage()
	s := Status{
		At:       l.opts.Now().UTC(),
		File:     l.opts.File,
		Since:    cover.Since,
		Unbroken: cover.Unbroken(),
		Gaps:     cover.Gaps,
		Pending:  l.pendingLen(),
	}
	l.mu.Lock()
	s.Running, s.Written, s.Failures, s.Dropped = !l.stopping, l.cover.written, l.failures, l.dropped
	if l.failing != nil {
		s.Error = l.failing.Error()
	}
	l.mu.Unlock()
	if info, err := os.Stat(l.opts.File); err == nil {
		s.Size = info.Size()
	}
	err := l.withFile(func(db *bbolt.DB) error {
		return db.View(func(tx *bbolt.Tx) error {
			for _, day := range slices.Backward(days(tx)) {
				n, err := l.messages(tx.Bucket([]byte(day)))
				if err != nil {
					return err
				}
				s.Days = append(s.Days, Day{Day: day[len(dayPrefix):], Messages: n})
			}
			return nil
		})
	})
	if err != nil {
		return s, fmt.Errorf("ledger %s: status: %w", l.opts.File, err)
	}
	return s, nil
}

func (l *Embedded) writeStatus() error {
	s, err := l.Status()
	if err != nil {
		return err
	}
	return WriteStatus(l.opts.File, s)
}

// WriteStatus puts a status where [ReadStatus] finds it, for those who may
// neither open the ledger nor ask its server.
func WriteStatus(ledger string, s Status) error {
	content, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	path := statusFile(ledger)
	temp, err := os.CreateTemp(filepath.Dir(path), ".status-*")
	if err != nil {
		return err
	}
	defer os.Remove(temp.Name())
	defer temp.Close()
	if _, err := temp.Write(append(content, '\n')); err != nil {
		return err
	}
	return os.Rename(temp.Name(), path)
}

// ReadStatus returns the last status that the ledger in this file wrote. It may
// be read while the ledger is in use; it is as old as its At.
func ReadStatus(ledger string) (Status, error) {
	content, err := os.ReadFile(statusFile(ledger))
	if errors.Is(err, fs.ErrNotExist) {
		return Status{}, fmt.Errorf("ledger %s: no status yet; it is written once backscatterd serve has run: %w", ledger, err)
	}
	if err != nil {
		return Status{}, fmt.Errorf("ledger %s: %w", ledger, err)
	}
	var s Status
	if err := json.Unmarshal(content, &s); err != nil {
		return Status{}, fmt.Errorf("ledger %s: status cannot be read; it is written anew within a minute while backscatterd serve runs: %w", ledger, err)
	}
	return s, nil
}
