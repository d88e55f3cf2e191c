// Package abreast does many small things on several cores at once, and a few of
// them one after the other: that is sooner, and their order is then certain.
package abreast

import (
	"runtime"
	"sync"
	"sync/atomic"
)

// few is as many as one core does alone.
const few = 32

// Workers is on how many cores [Each] does n things.
func Workers(n int) int {
	if n <= few {
		return 1
	}
	return min(runtime.GOMAXPROCS(0), n)
}

// Each calls do for 0 to n-1 and returns when all are done. worker is below
// Workers(n); calls with the same one do not overlap.
func Each(n int, do func(worker, i int)) {
	workers := Workers(n)
	if workers == 1 {
		for i := range n {
			do(0, i)
		}
		return
	}
	var next atomic.Int64
	var wg sync.WaitGroup
	for worker := range workers {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				do(worker, i)
			}
		})
	}
	wg.Wait()
}
