// Package privilege shows what the two halves of the daemon may not do, by having
// them try it: it starts the real program, each half apart and confined as it
// confines itself, stops it, has its own thread make a system call in the midst of
// what it was doing, and looks at the answer. So what is shown is the process that
// works, not one like it.
//
// Each call is tried in a daemon that is not confined as well, where it has to
// succeed: otherwise its failing would show nothing.
//
// Where the kernel has no landlock or no seccomp, the log says so, and what is
// left is checked. The tests need root, and Linux on amd64.
package privilege
