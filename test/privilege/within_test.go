//go:build linux && amd64

package privilege

import (
	"errors"
	"fmt"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// within stops one thread of a process, has it make system calls, and lets it go
// on where it was. The goroutine that calls it is bound to its thread for good.
type within struct {
	tid    int
	before unix.PtraceRegs
	page   uintptr // memory of the process for what the calls point to
	used   uintptr
}

const pageSize = 4096

// enter stops the main thread of a process in the midst of a system call.
func enter(pid int) (*within, error) {
	runtime.LockOSThread()
	w := &within{tid: pid}
	if err := unix.PtraceSeize(pid); err != nil {
		return nil, fmt.Errorf("stop process %d: %w (needs root)", pid, err)
	}
	for range 3000 {
		if err := unix.PtraceInterrupt(pid); err != nil {
			return nil, err
		}
		if err := w.wait(); err != nil {
			return nil, err
		}
		if err := unix.PtraceGetRegs(pid, &w.before); err != nil {
			return nil, err
		}
		var code [2]byte
		if _, err := unix.PtracePeekText(pid, uintptr(w.before.Rip-2), code[:]); err == nil && code == [2]byte{0x0f, 0x05} {
			return w, w.allocate()
		}
		if err := unix.PtraceCont(pid, 0); err != nil { // it was busy
			return nil, err
		}
		time.Sleep(10 * time.Millisecond)
	}
	return nil, errors.New("it is never in a system call")
}

// wait waits until the thread has stopped. Signals are not passed on.
func (w *within) wait() error {
	var ws unix.WaitStatus
	for {
		_, err := unix.Wait4(w.tid, &ws, unix.WALL, nil)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return err
		case !ws.Stopped():
			return fmt.Errorf("the process has ended: %v", syscall.WaitStatus(ws))
		}
		return nil
	}
}

func (w *within) allocate() error {
	at, errno := w.call(unix.SYS_MMAP, 0, pageSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS, ^uintptr(0), 0)
	if errno != 0 {
		return fmt.Errorf("memory of the process: %w", errno)
	}
	w.page = at
	return nil
}

// put writes something into the process's memory, for a call to point to.
func (w *within) put(data []byte) (at uintptr) {
	at = w.page + w.used
	if w.used += uintptr(len(data)+15) &^ 15; w.used > pageSize {
		panic("the page is full")
	}
	if _, err := unix.PtracePokeData(w.tid, at, data); err != nil {
		panic(err)
	}
	return at
}

func (w *within) text(s string) uintptr { return w.put(append([]byte(s), 0)) }

// call has the thread make a system call and returns what the kernel said.
func (w *within) call(nr uintptr, args ...uintptr) (result uintptr, errno unix.Errno) {
	regs := w.before
	regs.Rip -= 2 // the instruction syscall once more
	regs.Rax, regs.Orig_rax = uint64(nr), ^uint64(0)
	for i, to := range []*uint64{&regs.Rdi, &regs.Rsi, &regs.Rdx, &regs.R10, &regs.R8, &regs.R9} {
		*to = 0
		if i < len(args) {
			*to = uint64(args[i])
		}
	}
	err := unix.PtraceSetRegs(w.tid, &regs)
	for range 2 { // to its entry, and to its end
		if err == nil {
			err = unix.PtraceSyscall(w.tid, 0)
		}
		if err == nil {
			err = w.wait()
		}
	}
	if err == nil {
		err = unix.PtraceGetRegs(w.tid, &regs)
	}
	if err != nil {
		panic(fmt.Sprintf("system call %d within process %d: %v", nr, w.tid, err))
	}
	if r := int64(regs.Rax); r < 0 && r > -pageSize {
		return 0, unix.Errno(-r)
	}
	return uintptr(regs.Rax), 0
}

// open tells how an openat of the path ends, and closes what it opened.
func (w *within) open(path string, flags int) unix.Errno {
	dirfd := unix.AT_FDCWD
	fd, errno := w.call(unix.SYS_OPENAT, uintptr(dirfd), w.text(path), uintptr(flags|unix.O_CLOEXEC))
	if errno == 0 {
		w.call(unix.SYS_CLOSE, fd)
	}
	return errno
}

func (w *within) socket(family, kind, protocol int) unix.Errno {
	fd, errno := w.call(unix.SYS_SOCKET, uintptr(family), uintptr(kind|unix.SOCK_CLOEXEC), uintptr(protocol))
	if errno == 0 {
		w.call(unix.SYS_CLOSE, fd)
	}
	return errno
}

// internet makes a socket and binds or connects it to a port of 127.0.0.1.
func (w *within) internet(nr uintptr, port int) unix.Errno {
	fd, errno := w.call(unix.SYS_SOCKET, unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if errno != 0 {
		return errno
	}
	address := make([]byte, 16)
	address[0], address[2], address[3], address[4], address[7] = unix.AF_INET, byte(port>>8), byte(port), 127, 1
	_, errno = w.call(nr, fd, w.put(address), 16)
	w.call(unix.SYS_CLOSE, fd)
	return errno
}

// leave lets the thread go on. A call that was interrupted reports that, as for a
// signal, and is made again by who has made it.
func (w *within) leave() error {
	w.call(unix.SYS_MUNMAP, w.page, pageSize)
	after := w.before
	if r := int64(after.Rax); r <= -512 && r >= -516 { // ERESTARTSYS and the like
		interrupted := int64(unix.EINTR)
		after.Rax = uint64(-interrupted)
	}
	after.Orig_rax = ^uint64(0)
	return errors.Join(unix.PtraceSetRegs(w.tid, &after), unix.PtraceDetach(w.tid))
}
