package lab

import (
	"context"
	"fmt"
	"net"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A lab in a network of its own can be talked to, and is not there for others.
func TestNetwork(t *testing.T) {
	keeper := exec.Command("sleep", "60")
	keeper.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET}
	if err := keeper.Start(); err != nil {
		t.Fatalf("making a network namespace (needs CAP_SYS_ADMIN): %v", err)
	}
	t.Cleanup(func() { _ = keeper.Process.Kill(); _ = keeper.Wait() })
	network := fmt.Sprintf("/proc/%d/ns/net", keeper.Process.Pid)
	if out, err := exec.Command("nsenter", "--net="+network, "ip", "link", "set", "lo", "up").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	l := New(t, Options{Network: network})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := l.Start(ctx); err != nil {
		t.Fatal(err)
	}
	if conn, err := net.Dial("tcp4", l.Addr); err == nil {
		conn.Close()
		t.Error("it listens in the test's own network too")
	}
	if _, err := l.Submit(ctx, Envelope{From: "a@x.example", To: To("b@y.example"), Data: Compose("hi\n", "Message-ID: <1@x.example>")}); err != nil {
		t.Fatal(err)
	}
	if _, err := l.RunQueue(ctx); err != nil {
		t.Fatal(err)
	}
	if err := l.Stub.Await(ctx, 1); err != nil {
		t.Error(err)
	}
	if err := InNetwork("/nonexistent", func() error { return nil }); err == nil {
		t.Error("a network that is not there is entered")
	}
}
