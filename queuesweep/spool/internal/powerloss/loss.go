package powerloss

import (
	"encoding/binary"
	"maps"
	"math/rand/v2"
	"slices"
)

// Count tells how many of the ways to lose power were gone through.
type Count struct {
	Allowed float64 // sets of changes times states of files
	Tried   int
}

// Survivors calls yield with what a loss of power at this moment may leave, all
// of it durable, and no process. Two ways may leave the same. Where there are
// more ways than limit it takes those that lose nothing, everything, all but one
// change, and one change alone, then random ones by seed, limit in all.
func (fs *FS) Survivors(limit int, seed uint64, yield func(*FS)) Count {
	files, choices := fs.unsynced()
	radix := make([]int, 0, len(fs.pending)+len(files))
	for range fs.pending {
		radix = append(radix, 2)
	}
	for _, c := range choices {
		radix = append(radix, len(c))
	}
	count := Count{Allowed: 1}
	for _, r := range radix {
		count.Allowed *= float64(r)
	}
	pick := make([]int, len(radix))
	try := func() {
		count.Tried++
		yield(fs.survivor(pick, files, choices))
	}
	if count.Allowed <= float64(limit) {
		for {
			try()
			if !next(pick, radix) {
				return count
			}
		}
	}
	last := func(i int) int { return radix[i] - 1 }
	try()
	for i := range pick {
		pick[i] = last(i)
	}
	try()
	for i := range pick {
		pick[i] = 0
		try()
		pick[i] = last(i)
	}
	clear(pick)
	for i := range pick {
		pick[i] = last(i)
		try()
		pick[i] = 0
	}
	random := rand.New(rand.NewPCG(seed, 0))
	for count.Tried < limit {
		for i := range pick {
			pick[i] = random.IntN(radix[i])
		}
		try()
	}
	return count
}

// next counts up in mixed radix.
func next(pick, radix []int) bool {
	for i := range pick {
		if pick[i]++; pick[i] < radix[i] {
			return true
		}
		pick[i] = 0
	}
	return false
}

// unsynced are the files that were changed since their last fsync, and how each
// may be found: as it was at the fsync, and so on until as it is.
func (fs *FS) unsynced() (files []*node, choices [][]state) {
	fs.each(func(n *node) {
		if n.folder || len(n.since) == 0 {
			return
		}
		half, zeros, hole := n.now, n.now, n.now
		half.data = half.data[:len(half.data)/2]
		zeros.data = make([]byte, len(zeros.data))
		// The last part was written, the one before it was not: of what is new.
		hole.data = slices.Clone(hole.data)
		kept := min(len(n.durable.data), len(hole.data))
		clear(hole.data[kept : kept+(len(hole.data)-kept)/2])
		all := []state{n.durable, half, zeros, hole}
		all = append(all, n.since...)
		var distinct []state
		for _, s := range all {
			if !slices.ContainsFunc(distinct, s.same) {
				distinct = append(distinct, s)
			}
		}
		if len(distinct) > 1 {
			files, choices = append(files, n), append(choices, distinct)
		}
	})
	return files, choices
}

// survivor is the file system with these changes and these states of files.
func (fs *FS) survivor(pick []int, files []*node, choices [][]state) *FS {
	lost := make(map[*node]map[string]slot) // what pending changes make of slots
	for i, c := range fs.pending {
		if pick[i] == 0 {
			continue
		}
		for _, s := range c.sets {
			if s.dir.slots[s.name].seq > c.seq {
				continue
			}
			if lost[s.dir] == nil {
				lost[s.dir] = make(map[string]slot)
			}
			lost[s.dir][s.name] = slot{s.to, c.seq}
		}
	}
	found := make(map[*node]state)
	for i, n := range files {
		found[n] = choices[i][pick[len(fs.pending)+i]]
	}
	after := &FS{handles: make(map[int]*handle), nextFD: 3}
	copies := make(map[*node]*node)
	var of func(n *node) *node
	of = func(n *node) *node {
		if c := copies[n]; c != nil {
			return c
		}
		c := &node{ino: n.ino, dev: n.dev, now: n.durable, folder: n.folder}
		copies[n] = c
		after.nextIno = max(after.nextIno, n.ino+1)
		if s, ok := found[n]; ok {
			c.now = s
		}
		c.durable = c.now
		if !n.folder {
			return c
		}
		c.names, c.slots = make(map[string]*node), make(map[string]slot)
		slots := maps.Clone(n.slots)
		maps.Copy(slots, lost[n])
		for _, name := range sorted(slots) {
			if at := slots[name].at; at != nil {
				after.put(c, name, of(at))
			}
		}
		return c
	}
	after.root = of(fs.root)
	after.root.nlink++
	return after
}

// Key is the same for two file systems that behave alike from now on, killed
// processes aside.
func (fs *FS) Key() string {
	var b []byte
	number := func(n uint64) { b = binary.AppendUvarint(b, n) }
	named := func(name string, n *node) {
		b = append(append(b, name...), 0)
		if n == nil {
			number(0)
			return
		}
		number(n.ino)
	}
	fs.each(func(n *node) {
		number(n.ino)
		number(n.dev)
		b = n.now.key(n.durable.key(b))
		for _, s := range n.since {
			b = s.key(b)
		}
		b = append(b, 1)
		for _, name := range sorted(n.names) {
			named(name, n.names[name])
		}
		b = append(b, 2)
		for _, name := range sorted(n.slots) {
			if at := n.slots[name].at; at != nil {
				named(name, at)
			}
		}
		b = append(b, 3)
	})
	for _, c := range fs.pending {
		b = append(b, 4)
		for _, s := range c.sets {
			number(s.dir.ino)
			named(s.name, s.to)
		}
	}
	return string(b)
}

func (s state) key(b []byte) []byte {
	b = binary.AppendUvarint(b, uint64(len(s.data)))
	b = append(b, s.data...)
	b = binary.AppendUvarint(b, uint64(s.mode)<<40|uint64(s.uid)<<20|uint64(s.gid))
	return binary.AppendVarint(b, s.mtime.Nano())
}
