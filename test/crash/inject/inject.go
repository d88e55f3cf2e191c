//go:build linux && amd64

package inject

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Command is the program to run.
type Command struct {
	Args           []string // Args[0] is its path
	Dir            string
	Env            []string
	Stdout, Stderr *os.File
	// Roots are the folders whose files are looked at.
	Roots []string
}

// What is done at the call that is aimed at.
type What int

const (
	Nothing    What = iota // only record
	KillBefore             // the call is not made
	KillAfter              // the call is made, its result is not seen
	Fail                   // the call is not made (but for a close) and reports Errno
)

// Fault is what happens, and where: at the Nth call, from 1, that Counts.
type Fault struct {
	What   What
	Errno  unix.Errno
	N      int
	Counts func(Call) bool // nil: every call that is no Looks
	// Signal, if set, is asked after each call for a signal to send to the
	// program, 0 being none.
	Signal func(Call) unix.Signal
}

// Record is what a run did.
type Record struct {
	Calls []Call // in the order in which they were begun
	// Hit is the index in Calls of the call that the fault met, -1 if the run
	// ended before.
	Hit    int
	Status syscall.WaitStatus
}

// Run runs the program to its end, or to that which the fault makes of it, and
// waits for the processes that it has started. An error is one of the tracing,
// or of ctx.
func Run(ctx context.Context, cmd Command, fault Fault) (*Record, error) {
	type outcome struct {
		*Record
		error
	}
	done := make(chan outcome)
	go func() {
		// A tracee belongs to the thread that has started it. The thread ends
		// with this goroutine.
		runtime.LockOSThread()
		r, err := run(ctx, cmd, fault)
		done <- outcome{r, err}
	}()
	o := <-done
	return o.Record, o.error
}

// tracee is the program.
type tracee struct {
	what    string
	pid     int
	pidfd   int
	roots   []string
	fault   Fault
	threads map[int]*thread
	started []int // pidfds of processes that it has started
	count   int
	Record
}

// thread is one of its threads, in a call or not.
type thread struct {
	call   int // index in Calls, -1 if it is in none
	counts bool
	hit    bool
}

func run(ctx context.Context, cmd Command, fault Fault) (*Record, error) {
	if fault.Counts == nil {
		fault.Counts = func(c Call) bool { return c.Class != Looks }
	}
	t := &tracee{what: cmd.Args[0], pidfd: -1, roots: cmd.Roots, fault: fault, threads: make(map[int]*thread), Record: Record{Hit: -1}}
	null, err := os.Open(os.DevNull)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	t.pid, err = syscall.ForkExec(cmd.Args[0], cmd.Args, &syscall.ProcAttr{
		Dir: cmd.Dir, Env: cmd.Env, Files: []uintptr{null.Fd(), cmd.Stdout.Fd(), cmd.Stderr.Fd()},
		Sys: &syscall.SysProcAttr{Ptrace: true, Setpgid: true, Pdeathsig: unix.SIGKILL, PidFD: &t.pidfd},
	})
	if err != nil {
		return nil, fmt.Errorf("start %s to be traced: %w (needs root or CAP_SYS_PTRACE)", cmd.Args[0], err)
	}
	defer unix.Close(t.pidfd)
	defer context.AfterFunc(ctx, func() { t.kill() })()
	if err := t.follow(); err != nil {
		t.kill()
		t.drain()
		return nil, fmt.Errorf("trace %s: %w", cmd.Args[0], err)
	}
	return &t.Record, errors.Join(t.awaitStarted(ctx), ctx.Err())
}

func (t *tracee) kill() { _ = unix.PidfdSendSignal(t.pidfd, unix.SIGKILL, nil, 0) }

// wait waits for a thread of the program, or for a process that it has just
// started. They are in a process group of their own. That is asked for, and not
// just any child of this thread: the thread may have started others before, which
// somebody else waits for.
func (t *tracee) wait(ws *unix.WaitStatus) (int, error) {
	return unix.Wait4(-t.pid, ws, unix.WALL|unix.WNOTHREAD, nil)
}

// drain waits for the end of what was killed.
func (t *tracee) drain() {
	for {
		var ws unix.WaitStatus
		pid, err := t.wait(&ws)
		if err == unix.EINTR {
			continue
		}
		if err != nil || pid == t.pid && !ws.Stopped() {
			return
		}
	}
}

// follow goes with the program from its start to its end.
func (t *tracee) follow() error {
	var ws unix.WaitStatus
	if _, err := unix.Wait4(t.pid, &ws, unix.WALL, nil); err != nil {
		return err
	}
	const options = unix.PTRACE_O_TRACESYSGOOD | unix.PTRACE_O_TRACECLONE | unix.PTRACE_O_TRACEFORK |
		unix.PTRACE_O_TRACEVFORK | unix.PTRACE_O_TRACEEXEC | unix.PTRACE_O_EXITKILL
	if err := unix.PtraceSetOptions(t.pid, options); err != nil {
		return err
	}
	t.threads[t.pid] = &thread{call: -1}
	if err := unix.PtraceSyscall(t.pid, 0); err != nil {
		return err
	}
	for {
		tid, err := t.wait(&ws)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return fmt.Errorf("wait: %w", err)
		}
		if !ws.Stopped() {
			if tid == t.pid {
				t.Status = syscall.WaitStatus(ws)
				return nil
			}
			delete(t.threads, tid)
			continue
		}
		if err := t.stopped(tid, ws); err != nil && err != unix.ESRCH { // ESRCH: killed meanwhile
			return err
		}
	}
}

