package docs

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// machine is a copy of this one that commands may do what they like to: its files
// are an overlay in memory over those of this machine, its network has the
// loopback alone, and its processes end with the command that began them.
type machine struct {
	t    *testing.T
	dir  string // a file system in memory, with all that differs
	site string // what every machine has beside the files of this one
}

// Where the repository lies in a machine, and what commands begin in.
const repository = "/src"

// newMachine makes a machine. site has the files that it is to have.
func newMachine(t *testing.T, site string) *machine {
	t.Helper()
	dir, err := os.MkdirTemp(ground(t), "machine-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	m := &machine{t: t, dir: dir, site: site}
	for _, name := range []string{"changes", "work", "src-changes", "src-work", "root", "own"} {
		if err := os.Mkdir(filepath.Join(m.dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name := range ownFolders {
		to := filepath.Join(m.dir, "own", name)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command("cp", "-a", filepath.Join(site, name), to).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	bounce := filepath.Join(site, "root/Maildir/new", bounceName)
	if err := install(bounce, filepath.Join(dir, "src-changes/bounce.eml")); err != nil {
		t.Fatal(err)
	}
	return m
}

// plan is what the process that is to become a machine's first one has to do.
type plan struct {
	Dir, Site, Repository string
	Shared                []string // folders of this machine that it shares, as caches
	Script, Folder        string
}

// insideMachine in the environment has a plan.
const insideMachine = "BACKSCATTERD_DOCS_PLAN"

// groundAt in the environment names the folder of the ground.
const groundAt = "BACKSCATTERD_DOCS_GROUND"

// onGround runs this process's tests once more, in a mount namespace: what they
// mount is gone when they are. It returns their exit status.
func onGround() (int, error) {
	dir, err := os.MkdirTemp("", "backscatterd-docs-")
	if err != nil {
		return 1, err
	}
	defer os.Remove(dir)
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), groundAt+"="+dir)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	// Pdeathsig is sent when the thread that started the child ends.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err = cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return max(exit.ExitCode(), 1), nil
	}
	if err != nil {
		return 1, fmt.Errorf("a mount namespace for the machines that commands run on (in a container, start it privileged): %w", err)
	}
	return 0, nil
}

// mountGround mounts a file system in memory for what the machines are made of:
// an overlay's folders must lie on another one than those that it covers.
func mountGround(dir string) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("keeping mounts to ourselves: %w", err)
	}
	if err := unix.Mount("docs", dir, "tmpfs", 0, "mode=755"); err != nil {
		return fmt.Errorf("mounting a file system in memory: %w", err)
	}
	return nil
}

// ground is where that is.
func ground(t *testing.T) string {
	t.Helper()
	dir := os.Getenv(groundAt)
	if dir == "" {
		t.Fatal("the commands of the pages are run on machines made of namespaces: run this test as root")
	}
	return dir
}

// outcome is what became of a command.
type outcome struct {
	status         int
	stdout, stderr string
}

// run runs a command line in a shell. One that has an until runs until its output
// has that, and is then sent SIGTERM. Whatever the command has begun is over when
// run returns.
func (m *machine) run(script, until string) outcome {
	m.t.Helper()
	p := plan{Dir: m.dir, Site: m.site, Script: script, Folder: repository}
	var err error
	if p.Repository, err = filepath.Abs(root); err != nil {
		m.t.Fatal(err)
	}
	p.Shared = sharedFolders(m.t)
	text, err := json.Marshal(p)
	if err != nil {
		m.t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		m.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(m.t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, self)
	cmd.Env = append(os.Environ(), insideMachine+"="+string(text))
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWNET | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC,
		Setsid:     true,
		Pdeathsig:  syscall.SIGKILL,
	}
	var stdout, stderr bytes.Buffer
	watch := &watcher{until: until, seen: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = io.MultiWriter(&stdout, watch), io.MultiWriter(&stderr, watch)
	// Pdeathsig is sent when the thread that started the child ends.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := cmd.Start(); err != nil {
		m.t.Fatalf("starting namespaces (needs root; in a container, a privileged one): %v", err)
	}
	done := make(chan struct{})
	go func() {
		select {
		case <-done:
		case <-watch.seen:
			// To the first process of the machine, which passes it on.
			cmd.Process.Signal(unix.SIGTERM)
		}
	}()
	err = cmd.Wait()
	close(done)
	out := outcome{stdout: stdout.String(), stderr: stderr.String()}
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		m.t.Fatalf("%s\nwas not over after two minutes; it said\n%s%s", script, out.stdout, out.stderr)
	case errors.As(err, &exit):
		out.status = exit.ExitCode()
	case err != nil:
		m.t.Fatal(err)
	}
	return out
}

