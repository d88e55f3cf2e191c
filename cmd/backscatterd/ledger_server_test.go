package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"golang.org/x/sys/unix"

	"github.com/backscatterd/backscatterd/config"
	"github.com/backscatterd/backscatterd/milter/keyring"
	"github.com/backscatterd/backscatterd/milter/ledger"
)

// realRedis is a real server on loopback.
type realRedis struct {
	addr string
	cmd  *exec.Cmd
}

func startRealRedis(t *testing.T, addr string) realRedis {
	t.Helper()
	path, err := exec.LookPath("redis-server")
	if err != nil {
		t.Fatalf("the real server is needed: %v; `make test` installs it", err)
	}
	_, port, _ := net.SplitHostPort(addr)
	cmd := exec.Command(path, "--port", port, "--bind", "127.0.0.1", "--dir", t.TempDir(), "--save", "", "--daemonize", "no")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	for range 6000 {
		if conn, err := net.Dial("tcp4", addr); err == nil {
			conn.Close()
			return realRedis{addr, cmd}
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("redis-server does not listen")
	return realRedis{}
}

// An administrator looks at a fleet: before there is a server, while hosts come,
// while the server is frozen, and when a host has gone for good.
func TestLedgerOnServerByHand(t *testing.T) {
	dir := t.TempDir()
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := ln.Addr().String()
	ln.Close()
	if _, err := keyring.Open(filepath.Join(dir, "keys")).Secret("ledger"); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "b.toml")
	text := fmt.Sprintf("[milter]\nour_domains = [\"example.org\"]\nkeys = %q\nledger = %q\n[milter.ledger_server]\naddresses = [%q]\nhosts = [\"A.example\", \"b.example\", \"c.example\"]\n",
		filepath.Join(dir, "keys"), filepath.Join(dir, "ledger.db"), addr)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Load(file)
	if err != nil {
		t.Fatal(err)
	}
	command := func(args ...string) (int, string) {
		var out bytes.Buffer
		code := run(t.Context(), append([]string{"-c", file, "ledger"}, args...), strings.NewReader(""), &out, &out)
		return code, out.String()
	}
	says := func(code int, args []string, want ...string) {
		t.Helper()
		got, out := command(args...)
		if got != code {
			t.Errorf("ledger %s: exit status %d, want %d\n%s", strings.Join(args, " "), got, code, out)
		}
		flat := strings.Join(strings.Fields(out), " ")
		for _, w := range want {
			if !strings.Contains(flat, w) {
				t.Errorf("ledger %s: want %q in\n%s", strings.Join(args, " "), w, out)
			}
		}
	}
	status := []string{"status"}
	says(exitFailed, status, "ledger on "+addr+": the server does not answer", "connection refused")

	server := startRealRedis(t, addr)
	says(exitDone, status, "server "+addr, "host a.example: has never reported", "host c.example: has never reported")

	hosts := map[string]*ledger.Shared{}
	for _, name := range []string{"A.example", "b.example"} {
		m := cfg.Milter
		m.LedgerServer.Host = name
		l, err := openLedger(m, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		hosts[name] = l.(*ledger.Shared)
		defer l.Close()
		if err := hosts[name].Ready(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	says(exitDone, status, "host a.example: reports, since 20", "host b.example: reports", "host c.example: has never reported", "warm-up until")
	says(exitFailed, []string{"trust", "c.example"}, "no host c.example has reported; see: backscatterd ledger status")
	says(exitDone, []string{"trust", "A.example"})
	says(exitDone, status, "host a.example: reports, new when it came, 0 gaps", "host b.example: reports, since 20")

	server.cmd.Process.Signal(unix.SIGSTOP)
	hosts["A.example"].Record(ledger.Message{MessageID: "<1@example.org>", Sender: "joe@example.org", Recipients: []string{"ann@remote.example"}})
	says(exitFailed, status, "ledger on "+addr+": the server does not answer") // after 5 s
	server.cmd.Process.Signal(unix.SIGCONT)
	for range 600 { // until what waited is written, and a report tells of it
		if _, out := command("status"); hosts["A.example"].Waiting() == 0 && strings.Contains(out, "written later") {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	says(exitDone, status, "host a.example: reports, new when it came, 1 gap", "server away, written later; does not count", "1 message")

	if err := hosts["b.example"].Close(); err != nil {
		t.Fatal(err)
	}
	old := time.Now().Add(-time.Minute).UTC()
	report, err := json.Marshal(map[string]any{"instance": "x", "seq": 1, "since": old, "written": old})
	if err != nil {
		t.Fatal(err)
	}
	client := redis.NewClient(&redis.Options{Addr: addr})
	defer client.Close()
	if err := client.HSet(t.Context(), "bs:{hosts}", "c.example", report).Err(); err != nil {
		t.Fatal(err)
	}
	says(exitDone, status, "host b.example: stopped at 20", "host c.example: silent since 20")
	says(exitDone, []string{"forget", "B.example"})
	says(exitFailed, []string{"forget", "b.example"}, "no host b.example has reported; see: backscatterd ledger status")

	code, out := command("status", "--json")
	var s ledger.Status
	if err := json.Unmarshal([]byte(out), &s); code != exitDone || err != nil {
		t.Fatalf("exit status %d, %v: %s", code, err, out)
	}
	if len(s.Hosts) != 3 || s.Hosts[0].Name != "a.example" || len(s.Hosts[0].Gaps) != 1 || !s.Hosts[0].Gaps[0].Filled || !s.Hosts[1].Since.IsZero() || s.Server != addr {
		t.Errorf("%s", out)
	}
}