// stopped deals with one stop and lets the thread go on.
func (t *tracee) stopped(tid int, ws unix.WaitStatus) error {
	th := t.threads[tid]
	switch sig := ws.StopSignal(); {
	case th == nil:
		return t.appeared(tid)
	case sig == unix.SIGTRAP|0x80:
		if err := t.call(tid, th); err != nil {
			return err
		}
	case sig == unix.SIGTRAP: // an event; a new thread or process stops itself too
	default:
		return unix.PtraceSyscall(tid, int(sig))
	}
	return unix.PtraceSyscall(tid, 0)
}

// appeared sees a new thread, which is followed, or process, which is not.
func (t *tracee) appeared(tid int) error {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", tid))
	if err != nil {
		return unix.ESRCH
	}
	_, rest, _ := strings.Cut(string(status), "\nTgid:\t")
	tgid, _, _ := strings.Cut(rest, "\n")
	if tgid == strconv.Itoa(t.pid) {
		t.threads[tid] = &thread{call: -1}
		return unix.PtraceSyscall(tid, 0)
	}
	fd, err := unix.PidfdOpen(tid, 0)
	if err != nil {
		return fmt.Errorf("a process that it has started: %w", err)
	}
	t.started = append(t.started, fd)
	return unix.PtraceDetach(tid)
}

// awaitStarted waits for the processes that were started, which may outlive the
// program.
func (t *tracee) awaitStarted(ctx context.Context) error {
	var late error
	for _, fd := range t.started {
		for end := time.Now().Add(time.Minute); ; {
			n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 1000)
			if n > 0 {
				break
			}
			if err != nil && err != unix.EINTR || ctx.Err() != nil || time.Now().After(end) {
				late = fmt.Errorf("a process started by %s has not ended (%v)", t.what, errors.Join(err, ctx.Err()))
				break
			}
		}
		unix.Close(fd)
	}
	return late
}

// syscallInfo is struct ptrace_syscall_info.
type syscallInfo struct {
	op   uint8
	_    [3]uint8
	arch uint32
	ip   uint64
	sp   uint64
	data [8]uint64 // at an entry: number and arguments; at an exit: the result
}

const (
	atEntry = 1
	atExit  = 2
)

func (t *tracee) call(tid int, th *thread) error {
	var info syscallInfo
	_, _, errno := unix.Syscall6(unix.SYS_PTRACE, unix.PTRACE_GET_SYSCALL_INFO, uintptr(tid), unsafe.Sizeof(info), uintptr(unsafe.Pointer(&info)), 0, 0)
	if errno != 0 {
		return errno
	}
	switch info.op {
	case atEntry:
		return t.entry(tid, th, info.data[0], [6]uint64(info.data[1:7]))
	case atExit:
		if th.call >= 0 {
			return t.exit(tid, th, int64(info.data[0]))
		}
	}
	return nil
}

func (t *tracee) entry(tid int, th *thread, nr uint64, args [6]uint64) error {
	c, ok, err := t.decode(tid, nr, args)
	if err != nil || !ok {
		return err
	}
	th.call, th.hit = len(t.Calls), false
	t.Calls = append(t.Calls, c)
	if th.counts = t.fault.Counts(c); !th.counts {
		return nil
	}
	t.count++
	if t.count != t.fault.N || t.fault.What == Nothing {
		return nil
	}
	t.Hit, th.hit = th.call, true
	switch t.fault.What {
	case KillBefore:
		err := t.setNumber(tid, -1)
		t.kill()
		return err
	case Fail:
		if c.Class == Closes { // Linux closes the descriptor, whatever it says
			return nil
		}
		return t.setNumber(tid, -1)
	}
	return nil
}

// Results of calls that a signal has interrupted and that the kernel begins
// again (include/linux/errno.h).
const (
	restartFirst = 512
	restartLast  = 516
)

func (t *tracee) exit(tid int, th *thread, result int64) error {
	c := &t.Calls[th.call]
	th.call = -1
	if th.counts && !th.hit && -result >= restartFirst && -result <= restartLast {
		t.count-- // it comes once more
		return nil
	}
	if th.hit && t.fault.What == Fail {
		c.Errno = t.fault.Errno
		return t.setResult(tid, -int64(t.fault.Errno))
	}
	c.Made = true
	if result < 0 && result > -4096 {
		c.Errno = unix.Errno(-result)
	}
	if th.hit && t.fault.What == KillAfter {
		t.kill()
		return nil
	}
	if t.fault.Signal != nil {
		if sig := t.fault.Signal(*c); sig != 0 {
			return unix.PidfdSendSignal(t.pidfd, sig, nil, 0)
		}
	}
	return nil
}

// setNumber changes the call that is about to be made; -1 is none.
