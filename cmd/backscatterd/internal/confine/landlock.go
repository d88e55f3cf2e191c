package confine

import (
	"debug/elf"
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The rights of landlock, see landlock(7).
const (
	readFile  = unix.LANDLOCK_ACCESS_FS_READ_FILE
	list      = unix.LANDLOCK_ACCESS_FS_READ_DIR
	readAll   = readFile | list
	execute   = unix.LANDLOCK_ACCESS_FS_EXECUTE | readFile
	changeAll = readAll | unix.LANDLOCK_ACCESS_FS_WRITE_FILE | unix.LANDLOCK_ACCESS_FS_TRUNCATE |
		unix.LANDLOCK_ACCESS_FS_REMOVE_DIR | unix.LANDLOCK_ACCESS_FS_REMOVE_FILE | unix.LANDLOCK_ACCESS_FS_MAKE_DIR |
		unix.LANDLOCK_ACCESS_FS_MAKE_REG | unix.LANDLOCK_ACCESS_FS_MAKE_SOCK | unix.LANDLOCK_ACCESS_FS_REFER
	// ofFiles are those that a rule on what is no folder may have.
	ofFiles = execute | unix.LANDLOCK_ACCESS_FS_WRITE_FILE | unix.LANDLOCK_ACCESS_FS_TRUNCATE

	ruleNetPort = 2 // LANDLOCK_RULE_NET_PORT
)

// handled are the rights that a version of the interface can withhold.
func handled(version int) (files, net, scoped uint64) {
	files = 1<<15 - 1 // up to TRUNCATE, which came with version 3
	if version >= 4 {
		net = unix.LANDLOCK_ACCESS_NET_BIND_TCP | unix.LANDLOCK_ACCESS_NET_CONNECT_TCP
	}
	if version >= 5 {
		files |= unix.LANDLOCK_ACCESS_FS_IOCTL_DEV
	}
	if version >= 6 {
		scoped = unix.LANDLOCK_SCOPE_SIGNAL | unix.LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET
	}
	return files, net, scoped
}

// landlock confines the calling thread. Before version 2 no file may be moved
// from one folder to another, and before 3 truncating is not withheld: such
// kernels are left alone.
func landlock(self string, r Rights) (version int, err error) {
	v, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	switch {
	case errno != 0:
		return 0, fmt.Errorf("the kernel has none, or it is not switched on: %w", errno)
	case v < 3:
		return 0, fmt.Errorf("the kernel's is version %d; 3 is needed, of Linux 6.2", v)
	}
	version = int(v)
	files, net, scoped := handled(version)
	if r.ConnectAny {
		net &^= unix.LANDLOCK_ACCESS_NET_CONNECT_TCP
		r.Connect = nil
	}
	attr := unix.LandlockRulesetAttr{Handled_access_fs: files, Handled_access_net: net, Scoped: scoped}
	fd, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr), 0)
	if errno != 0 {
		return 0, errno
	}
	set := ruleset(fd)
	defer unix.Close(int(fd))
	if err := set.allow(self, r, net != 0); err != nil {
		return 0, err
	}
	if _, _, errno := unix.Syscall(unix.SYS_LANDLOCK_RESTRICT_SELF, fd, 0, 0); errno != 0 {
		return 0, errno
	}
	return version, nil
}

type ruleset uintptr

func (s ruleset) allow(self string, r Rights, net bool) error {
	err := s.paths(execute, append(interpreter(self), self)...)
	err = errors.Join(err, s.paths(readAll, r.Read...), s.paths(list, r.List...), s.paths(changeAll, r.Change...))
	if net {
		err = errors.Join(err, s.ports(unix.LANDLOCK_ACCESS_NET_BIND_TCP, r.Bind), s.ports(unix.LANDLOCK_ACCESS_NET_CONNECT_TCP, r.Connect))
	}
	return err
}

// paths adds a rule for each; links are followed.
func (s ruleset) paths(access uint64, paths ...string) error {
	for _, path := range paths {
		fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
		if absent(err) {
			continue
		}
		if err == nil {
			err = s.path(access, fd)
			unix.Close(fd)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	return nil
}

func (s ruleset) path(access uint64, fd int) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		access &= ofFiles
	}
	rule := unix.LandlockPathBeneathAttr{Allowed_access: access, Parent_fd: int32(fd)}
	return s.add(unix.LANDLOCK_RULE_PATH_BENEATH, unsafe.Pointer(&rule))
}

func (s ruleset) ports(access uint64, ports []uint16) error {
	for _, port := range ports {
		rule := struct{ access, port uint64 }{access, uint64(port)} // struct landlock_net_port_attr
		if err := s.add(ruleNetPort, unsafe.Pointer(&rule)); err != nil {
			return fmt.Errorf("port %d: %w", port, err)
		}
	}
	return nil
}

func (s ruleset) add(kind uintptr, rule unsafe.Pointer) error {
	if _, _, errno := unix.Syscall6(unix.SYS_LANDLOCK_ADD_RULE, uintptr(s), kind, uintptr(rule), 0, 0, 0); errno != 0 {
		return errno
	}
	return nil
}

// interpreter is what a program that is linked to shared libraries needs to
// start: one that was built with cgo.
func interpreter(self string) []string {
	f, err := elf.Open(self)
	if err != nil {
		return nil
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return []string{"/lib", "/lib64", "/usr/lib", "/usr/lib64"}
		}
	}
	return nil
}
