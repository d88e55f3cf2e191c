package packaging

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
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

// machine is a booted Debian: systemd as process 1 of namespaces of its own, on
// an overlay of this machine's files. What is done in it is gone with it.
type machine struct {
	t    *testing.T
	pid  int    // of its process 1
	root string // its files, as seen from here
}

// bootScript makes the root and hands over to systemd. $1 is a folder of ours,
// $2 the folder of a cgroup of ours.
//
// Left out are units that this machine has enabled, as what runs is what a test
// starts, and what images of containers tell dpkg to take from packages, such as
// manuals, and what the program has left on this machine. The host name has a dot, since sendmail waits a minute otherwise. The
// spool lies on a file system as servers have it: on an overlay of two, files and
// their folders are of different devices.
const bootScript = `set -e
echo 0 >"$2/cgroup.procs"
exec unshare --cgroup /bin/sh -ec '
mount --make-rprivate /
mount -t tmpfs tmpfs "$1"
mkdir "$1/up" "$1/work" "$1/root"
mount -t overlay overlay -o lowerdir=/,upperdir="$1/up",workdir="$1/work" "$1/root"
cd "$1/root"
mount -t proc proc proc
mount -t sysfs -o ro sysfs sys
mount -t tmpfs tmpfs sys/fs/cgroup
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs tmpfs run
mount -t tmpfs -o mode=1777 tmpfs tmp
cp -a var/spool "$1"
mount --bind "$1/spool" var/spool
mount -t tmpfs -o mode=755 tmpfs dev
for d in null zero full random urandom tty; do : >dev/$d; mount --bind /dev/$d dev/$d; done
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts dev/pts
mount -t tmpfs -o mode=1777 tmpfs dev/shm
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
rm -rf etc/systemd/system etc/fstab etc/resolv.conf etc/dpkg/dpkg.cfg.d var/lib/man-db/auto-update usr/sbin/policy-rc.d
rm -rf etc/backscatterd var/lib/backscatterd var/log/backscatterd
mkdir etc/systemd/system
ln -s /lib/systemd/system/basic.target etc/systemd/system/default.target
echo mx.lab.example >etc/hostname
printf "127.0.0.1 localhost mx.lab.example mx\n127.0.0.2 away.example\n" >etc/hosts
printf "passwd: files\ngroup: files\nshadow: files\nhosts: files\n" >etc/nsswitch.conf
: >etc/machine-id
hostname mx.lab.example
mkdir .old
pivot_root . .old
umount -l /.old
rmdir /.old
exec env -i container=lab PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --system --show-status=false --log-target=journal </dev/null
' boot "$1"
`

// bootTime bounds the start of the machine.
const bootTime = 2 * time.Minute

// boot starts a machine that ends with the test.
func boot(t *testing.T) *machine {
	t.Helper()
	require(t)
	dir := t.TempDir()
	group := cgroup(t)
	cmd := exec.Command("/bin/sh", "-c", bootScript, "boot", dir, group)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWNET | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC,
		Setsid:     true,
	}
	ended, err := lab.StartTied(cmd)
	if err != nil {
		t.Fatalf("making namespaces to boot a Debian in: %v (needs root with CAP_SYS_ADMIN; in a container, start it privileged)", err)
	}
	m := &machine{t: t, pid: cmd.Process.Pid, root: fmt.Sprintf("/proc/%d/root", cmd.Process.Pid)}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // the kernel ends all of its processes with it
		<-ended
	})
	for limit := time.Now().Add(bootTime); ; time.Sleep(100 * time.Millisecond) {
		select {
		case <-ended:
			t.Fatalf("the machine did not boot (overlayfs, a cgroup and Debian's systemd are needed): %s", said.String())
		default:
		}
		// It says "degraded" where something that no test needs cannot run here.
		if state, _ := m.try("systemctl", "is-system-running"); strings.HasPrefix(state, "running") || strings.HasPrefix(state, "degraded") {
			return m
		}
		if time.Now().After(limit) {
			state, _ := m.try("systemctl", "list-jobs")
			t.Fatalf("the machine has not booted within %s: %s\n%s", bootTime, state, said.String())
		}
	}
}

