package lab

import (
	"context"
	"fmt"
	"net"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// InNetwork calls f in a network namespace, named by its file; "" is the
// test's own. Sockets that f makes stay there; goroutines that it starts do not.
func InNetwork(file string, f func() error) error {
	if file == "" {
		return f()
	}
	there, err := os.Open(file)
	if err != nil {
		return err
	}
	defer there.Close()
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		done <- enterAndLeave(there, f)
	}()
	return <-done
}

// enterAndLeave gives the thread back only where it is in its own namespace
// again: else it ends with its goroutine.
func enterAndLeave(there *os.File, f func() error) error {
	here, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return err
	}
	defer here.Close()
	if err := unix.Setns(int(there.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("entering a network namespace (needs CAP_SYS_ADMIN; in a container, start it privileged): %w", err)
	}
	err = f()
	if unix.Setns(int(here.Fd()), unix.CLONE_NEWNET) == nil {
		runtime.UnlockOSThread()
	}
	return err
}

// dialIn connects from within a network namespace.
func dialIn(ctx context.Context, network, addr string) (conn net.Conn, err error) {
	err = InNetwork(network, func() (err error) {
		conn, err = new(net.Dialer).DialContext(ctx, "tcp4", addr)
		return err
	})
	return conn, err
}
