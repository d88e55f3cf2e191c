//go:build !(linux && amd64)

package privilege

import "testing"

func TestConfined(t *testing.T) {
	t.Fatal("these tests put system calls into a process, and know how on Linux on amd64 alone: run them there")
}