// watcher waits for a text in what is written to it.
type watcher struct {
	until string
	seen  chan struct{}

	mu   sync.Mutex
	text strings.Builder
	once sync.Once
}

func (w *watcher) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.until != "" {
		w.text.Write(p)
		if strings.Contains(w.text.String(), w.until) {
			w.once.Do(func() { close(w.seen) })
		}
	}
	return len(p), nil
}

// sharedFolders are those of Go's, so that make builds from its cache.
func sharedFolders(t *testing.T) []string {
	t.Helper()
	out, err := exec.Command("go", "env", "GOROOT", "GOCACHE", "GOMODCACHE").Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.Fields(string(out))
}

// enterMachine makes this process the first one of a machine, which waits for the
// shell that it starts. It returns only with an error.
func enterMachine() error {
	var p plan
	if err := json.Unmarshal([]byte(os.Getenv(insideMachine)), &p); err != nil {
		return err
	}
	if err := p.mount(); err != nil {
		return err
	}
	if err := loopbackUp(); err != nil {
		return err
	}
	if err := unix.Sethostname([]byte("mx.example.com")); err != nil {
		return err
	}
	cmd := exec.Command("/bin/sh", "-euc", p.Script)
	cmd.Dir = p.Folder
	cmd.Env = []string{
		"HOME=/root", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:" + filepath.Dir(goOf(p)), "LANG=C.UTF-8", "TZ=UTC", "TERM=dumb",
		"GOCACHE=" + p.Shared[1], "GOMODCACHE=" + p.Shared[2], "GOFLAGS=-mod=readonly", "GOPROXY=off", "GOTOOLCHAIN=local",
	}
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, unix.SIGTERM)
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("starting a shell: %w", err)
	}
	go func() {
		for range signals {
			unix.Kill(-cmd.Process.Pid, unix.SIGTERM)
		}
	}()
	err := cmd.Wait()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit) && exit.Exited():
		os.Exit(exit.ExitCode())
	case err != nil:
		return err
	}
	os.Exit(0)
	return nil
}

func goOf(p plan) string { return filepath.Join(p.Shared[0], "bin", "go") }

// mount lays the machine's files over those of this one, and makes them the root.
func (p plan) mount() error {
	at := func(name string) string { return filepath.Join(p.Dir, "root", name) }
	steps := []struct {
		what string
		do   func() error
	}{
		{"keeping mounts to ourselves", func() error { return unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "") }},
		{"laying the machine over this one", func() error { return p.overlay(at(""), p.Site+":/", "") }},
		{"making the folder of the repository", func() error { return os.MkdirAll(at(repository), 0o755) }},
		{"laying a repository over this one", func() error { return p.overlay(at(repository), p.Repository, "src-") }},
		{"binding what a machine has for itself", func() error { return p.bindOwn(at) }},
		{"binding /dev", func() error { return unix.Mount("/dev", at("dev"), "", unix.MS_BIND|unix.MS_REC, "") }},
		{"mounting /proc", func() error { return unix.Mount("proc", at("proc"), "proc", 0, "") }},
	}
	for _, s := range steps {
		if err := s.do(); err != nil {
			return fmt.Errorf("%s: %w", s.what, err)
		}
	}
	for _, dir := range p.Shared {
		if err := os.MkdirAll(at(dir), 0o755); err != nil {
			return err
		}
		if err := unix.Mount(dir, at(dir), "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("sharing %s: %w", dir, err)
		}
	}
	if err := unix.Chroot(at("")); err != nil {
		return err
	}
	return unix.Chdir("/")
}

func (p plan) bindOwn(at func(string) string) error {
	for name := range ownFolders {
		if err := os.MkdirAll(at(name), 0o755); err != nil {
			return err
		}
		if err := unix.Mount(filepath.Join(p.Dir, "own", name), at(name), "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

func (p plan) overlay(at, lower, kind string) error {
	return unix.Mount("docs", at, "overlay", 0, fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", lower,
		filepath.Join(p.Dir, kind+"changes"), filepath.Join(p.Dir, kind+"work")))
}

// loopbackUp switches on the one interface that a new network has.
func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	req, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	req.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, req); err != nil {
		return fmt.Errorf("switching on the loopback: %w", err)
	}
	return nil
}
