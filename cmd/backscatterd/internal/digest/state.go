package digest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/backscatterd/backscatterd/cmd/backscatterd/internal/status"
)

// State remembers up to when people have been told.
type State struct {
	// Until is when the last digest was due: where the next one begins for
	// those who are not among People.
	Until time.Time `json:"until"`
	// People are those who have been told of another time than that, or whose
	// digest has not been handed over yet.
	People map[string]Person `json:"people,omitempty"`
}

// Person is one who gets the digest.
type Person struct {
	Until time.Time `json:"until"` // all before has been told
	// Sending is the end of a digest that could not be handed over yet, or of
	// which it is not known.
	Sending time.Time `json:"sending,omitzero"`
}

// Pending reports whether somebody waits for a digest that was due.
func (s State) Pending() bool {
	for _, p := range s.People {
		if !p.Sending.IsZero() {
			return true
		}
	}
	return false
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
	unlock, err := r.lock()
	if err != nil {
		return State{}, err
	}
	defer unlock()
	return r.begin(now)
}

func (r Round) begin(now time.Time) (State, error) {
	s, err := ReadState(r.File)
	if err != nil || !s.Until.IsZero() {
		return s, err
	}
	s.Until = now
	return s, s.write(r.File)
}

// Run tells everybody what has happened since the last time. Who could not be
// told gets the same digest at the next try, and what came later after that; the
// others do not wait for it.
func (r Round) Run(ctx context.Context, now time.Time) error {
	return r.deliver(ctx, now, true)
}

// Again hands over what could not be handed over when it was due.
func (r Round) Again(ctx context.Context, now time.Time) error {
	return r.deliver(ctx, now, false)
}

func (r Round) deliver(ctx context.Context, now time.Time, due bool) error {
	unlock, err := r.lock()
	if err != nil {
		return err
	}
	defer unlock()
	s, err := r.begin(now)
	if err != nil {
		return err
	}
	began := s.Until
	if due && now.After(began) { // else the clock was set back, or the time is just the same
		s.Until = now
	}
	people := make(map[string]Person)
	for _, to := range r.To { // those whom the configuration names no more are forgotten
		p, known := s.People[to]
		if !known {
			p.Until = began
		}
		people[to] = p
	}
	s.People = people
	if err := s.write(r.File); err != nil {
		return err
	}
	var errs []error
	for _, to := range r.To {
		if err := r.tell(ctx, &s, to, due); err != nil {
			errs = append(errs, fmt.Errorf("digest to %s: %w", to, err))
		}
	}
	return errors.Join(errs...)
}

// tell hands over what one waits for, and then what is due. What is on its way
// is written down before, and that it has got there after each.
func (r Round) tell(ctx context.Context, s *State, to string, due bool) error {
	p := s.People[to]
	if !p.Sending.IsZero() {
		if err := r.hand(ctx, s, to); err != nil {
			return err
		}
		p = s.People[to]
	}
	if !due || !s.Until.After(p.Until) {
		return nil
	}
	p.Sending = s.Until
	s.People[to] = p
	if err := s.write(r.File); err != nil {
		return err
	}
	return r.hand(ctx, s, to)
}

func (r Round) hand(ctx context.Context, s *State, to string) error {
	p := s.People[to]
	if err := r.Send(ctx, to, p.Until, p.Sending); err != nil {
		return err
	}
	s.People[to] = Person{Until: p.Sending}
	return s.write(r.File)
}

// lock keeps a digest sent by hand and the daemon apart: each would tell what
// the other one is telling.
func (r Round) lock() (unlock func(), err error) {
	if err := os.Mkdir(filepath.Dir(r.File), 0o750); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("digest.state: %w", err)
	}
	f, err := os.OpenFile(r.File+".lock", os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o640)
	if err != nil {
		return nil, fmt.Errorf("digest.state: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, errors.New("another backscatterd is sending the digest at this moment: try again when it is done")
		}
		return nil, fmt.Errorf("digest.state: lock %s: %w", f.Name(), err)
	}
	return func() { f.Close() }, nil
}
