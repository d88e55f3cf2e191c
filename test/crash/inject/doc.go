// Package inject runs a program under ptrace and, at one of its system calls,
// kills it or has the call fail.
//
// It is what `strace -f -e inject=CALL:signal=KILL:when=N` does, but for the
// count: strace counts the calls of each thread apart, and a Go program's
// goroutines move between threads, so that no N means the same call in two runs.
// Here one count goes over all calls of all threads that touch the files of the
// test, in the order in which they are begun.
//
// A program that is killed before a call has not made it: the kernel gives up a
// system call whose process is killed at its entry (ptrace_report_syscall_entry).
// Killed after it, it has, and has not seen the result.
//
// Processes that the program starts (sendmail) are not part of it: they are let
// go, live on when it is killed, and are waited for.
package inject
