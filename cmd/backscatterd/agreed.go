package main

import (
	"hash/maphash"
	"slices"

	"github.com/backscatterd/backscatterd/queuesweep"
	"github.com/backscatterd/backscatterd/queuesweep/spool"
)

// agreed are the messages that a person was asked about. Who says yes to forty
// has not said it to what comes to match while he thinks. Of each the hash of its
// id is kept: there may be a million.
type agreed struct {
	seed maphash.Seed
	ids  []uint64
}

func newAgreed() *agreed { return &agreed{seed: maphash.MakeSeed()} }

// add takes a message that was counted.
func (g *agreed) add(r queuesweep.Result) {
	g.ids = append(g.ids, maphash.String(g.seed, r.ID))
}

// only is what a sweep or a restore is to be narrowed to.
func (g *agreed) only() func(spool.Entry) bool {
	slices.Sort(g.ids)
	return func(e spool.Entry) bool {
		_, found := slices.BinarySearch(g.ids, maphash.String(g.seed, e.ID))
		return found
	}
}
