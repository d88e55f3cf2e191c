// Package spool is the only one that touches the disk: sendmail's queue
// folders, their locks, and the removed store.
//
// What it promises, whatever fails and whenever the process dies:
//
//   - At no moment does a control file stand in a queue without its df.
//   - A message is whole in the queue, or whole in the store, or gone only
//     where it was to be deleted; never half, never twice.
//   - Nothing is done to a message without sendmail's own lock on its control
//     file, of both kinds.
//   - No symbolic link is followed below a queue folder, but for one named qf,
//     df or xf where the folder's owner alone can have put it; and nothing but
//     a regular file is read or moved.
//
// The way through is Folder → Entry → Claim (the lock) → Batch (the change). A
// Batch writes what it is going to do into the journal of the store before it
// does it; the next one to open the store finishes or undoes what a killed
// process has left. See docs/design.md.
package spool
