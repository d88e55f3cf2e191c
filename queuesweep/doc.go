// Package queuesweep looks at sendmail's queues, judges what is stuck there by
// rules, and acts on it.
//
// A message goes one way through its rooms: spool finds and reads the control
// file, qf understands it, rule judges it, spool makes the change under
// sendmail's lock, and the audit log keeps what was done. This package is the
// corridor. It promises:
//
//   - Whatever is acted on has been read and judged again under the lock. What
//     has changed meanwhile is left alone and reported.
//   - A dry run changes nothing, not even a lock.
//   - Every action, and every message that was passed over because it was
//     locked or had changed, is in the audit log.
//   - Memory does not grow with the queue.
//
// Options come from the caller; no configuration file is known here.
package queuesweep
