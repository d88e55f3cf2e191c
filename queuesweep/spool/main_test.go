package spool_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/backscatterd/backscatterd/queuesweep/spool"
)

// helperVariable makes the test binary another process that holds a lock:
// "flock PATH", "fcntl PATH", or "store PATH"; or one that is killed, "die ...".
const helperVariable = "BACKSCATTERD_TEST_HOLD"

func TestMain(m *testing.M) {
	if what := os.Getenv(helperVariable); what != "" {
		if err := hold(what); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// hold takes a lock, says so, and keeps it until stdin ends.
func hold(what string) error {
	kind, path, _ := strings.Cut(what, " ")
	if kind == "die" {
		return die(path)
	}
	if kind == "store" {
		st, err := spool.OpenStore(spool.System{}, path)
		if err != nil {
			return err
		}
		b, err := st.Begin(context.Background(), now)
		if err != nil {
			return err
		}
		defer b.End()
	} else {
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			return err
		}
		defer f.Close()
		if kind == "flock" {
			err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		} else {
			err = unix.FcntlFlock(f.Fd(), unix.F_SETLK, &unix.Flock_t{Type: unix.F_WRLCK})
		}
		if err != nil {
			return err
		}
	}
	fmt.Println("held")
	_, err := io.Copy(io.Discard, os.Stdin)
	return err
}

// otherProcess starts one that holds a lock. The returned function ends it and
// waits for it.
func otherProcess(t *testing.T, kind, path string) (release func()) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	cmd := exec.CommandContext(ctx, os.Args[0])
	cmd.Env = append(os.Environ(), helperVariable+"="+kind+" "+path)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "held\n" {
		t.Fatalf("the other process said %q, %v", line, err)
	}
	released := false
	release = func() {
		if released {
			return
		}
		released = true
		in.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("the other process: %v", err)
		}
		cancel()
	}
	t.Cleanup(release)
	return release
}
