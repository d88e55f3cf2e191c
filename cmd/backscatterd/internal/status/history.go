package status

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

// historyHours is for how many hours counts are kept: two weeks.
const historyHours = 14 * 24

// History counts bounces by the hour, verdict and action: a ring of bounded
// size. Its methods may be called concurrently.
type History struct {
	mu    sync.Mutex
	hours map[int64]Hour // by hours since 1970
	dirty bool
}

// Hour is what one hour has seen.
type Hour struct {
	Start   time.Time                 `json:"start"`
	Bounces map[string]map[string]int `json:"bounces"` // by verdict, then by action
}

// Of is how many bounces had a verdict.
func (h Hour) Of(verdict string) (n int) {
	for _, k := range h.Bounces[verdict] {
		n += k
	}
	return n
}

// NewHistory makes an empty one.
func NewHistory() *History { return &History{hours: make(map[int64]Hour)} }

func hourOf(t time.Time) int64 { return t.Unix() / 3600 }

// Add counts one bounce.
func (h *History) Add(at time.Time, verdict, action string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.dirty = true
	n := hourOf(at)
	hour, known := h.hours[n]
	if !known {
		hour = Hour{Start: time.Unix(n*3600, 0).UTC(), Bounces: make(map[string]map[string]int)}
		h.hours[n] = hour
		h.forget(n - historyHours)
	}
	if hour.Bounces[verdict] == nil {
		hour.Bounces[verdict] = make(map[string]int)
	}
	hour.Bounces[verdict][action]++
}

// forget drops what is old, and, after a clock that ran ahead, what is most far
// away.
func (h *History) forget(before int64) {
	for n := range h.hours {
		if n <= before {
			delete(h.hours, n)
		}
	}
	for len(h.hours) > 2*historyHours {
		delete(h.hours, slices.Max(slices.Collect(maps.Keys(h.hours))))
	}
}

// Between returns the hours that began from one time (included) to another (not
// included) and saw anything, oldest first.
func (h *History) Between(from, until time.Time) []Hour {
	h.mu.Lock()
	defer h.mu.Unlock()
	var out []Hour
	for _, hour := range h.hours {
		if hour.Start.Before(from) || !hour.Start.Before(until) {
			continue
		}
		c := Hour{Start: hour.Start, Bounces: make(map[string]map[string]int)}
		for verdict, actions := range hour.Bounces {
			c.Bounces[verdict] = maps.Clone(actions)
		}
		out = append(out, c)
	}
	slices.SortFunc(out, func(a, b Hour) int { return a.Start.Compare(b.Start) })
	return out
}

// ReadHistory reads a file of Save. One that is not there is an empty history;
// beside an error stands an empty one too.
func ReadHistory(file string) (*History, error) {
	h := NewHistory()
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return h, nil
	}
	var hours []Hour
	if err == nil {
		err = json.Unmarshal(data, &hours)
	}
	if err != nil {
		return h, fmt.Errorf("counts of bounces by the hour, %s: %w", file, err)
	}
	for _, hour := range hours {
		if hour.Bounces != nil && len(h.hours) < 2*historyHours {
			h.hours[hourOf(hour.Start)] = hour
		}
	}
	return h, nil
}

// Save writes the history where it has changed since it was last written.
func (h *History) Save(file string) error {
	h.mu.Lock()
	dirty := h.dirty
	h.dirty = false
	h.mu.Unlock()
	if !dirty {
		return nil
	}
	err := h.write(file)
	if err != nil {
		h.mu.Lock()
		h.dirty = true
		h.mu.Unlock()
	}
	return err
}

func (h *History) write(file string) error {
	data, err := json.Marshal(h.Between(time.Time{}, time.Unix(1<<40, 0)))
	if err != nil {
		return err
	}
	return ReplaceFile(file, data, 0o640)
}

// ReplaceFile writes a file so that it is there as a whole, the old one or the
// new one, whatever happens meanwhile.
func ReplaceFile(file string, data []byte, mode os.FileMode) error {
	temp, err := os.CreateTemp(filepath.Dir(file), "."+filepath.Base(file)+"-*")
	if err != nil {
		return err
	}
	defer os.Remove(temp.Name())
	defer temp.Close()
	if err := temp.Chmod(mode); err != nil {
		return err
	}
	if _, err := temp.Write(data); err != nil {
		return err
	}
	if err := temp.Sync(); err != nil {
		return err
	}
	return os.Rename(temp.Name(), file)
}
