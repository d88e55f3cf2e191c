package lab

import (
	"bufio"
	"bytes"
	"fmt"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// keeper is the first process of the lab's namespaces: host name, pids, mounts.
// sendmail double-forks and makes sessions of its own (disconnect), so neither
// process groups nor sessions nor parents tell which processes are a lab's. The
// pid namespace does, and the kernel ends all of it when its first process ends.
type keeper struct {
	pid  int
	kill func() error
	done chan struct{}
}

// keeperScript runs as the first process. sendmail sleeps a minute at start
// where the host's name has no dot, so it gets one; the name is found in a
// hosts file, not in the DNS. Mounts that the test makes later still come in
// (rslave). The last wait also reaps what sendmail leaves to process 1.
const keeperScript = `set -e
hostname "$2"
mount --make-rslave /
mount --bind "$1/hosts" /etc/hosts
mount --bind "$1/nsswitch.conf" /etc/nsswitch.conf
echo ready
sleep infinity &
wait
`

// startKeeper makes the namespaces, but for that of the network, and waits until
// they are ready.
func startKeeper(dir, network string) (*keeper, error) {
	args := []string{"/bin/sh", "-c", keeperScript, "sendmail-lab", dir, Host}
	if network != "" {
		args = append([]string{"nsenter", "--net=" + network, "--"}, args...)
	}
	cmd := exec.Command(args[0], args[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWUTS | unix.CLONE_NEWPID | unix.CLONE_NEWNS,
		Setsid:     true,
		Pdeathsig:  syscall.SIGKILL,
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	k := &keeper{done: make(chan struct{})}
	started := make(chan error)
	go func() {
		// Pdeathsig is sent when the thread that started the child ends,
		// which in Go may be long before the process does: keep the thread.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(k.done)
		if err := cmd.Start(); err != nil {
			started <- err
			return
		}
		started <- nil
		line, _ := bufio.NewReader(stdout).ReadString('\n')
		if line == "ready\n" {
			started <- nil
			_ = cmd.Wait()
			return
		}
		err := cmd.Wait()
		started <- fmt.Errorf("%v: %s", err, strings.TrimSpace(stderr.String()))
	}()
	const hint = "making namespaces for sendmail (needs CAP_SYS_ADMIN; in a container, start it privileged): %w"
	if err := <-started; err != nil {
		return nil, fmt.Errorf(hint, err)
	}
	k.pid, k.kill = cmd.Process.Pid, cmd.Process.Kill
	select {
	case err = <-started:
	case <-time.After(20 * time.Second):
		_ = k.kill()
		err = <-started
	}
	if err != nil {
		return nil, fmt.Errorf(hint, err)
	}
	return k, nil
}

// stop ends every process of the lab and waits for the first of them, whom the
// kernel lets go only after all others.
func (k *keeper) stop() {
	_ = k.kill() // an error says that it has ended already
	<-k.done
}

// enter is a shell command that runs the rest of its line inside the namespaces.
func (k *keeper) enter() string {
	return fmt.Sprintf("nsenter --target %d --uts --pid --mount --net --", k.pid)
}

// writeWrappers writes the commands that stand for sendmail in this lab.
func (l *Lab) writeWrappers() error {
	for name, cf := range map[string]string{"sendmail": l.CF, "sendmail-client": l.ClientCF} {
		script := fmt.Sprintf("#!/bin/sh\nexec %s %s -C %s \"$@\"\n", l.keeper.enter(), sendmailPath, cf)
		if err := writeScript(filepath.Join(l.Dir, name), script); err != nil {
			return err
		}
	}
	return nil
}
