//go:build race

package ledger

// allocationFactor is how much more the race detector has the ledger allocate: it
// keeps nothing in pools, at times.
const allocationFactor = 4
