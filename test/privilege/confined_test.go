//go:build linux && amd64

package privilege

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// kernel is what the kernel gives, as the daemon says.
type kernel struct {
	landlock int
	seccomp  bool
}

var confinedLine = regexp.MustCompile(`msg=confined landlock=(\d+) seccomp=(\w+)`)

func (d *daemon) kernel() (k kernel) {
	d.t.Helper()
	m := confinedLine.FindStringSubmatch(d.says("msg=confined landlock="))
	if m == nil {
		d.t.Fatal("the daemon does not say how it is confined")
	}
	k.landlock, _ = strconv.Atoi(m[1])
	k.seccomp = m[2] == "true"
	if k.landlock == 0 || !k.seccomp {
		d.t.Logf("THIS KERNEL LACKS landlock (%v) or seccomp (%v): WHAT THEY WITHHOLD IS NOT SHOWN HERE", k.landlock == 0, !k.seccomp)
	}
	return k
}

// need is what has to be there for a call to be refused.
type need int

const (
	landlock    need = iota
	landlockNet      // version 4
	seccomp
	modes // nothing: ordinary modes and users do
)

func (k kernel) has(n need) bool {
	switch n {
	case landlock:
		return k.landlock > 0
	case landlockNet:
		return k.landlock >= 4
	case seccomp:
		return k.seccomp
	}
	return true
}

// attempt is a call that a confined half must not be able to make.
type attempt struct {
	what string
	need need
	want unix.Errno
	// free is how it ends where it is not confined.
	free unix.Errno
	try  func(w *within) unix.Errno
}

// forbidden are calls that both halves must not be able to make. uid tells what
// an unconfined daemon of that user is refused anyway.
func (s *site) forbidden(uid uint32) []attempt {
	whereRoot := func(errno unix.Errno) unix.Errno {
		if uid == 0 {
			return 0
		}
		return errno
	}
	bare := func(nr uintptr, args ...uintptr) func(*within) unix.Errno {
		return func(w *within) unix.Errno { _, errno := w.call(nr, args...); return errno }
	}
	return []attempt{
		{"read a file elsewhere", landlock, unix.EACCES, 0, func(w *within) unix.Errno { return w.open(s.plain, unix.O_RDONLY) }},
		{"list a folder elsewhere", landlock, unix.EACCES, 0, func(w *within) unix.Errno { return w.open(filepath.Dir(s.plain), unix.O_RDONLY|unix.O_DIRECTORY) }},
		{"read a file beside the queue", landlock, unix.EACCES, 0, func(w *within) unix.Errno {
			return w.open(filepath.Join(s.dir, "spool", "others"), unix.O_RDONLY)
		}},
		// Not one that there is: where it is not refused, it would end the daemon.
		{"run a program", seccomp, unix.EPERM, unix.ENOENT, func(w *within) unix.Errno {
			_, errno := w.call(unix.SYS_EXECVE, w.text(filepath.Join(s.dir, "none")), 0, 0)
			return errno
		}},
		{"trace a process", seccomp, unix.EPERM, unix.ESRCH, bare(unix.SYS_PTRACE, unix.PTRACE_ATTACH, 1<<30)},
		{"make a ring", seccomp, unix.EPERM, unix.EFAULT, bare(unix.SYS_IO_URING_SETUP, 1, 0)},
		{"open a namespace", seccomp, unix.EPERM, unix.EINVAL, bare(unix.SYS_UNSHARE, 1<<40)},
		{"mount", seccomp, unix.EPERM, whereRoot(unix.EPERM), func(w *within) unix.Errno {
			_, errno := w.call(unix.SYS_MOUNT, w.text("none"), w.text(filepath.Join(s.dir, "tmp")), w.text("tmpfs"), 0, 0)
			if errno == 0 {
				_, errno = w.call(unix.SYS_UMOUNT2, w.text(filepath.Join(s.dir, "tmp")), 0)
			}
			return errno
		}},
		{"become another user", seccomp, unix.EPERM, 0, bare(unix.SYS_SETUID, uintptr(uid))},
		{"open a raw packet socket", seccomp, unix.EAFNOSUPPORT, whereRoot(unix.EPERM), func(w *within) unix.Errno { return w.socket(unix.AF_PACKET, unix.SOCK_RAW, 0) }},
		{"connect to a port of no concern", landlockNet, unix.EACCES, 0, func(w *within) unix.Errno { return w.internet(unix.SYS_CONNECT, s.answers) }},
		{"listen on a port of no concern", landlockNet, unix.EACCES, 0, func(w *within) unix.Errno { return w.internet(unix.SYS_BIND, s.free) }},
	}
}

