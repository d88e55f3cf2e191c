package confine

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// given has the test binary be a process that confines itself and then tries
// what it must not do.
const given = "BACKSCATTERD_TEST_RIGHTS"

func TestMain(m *testing.M) {
	text := os.Getenv(given)
	if text == "" {
		os.Exit(m.Run())
	}
	var r Rights
	if err := json.Unmarshal([]byte(text), &r); err != nil {
		panic(err)
	}
	state, entered := Entered()
	if !entered {
		fmt.Fprintln(os.Stderr, Enter(r))
		os.Exit(1)
	}
	state.Seal(r.Network)
	if _, again := Entered(); again {
		panic("the note was not taken away")
	}
	json.NewEncoder(os.Stdout).Encode(tried{state, tryAll(os.Args[1])})
}

type tried struct {
	State    State
	Outcomes map[string]string // "" where it worked
}

// tryAll tries everything, on folders read, list, change and other of dir.
func tryAll(dir string) map[string]string {
	out := make(map[string]string)
	try := func(what string, err error) {
		var errno unix.Errno
		switch {
		case err == nil:
			out[what] = ""
		case errors.As(err, &errno):
			out[what] = unix.ErrnoName(errno)
		default:
			out[what] = err.Error()
		}
	}
	path := func(names ...string) string { return filepath.Join(append([]string{dir}, names...)...) }
	write := func(name string) error {
		f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
		if err == nil {
			f.Close()
		}
		return err
	}
	for _, folder := range []string{"read", "list", "change", "other"} {
		_, err := os.ReadFile(path(folder, "file"))
		try("read in "+folder, err)
		try("write in "+folder, write(path(folder, "file")))
		try("make in "+folder, write(path(folder, "new")))
		_, err = os.ReadDir(path(folder))
		try("list "+folder, err)
	}
	try("move between", os.Rename(path("change", "new"), path("change2", "new")))
	try("link out", os.Link(path("change2", "new"), path("other", "linked")))
	try("remove", os.Remove(path("change2", "new")))
	try("device", unix.Mknod(path("change", "null"), unix.S_IFCHR|0o666, 0x103))
	try("run", unix.Exec("/bin/true", []string{"true"}, nil))
	try("signal the parent", unix.Kill(os.Getppid(), 0))
	_, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	try("internet socket", err)
	for _, port := range []string{os.Args[2], os.Args[3]} {
		ln, err := net.Listen("tcp4", "127.0.0.1:"+port)
		if err == nil {
			ln.Close()
		}
		try("listen on "+port, err)
	}
	_, err = net.Dial("tcp4", "127.0.0.1:"+os.Args[4])
	try("connect", err)
	_, err = unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	try("unix socket", err)
	try("mount", unix.Mount("none", path("change"), "tmpfs", 0, ""))
	try("unshare", unix.Unshare(unix.CLONE_NEWUSER))
	try("setuid", unix.Setuid(1))
	try("setns", unix.Setns(0, 0))
	_, _, errno := unix.Syscall(unix.SYS_BPF, 0, 0, 0)
	try("bpf", errno)
	_, _, errno = unix.Syscall(unix.SYS_CLONE, unix.CLONE_NEWUSER|uintptr(unix.SIGCHLD), 0, 0)
	try("clone a namespace", errno)
	try("chown", os.Chown(path("change", "file"), 1, 1))
	try("chroot", unix.Chroot("/"))
	status, err := os.ReadFile("/proc/self/status")
	try("own status", err)
	for line := range strings.Lines(string(status)) {
		if name, value, _ := strings.Cut(line, ":"); slices.Contains([]string{"CapEff", "CapBnd", "CapInh", "NoNewPrivs", "Seccomp"}, name) {
			out[name] = strings.TrimSpace(value)
		}
	}
	return out
}

// confined runs the process with these rights.
func confined(t *testing.T, r Rights, dir string, args ...string) tried {
	t.Helper()
	for _, name := range []string{"read", "list", "change", "change2", "other"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name, "file"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/proc/self/exe", append([]string{dir}, args...)...)
	cmd.Env = append(os.Environ(), given+"="+string(text))
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v: %s", err, &stderr)
	}
	var got tried
	if err := json.Unmarshal(stdout.Bytes(), &got); err != nil {
		t.Fatalf("%v: %s%s", err, &stdout, &stderr)
	}
	t.Logf("the kernel gave: landlock version %d, seccomp %v; missing: %q", got.State.Landlock, got.State.Seccomp, got.State.Missing)
	return got
}

