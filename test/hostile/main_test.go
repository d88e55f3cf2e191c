// Package hostile tests the program, as it is installed, with queues that
// somebody has prepared to harm it, or that an accident has left. Whatever lies
// in a queue: nothing outside is touched, no mail is lost, nothing waits or
// grows without end, and no byte of a stranger's reaches a terminal or a log as
// it stands.
package hostile

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/backscatterd/backscatterd/test/lab"
)

// program is the path of the program under test.
var program string

// measure has the test program run another and tell its peak of memory, from
// which the memory of the tests themselves is kept out that way.
const measure = "HOSTILE_MEASURE"

func TestMain(m *testing.M) {
	if report := os.Getenv(measure); report != "" {
		os.Exit(measured(report, os.Args[1:]))
	}
	os.Exit(func() int {
		if os.Geteuid() != 0 {
			fmt.Fprintln(os.Stderr, "these tests make device nodes, mounts and files of other users: run them as root")
			return 1
		}
		dir, err := os.MkdirTemp("", "backscatterd-hostile")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		// In memory, fsync costs nothing, and a million files are no harm.
		if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=80%,nr_inodes=0,mode=0755"); err != nil {
			fmt.Fprintf(os.Stderr, "mount a tmpfs: %v (these tests need root and the right to mount)\n", err)
			return 1
		}
		defer unix.Unmount(dir, unix.MNT_DETACH)
		os.Setenv("TMPDIR", dir)
		return lab.Main(m, &program)
	}())
}

// measured runs a program in this one's place and writes the most memory that
// it had, in kB, into a file.
func measured(report string, args []string) int {
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	_ = cmd.Run()
	usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	if !ok || os.WriteFile(report, fmt.Append(nil, usage.Maxrss), 0o600) != nil {
		return 125
	}
	return cmd.ProcessState.ExitCode()
}
