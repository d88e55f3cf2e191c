package lab

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Build builds the program under test as a file of that path.
func Build(path string) error {
	if out, err := exec.Command("go", "build", "-o", path, "github.com/backscatterd/backscatterd/cmd/backscatterd").CombinedOutput(); err != nil {
		return fmt.Errorf("building the program: %w\n%s", err, out)
	}
	return nil
}

// Main is a TestMain for tests of the program: it builds it where any user may run
// it, puts its path into program, runs the tests and removes it again. What it
// returns is for os.Exit.
func Main(m *testing.M, program *string) int {
	dir, err := os.MkdirTemp("", "backscatterd-test")
	if err == nil {
		defer os.RemoveAll(dir)
		*program = filepath.Join(dir, "backscatterd")
		err = Build(*program)
	}
	if err == nil {
		err = os.Chmod(dir, 0o755)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}
