// Capture makes bounces with the real mail systems of Debian 12 and saves them
// as test messages, each beside an expectation that is written from what was
// done to the message.
//
// Each system is installed into a layer of its own over a small Debian and run
// in namespaces of its own: its network has no way out, its DNS knows only
// .example, and when its part ends the kernel ends all its processes. It needs
// root, Debian's apt, and iproute2; nothing is installed on the machine.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

func main() {
	runtime.LockOSThread() // Pdeathsig is sent when the thread that started a child ends
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := capturing(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "capture:", err)
		stop()
		os.Exit(1)
	}
}

// capturing does what the command line asks for.
func capturing(ctx context.Context) error {
	out := flag.String("out", "dsn/testdata/captured", "folder of the captured messages")
	dir := flag.String("workshop", "", "folder to install the mail systems in, kept for the next time; without it a temporary one")
	only := flag.String("only", "", "names of the systems to run, with commas; all if empty")
	part := flag.String("part", "", "for the program's own use: install or run, in namespaces")
	flag.Parse()
	target, err := filepath.Abs(*out)
	if err != nil {
		return err
	}
	if *part != "" {
		return inside(ctx, *part, workshop{*dir}, target, *only)
	}
	if err := check(); err != nil {
		return err
	}
	if *dir == "" {
		if *dir, err = os.MkdirTemp("", "capture-"); err != nil {
			return err
		}
		defer os.RemoveAll(*dir)
	} else if *dir, err = filepath.Abs(*dir); err != nil {
		return err
	}
	if err := os.MkdirAll(*dir, 0o755); err != nil {
		return err
	}
	return outside(ctx, workshop{*dir}, target, *only)
}

func check() error {
	if os.Geteuid() != 0 {
		return fmt.Errorf("making namespaces and installing mail systems needs root: run it as root")
	}
	for _, name := range []string{"apt-get", "dpkg", "ip", "wget"} {
		if _, err := exec.LookPath(name); err != nil {
			return fmt.Errorf("%w: this needs Debian, with apt, iproute2 and wget", err)
		}
	}
	return nil
}

// outside installs and runs one system after the other.
func outside(ctx context.Context, w workshop, out, only string) error {
	chosen, err := choose(only)
	if err != nil {
		return err
	}
	fmt.Println("a small Debian to install the mail systems in")
	if err := w.once("debian", func() error { return w.makeBase(ctx) }); err != nil {
		return err
	}
	failed := 0
	for _, s := range chosen {
		err := w.once(s.name, func() error { return again(ctx, w, out, "install", s, unix.CLONE_NEWNS|unix.CLONE_NEWPID) })
		if err == nil {
			err = again(ctx, w, out, "run", s, unix.CLONE_NEWNS|unix.CLONE_NEWPID|unix.CLONE_NEWUTS|unix.CLONE_NEWNET|unix.CLONE_NEWIPC)
		}
		if err != nil {
			fmt.Printf("%s: %v\n", s.name, err)
			failed++
		}
	}
	if failed > 0 {
		return fmt.Errorf("%d of %d systems did not make all their notices; keep their logs with -workshop DIR", failed, len(chosen))
	}
	return nil
}

func choose(only string) ([]*system, error) {
	all := systems()
	if only == "" {
		return all, nil
	}
	var out []*system
	for name := range strings.SplitSeq(only, ",") {
		i := slices.IndexFunc(all, func(s *system) bool { return s.name == name })
		if i < 0 {
			return nil, fmt.Errorf("no system is named %q", name)
		}
		out = append(out, all[i])
	}
	return out, nil
}

// again runs this program in new namespaces, for a part of the work.
func again(ctx context.Context, w workshop, out, part string, s *system, namespaces uintptr) error {
	cmd := exec.CommandContext(ctx, "/proc/self/exe", "-part", part, "-workshop", w.dir, "-out", out, "-only", s.name)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: namespaces, Pdeathsig: syscall.SIGKILL}
	return cmd.Run()
}

// inside is the part in the namespaces.
func inside(ctx context.Context, part string, w workshop, out, name string) error {
	chosen, err := choose(name)
	if err != nil {
		return err
	}
	s := chosen[0]
	if part == "install" {
		return w.install(ctx, s)
	}
	machine, err := os.Hostname()
	if err != nil {
		return err
	}
	captures, err := w.run(ctx, s)
	if err != nil {
		return err // what an earlier time captured stays
	}
	folder := filepath.Join(out, s.name)
	if err := discard(folder); err != nil {
		return err
	}
	if err := save(folder, captures, []string{machine, w.dir}); err != nil {
		return err
	}
	fmt.Printf("%s: %d notices\n", s.name, len(captures))
	for _, t := range stories(localUser) {
		if why := s.cannot[t.name]; why != "" {
			fmt.Printf("%s: no %s: %s\n", s.name, t.name, why)
		}
	}
	return nil
}
