// Package crash proves from outside that no mail is lost, with the real program
// and a real sendmail: it kills the program at every system call that changes
// the file system, and has every call fail with every error that a disk has to
// give, one run for each; then it looks where each message is, has sendmail
// deliver what is left, and counts.
//
// The promise: each of three messages is, as a whole, in one place, and never
// delivered twice. Which place, the calls tell that the program has made: it has
// moved, been held, deleted or bounced exactly if the rename that commits it was
// made. Nothing of the program's own is left in a queue.
//
// And it has the power fail: on an ext4 whose device records what is written to
// it and when that is made sure (package device), the program is started on all
// that a loss of power may leave.
//
// `go test ./test/crash` runs a sample (and says of how many);
// BACKSCATTERD_CRASH=full, or `make crash`, runs all of it, and qtool.pl and
// postsuper in the same tests.
//
// It needs root, a real sendmail, and Linux on amd64, and fails where it has
// them not.
package crash
