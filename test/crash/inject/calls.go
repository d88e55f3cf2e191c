//go:build linux && amd64

package inject

import (
	"fmt"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Class is what a call does to files.
type Class int

const (
	Looks   Class = iota // opens for reading, reads, asks
	Locks                // takes a lock
	Closes               // closes what was open for writing
	Changes              // names, contents, attributes, or their being on the disk
	Spawns               // starts a process
)

// Call is one system call that touches files of the test, or starts a process.
type Call struct {
	Name  string
	Class Class
	// Path is what the call names or has open, Path2 its second name if it has
	// one.
	Path, Path2 string
	// Made tells that the kernel was asked, Errno what it or the injection said;
	// 0 is success.
	Made  bool
	Errno unix.Errno
}

func (c Call) String() string {
	s := c.Name + " " + c.Path
	if c.Path2 != "" {
		s += " " + c.Path2
	}
	if c.Errno != 0 {
		s += ": " + c.Errno.Error()
	}
	return s
}

// At tells whether the call touches a path or something below it.
func (c Call) At(root string) bool { return below(c.Path, root) || below(c.Path2, root) }

func below(path, root string) bool {
	return path == root || strings.HasPrefix(path, root+"/")
}

// shape says which arguments of a call are files: fds are descriptors, at are
// pairs of a folder's descriptor and a name, paths are names.
type shape struct {
	name  string
	class Class
	fds   []int
	at    []int // index of the descriptor; the name is the next argument
	paths []int
}

// shapes are the calls that touch files. What is neither here nor in harmless
// makes a run fail, so that none is overlooked.
var shapes = map[uint64]shape{
	unix.SYS_OPENAT:            {name: "openat", at: []int{0}},
	unix.SYS_OPEN:              {name: "open", paths: []int{0}},
	unix.SYS_CREAT:             {name: "creat", class: Changes, paths: []int{0}},
	unix.SYS_READ:              {name: "read", fds: []int{0}},
	unix.SYS_PREAD64:           {name: "pread64", fds: []int{0}},
	unix.SYS_READV:             {name: "readv", fds: []int{0}},
	unix.SYS_GETDENTS64:        {name: "getdents64", fds: []int{0}},
	unix.SYS_FSTAT:             {name: "fstat", fds: []int{0}},
	unix.SYS_STAT:              {name: "stat", paths: []int{0}},
	unix.SYS_LSTAT:             {name: "lstat", paths: []int{0}},
	unix.SYS_NEWFSTATAT:        {name: "newfstatat", at: []int{0}},
	unix.SYS_STATX:             {name: "statx", at: []int{0}},
	unix.SYS_READLINKAT:        {name: "readlinkat", at: []int{0}},
	unix.SYS_READLINK:          {name: "readlink", paths: []int{0}},
	unix.SYS_FACCESSAT:         {name: "faccessat", at: []int{0}},
	unix.SYS_FACCESSAT2:        {name: "faccessat2", at: []int{0}},
	unix.SYS_ACCESS:            {name: "access", paths: []int{0}},
	unix.SYS_WRITE:             {name: "write", class: Changes, fds: []int{0}},
	unix.SYS_PWRITE64:          {name: "pwrite64", class: Changes, fds: []int{0}},
	unix.SYS_WRITEV:            {name: "writev", class: Changes, fds: []int{0}},
	unix.SYS_PWRITEV:           {name: "pwritev", class: Changes, fds: []int{0}},
	unix.SYS_PWRITEV2:          {name: "pwritev2", class: Changes, fds: []int{0}},
	unix.SYS_RENAME:            {name: "rename", class: Changes, paths: []int{0, 1}},
	unix.SYS_RENAMEAT:          {name: "renameat", class: Changes, at: []int{0, 2}},
	unix.SYS_RENAMEAT2:         {name: "renameat2", class: Changes, at: []int{0, 2}},
	unix.SYS_LINK:              {name: "link", class: Changes, paths: []int{0, 1}},
	unix.SYS_LINKAT:            {name: "linkat", class: Changes, at: []int{0, 2}},
	unix.SYS_SYMLINK:           {name: "symlink", class: Changes, paths: []int{1}},
	unix.SYS_SYMLINKAT:         {name: "symlinkat", class: Changes, at: []int{1}},
	unix.SYS_UNLINK:            {name: "unlink", class: Changes, paths: []int{0}},
	unix.SYS_UNLINKAT:          {name: "unlinkat", class: Changes, at: []int{0}},
	unix.SYS_MKDIR:             {name: "mkdir", class: Changes, paths: []int{0}},
	unix.SYS_MKDIRAT:           {name: "mkdirat", class: Changes, at: []int{0}},
	unix.SYS_RMDIR:             {name: "rmdir", class: Changes, paths: []int{0}},
	unix.SYS_MKNOD:             {name: "mknod", class: Changes, paths: []int{0}},
	unix.SYS_MKNODAT:           {name: "mknodat", class: Changes, at: []int{0}},
	unix.SYS_MMAP:              {name: "mmap", class: Changes, fds: []int{4}}, // shared and writable
	unix.SYS_FSYNC:             {name: "fsync", class: Changes, fds: []int{0}},
	unix.SYS_FDATASYNC:         {name: "fdatasync", class: Changes, fds: []int{0}},
	unix.SYS_SYNCFS:            {name: "syncfs", class: Changes, fds: []int{0}},
	unix.SYS_SYNC_FILE_RANGE:   {name: "sync_file_range", class: Changes, fds: []int{0}},
	unix.SYS_FTRUNCATE:         {name: "ftruncate", class: Changes, fds: []int{0}},
	unix.SYS_TRUNCATE:          {name: "truncate", class: Changes, paths: []int{0}},
	unix.SYS_FALLOCATE:         {name: "fallocate", class: Changes, fds: []int{0}},
	unix.SYS_COPY_FILE_RANGE:   {name: "copy_file_range", class: Changes, fds: []int{0, 2}},
	unix.SYS_SENDFILE:          {name: "sendfile", class: Changes, fds: []int{0, 1}},
	unix.SYS_SPLICE:            {name: "splice", class: Changes, fds: []int{0, 2}},
	unix.SYS_CHMOD:             {name: "chmod", class: Changes, paths: []int{0}},
	unix.SYS_FCHMOD:            {name: "fchmod", class: Changes, fds: []int{0}},
	unix.SYS_FCHMODAT:          {name: "fchmodat", class: Changes, at: []int{0}},
	unix.SYS_CHOWN:             {name: "chown", class: Changes, paths: []int{0}},
	unix.SYS_LCHOWN:            {name: "lchown", class: Changes, paths: []int{0}},
	unix.SYS_FCHOWN:            {name: "fchown", class: Changes, fds: []int{0}},
	unix.SYS_FCHOWNAT:          {name: "fchownat", class: Changes, at: []int{0}},
	unix.SYS_UTIMENSAT:         {name: "utimensat", class: Changes, at: []int{0}},
	unix.SYS_UTIME:             {name: "utime", class: Changes, paths: []int{0}},
	unix.SYS_UTIMES:            {name: "utimes", class: Changes, paths: []int{0}},
	unix.SYS_SETXATTR:          {name: "setxattr", class: Changes, paths: []int{0}},
	unix.SYS_FSETXATTR:         {name: "fsetxattr", class: Changes, fds: []int{0}},
	unix.SYS_FLOCK:             {name: "flock", class: Locks, fds: []int{0}},
	unix.SYS_FCNTL:             {name: "fcntl", fds: []int{0}},
	unix.SYS_CLOSE:             {name: "close", fds: []int{0}},
	unix.SYS_CLONE:             {name: "clone", class: Spawns},
	unix.SYS_CLONE3:            {name: "clone3", class: Spawns},
	unix.SYS_FORK:              {name: "fork", class: Spawns},
	unix.SYS_VFORK:             {name: "vfork", class: Spawns},
	unix.SYS_NAME_TO_HANDLE_AT: {name: "name_to_handle_at", at: []int{0}},
}

// harmless are calls that change no file.
var harmless = func() map[uint64]bool {
	m := make(map[uint64]bool)
	for _, nr := range []uint64{
		unix.SYS_MPROTECT, unix.SYS_MUNMAP, unix.SYS_BRK, unix.SYS_MADVISE, unix.SYS_MREMAP, unix.SYS_MINCORE,
		unix.SYS_RT_SIGACTION, unix.SYS_RT_SIGPROCMASK, unix.SYS_RT_SIGRETURN, unix.SYS_SIGALTSTACK, unix.SYS_TGKILL, unix.SYS_KILL, unix.SYS_RT_SIGTIMEDWAIT,
		unix.SYS_FUTEX, unix.SYS_SCHED_YIELD, unix.SYS_SCHED_GETAFFINITY, unix.SYS_NANOSLEEP, unix.SYS_CLOCK_NANOSLEEP, unix.SYS_CLOCK_GETTIME, unix.SYS_GETTIMEOFDAY, unix.SYS_TIME,
		unix.SYS_TIMER_CREATE, unix.SYS_TIMER_SETTIME, unix.SYS_TIMER_DELETE, unix.SYS_SETITIMER, unix.SYS_ALARM,
		unix.SYS_EPOLL_CREATE1, unix.SYS_EPOLL_CTL, unix.SYS_EPOLL_PWAIT, unix.SYS_EPOLL_WAIT, unix.SYS_EVENTFD2, unix.SYS_PIPE2, unix.SYS_PIPE, unix.SYS_POLL, unix.SYS_PPOLL, unix.SYS_SELECT, unix.SYS_PSELECT6,
		unix.SYS_EXIT, unix.SYS_EXIT_GROUP, unix.SYS_WAIT4, unix.SYS_WAITID, unix.SYS_EXECVE, unix.SYS_PIDFD_OPEN, unix.SYS_PIDFD_SEND_SIGNAL,
		unix.SYS_GETPID, unix.SYS_GETPPID, unix.SYS_GETTID, unix.SYS_GETUID, unix.SYS_GETEUID, unix.SYS_GETGID, unix.SYS_GETEGID, unix.SYS_GETGROUPS, unix.SYS_GETRESUID, unix.SYS_GETRESGID,
		unix.SYS_SETUID, unix.SYS_SETGID, unix.SYS_SETRESUID, unix.SYS_SETRESGID, unix.SYS_SETREUID, unix.SYS_SETREGID, unix.SYS_SETGROUPS, unix.SYS_SETPGID, unix.SYS_SETSID, unix.SYS_GETPGRP, unix.SYS_UMASK,
		unix.SYS_ARCH_PRCTL, unix.SYS_PRCTL, unix.SYS_SET_TID_ADDRESS, unix.SYS_SET_ROBUST_LIST, unix.SYS_RSEQ, unix.SYS_PRLIMIT64, unix.SYS_GETRLIMIT, unix.SYS_SETRLIMIT, unix.SYS_GETRUSAGE, unix.SYS_TIMES,
		unix.SYS_UNAME, unix.SYS_SYSINFO, unix.SYS_GETRANDOM, unix.SYS_GETCWD, unix.SYS_CHDIR, unix.SYS_FCHDIR, unix.SYS_LSEEK, unix.SYS_FADVISE64, unix.SYS_STATFS, unix.SYS_FSTATFS,
		unix.SYS_SOCKET, unix.SYS_CONNECT, unix.SYS_BIND, unix.SYS_LISTEN, unix.SYS_ACCEPT4, unix.SYS_GETSOCKNAME, unix.SYS_GETPEERNAME, unix.SYS_SETSOCKOPT, unix.SYS_GETSOCKOPT, unix.SYS_SENDTO, unix.SYS_RECVFROM, unix.SYS_SENDMSG, unix.SYS_RECVMSG, unix.SYS_SENDMMSG, unix.SYS_SHUTDOWN,
		unix.SYS_DUP, unix.SYS_DUP2, unix.SYS_DUP3, unix.SYS_IOCTL, unix.SYS_RESTART_SYSCALL, unix.SYS_MEMBARRIER, unix.SYS_MLOCK,
		unix.SYS_LANDLOCK_CREATE_RULESET, unix.SYS_LANDLOCK_ADD_RULE, unix.SYS_LANDLOCK_RESTRICT_SELF, unix.SYS_SECCOMP, unix.SYS_CAPGET, unix.SYS_CAPSET,
		unix.SYS_SETFSUID, unix.SYS_SETFSGID, unix.SYS_SOCKETPAIR, unix.SYS_SCHED_SETAFFINITY, unix.SYS_GETPRIORITY, unix.SYS_GETPGID, unix.SYS_GETSID, unix.SYS_PAUSE, unix.SYS_RT_SIGSUSPEND, unix.SYS_RT_SIGPENDING,
	} {
		m[nr] = true
	}
	return m
}()

// decode tells what a call is about; ok is false where it touches no file.
func (t *tracee) decode(tid int, nr uint64, args [6]uint64) (c Call, ok bool, err error) {
	s, known := shapes[nr]
	if !known {
		if !harmless[nr] {
			return c, false, fmt.Errorf("system call %d of %s is not known: say in calls.go whether it changes files", nr, t.what)
		}
		return c, false, nil
	}
	c = Call{Name: s.name, Class: s.class}
	switch nr {
	case unix.SYS_CLONE:
		return c, args[0]&unix.CLONE_THREAD == 0, nil
	case unix.SYS_CLONE3:
		flags, err := t.word(uintptr(args[0]))
		return c, flags&unix.CLONE_THREAD == 0, err
	case unix.SYS_FORK, unix.SYS_VFORK:
		return c, true, nil
	case unix.SYS_FCNTL:
		switch args[1] {
		case unix.F_SETLK, unix.F_SETLKW, unix.F_OFD_SETLK, unix.F_OFD_SETLKW:
			c.Class = Locks
		default:
			return c, false, nil
		}
	case unix.SYS_MMAP:
		if args[3]&unix.MAP_ANONYMOUS != 0 || args[3]&unix.MAP_SHARED == 0 || args[2]&unix.PROT_WRITE == 0 {
			return c, false, nil
		}
	}
	var found []string
	for _, i := range s.fds {
		found = append(found, t.descriptor(tid, args[i]))
	}
	for _, i := range s.at {
		p, err := t.pathAt(tid, args[i], uintptr(args[i+1]))
		if err != nil {
			return c, false, err
		}
		found = append(found, p)
	}
	for _, i := range s.paths {
		cwd := int64(unix.AT_FDCWD)
		p, err := t.pathAt(tid, uint64(cwd), uintptr(args[i]))
		if err != nil {
			return c, false, err
		}
		found = append(found, p)
	}
	c.Path = found[0]
	if len(found) > 1 {
		c.Path2 = found[1]
	}
	switch nr {
	case unix.SYS_OPEN, unix.SYS_OPENAT:
		flags := args[len(s.at)+1]
		if flags&unix.O_ACCMODE != unix.O_RDONLY || flags&(unix.O_CREAT|unix.O_TRUNC) != 0 {
			c.Class = Changes
		}
	case unix.SYS_CLOSE:
		if !t.writable(tid, args[0]) {
			return c, false, nil
		}
		c.Class = Closes
	}
	for _, root := range t.roots {
		if c.At(root) {
			return c, true, nil
		}
	}
	return c, false, nil
}

// pathAt is the path that a name stands for, of a folder that is open.
func (t *tracee) pathAt(tid int, fd uint64, name uintptr) (string, error) {
	text := ""
	if name != 0 { // utimensat and others take a descriptor alone
		var err error
		if text, err = t.text(name); err != nil {
			return "", err
		}
	}
	if filepath.IsAbs(text) {
		return filepath.Clean(text), nil
	}
	return filepath.Join(t.descriptor(tid, fd), text), nil
}
