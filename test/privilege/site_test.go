//go:build linux && amd64

package privilege

import (
	"bufio"
	"fmt"
	"io"
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

// program is the path of the program under test.
var program string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		if os.Geteuid() != 0 {
			fmt.Fprintln(os.Stderr, "these tests start the program as several users, and put system calls into it: run them as root")
			return 1
		}
		return lab.Main(m, &program)
	}())
}

// milterUser is the milter's own user here.
const milterUser = 65533

// site is a place for both halves: a queue that modes alone keep nobody out of, a
// file that both could read, and a port that answers.
type site struct {
	t                        *testing.T
	dir, queue, plain, state string
	answers, free, status    int
}

func newSite(t *testing.T) *site {
	t.Helper()
	dir, err := os.MkdirTemp("", "privilege-")
	s := &site{t: t, dir: dir, queue: filepath.Join(dir, "spool", "mqueue"), plain: filepath.Join(dir, "elsewhere", "plain"), state: filepath.Join(dir, "state")}
	s.must(err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	s.must(os.Chmod(dir, 0o755))
	for _, path := range []string{filepath.Join(dir, "spool"), s.queue, filepath.Dir(s.plain), s.state, filepath.Join(dir, "log"), filepath.Join(dir, "etc"), filepath.Join(dir, "tmp")} {
		s.must(os.Mkdir(path, 0o755))
	}
	s.must(os.WriteFile(s.plain, nil, 0o644))
	s.must(os.WriteFile(filepath.Join(dir, "spool", "others"), nil, 0o644))
	s.must(os.Chown(s.state, milterUser, milterUser))
	s.must(os.Chmod(filepath.Join(dir, "tmp"), 0o777|os.ModeSticky))
	s.letter("6AO0lZlY014480", "postponed@customer.example")
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	s.must(err)
	t.Cleanup(func() { ln.Close() })
	s.answers, s.free, s.status = ln.Addr().(*net.TCPAddr).Port, freePort(t), freePort(t)
	return s
}

func freePort(t *testing.T) int {
	t.Helper()
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().(*net.TCPAddr).Port
}

func (s *site) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// letter puts a message into the queue, which everybody may read.
func (s *site) letter(id, sender string) {
	s.t.Helper()
	s.must(os.WriteFile(filepath.Join(s.queue, "df"+id), []byte("a body\n"), 0o644))
	s.must(os.WriteFile(filepath.Join(s.queue, "qf"+id), fmt.Appendf(nil, "V8\nT1795557305\nK1795557305\nN2\nP1\nMDeferred: x\nS<%s>\nRPFD:<a@b.example>\nH??Subject: s\n.\n", sender), 0o644))
}

// daemon is a half that runs.
type daemon struct {
	*site
	cmd *exec.Cmd
	log chan string
}

// start starts a half, with more lines of configuration, as a user.
func (s *site) start(half, confine string, uid uint32, more string) *daemon {
	s.t.Helper()
	config := filepath.Join(s.dir, "etc", "b.toml")
	s.must(os.WriteFile(config, fmt.Appendf(nil, "[queue]\ndirectories = [%q]\nsendmail = %q\n[store]\ndirectory = %q\n[audit]\nfile = %q\n[serve]\nconfine = %q\n%s",
		s.queue, filepath.Join(s.dir, "sendmail"), filepath.Join(s.dir, "spool", "removed"), filepath.Join(s.dir, "log", "audit.jsonl"), confine, more), 0o644))
	cmd := exec.Command(program, "-c", config, "serve", "--only", half)
	cmd.Dir, cmd.Env = "/", append(os.Environ(), "TMPDIR="+filepath.Join(s.dir, "tmp"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	stderr, err := cmd.StderrPipe()
	s.must(err)
	s.must(cmd.Start())
	d := &daemon{s, cmd, make(chan string, 1000)}
	s.t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	go func() {
		defer close(d.log)
		for lines := bufio.NewScanner(stderr); lines.Scan(); {
			d.log <- lines.Text()
		}
		io.Copy(io.Discard, stderr)
	}()
	return d
}

// says waits for a line of the log and returns it.
func (d *daemon) says(what string) string {
	d.t.Helper()
	var seen []string
	for end := time.After(time.Minute); ; {
		select {
		case line, open := <-d.log:
			if !open {
				d.t.Fatalf("the log ended without %q:\n%s", what, strings.Join(seen, "\n"))
			}
			if seen = append(seen, line); strings.Contains(line, what) {
				return line
			}
		case <-end:
			d.t.Fatalf("no %q in the log:\n%s", what, strings.Join(seen, "\n"))
		}
	}
}

// ends ends the daemon as systemd does. That it ends well shows that it has gone
// on after what was done to it.
func (d *daemon) ends() {
	d.t.Helper()
	d.must(d.cmd.Process.Signal(unix.SIGTERM))
	var seen []string
	for line := range d.log {
		seen = append(seen, line)
	}
	if err := d.cmd.Wait(); err != nil {
		d.t.Errorf("it ended with %v:\n%s", err, strings.Join(seen, "\n"))
	}
}

func field(text, name string) string {
	for line := range strings.Lines(text) {
		if n, value, _ := strings.Cut(line, ":"); n == name {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
