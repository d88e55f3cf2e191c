// Package digest writes the mail that tells people what was done while they did
// not look: what needs them first, then what sweeps and the milter did, what was
// nearly matched, what waits, and how to undo.
//
// What it promises: for each who gets it, a digest goes on where the last one that
// was handed over ended, over restarts and failures; one that was not taken is
// kept as it was due until it is, and others do not wait for that. Nobody is told
// the same twice but after a crash in between, and then under the same Message-ID.
// It never makes a bounce.
package digest
