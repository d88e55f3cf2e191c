package lab

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// namespace names the pid namespace of a process.
func namespace(pid any) string {
	name, _ := os.Readlink(fmt.Sprintf("/proc/%v/ns/pid", pid))
	return name
}

// inhabitants are the processes in a pid namespace.
func inhabitants(t *testing.T, namespaceName string) []string {
	t.Helper()
	var found []string
	for _, path := range must[[]string](t)(filepath.Glob("/proc/[0-9]*")) {
		if namespace(filepath.Base(path)) == namespaceName {
			command, _ := os.ReadFile(filepath.Join(path, "cmdline"))
			found = append(found, strings.ReplaceAll(string(command), "\x00", " "))
		}
	}
	return found
}

// deserted waits until nobody is left in a pid namespace.
func deserted(t *testing.T, namespaceName string) {
	t.Helper()
	for range 200 {
		if len(inhabitants(t, namespaceName)) == 0 {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Errorf("still running: %q", inhabitants(t, namespaceName))
}

// busyLab is a lab with a daemon that also runs the queue, and a child of it
// in mid-delivery.
func busyLab(t *testing.T) *Lab {
	t.Helper()
	l := New(t, Options{Layout: Split, Background: true})
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	if err := l.Start(ctx, "-q1m"); err != nil {
		t.Fatal(err)
	}
	gate := l.Stub.Hold(nil)
	must[[]string](t)(l.Submit(ctx, Envelope{From: "a@b.example", To: To("c@d.example"), Data: Compose("x\n", "Subject: s")}))
	if err := gate.Reached(ctx); err != nil {
		t.Fatal(err)
	}
	return l
}

func TestNothingIsLeftWhenTheTestEnds(t *testing.T) {
	var home, dir, addr string
	t.Run("lab", func(t *testing.T) {
		l := busyLab(t)
		home, dir, addr = namespace(l.keeper.pid), l.Dir, l.Addr
		if home == namespace("self") || len(inhabitants(t, home)) < 3 {
			t.Fatalf("in %s live %q", home, inhabitants(t, home))
		}
	})
	// The kernel has ended them all by the time the cleanup is done.
	if left := inhabitants(t, home); len(left) > 0 {
		t.Errorf("still running: %q", left)
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("%s is left: %v", dir, err)
	}
	if err := greeting(t.Context(), "", addr); err == nil {
		t.Errorf("%s still answers", addr)
	}
}

// killedEnv makes this test binary play the part of one that is killed.
const killedEnv = "LAB_TEST_PLAYS_KILLED"

func TestNothingIsLeftRunningWhenTheTestBinaryIsKilled(t *testing.T) {
	if os.Getenv(killedEnv) != "" {
		l := busyLab(t)
		fmt.Printf("lab: %s %s\n", strings.ReplaceAll(namespace(l.keeper.pid), " ", ""), l.Dir)
		time.Sleep(time.Minute) // the parent kills this process long before
		return
	}
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), killedEnv+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var said strings.Builder
	var home, dir string
	for lines := bufio.NewScanner(stdout); home == "" && lines.Scan(); {
		said.WriteString(lines.Text() + "\n")
		_, _ = fmt.Sscanf(lines.Text(), "lab: %s %s", &home, &dir)
	}
	if home != "" {
		defer os.RemoveAll(dir) // a killed process cleans nothing up
		if n := len(inhabitants(t, home)); n < 3 {
			t.Errorf("%d processes in %s before the kill", n, home)
		}
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	if home == "" {
		t.Fatalf("the part of the killed test said only:\n%s", said.String())
	}
	deserted(t, home)
}
