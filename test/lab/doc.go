// Package lab gives end-to-end tests a real sendmail: a folder of its own with
// a configuration, an alias file and queues, a daemon on loopback, runs of the
// queue, and a stub SMTP server that every message is sent to.
//
// A lab promises that
//   - nothing leaves the machine: all routes end on 127.0.0.0/8, and sendmail
//     sees a hosts file of the lab's own and no DNS;
//   - nothing of the machine's mail system is read or written: no alias file,
//     no queue, no mailbox, no dead.letter, no host status;
//   - nothing is left running: all its processes live in one pid namespace,
//     which the kernel ends as a whole with the test, even where the test
//     binary is killed.
//
// It never skips. [Require] and [New] fail the test where the machine lacks
// something, and say what to install.
//
// [New] and [Require] belong to the goroutine of the test. Everything else
// returns errors and may be called from any goroutine at any time.
package lab
