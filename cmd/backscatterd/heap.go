package main

import (
	"runtime"
	"runtime/debug"
)

// ballast is memory, in bytes, that is asked for and never touched, so that the
// system gives none. It only makes Go's collector see a larger heap, and run when
// about as much is garbage: by itself it would run for each few MB that a sweep,
// which keeps little, leaves behind. Unlike a higher GOGC it costs a command that
// keeps much no more than that.
const ballast = 4 << 20

// steadyHeap puts the ballast in, until what it returns is called. Nor does it
// make the collector run at once: until that has run for the first time, which
// for most commands is never, the percentage is so high that the ballast and as
// much again may be in use. A GOGC of the admin's own is left as it is.
func steadyHeap() (end func()) {
	const usual, least = 100, 4 << 20 // Go's percentage, and its smallest heap with that
	if was := debug.SetGCPercent(usual * 2 * ballast / least); was != usual {
		debug.SetGCPercent(was)
		return func() {}
	}
	first := new(*byte) // garbage at once
	runtime.AddCleanup(first, func(percent int) { debug.SetGCPercent(percent) }, usual)
	heap := make([]byte, ballast)
	return func() { runtime.KeepAlive(heap) }
}
