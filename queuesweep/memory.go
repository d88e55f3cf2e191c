package queuesweep

import (
	"hash/maphash"
	"sync"
	"time"

	"github.com/backscatterd/backscatterd/queuesweep/spool"
)

// Memory is what sweeps with the same rules remember of the messages that stay
// in the queue, so that the next one reads only what has changed. It is of use
// to one sweep at a time.
//
// A message is known by its name and the Identity of its control file. Where
// the file alone decided that no rule matches, only that is remembered; where
// the time or the body had a say, the file's text is, and it is judged again
// each time. What has no room any more is read again each time.
type Memory struct {
	limit int64
	seeds [2]maphash.Seed

	mu     sync.Mutex
	turn   uint32
	used   int64
	passed map[mark]uint32 // in which turn it was seen last
	kept   map[mark]text
}

// mark is a message's name and identity. 128 bits of a hash whose seed nobody
// knows are as good as both, and let a million messages be remembered.
type mark [2]uint64

type text struct {
	turn uint32
	data []byte
}

// What an entry of the maps takes, with the room that maps keep free.
const (
	passedSize = 48
	keptSize   = 96
)

// NewMemory makes one that takes up to limit bytes.
func NewMemory(limit int64) *Memory {
	return &Memory{
		limit: limit, seeds: [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()},
		passed: make(map[mark]uint32), kept: make(map[mark]text),
	}
}

// settled is how old a change must be for its time to tell it from the next
// one: file systems keep time by the tick of a clock, some by the second.
const settled = 2 * time.Second

// mark looks at a message; ok is false where it cannot be remembered. What is
// remembered under a mark must have been read after it was taken: a file that
// is replaced in between then has another one the next time.
func (m *Memory) mark(e spool.Entry, now time.Time) (p mark, ok bool) {
	id, ok := e.Identity()
	if !ok || id.Changed > now.Add(-settled).UnixNano() {
		return p, false
	}
	key := struct {
		spool.Identity
		queue, id string
		kind      spool.Kind
	}{id, e.Folder.Path, e.ID, e.Kind}
	for i, seed := range m.seeds {
		p[i] = maphash.Comparable(seed, key)
	}
	return p, true
}

// begin begins a turn.
func (m *Memory) begin() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.turn++
}

// end forgets what was not seen in this turn.
func (m *Memory) end() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for p, turn := range m.passed {
		if turn != m.turn {
			delete(m.passed, p)
			m.used -= passedSize
		}
	}
	for p, t := range m.kept {
		if t.turn != m.turn {
			delete(m.kept, p)
			m.used -= keptSize + int64(len(t.data))
		}
	}
}

// recall returns what is remembered: that no rule matches, or the text. Like
// pass and keep, it is called with mu held.
func (m *Memory) recall(p mark) (passed bool, data []byte) {
	if _, passed := m.passed[p]; passed {
		m.passed[p] = m.turn
		return true, nil
	}
	t, ok := m.kept[p]
	if ok {
		t.turn = m.turn
		m.kept[p] = t
	}
	return false, t.data
}

// pass remembers that no rule matches.
func (m *Memory) pass(p mark) {
	if m.room(passedSize) {
		m.passed[p] = m.turn
	}
}

// keep remembers the text, and has it from then on.
func (m *Memory) keep(p mark, data []byte) {
	if m.room(keptSize + int64(len(data))) {
		m.kept[p] = text{m.turn, data}
	}
}

func (m *Memory) room(size int64) bool {
	if m.used+size > m.limit {
		return false
	}
	m.used += size
	return true
}