// require fails where the machine under the test lacks something.
func require(t *testing.T) {
	t.Helper()
	var missing []string
	for _, p := range []string{"/lib/systemd/systemd", "/usr/bin/dpkg-deb", "/usr/sbin/adduser", "/usr/libexec/sendmail/sendmail", "/usr/bin/man", "/usr/bin/groff", "/usr/bin/pgrep",
		"/usr/sbin/logrotate", "/usr/bin/zsh", "/usr/bin/fish", "/usr/bin/make", "/usr/bin/m4", "/etc/mail/sendmail.mc"} {
		if _, err := os.Stat(p); err != nil {
			missing = append(missing, p)
		}
	}
	if len(missing) > 0 {
		t.Fatalf("these tests boot a Debian with sendmail, and this machine lacks %s: run test/deps.sh (as make test does)", strings.Join(missing, ", "))
	}
	if os.Geteuid() != 0 {
		t.Fatal("these tests make namespaces and install packages in them: run them as root")
	}
}

// cgroup makes a group of our own for the machine's systemd.
func cgroup(t *testing.T) string {
	t.Helper()
	top, err := os.MkdirTemp("", "backscatterd-cgroup-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Remove(top) })
	if err := unix.Mount("cgroup2", top, "cgroup2", 0, ""); err != nil {
		t.Fatalf("mounting cgroup2: %v (needs root with CAP_SYS_ADMIN; in a container, start it privileged)", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(top, unix.MNT_DETACH); err != nil {
			t.Errorf("unmount %s: %v", top, err)
		}
	})
	group := filepath.Join(top, filepath.Base(top))
	if err := os.Mkdir(group, 0o755); err != nil {
		t.Fatalf("making a cgroup: %v (in a container, start it privileged)", err)
	}
	t.Cleanup(func() {
		var last error
		for range 1200 { // its processes are gone in a moment
			if last = removeGroups(group); last == nil {
				return
			}
			time.Sleep(50 * time.Millisecond)
		}
		t.Errorf("the cgroup of the machine stays: %v", last)
	})
	return group
}

func removeGroups(group string) error {
	var all []string
	err := filepath.WalkDir(group, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			all = append(all, path)
		}
		return err
	})
	for i := len(all) - 1; err == nil && i >= 0; i-- {
		err = unix.Rmdir(all[i])
	}
	return err
}

// commandTime bounds one command in the machine.
const commandTime = 2 * time.Minute

// try runs a command in the machine. What it prints is one text.
func (m *machine) try(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), commandTime)
	defer cancel()
	enter := []string{"--target", fmt.Sprint(m.pid), "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--root", "--wd", "--",
		"env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LANG=C.UTF-8", "SYSTEMD_PAGER=", "DEBIAN_FRONTEND=noninteractive"}
	cmd := exec.CommandContext(ctx, "nsenter", append(enter, args...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second // a daemon that it leaves behind keeps the output open
	out, err := cmd.CombinedOutput()
	if errors.Is(err, exec.ErrWaitDelay) {
		err = nil
	}
	return string(out), err
}

// run is a command that has to do what it is told.
func (m *machine) run(args ...string) string {
	m.t.Helper()
	out, err := m.try(args...)
	if err != nil {
		m.t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// sh is the same for a line of the shell.
func (m *machine) sh(script string) string {
	m.t.Helper()
	return m.run("sh", "-ec", script)
}

// put copies a file into the machine's /tmp, and returns its path there.
func (m *machine) put(file string) string {
	m.t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		m.t.Fatal(err)
	}
	return m.write("/tmp/"+filepath.Base(file), string(data))
}

// write makes a file in the machine. No folder on its way may be a link.
func (m *machine) write(path, text string) string {
	m.t.Helper()
	if err := os.WriteFile(m.root+path, []byte(text), 0o644); err != nil {
		m.t.Fatal(err)
	}
	return path
}

// until waits for what a command says.
func (m *machine) until(want string, args ...string) string {
	m.t.Helper()
	var out string
	for limit := time.Now().Add(commandTime); time.Now().Before(limit); time.Sleep(100 * time.Millisecond) {
		if out, _ = m.try(args...); strings.Contains(out, want) {
			return out
		}
	}
	m.t.Fatalf("%s: no %q within %s:\n%s", strings.Join(args, " "), want, commandTime, out)
	return ""
}

// property is one of a unit's.
func (m *machine) property(unit, name string) string {
	m.t.Helper()
	return strings.TrimSpace(m.run("systemctl", "show", "--value", "-p", name, unit))
}

// journal is what a unit has said.
func (m *machine) journal(unit string) string {
	m.t.Helper()
	return m.run("journalctl", "--no-pager", "-o", "cat", "-u", unit)
}
