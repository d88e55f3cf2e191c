package ledger

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// redisServer is a real server on loopback, with nothing kept but what a test
// saves.
type redisServer struct {
	tb   testing.TB
	dir  string
	addr string
	args []string
	// asSentinel is the file of a Sentinel; "" for a server.
	asSentinel string
	cmd        *exec.Cmd
}

// startRedis starts a server with further arguments; it ends with the test.
func startRedis(tb testing.TB, args ...string) *redisServer {
	tb.Helper()
	s := &redisServer{tb: tb, dir: tb.TempDir(), addr: freeAddress(tb), args: args}
	s.start()
	tb.Cleanup(s.kill)
	return s
}

func freeAddress(tb testing.TB) string {
	tb.Helper()
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

func (s *redisServer) port() string { return s.addr[strings.LastIndexByte(s.addr, ':')+1:] }

func (s *redisServer) start() {
	s.tb.Helper()
	path, err := exec.LookPath("redis-server")
	if err != nil {
		s.tb.Fatalf("the real server is needed: %v; make deps installs it", err)
	}
	args := append([]string{"--port", s.port(), "--bind", "127.0.0.1", "--dir", s.dir, "--save", "", "--daemonize", "no"}, s.args...)
	if s.asSentinel != "" {
		args = []string{s.asSentinel, "--sentinel", "--port", s.port(), "--bind", "127.0.0.1", "--dir", s.dir}
	}
	s.cmd = exec.Command(path, args...)
	log, err := os.OpenFile(filepath.Join(s.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		s.tb.Fatal(err)
	}
	defer log.Close()
	s.cmd.Stdout, s.cmd.Stderr = log, log
	if err := s.cmd.Start(); err != nil {
		s.tb.Fatal(err)
	}
	for range 6000 {
		conn, err := net.Dial("tcp4", s.addr)
		if err == nil {
			conn.Close()
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	text, _ := os.ReadFile(filepath.Join(s.dir, "log"))
	s.tb.Fatalf("redis-server does not listen: %s", text)
}

// kill ends the server as a power cut would.
func (s *redisServer) kill() {
	if s.cmd == nil {
		return
	}
	s.signal(syscall.SIGCONT)
	s.cmd.Process.Kill()
	s.cmd.Wait()
	s.cmd = nil
}

func (s *redisServer) signal(sig syscall.Signal) { s.cmd.Process.Signal(sig) }

// do sends a command as an administrator would.
func (s *redisServer) do(args ...any) any {
	s.tb.Helper()
	c := redis.NewClient(&redis.Options{Addr: s.addr})
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	v, err := c.Do(ctx, args...).Result()
	if err != nil {
		s.tb.Fatalf("%v: %v", args, err)
	}
	return v
}

// sharedHost is a host that keeps a ledger with others.
type sharedHost struct {
	*Shared
	tb   testing.TB
	mu   sync.Mutex
	told []string
}

var sharedSecret = []byte("a secret of more than 16 bytes")

// join starts a host. It reports ten times a second, so that a test need not
// wait long.
func join(tb testing.TB, host string, at Server, change func(*SharedOptions)) *sharedHost {
	tb.Helper()
	h := &sharedHost{tb: tb}
	o := SharedOptions{
		Server: at, Host: host, Secret: sharedSecret, Keep: 30,
		Report: h.report, Group: 10 * time.Millisecond, Beat: 100 * time.Millisecond, Stale: time.Second, Wait: 2 * time.Second,
	}
	if o.Server.Prefix == "" {
		o.Server.Prefix = "t:"
	}
	if change != nil {
		change(&o)
	}
	var err error
	if h.Shared, err = OpenShared(o); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { h.Close() })
	return h
}

func (h *sharedHost) report(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.told = append(h.told, err.Error())
}

func (h *sharedHost) reported() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return strings.Join(h.told, "\n")
}

// soon waits until a thing holds.
func soon(tb testing.TB, what string, holds func() bool) {
	tb.Helper()
	within(tb, time.Minute, what, holds)
}

func within(tb testing.TB, limit time.Duration, what string, holds func() bool) {
	tb.Helper()
	for end := time.Now().Add(limit); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if holds() {
			return
		}
	}
	tb.Fatalf("after %v, it still does not hold: %s", limit, what)
}

// covered: everything is known from the first report to now.
func (h *sharedHost) covered() bool {
	c := h.Coverage()
	return !c.Since.IsZero() && c.Covers(c.Since, c.Until) && time.Since(c.Until) < time.Second
}

func (h *sharedHost) waitCovered() {
	h.tb.Helper()
	soon(h.tb, "coverage up to now of "+h.opts.Host, h.covered)
}

func (h *sharedHost) send(n int) {
	h.Record(Message{MessageID: messageID(n), Sender: "joe@example.org", Recipients: []string{fmt.Sprintf("r%d@remote.example", n)}})
}

func messageID(n int) string { return "<" + strconv.Itoa(n) + "@mail.example.org>" }

// written waits until all that was recorded is on the server.
func (h *sharedHost) written() {
	h.tb.Helper()
	soon(h.tb, "records written", func() bool { return h.Waiting() == 0 })
}

// knows looks a message up, without haste: other tests may run beside this one.
func (h *sharedHost) knows(n int) (bool, error) { return h.knowsWithin(n, 5*time.Second) }

func (h *sharedHost) knowsWithin(n int, d time.Duration) (bool, error) {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	hit, err := h.Sent(ctx, messageID(n), "joe@example.org")
	return hit.Found, err
}
