//go:build linux && amd64

package inject

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

func (t *tracee) setNumber(tid int, nr int64) error {
	var regs unix.PtraceRegs
	if err := unix.PtraceGetRegs(tid, &regs); err != nil {
		return err
	}
	regs.Orig_rax = uint64(nr)
	return unix.PtraceSetRegs(tid, &regs)
}

func (t *tracee) setResult(tid int, result int64) error {
	var regs unix.PtraceRegs
	if err := unix.PtraceGetRegs(tid, &regs); err != nil {
		return err
	}
	regs.Rax = uint64(result)
	return unix.PtraceSetRegs(tid, &regs)
}

// descriptor is what a descriptor of the program has open, as /proc names it.
func (t *tracee) descriptor(tid int, fd uint64) string {
	name := fmt.Sprintf("/proc/%d/fd/%d", tid, int32(fd))
	if int32(fd) == unix.AT_FDCWD {
		name = fmt.Sprintf("/proc/%d/cwd", tid)
	}
	path, err := os.Readlink(name)
	if err != nil {
		return ""
	}
	return strings.TrimSuffix(path, " (deleted)")
}

// writable tells whether a descriptor was opened for writing.
func (t *tracee) writable(tid int, fd uint64) bool {
	info, err := os.ReadFile(fmt.Sprintf("/proc/%d/fdinfo/%d", tid, int32(fd)))
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(info), "flags:\t")
	text, _, _ := strings.Cut(rest, "\n")
	flags, err := strconv.ParseUint(text, 8, 64)
	return err == nil && flags&unix.O_ACCMODE != unix.O_RDONLY
}

// text reads a string of the program's memory.
func (t *tracee) text(at uintptr) (string, error) {
	var out []byte
	for len(out) < unix.PathMax {
		// Not beyond the page, the next may be none.
		buf := make([]byte, min(256, 4096-int(at)%4096))
		n, err := t.read(at, buf)
		if err != nil {
			return "", fmt.Errorf("read a path: %w", err)
		}
		if i := bytes.IndexByte(buf[:n], 0); i >= 0 {
			return string(append(out, buf[:i]...)), nil
		}
		out = append(out, buf[:n]...)
		at += uintptr(n)
	}
	return string(out), nil
}

func (t *tracee) word(at uintptr) (uint64, error) {
	var buf [8]byte
	_, err := t.read(at, buf[:])
	return *(*uint64)(unsafe.Pointer(&buf)), err
}

func (t *tracee) read(at uintptr, buf []byte) (int, error) {
	return unix.ProcessVMReadv(t.pid,
		[]unix.Iovec{{Base: &buf[0], Len: uint64(len(buf))}},
		[]unix.RemoteIovec{{Base: at, Len: len(buf)}}, 0)
}
