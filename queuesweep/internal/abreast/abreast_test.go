package abreast_test

import (
	"slices"
	"sync/atomic"
	"testing"

	"github.com/backscatterd/backscatterd/queuesweep/internal/abreast"
)

func TestEachIsDoneOnce(t *testing.T) {
	for _, n := range []int{0, 1, 32, 33, 1000} {
		done := make([]atomic.Int32, n)
		busy := make([]atomic.Bool, abreast.Workers(n))
		abreast.Each(n, func(worker, i int) {
			if !busy[worker].CompareAndSwap(false, true) {
				t.Errorf("%d things: worker %d does two at once", n, worker)
			}
			done[i].Add(1)
			busy[worker].Store(false)
		})
		for i := range done {
			if got := done[i].Load(); got != 1 {
				t.Errorf("%d things: number %d was done %d times", n, i, got)
			}
		}
	}
}

func TestAFewAreDoneInOrder(t *testing.T) {
	var order []int
	abreast.Each(32, func(_, i int) { order = append(order, i) })
	if len(order) != 32 || !slices.IsSorted(order) {
		t.Errorf("done as %v", order)
	}
}
