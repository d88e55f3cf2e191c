// Package confine takes from the daemon, before it works, what it does not need:
// so a fault in it, met by a hostile message, reaches no further than its own
// folders.
//
// A confined process
//   - gains no rights by running a program (no_new_privs), and runs none:
//     execve fails;
//   - reads and changes what its Rights name and nothing else (landlock), binds
//     and connects to the TCP ports named there, and signals no other process;
//   - has, where it is root's, no capabilities but those named;
//   - cannot make the system calls that mount, trace, load, change identity or
//     open namespaces, and where it needs no network no sockets but unix ones
//     (seccomp).
//
// io_uring is among what is forbidden. Its requests are made by the kernel and
// pass the filter by: a socket that no system call may open, a ring still could.
// So a confined daemon reads files by plain system calls.
//
// The seccomp filter names what is forbidden, not what is allowed: a call that a
// later Go runtime begins to make must not stop mail. It answers with an error
// and never kills. The systemd units put systemd's list of allowed calls on top.
//
// A process cannot be confined from within once it has threads: landlock holds
// for one thread and what it becomes. So Enter confines one thread and executes
// the program anew from there, under the same process id; the second time it
// finds itself [Entered] and closes the door behind it with [State.Seal].
//
// Where the kernel lacks one of these, the others hold, and State.Missing says
// so.
package confine

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Rights are what a confined process keeps. A path that is not there gives no
// right, also if it is made later.
type Rights struct {
	Read       []string // files, and folders with all that is below
	List       []string // folders: the names of what is below, not the contents
	Change     []string // folders below which everything may be read, made, written, moved and removed
	Bind       []uint16 // TCP ports to listen on
	Connect    []uint16 // TCP ports to connect to
	ConnectAny bool     // it may connect to any TCP port: which ones, only a server tells
	Network    bool     // false: unix sockets are all it can make
	Keep       []int    // capabilities, CAP_CHOWN and so on
}

// Lacks names what others need and r has not.
func (r Rights) Lacks(others Rights) (lacks []string) {
	for _, p := range others.Change {
		if !slices.Contains(r.Change, p) {
			lacks = append(lacks, "to change "+p)
		}
	}
	for _, p := range others.Read {
		if !slices.Contains(r.Read, p) && !slices.Contains(r.Change, p) {
			lacks = append(lacks, "to read "+p)
		}
	}
	for _, p := range others.List {
		if !slices.Contains(r.List, p) && !slices.Contains(r.Read, p) && !slices.Contains(r.Change, p) {
			lacks = append(lacks, "to list "+p)
		}
	}
	for _, p := range others.Connect {
		if !r.ConnectAny && !slices.Contains(r.Connect, p) {
			lacks = append(lacks, fmt.Sprintf("to connect to port %d", p))
		}
	}
	if others.ConnectAny && !r.ConnectAny {
		lacks = append(lacks, "to connect to any port")
	}
	for _, p := range others.Bind {
		if !slices.Contains(r.Bind, p) {
			lacks = append(lacks, fmt.Sprintf("to listen on port %d", p))
		}
	}
	if others.Network && !r.Network {
		lacks = append(lacks, "to use the network")
	}
	for _, c := range others.Keep {
		if !slices.Contains(r.Keep, c) {
			lacks = append(lacks, fmt.Sprintf("capability %d, see capabilities(7)", c))
		}
	}
	return lacks
}

// State is how far a process is confined.
type State struct {
	Landlock int      // version of the kernel's interface, 0 without
	Seccomp  bool     // set by Seal
	Missing  []string // what could not be had, and why
	Files    []int    // descriptors that came along
}

// variable carries the State over the execve, for this process id alone: a
// process that inherits it is not the one.
const variable = "BACKSCATTERD_CONFINED"

// Enter confines this process and executes its program anew, with the same
// arguments. The descriptors stay open. It returns only where it fails; then
// this process is still unconfined.
func Enter(r Rights, files ...int) error {
	self, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return fmt.Errorf("confine: this program's file: %w", err)
	}
	failed := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with an error
		failed <- enter(self, r, files)
	}()
	return fmt.Errorf("confine: %w", <-failed)
}

func enter(self string, r Rights, files []int) error {
	var missing []string
	if err := keepCapabilities(r.Keep); err != nil {
		missing = append(missing, "capabilities: "+err.Error())
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("no_new_privs: %w", err)
	}
	version, err := landlock(self, r)
	if err != nil {
		missing = append(missing, "landlock: "+err.Error())
	}
	note := []string{strconv.Itoa(os.Getpid()), strconv.Itoa(version), fmt.Sprint(len(files))}
	for _, fd := range files {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFD, 0); err != nil {
			return fmt.Errorf("descriptor %d: %w", fd, err)
		}
		note = append(note, strconv.Itoa(fd))
	}
	note = append(note, missing...)
	env := append(os.Environ(), variable+"="+strings.Join(note, "\n"))
	return fmt.Errorf("run %s again: %w", self, unix.Exec(self, os.Args, env))
}

// Entered tells whether this process is one that Enter has confined. It answers
// true once: the note that says so is taken away.
func Entered() (s State, yes bool) {
	note := strings.Split(os.Getenv(variable), "\n")
	os.Unsetenv(variable)
	if len(note) < 3 || note[0] != strconv.Itoa(os.Getpid()) {
		return s, false
	}
	s.Landlock, _ = strconv.Atoi(note[1])
	n, _ := strconv.Atoi(note[2])
	rest := note[3:]
	for range min(n, len(rest)) {
		fd, err := strconv.Atoi(rest[0])
		if err != nil {
			return s, false
		}
		unix.CloseOnExec(fd)
		s.Files, rest = append(s.Files, fd), rest[1:]
	}
	s.Missing = rest
	return s, true
}

// Seal forbids system calls to all threads of this process, for good.
func (s *State) Seal(network bool) {
	if err := seccomp(network); err != nil {
		s.Missing = append(s.Missing, "seccomp: "+err.Error())
		return
	}
	s.Seccomp = true
}

// keepCapabilities bounds what root has after the next execve. A process of
// another user has none then, unless they are ambient.
func keepCapabilities(keep []int) error {
	for c := range 64 {
		if slices.Contains(keep, c) {
			continue
		}
		if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_LOWER, uintptr(c), 0, 0); err != nil && !errors.Is(err, unix.EINVAL) {
			return err
		}
		err := unix.Prctl(unix.PR_CAPBSET_DROP, uintptr(c), 0, 0, 0)
		if errors.Is(err, unix.EPERM) && os.Geteuid() != 0 {
			err = nil
		}
		if err != nil && !errors.Is(err, unix.EINVAL) { // EINVAL: there is no such capability
			return err
		}
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return err
	}
	if data[0].Inheritable|data[1].Inheritable == 0 {
		return nil // a unit's filter of calls may well refuse to set what is so already
	}
	for i := range data {
		data[i].Inheritable = 0
	}
	return unix.Capset(&header, &data[0])
}

func absent(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR)
}
