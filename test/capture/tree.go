package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// A workshop is the folder that the mail systems are installed in: one small
// Debian that all share, and over it a layer for each system, since their
// packages exclude each other.
type workshop struct{ dir string }

func (w workshop) base() string            { return filepath.Join(w.dir, "debian") }
func (w workshop) layer(s *system) string  { return filepath.Join(w.dir, s.name) }
func (w workshop) root(s *system) string   { return filepath.Join(w.layer(s), "root") }
func (w workshop) done(name string) string { return filepath.Join(w.dir, name+".done") }
func (w workshop) log(name string) string  { return filepath.Join(w.dir, name+".log") }

// once does something whose effect in the workshop stays.
func (w workshop) once(name string, do func() error) error {
	if _, err := os.Stat(w.done(name)); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := do(); err != nil {
		return err
	}
	return os.WriteFile(w.done(name), nil, 0o644)
}

// makeBase makes the small Debian, with a debootstrap that is unpacked, not
// installed.
func (w workshop) makeBase(ctx context.Context) error {
	script := `set -e
cd "$1"
rm -rf bootstrap debian
mkdir bootstrap
chmod 777 bootstrap
cd bootstrap
apt-get download debootstrap
dpkg -x debootstrap_*.deb .
export DEBOOTSTRAP_DIR="$PWD/usr/share/debootstrap"
exec usr/sbin/debootstrap --variant=minbase bookworm "$1/debian"
`
	return w.logged("debian", exec.CommandContext(ctx, "/bin/sh", "-c", script, "debootstrap", w.dir))
}

// logged runs a command with its output in a file of the workshop.
func (w workshop) logged(name string, cmd *exec.Cmd) error {
	out, err := os.Create(w.log(name))
	if err != nil {
		return err
	}
	defer out.Close()
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Run(); err != nil {
		text, _ := os.ReadFile(w.log(name))
		lines := strings.Split(strings.TrimSpace(string(text)), "\n")
		return fmt.Errorf("%s: %w: %s", name, err, strings.Join(lines[max(0, len(lines)-5):], "\n"))
	}
	return nil
}

// install puts the packages of a system into its layer. It runs in a mount
// namespace of its own, but with the machine's network.
func (w workshop) install(ctx context.Context, s *system) error {
	if err := w.mount(s, "installed", w.base()); err != nil {
		return err
	}
	resolver, err := os.ReadFile("/etc/resolv.conf")
	if err != nil {
		return err
	}
	err = writeFiles(w.root(s), map[string]string{
		"/etc/resolv.conf": string(resolver),
		"/etc/mailname":    hostName + "\n",
		// No package starts its daemon.
		"/usr/sbin/policy-rc.d": "#!/bin/sh\nexit 101\n",
	})
	if err != nil {
		return err
	}
	args := append([]string{"apt-get", "install", "-y", "--no-install-recommends"}, s.packages...)
	cmd := s.command(ctx, w.root(s), args...)
	cmd.Env = append(cmd.Env, "DEBIAN_FRONTEND=noninteractive")
	return w.logged("install", cmd)
}

// mount puts a new layer, of this name, for a system's changes over the lower
// ones, with as much of /dev and /proc as a mail system needs. The mounts end
// with the namespace.
func (w workshop) mount(s *system, name, lower string) error {
	layer, root := w.layer(s), w.root(s)
	changes, work := filepath.Join(layer, name), filepath.Join(layer, name+".work")
	for _, dir := range []string{changes, work} {
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
	}
	for _, dir := range []string{changes, work, root} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	options := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", lower, changes, work)
	dev := filepath.Join(root, "dev")
	for _, m := range []struct {
		source, target, kind string
		flags                uintptr
		data                 string
	}{
		{"none", "/", "", unix.MS_REC | unix.MS_PRIVATE, ""},
		{"overlay", root, "overlay", 0, options},
		{"proc", filepath.Join(root, "proc"), "proc", 0, ""},
		{"tmpfs", dev, "tmpfs", 0, "mode=755"},
	} {
		if err := unix.Mount(m.source, m.target, m.kind, m.flags, m.data); err != nil {
			return fmt.Errorf("mounting %s on %s: %w", m.source, m.target, err)
		}
	}
	old := unix.Umask(0)
	defer unix.Umask(old)
	for name, minor := range map[string]uint32{"null": 3, "zero": 5, "random": 8, "urandom": 9} {
		if err := unix.Mknod(filepath.Join(dev, name), unix.S_IFCHR|0o666, int(unix.Mkdev(1, minor))); err != nil {
			return fmt.Errorf("making /dev/%s: %w", name, err)
		}
	}
	return nil
}

// command is a command inside the tree of a system.
func (s *system) command(ctx context.Context, root string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Path = "/usr/bin/env" // in the tree, finds the program there
	cmd.Args = append([]string{"env"}, args...)
	cmd.Dir = "/"
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LC_ALL=C.UTF-8"}
	for _, name := range []string{"http_proxy", "https_proxy"} {
		if value := os.Getenv(name); value != "" {
			cmd.Env = append(cmd.Env, name+"="+value)
		}
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: root}
	cmd.Err = nil // whatever exec found, or not, outside of the tree
	return cmd
}

// writeFiles writes files into a tree. What begins with #! can be run.
func writeFiles(root string, files map[string]string) error {
	for name, text := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		mode := fs.FileMode(0o644)
		if strings.HasPrefix(text, "#!") {
			mode = 0o755
		}
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			return err
		}
	}
	return nil
}
