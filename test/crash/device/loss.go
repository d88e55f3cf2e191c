//go:build linux

package device

import (
	"fmt"
	"math/rand/v2"
	"slices"
)

// Loss is a loss of power: the writes that are there after it.
type Loss struct {
	// After is how many events had come.
	After int
	// Kept are the writes among them that are there, by their index: those
	// before the last flush of their device are in it always.
	Kept []int
}

func (l Loss) String() string {
	return fmt.Sprintf("after event %d with %d writes", l.After, len(l.Kept))
}

// Losses are the ways to lose power: after each write, with all that was given to
// the devices until then; and before the end of each flush, and at the end of all,
// with each one of the writes that it is about missing, each one alone, none, and
// random choices of them, so many as random says.
func Losses(events []Event, random int, seed uint64) (all []Loss) {
	rng := rand.New(rand.NewPCG(seed, 0))
	seen := make(map[string]bool)
	add := func(l Loss) {
		slices.Sort(l.Kept)
		key := fmt.Sprint(l.Kept)
		if l.After == len(events) {
			key += " at the end"
		}
		if !seen[key] {
			seen[key] = true
			all = append(all, l)
		}
	}
	var sure, open []int
	at := func(after int, chosen []int) { add(Loss{after, append(slices.Clone(sure), chosen...)}) }
	reordered := func(after int) {
		at(after, nil)
		for i, w := range open {
			at(after, []int{w})
			at(after, slices.Delete(slices.Clone(open), i, i+1))
		}
		for range min(random, 1<<min(len(open), 20)) {
			var chosen []int
			for _, w := range open {
				if rng.IntN(2) == 0 {
					chosen = append(chosen, w)
				}
			}
			at(after, chosen)
		}
	}
	at(0, nil)
	for i, e := range events {
		if !e.Flush {
			open = append(open, i)
			at(i+1, open)
			continue
		}
		reordered(i)
		var still []int
		for _, w := range open {
			if events[w].Device == e.Device {
				sure = append(sure, w)
			} else {
				still = append(still, w)
			}
		}
		open = still
	}
	reordered(len(events))
	at(len(events), open)
	return all
}

// Split makes one event of each part of a write of at most that size: a device may
// keep one without the other.
func Split(events []Event, size int) (all []Event) {
	for _, e := range events {
		for len(e.Data) > size {
			all = append(all, Event{Device: e.Device, Offset: e.Offset, Data: e.Data[:size]})
			e.Offset, e.Data = e.Offset+int64(size), e.Data[size:]
		}
		all = append(all, e)
	}
	return all
}

// Image is what a loss leaves of a device, of which base is what it was before
// the events.
func (l Loss) Image(base []byte, device int, events []Event) []byte {
	image := slices.Clone(base)
	for _, w := range l.Kept {
		if e := events[w]; e.Device == device {
			copy(image[e.Offset:], e.Data)
		}
	}
	return image
}
