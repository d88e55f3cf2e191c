package e2e

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/backscatterd/backscatterd/test/lab"
)

// The addresses of the fleet's network, which is its own: 198.51.100.0/24 is for
// documentation (RFC 5737), and is nobody's.
const (
	internetAddr = "198.51.100.1"
	redisAddr    = "198.51.100.20"
	redisPort    = "6379"
)

// fleetNet are network namespaces, one a machine, joined by a bridge in one more,
// which is the internet. Each lives as long as a process of ours in it, and that
// ends with the test, even where the test is killed: no name is left behind.
type fleetNet struct {
	t        *testing.T
	internet int            // process whose namespace has the bridge
	ports    map[int]string // of the bridge, by machine
}

func newFleetNet(t *testing.T) *fleetNet {
	t.Helper()
	lab.Require(t)
	for _, name := range []string{"ip", "nsenter", "redis-server"} {
		if _, err := exec.LookPath(name); err != nil {
			t.Fatalf("this test makes networks and runs a real redis-server: %v; `make test` installs what is needed (iproute2, util-linux, redis-server)", err)
		}
	}
	n := &fleetNet{t: t, ports: map[int]string{}}
	n.internet = n.namespace()
	n.ip(n.internet, "link", "add", "bridge", "type", "bridge")
	n.ip(n.internet, "link", "set", "bridge", "up")
	n.ip(n.internet, "addr", "add", internetAddr+"/24", "dev", "bridge")
	return n
}

// machine makes a namespace with an address on the bridge.
func (n *fleetNet) machine(addr string) (pid int) {
	n.t.Helper()
	pid = n.namespace()
	port := fmt.Sprintf("port%d", len(n.ports)+1)
	n.ports[pid] = port
	n.ip(pid, "link", "add", "eth0", "type", "veth", "peer", "name", port, "netns", fmt.Sprint(n.internet))
	n.ip(n.internet, "link", "set", port, "master", "bridge", "up")
	n.ip(pid, "addr", "add", addr+"/24", "dev", "eth0")
	n.ip(pid, "link", "set", "eth0", "up")
	return pid
}

// cut takes a machine off the bridge, as if its cable were pulled.
func (n *fleetNet) cut(pid int)  { n.ip(n.internet, "link", "set", n.ports[pid], "down") }
func (n *fleetNet) join(pid int) { n.ip(n.internet, "link", "set", n.ports[pid], "up") }

// namespace makes a network namespace with a loopback, and returns the process
// that keeps it.
func (n *fleetNet) namespace() (pid int) {
	n.t.Helper()
	cmd := exec.Command("sleep", "infinity")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET}
	ended, err := lab.StartTied(cmd)
	if err != nil {
		n.t.Fatalf("making a network namespace (needs CAP_SYS_ADMIN and a kernel with CONFIG_NET_NS; in a container, start it privileged): %v", err)
	}
	n.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-ended
	})
	n.ip(cmd.Process.Pid, "link", "set", "lo", "up")
	return cmd.Process.Pid
}

// ip runs ip(8) in a namespace.
func (n *fleetNet) ip(pid int, args ...string) {
	n.t.Helper()
	out, err := inNamespace(pid, "ip", args...).CombinedOutput()
	if err != nil {
		n.t.Fatalf("ip %s: %v: %s (the test needs CAP_NET_ADMIN, and a kernel with veth and bridge)", strings.Join(args, " "), err, bytes.TrimSpace(out))
	}
}

func networkOf(pid int) string { return fmt.Sprintf("/proc/%d/ns/net", pid) }

// inNamespace is a command that runs in the network of a process. It becomes the
// command itself: its pid is the command's.
func inNamespace(pid int, name string, args ...string) *exec.Cmd {
	return exec.Command("nsenter", append([]string{"--net=" + networkOf(pid), "--", name}, args...)...)
}

// dial connects from the internet to a machine.
func (n *fleetNet) dial(ctx context.Context, addr string) (conn net.Conn, err error) {
	err = lab.InNetwork(networkOf(n.internet), func() (err error) {
		conn, err = (&net.Dialer{Timeout: 10 * time.Second}).DialContext(ctx, "tcp4", addr)
		return err
	})
	return conn, err
}

// fleetRedis is a real server on a machine of its own.
type fleetRedis struct {
	t       *testing.T
	net     *fleetNet
	machine int
	dir     string
	cmd     *exec.Cmd
}

func newFleetRedis(t *testing.T, n *fleetNet) *fleetRedis {
	t.Helper()
	r := &fleetRedis{t: t, net: n, machine: n.machine(redisAddr), dir: t.TempDir()}
	t.Cleanup(r.kill)
	r.start()
	return r
}

// start starts it with what it had: it writes a log of its commands, as servers
// that are to keep something do.
func (r *fleetRedis) start() {
	r.t.Helper()
	log, err := os.OpenFile(filepath.Join(r.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		r.t.Fatal(err)
	}
	defer log.Close()
	r.cmd = inNamespace(r.machine, "redis-server", "--bind", redisAddr, "--port", redisPort, "--protected-mode", "no",
		"--dir", r.dir, "--save", "", "--appendonly", "yes", "--daemonize", "no")
	r.cmd.Stdout, r.cmd.Stderr = log, log
	if err := r.cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	for range 6000 {
		if conn, err := r.net.dial(r.t.Context(), net.JoinHostPort(redisAddr, redisPort)); err == nil {
			conn.Close()
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	text, _ := os.ReadFile(log.Name())
	r.t.Fatalf("redis-server does not listen: %s", text)
}

// stop ends it as an init script does.
func (r *fleetRedis) stop() {
	r.signal(unix.SIGTERM)
	timer := time.AfterFunc(10*time.Second, func() { r.cmd.Process.Kill() })
	defer timer.Stop()
	_ = r.cmd.Wait()
	r.cmd = nil
}

func (r *fleetRedis) signal(s os.Signal) {
	r.t.Helper()
	if err := r.cmd.Process.Signal(s); err != nil {
		r.t.Fatal(err)
	}
}

func (r *fleetRedis) kill() {
	if r.cmd == nil {
		return
	}
	_ = r.cmd.Process.Kill() // it may have ended; a frozen one ends too
	_ = r.cmd.Wait()
	r.cmd = nil
}