// tried has a daemon try all of this and compares the answers.
func (d *daemon) tried(all []attempt, k *kernel) {
	d.t.Helper()
	answers := make(chan []unix.Errno)
	go func() { // its thread is the one that stops the daemon
		defer close(answers)
		w, err := enter(d.cmd.Process.Pid)
		if err != nil {
			d.t.Error(err)
			return
		}
		var got []unix.Errno
		for _, a := range all {
			w.used = 0
			got = append(got, a.try(w))
		}
		if err := w.leave(); err != nil {
			d.t.Errorf("let it go on: %v", err)
		}
		answers <- got
	}()
	got := <-answers
	if got == nil {
		d.t.FailNow()
	}
	shown := 0
	for i, a := range all {
		want := a.free
		if k != nil {
			if !k.has(a.need) {
				continue
			}
			want = a.want
		}
		if shown++; got[i] != want {
			d.t.Errorf("%s: %q, want %q", a.what, got[i].Error(), want.Error())
		}
	}
	d.t.Logf("%d of %d calls were tried within process %d", shown, len(all), d.cmd.Process.Pid)
}

// The milter, as its own user: not the queue, though its modes let everybody in,
// no program, no file that is not its own, no port but its own and the resolver's.
func TestMilterConfined(t *testing.T) {
	s := newSite(t)
	more := fmt.Sprintf("[status]\nlisten = \"127.0.0.1:%d\"\nlisten_milter = \"127.0.0.1:%d\"\n[milter]\nlisten = \"unix:%s/milter.sock\"\nour_domains = [\"ours.example\"]\nkeys = \"%s/keys\"\nledger = \"%s/ledger.db\"\n", s.status, freePort(t), s.state, s.state, s.state)
	sweepers := func(w *within) unix.Errno { return w.internet(unix.SYS_BIND, s.status) }
	all := append(s.forbidden(milterUser),
		attempt{"list the queue", landlock, unix.EACCES, 0, func(w *within) unix.Errno { return w.open(s.queue, unix.O_RDONLY|unix.O_DIRECTORY) }},
		attempt{"read a control file", landlock, unix.EACCES, 0, func(w *within) unix.Errno {
			return w.open(filepath.Join(s.queue, "qf6AO0lZlY014480"), unix.O_RDONLY)
		}},
		attempt{"write to a control file", modes, unix.EACCES, unix.EACCES, func(w *within) unix.Errno {
			return w.open(filepath.Join(s.queue, "qf6AO0lZlY014480"), unix.O_WRONLY)
		}},
		attempt{"listen in the sweeper's place", landlockNet, unix.EACCES, 0, sweepers},
		attempt{"become root", modes, unix.EPERM, unix.EPERM, func(w *within) unix.Errno { _, errno := w.call(unix.SYS_SETUID, 0); return errno }},
		// What it needs, it may.
		attempt{"open its ledger", modes, 0, 0, func(w *within) unix.Errno { return w.open(filepath.Join(s.state, "ledger.db"), unix.O_RDONLY) }},
		attempt{"make an internet socket", modes, 0, 0, func(w *within) unix.Errno { return w.socket(unix.AF_INET, unix.SOCK_DGRAM, 0) }},
	)
	d := s.start("milter", "auto", milterUser, more)
	k := d.kernel()
	d.says("msg=serving")
	d.tried(all, &k)
	d.identity(milterUser, "0000000000000000", k)
	d.ends()
	t.Run("not confined", func(t *testing.T) {
		s.t = t
		d := s.start("milter", "off", milterUser, more)
		d.says("msg=serving")
		d.tried(all, nil)
		d.ends()
	})
}

