package confine

import "golang.org/x/sys/unix"

const (
	arch = unix.AUDIT_ARCH_AARCH64
	x32  = 0xFFFFFFFF // there is no second interface
)

var more []uint32
