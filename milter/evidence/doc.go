// Package evidence tells bounces of our own mail from backscatter: it looks for
// evidence in a message and in what we know of what we sent, and gives a
// verdict with its reasons.
//
// What is promised:
//   - A verdict of legit rests on a proof: a signature of ours, or a message
//     that the ledger remembers. What anybody can write into a bounce proves
//     nothing; it can only keep a bounce from being called suspect.
//   - A verdict of suspect needs evidence against the bounce. What could not be
//     looked at, a look-up that failed, a message that was cut or not
//     understood: each of these makes unknown, never suspect.
//   - Every piece of evidence is accounted for, whether it was looked at and
//     what it said, in words that an administrator can read.
//   - Nothing is written but the counts of uses of proofs; nothing is asked but
//     the Ledger, the Uses and the Blocklist of the Options.
package evidence