// The sweeper, as root: no network at all, no program, nothing but its folders,
// three capabilities; and it does its work, by the deputy where that is sendmail's.
func TestSweeperConfined(t *testing.T) {
	s := newSite(t)
	ran := filepath.Join(s.dir, "tmp", "ran")
	s.must(os.WriteFile(filepath.Join(s.dir, "sendmail"), []byte("#!/bin/sh\necho \"$@\" >> "+ran+"\n"), 0o755))
	const more = "[sweep]\nschedule = \"@every 1s\"\nmax_share = 1.0\n[bounce]\nhost = \"mx.lab.example\"\n" +
		"[[rule]]\nname = \"bounce\"\nwhen = 'sender startsWith \"bounced\"'\ndo = \"bounce\"\n[[rule]]\nname = \"move\"\nwhen = 'sender startsWith \"moved\"'\n"
	all := s.forbidden(0)
	for i := range all { // what would need a socket first
		if a := &all[i]; a.need == landlockNet {
			a.need, a.want = seccomp, unix.EAFNOSUPPORT
		}
	}
	for name, family := range map[string]int{"IPv4": unix.AF_INET, "IPv6": unix.AF_INET6, "netlink": unix.AF_NETLINK} {
		all = append(all, attempt{"make a socket of " + name, seccomp, unix.EAFNOSUPPORT, 0, func(w *within) unix.Errno { return w.socket(family, unix.SOCK_DGRAM, 0) }})
	}
	all = append(all,
		attempt{"set the clock", seccomp, unix.EPERM, unix.EFAULT, func(w *within) unix.Errno { _, errno := w.call(unix.SYS_CLOCK_SETTIME, 0, 0); return errno }},
		// What it needs, it may.
		attempt{"list the queue", modes, 0, 0, func(w *within) unix.Errno { return w.open(s.queue, unix.O_RDONLY|unix.O_DIRECTORY) }},
		attempt{"write to a control file", modes, 0, 0, func(w *within) unix.Errno {
			return w.open(filepath.Join(s.queue, "qf6AO0lZlY014480"), unix.O_RDWR)
		}},
		attempt{"make a unix socket", modes, 0, 0, func(w *within) unix.Errno { return w.socket(unix.AF_UNIX, unix.SOCK_STREAM, 0) }},
	)
	d := s.start("sweep", "auto", 0, more)
	k := d.kernel()
	d.says("msg=serving")
	d.tried(all, &k)
	d.identity(0, "000000000000000b", k) // CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_FOWNER
	s.letter("6AO0lZlY014481", "moved@customer.example")
	s.letter("6AO0lZlY014482", "bounced@customer.example")
	d.says("6AO0lZlY014481")
	d.says("bounce settled")
	moved, _ := filepath.Glob(filepath.Join(s.dir, "spool", "removed", "2*", "qf*"))
	if left, err := filepath.Glob(filepath.Join(s.queue, "qf*")); err != nil || len(left) != 1 || len(moved) != 2 {
		t.Errorf("in the queue %v, in the store %v", left, moved)
	}
	if args, err := os.ReadFile(ran); err != nil || !strings.Contains(string(args), "<bounced@customer.example>") {
		t.Errorf("sendmail was run with %q, %v", args, err)
	}
	d.ends()
	t.Run("not confined", func(t *testing.T) {
		s.t = t
		d := s.start("sweep", "off", 0, more)
		d.says("msg=serving")
		d.tried(all, nil)
		d.ends()
	})
}

// identity looks at what the kernel says of each thread of the daemon.
func (d *daemon) identity(uid int, capabilities string, k kernel) {
	d.t.Helper()
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", d.cmd.Process.Pid))
	if err != nil || len(tasks) == 0 {
		d.t.Fatalf("threads: %v, %v", tasks, err)
	}
	id := fmt.Sprint(uid)
	want := map[string]string{"Uid": strings.Join(slices.Repeat([]string{id}, 4), "\t"), "Gid": strings.Join(slices.Repeat([]string{id}, 4), "\t"), "NoNewPrivs": "1", "CapEff": capabilities, "CapPrm": capabilities, "CapAmb": "0000000000000000", "CapInh": "0000000000000000"}
	if uid == 0 {
		want["CapBnd"] = capabilities
	}
	if k.seccomp {
		want["Seccomp"] = "2"
	}
	for _, task := range tasks {
		text, err := os.ReadFile(task)
		if err != nil {
			continue // it has ended
		}
		for name, value := range want {
			if got := field(string(text), name); got != value {
				d.t.Errorf("%s: %s is %q, want %q", task, name, got, value)
			}
		}
	}
}