// What a confined process can still do is what its rights name. What the kernel
// lacks cannot be shown, and is said in the log.
func TestConfined(t *testing.T) {
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	_, reachable, _ := net.SplitHostPort(ln.Addr().String())
	for _, network := range []bool{false, true} {
		t.Run(fmt.Sprintf("network %v", network), func(t *testing.T) {
			dir := t.TempDir()
			r := Rights{Read: []string{filepath.Join(dir, "read"), "/proc/self"}, List: []string{filepath.Join(dir, "list")}, Change: []string{filepath.Join(dir, "change"), filepath.Join(dir, "change2"), filepath.Join(dir, "absent")},
				Network: network, Keep: []int{unix.CAP_CHOWN}}
			const mine, others = "20111", "20112"
			if network {
				r.Bind = []uint16{20111}
			}
			got := confined(t, r, dir, mine, others, reachable)
			want := map[string]string{"write in change": "", "read in change": "", "make in change": "", "remove": "", "unix socket": "", "read in read": ""}
			if got.State.Landlock > 0 {
				for what, outcome := range map[string]string{
					"write in read": "EACCES", "make in read": "EACCES", "list read": "", "list other": "EACCES",
					"list list": "", "read in list": "EACCES", "write in list": "EACCES", "make in list": "EACCES", "read in other": "EACCES",
					"write in other": "EACCES", "make in other": "EACCES", "move between": "", "link out": "EACCES", "own status": "",
				} {
					want[what] = outcome
				}
				if network && got.State.Landlock >= 4 {
					want["listen on "+mine], want["listen on "+others], want["connect"] = "", "EACCES", "EACCES"
				}
				if got.State.Landlock >= 6 {
					want["signal the parent"] = "EPERM"
				}
			}
			if got.State.Seccomp {
				for _, what := range []string{"run", "device", "mount", "unshare", "setuid", "setns", "bpf", "clone a namespace", "chroot"} {
					want[what] = "EPERM"
				}
				want["Seccomp"], want["internet socket"] = "2", map[bool]string{true: "", false: "EAFNOSUPPORT"}[network]
			}
			want["NoNewPrivs"], want["CapInh"] = "1", "0000000000000000"
			if os.Geteuid() == 0 {
				want["CapEff"], want["CapBnd"], want["chown"] = "0000000000000001", "0000000000000001", ""
			}
			for what, outcome := range want {
				if got.Outcomes[what] != outcome {
					t.Errorf("%s: %q, want %q", what, got.Outcomes[what], outcome)
				}
			}
		})
	}
}

// Unconfined, everything that is tried works or fails for another reason: else
// the test above shows nothing.
func TestUnconfined(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("this test needs root")
	}
	if err := exec.Command("/bin/true").Run(); err != nil {
		t.Error(err)
	}
	if fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0); err != nil {
		t.Error(err)
	} else {
		unix.Close(fd)
	}
	dir := t.TempDir()
	if err := unix.Mknod(filepath.Join(dir, "null"), unix.S_IFCHR|0o666, 0x103); err != nil {
		t.Error(err)
	}
	if err := unix.Mount("none", dir, "tmpfs", 0, ""); err != nil {
		t.Error(err)
	} else if err := unix.Unmount(dir, 0); err != nil {
		t.Error(err)
	}
}

// A note of another process means nothing.
func TestAnothersNote(t *testing.T) {
	for _, note := range []string{"1\n7\n0", "", "x", fmt.Sprint(os.Getpid())} {
		t.Setenv(variable, note)
		if s, yes := Entered(); yes {
			t.Errorf("%q was taken for ours: %+v", note, s)
		}
		if _, set := os.LookupEnv(variable); set {
			t.Errorf("%q is still there", note)
		}
	}
}

func TestLacks(t *testing.T) {
	has := Rights{Read: []string{"/etc"}, List: []string{"/var"}, Change: []string{"/q"}, Connect: []uint16{25}, Bind: []uint16{8890}, Keep: []int{unix.CAP_CHOWN}}
	got := has.Lacks(Rights{
		Read: []string{"/etc", "/q", "/usr"}, List: []string{"/var", "/etc", "/q", "/srv"}, Change: []string{"/q", "/etc"}, Connect: []uint16{25, 53}, Bind: []uint16{8890, 9780},
		Network: true, Keep: []int{unix.CAP_CHOWN, unix.CAP_NET_BIND_SERVICE},
	})
	if want := []string{"to change /etc", "to read /usr", "to list /srv", "to connect to port 53", "to listen on port 9780", "to use the network", "capability 10, see capabilities(7)"}; !slices.Equal(got, want) {
		t.Errorf("lacks %q, want %q", got, want)
	}
	if got := has.Lacks(has); len(got) > 0 {
		t.Errorf("of what it has, it lacks %q", got)
	}
}
