package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/textproto"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// startTime bounds how long the daemon may take to answer or to end.
const startTime = 30 * time.Second

// daemon is sendmail -bD.
type daemon struct {
	done   chan struct{} // closed when it has ended
	output string        // file of what it printed
}

// writeScript writes a program to be run at once. The file is closed before it
// gets its final name: another thread that forks in between would otherwise
// make the kernel answer "text file busy".
func writeScript(path, text string) error {
	if err := os.WriteFile(path+".new", []byte(text), 0o755); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// SendmailCommand is the path of a small program that is the lab's sendmail: it
// runs the real one under the lab's host name with the lab's sendmail.cf and
// all arguments that it is given. A later -C in these wins.
func (l *Lab) SendmailCommand() string { return filepath.Join(l.Dir, "sendmail") }

// Start starts the daemon, with further arguments (such as "-q1m") if any, and
// returns once its port answers. It ends with the test, or by [Lab.Stop].
func (l *Lab) Start(ctx context.Context, args ...string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.daemon != nil {
		return errors.New("the lab's sendmail daemon is running already; stop it first")
	}
	out, err := os.CreateTemp(l.Dir, "daemon-output-")
	if err != nil {
		return err
	}
	defer out.Close()
	_ = os.Remove(l.pidFile()) // an old one would be taken for the new daemon's
	cmd := exec.Command(l.SendmailCommand(), append([]string{"-bD"}, args...)...)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("starting the sendmail daemon: %w", err)
	}
	d := &daemon{done: make(chan struct{}), output: out.Name()}
	go func() {
		defer close(d.done)
		_ = cmd.Wait()
	}()
	if err := l.awaitGreeting(ctx, d); err != nil {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		<-d.done
		text, _ := os.ReadFile(d.output)
		return fmt.Errorf("starting the sendmail daemon on %s: %w: %s", l.Addr, err, bytes.TrimSpace(text))
	}
	l.daemon = d
	return nil
}

// awaitGreeting waits for the 220 of the daemon.
func (l *Lab) awaitGreeting(ctx context.Context, d *daemon) error {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := greeting(ctx, l.options.Network, l.Addr)
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-d.done:
			return errors.New("it ended at once")
		case <-ctx.Done():
			return fmt.Errorf("no greeting within %s: %w", startTime, err)
		}
	}
}

// greeting connects, reads a 220 and says QUIT.
func greeting(ctx context.Context, network, addr string) error {
	conn, err := dialIn(ctx, network, addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return err
		}
	}
	text := textproto.NewConn(conn)
	if _, _, err := text.ReadResponse(220); err != nil {
		return err
	}
	if err := text.PrintfLine("QUIT"); err != nil {
		return err
	}
	_, _, err = text.ReadResponse(221)
	return err
}

// Stop ends the daemon as an init script does, with SIGTERM, and waits for it.
// Children that are in the middle of a session or a delivery finish it.
// Stopping a daemon that does not run is no error.
func (l *Lab) Stop(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.daemon == nil {
		return nil
	}
	text, err := os.ReadFile(l.pidFile())
	if err != nil {
		return fmt.Errorf("stopping the sendmail daemon: %w", err)
	}
	// First line: its number in the lab's own pid namespace.
	pid, _, _ := strings.Cut(string(text), "\n")
	script := l.keeper.enter() + ` /bin/sh -c 'kill -TERM "$1"' kill "$1"`
	if out, err := exec.CommandContext(ctx, "/bin/sh", "-c", script, "stop", pid).CombinedOutput(); err != nil {
		return fmt.Errorf("stopping the sendmail daemon, process %s of the lab: %w: %s", pid, err, bytes.TrimSpace(out))
	}
	select {
	case <-l.daemon.done:
		l.daemon = nil
		return nil
	case <-ctx.Done():
		return fmt.Errorf("stopping the sendmail daemon: %w", ctx.Err())
	}
}

// Sendmail runs sendmail with the lab's sendmail.cf and these arguments, and
// returns what it printed on stdout and stderr together. An exit status other
// than 0 is an error (*exec.ExitError) that has the output in its text.
func (l *Lab) Sendmail(ctx context.Context, args ...string) (string, error) {
	return l.run(ctx, l.SendmailCommand(), nil, args)
}

// Client runs sendmail as a program on the host does, with submit.cf, and the
// message on its standard input. The message goes to the daemon at once, or
// into the client queue if the daemon is not there.
func (l *Lab) Client(ctx context.Context, message []byte, args ...string) (string, error) {
	return l.run(ctx, filepath.Join(l.Dir, "sendmail-client"), message, args)
}

// RunQueue runs the queue once and returns when the run has ended: all of it,
// or what the arguments narrow it to ("-qI<id>", "-qQ", "-qGother").
// With "-v" it returns sendmail's account of the deliveries; sendmail then
// works on one message after the other, without it in several processes where
// there are several queues. That a message could not be delivered is no error.
func (l *Lab) RunQueue(ctx context.Context, args ...string) (string, error) {
	if !slices.Contains(args, "-v") {
		// Without f (foreground) sendmail forks and returns at once.
		args = append([]string{"-qf"}, args...)
	} else {
		args = append([]string{"-q"}, args...)
	}
	text, err := l.Sendmail(ctx, args...)
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) && ctx.Err() == nil && deliveryFailed(exit.ExitCode()) {
		return text, nil
	}
	return text, err
}

// deliveryFailed tells whether sendmail's exit status (sysexits.h) is that of
// the last message of a run that was not delivered, not of the run itself.
func deliveryFailed(status int) bool {
	const (
		exDataErr     = 65
		exNoUser      = 67
		exNoHost      = 68
		exUnavailable = 69
		exTempFail    = 75
		exProtocol    = 76
		exNoPerm      = 77
	)
	return slices.Contains([]int{exDataErr, exNoUser, exNoHost, exUnavailable, exTempFail, exProtocol, exNoPerm}, status)
}

func (l *Lab) run(ctx context.Context, command string, stdin []byte, args []string) (string, error) {
	// A file, not a pipe: a process that sendmail leaves in the background
	// would keep a pipe open, and us waiting.
	out, err := os.CreateTemp(l.Dir, "output-")
	if err != nil {
		return "", err
	}
	defer os.Remove(out.Name())
	defer out.Close()
	cmd := exec.CommandContext(ctx, command, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	if stdin != nil {
		cmd.Stdin = bytes.NewReader(stdin)
	}
	cmd.Stdout, cmd.Stderr = out, out
	failed := cmd.Run()
	text, err := os.ReadFile(out.Name())
	if failed != nil {
		if ctx.Err() != nil {
			failed = ctx.Err()
		}
		return string(text), fmt.Errorf("sendmail %s: %w: %s", strings.Join(args, " "), failed, bytes.TrimSpace(text))
	}
	return string(text), err
}
