//go:build !race

package ledger

const allocationFactor = 1
