package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/backscatterd/backscatterd/config"
	"github.com/backscatterd/backscatterd/milter/evidence"
	"github.com/backscatterd/backscatterd/milter/keyring"
	"github.com/backscatterd/backscatterd/milter/ledger"
)

// lookIntoLedger opens a copy of the ledger's file: the file itself is in use
// while the daemon runs, and to open it would have it believe that mail was
// recorded meanwhile. Without a ledger, it is nil. One that cannot be looked into
// is told as an error and answers every question with it. release must be called
// if it is not nil.
func lookIntoLedger(m config.Milter, now time.Time) (l evidence.Ledger, release func(), err error) {
	if m.LedgerServer.On() {
		shared, err := lookAtServer(context.Background(), m)
		if err != nil {
			return closedLedger{err}, nil, fmt.Errorf("the ledger is not looked into: %w", err)
		}
		return shared, func() { shared.Close() }, nil
	}
	if _, err := os.Stat(m.Ledger); errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	}
	// A copy that was made while the daemon wrote more than once is damaged.
	for range 3 {
		l, release, err = copyLedger(m, now)
		var damage *ledger.Damaged
		if !errors.As(err, &damage) {
			break
		}
		// It was the copy that was set aside.
		err = fmt.Errorf("%s: %w", m.Ledger, damage.Cause)
	}
	if err != nil {
		return closedLedger{err}, nil, fmt.Errorf("the ledger is not looked into: %w", err)
	}
	return l, release, nil
}

func copyLedger(m config.Milter, now time.Time) (_ evidence.Ledger, release func(), err error) {
	secret, err := existingSecret(m)
	if err != nil {
		return nil, nil, err
	}
	dir, err := os.MkdirTemp("", "backscatterd-ledger-")
	if err != nil {
		return nil, nil, err
	}
	defer func() {
		if err != nil {
			os.RemoveAll(dir)
		}
	}()
	file := filepath.Join(dir, "ledger.db")
	if err := copyFile(file, m.Ledger); err != nil {
		return nil, nil, err
	}
	var told reports
	opened, err := ledger.Open(ledger.Options{File: file, Secret: secret, Keep: days(m.LedgerKeep), Report: told.add})
	if err != nil {
		return nil, nil, err
	}
	if err := told.all(); err != nil {
		opened.Close()
		return nil, nil, err
	}
	release = func() {
		opened.Close()
		os.RemoveAll(dir)
	}
	return ledgerCopy{opened, now}, release, nil
}

// existingSecret is the ledger's: a new one, which Secret would make, is not.
func existingSecret(m config.Milter) ([]byte, error) {
	if _, err := os.Stat(filepath.Join(m.Keys, "ledger.secret")); err != nil {
		return nil, err
	}
	return keyring.Open(m.Keys).Secret("ledger")
}

func copyFile(to, from string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		out.Close()
		return err
	}
	return out.Close()
}

// reports collects what the ledger has to report.
type reports struct {
	mu  sync.Mutex
	got []error
}

func (r *reports) add(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.got = append(r.got, err)
}

func (r *reports) all() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return errors.Join(r.got...)
}

// ledgerCopy is a ledger as it was at a time.
type ledgerCopy struct {
	*ledger.Embedded
	at time.Time
}

// Coverage ends where the copy does: after that the daemon has gone on recording
// elsewhere, which the copy takes for a gap that lasts until it was opened.
func (c ledgerCopy) Coverage() ledger.Coverage {
	cover := c.Embedded.Coverage()
	cover.Until = c.at
	if n := len(cover.Gaps); n > 0 && !cover.Gaps[n-1].To.Before(c.at) {
		cover.Until = cover.Gaps[n-1].From
		cover.Gaps = cover.Gaps[:n-1]
	}
	return cover
}

// closedLedger answers every question with an error.
type closedLedger struct{ err error }

func (l closedLedger) Sent(context.Context, string, string) (ledger.Hit, error) {
	return ledger.Hit{}, l.err
}
func (l closedLedger) Wrote(context.Context, string, string) (ledger.Hit, error) {
	return ledger.Hit{}, l.err
}
func (l closedLedger) Coverage() ledger.Coverage { return ledger.Coverage{} }
