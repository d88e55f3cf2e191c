package main

import (
	"bytes"
	_ "embed"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/backscatterd/backscatterd/milter/keyring"
)

//go:embed noop/noop.c
var noopSource []byte

// filter is one that runs.
type filter struct {
	name   string
	socket string
	cmd    *exec.Cmd
}

func start(name, socket string, cmd *exec.Cmd) (*filter, error) {
	cmd.SysProcAttr = &unix.SysProcAttr{Pdeathsig: unix.SIGKILL}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	f := &filter{name, socket, cmd}
	for range 500 {
		if c, err := net.Dial("unix", socket); err == nil {
			c.Close()
			return f, nil
		}
		time.Sleep(20 * time.Millisecond)
	}
	f.stop()
	return nil, fmt.Errorf("%s does not listen on %s", name, socket)
}

func (f *filter) stop() {
	f.cmd.Process.Signal(unix.SIGTERM)
	f.cmd.Wait()
}

// held is what a process holds in RAM, in bytes.
type held struct{ all, files int64 }

func (f *filter) memory() (held, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", f.cmd.Process.Pid))
	if err != nil {
		return held{}, err
	}
	var h held
	for line := range strings.Lines(string(status)) {
		name, rest, _ := strings.Cut(line, ":")
		into := map[string]*int64{"VmRSS": &h.all, "RssFile": &h.files}[name]
		if into == nil {
			continue
		}
		kb, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 10, 64)
		if err != nil {
			return held{}, fmt.Errorf("memory of process %d: %w", f.cmd.Process.Pid, err)
		}
		*into = kb << 10
	}
	if h.all == 0 {
		return held{}, fmt.Errorf("no VmRSS of process %d", f.cmd.Process.Pid)
	}
	return h, nil
}

// cpu is the time that the process has computed, in the kernel too.
func (f *filter) cpu() (time.Duration, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", f.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	// proc(5): utime and stime are the 14th and 15th field; the second one may
	// hold anything, and ends at the last parenthesis.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 13 {
		return 0, fmt.Errorf("stat of process %d has %d fields", f.cmd.Process.Pid, len(fields))
	}
	const ticks = 100 // a second: USER_HZ
	var sum time.Duration
	for _, field := range fields[11:13] {
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("stat of process %d: %w", f.cmd.Process.Pid, err)
		}
		sum += time.Duration(n) * time.Second / ticks
	}
	return sum, nil
}

// startNoop compiles the C filter and starts it.
func startNoop(dir string) (*filter, error) {
	source, program, socket := filepath.Join(dir, "noop.c"), filepath.Join(dir, "noop"), filepath.Join(dir, "noop.sock")
	if err := os.WriteFile(source, noopSource, 0o600); err != nil {
		return nil, err
	}
	if out, err := exec.Command("cc", "-O2", "-o", program, source, "-lmilter", "-pthread").CombinedOutput(); err != nil {
		return nil, fmt.Errorf("compile the C filter: %w (it needs gcc and libmilter-dev: apt-get install gcc libmilter-dev)\n%s", err, out)
	}
	return start("C no-op filter", socket, exec.Command(program, "unix:"+socket))
}

// startOurs builds the program and starts it with all that it does.
func startOurs(dir string) (*filter, error) {
	program, socket, keys := filepath.Join(dir, "backscatterd"), filepath.Join(dir, "ours.sock"), filepath.Join(dir, "keys")
	if out, err := exec.Command("go", "build", "-trimpath", "-o", program, "./cmd/backscatterd").CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build: %w\n%s", err, out)
	}
	if _, err := keyring.Open(keys).New(time.Now()); err != nil {
		return nil, err
	}
	config := filepath.Join(dir, "backscatterd.toml")
	text := fmt.Sprintf(`[milter]
listen = "unix:%s"
our_domains = ["example.org"]
our_networks = ["192.0.2.0/24"]
our_hosts = ["mx.example.org"]
batv_domains = ["example.org"]
keys = %q
ledger = %q
warm_up = "1s"
max_connections = 4000
`, socket, keys, filepath.Join(dir, "ledger.db"))
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return nil, err
	}
	// Its log goes to /dev/null, but is written.
	return start("backscatterd", socket, exec.Command(program, "serve", "-c", config, "--only", "milter"))
}
