package lab

import (
	"os/exec"
	"runtime"
	"syscall"
)

// StartTied starts a command that the kernel kills when the test's process ends,
// however that ends. ended is closed once it has.
func StartTied(cmd *exec.Cmd) (ended <-chan struct{}, err error) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = new(syscall.SysProcAttr)
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	started, done := make(chan error), make(chan struct{})
	go func() {
		// Pdeathsig is sent when the thread that started the child ends, which in
		// Go may be long before the process does: keep the thread.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(done)
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait()
		}
	}()
	return done, <-started
}
