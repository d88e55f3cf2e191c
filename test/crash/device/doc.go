// Package device makes block devices that record, in their order, what a file
// system writes to them and when it has the writes made sure (flushes), and shows
// what a loss of power at each moment may leave of them.
//
// A device is a loop device on a file that this process itself serves, by FUSE: so
// the file system is the kernel's, and each write and each flush of it comes by
// here. What dm-log-writes records of a device is the same, where a kernel has
// device mapper.
//
// A device may lose power with any of the writes in it that it was given since the
// last flush, and without any other of them; what it was given before is there.
package device
