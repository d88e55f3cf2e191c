package digest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/backscatterd/backscatterd/cmd/backscatterd/internal/status"
)

// State remembers up to when people have been told.
type State struct {
	Until time.Time `json:"until"` // all before has been told to all
	// Sending is a digest that not all have got yet.
	Sending *Sending `json:"sending,omitempty"`
}

// Sending is a digest on its way.
type Sending struct {
	Until time.Time `json:"until"`
	Told  []string  `json:"told"` // who has got it
}

// ReadState reads the file. One that is not there is the zero State.
func ReadState(file string) (s State, err error) {
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err == nil {
		err = json.Unmarshal(data, &s)
	}
	if err != nil {
		return State{}, fmt.Errorf("digest.state: %s: %w (remove it to begin anew)", file, err)
	}
	return s, nil
}

func (s State) write(file string) error {
	data, err := json.Marshal(s)
	if err != nil {
		return err
	}
	if err := os.Mkdir(filepath.Dir(file), 0o750); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("digest.state: %w", err)
	}
	if err := status.ReplaceFile(file, append(data, '\n'), 0o640); err != nil {
		return fmt.Errorf("digest.state: %w", err)
	}
	return nil
}

// Round hands over what is due.
type Round struct {
	File string // of the State
	To   []string
	// Send makes the digest of a time, and hands it over to one address.
	Send func(ctx context.Context, to string, from, until time.Time) error
}

// Begin notes now as the time at which the first digest begins, where none has
// been sent yet.
func (r Round) Begin(now time.Time) (State, error) {
	s, err := ReadState(r.File)
	if err != nil || !s.Until.IsZero() {
		return s, err
	}
	s.Until = now
	return s, s.write(r.File)
}

// Run tells everybody what has happened since the last time. What could be
// handed over to some only is handed over to the others first, at the next try.
// Who was told is written down after each one.
func (r Round) Run(ctx context.Context, now time.Time) error {
	s, err := r.Begin(now)
	if err != nil {
		return err
	}
	if s.Sending != nil {
		if err := r.finish(ctx, &s); err != nil {
			return err
		}
	}
	if !now.After(s.Until) {
		return nil // the clock was set back, or the time is just the same
	}
	s.Sending = &Sending{Until: now}
	if err := s.write(r.File); err != nil {
		return err
	}
	return r.finish(ctx, &s)
}

func (r Round) finish(ctx context.Context, s *State) error {
	var errs []error
	for _, to := range r.To {
		if slices.Contains(s.Sending.Told, to) {
			continue
		}
		if err := r.Send(ctx, to, s.Until, s.Sending.Until); err != nil {
			errs = append(errs, fmt.Errorf("digest to %s: %w", to, err))
			continue
		}
		s.Sending.Told = append(s.Sending.Told, to)
		if err := s.write(r.File); err != nil {
			return err
		}
	}
	if len(errs) > 0 {
		return errors.Join(errs...)
	}
	s.Until, s.Sending = s.Sending.Until, nil
	return s.write(r.File)
}
