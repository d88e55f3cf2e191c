//go:build !(linux && amd64)

package crash

import "testing"

func TestKilled(t *testing.T) {
	t.Fatal("the crash tests follow the program's system calls, and know those of Linux on amd64 alone: run them there")
}
