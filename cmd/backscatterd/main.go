// Command backscatterd guards a sendmail site against backscatter: it takes
// stuck bounces and spam out of sendmail's queues by rules.
//
// Exit status: 0 done; 1 something of it failed, the rest was done; 2 wrong use
// or configuration, nothing was done.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"

	"golang.org/x/sys/unix"
)

// version is set by the linker in releases.
var version = "devel"

const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
)

func main() { os.Exit(start()) }

// start runs the program in this process's surroundings.
func start() int {
	defer steadyHeap()()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM)
	// A reader of the results that goes away must not kill a change halfway:
	// caught, the signal leaves an error of the write. (Ignored, it would stay
	// ignored in a sendmail that is started from here.)
	signal.Notify(make(chan os.Signal, 1), unix.SIGPIPE)
	defer stop()
	// Who sends a second one does not want to wait: it ends the program as it
	// ends any other, and the next run ends what this one had begun.
	context.AfterFunc(ctx, stop)
	return run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
}

// run is the whole program, for main and for tests.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	progress := newProgress(stderr)
	results := &results{w: progress.over(stdout), stop: cancel}
	stderr = progress.over(stderr)
	a := &app{stdin: stdin, stdout: stdout, out: newTerminal(stdout, results), stderr: stderr, progress: progress}
	root := a.rootCommand()
	root.SetArgs(args)
	root.SetOut(results)
	root.SetErr(stderr)
	err := a.outcome(sayHelp(root.ExecuteContext(ctx)), results.error())
	var status statusError
	switch {
	case err == nil:
		return exitDone
	case !errors.As(err, &status):
		status = statusError{exitUsage, err}
	}
	if status.err != nil {
		fmt.Fprintf(stderr, "backscatterd: %s\n", cleanLines(status.err.Error()))
	}
	return status.code
}

// sayHelp has an error of cobra's own end in where the commands are listed.
func sayHelp(err error) error {
	if err == nil || !strings.HasPrefix(err.Error(), "unknown command") || strings.ContainsAny(err.Error(), "(?") {
		return err
	}
	return fmt.Errorf("%w (see backscatterd --help)", err)
}

// outcome is how the run ended, given what became of its results. A list whose
// reader has seen enough (queue list | head) ends in silence.
func (a *app) outcome(err, written error) error {
	switch {
	case written != nil && errors.Is(written, unix.EPIPE) && !a.acted:
		return statusError{code: exitFailed}
	case written != nil && a.acted:
		return failed(fmt.Errorf("standard output: %w (stopped after the batch in hand; the audit log has all that was done)", written))
	case written != nil:
		return failed(fmt.Errorf("standard output: %w", written))
	case errors.Is(err, context.Canceled):
		return failed(errors.New("interrupted: what was under way has been ended, the rest has not been begun"))
	}
	return err
}

// results is stdout. An error of writing to it stops the run, which then ends
// after what it has in hand. Used by one goroutine at a time.
type results struct {
	w    io.Writer
	stop func(why error)
	err  error
}

func (r *results) Write(p []byte) (int, error) {
	if r.err != nil {
		return 0, r.err
	}
	n, err := r.w.Write(p)
	if err != nil {
		r.err = err
		r.stop(fmt.Errorf("standard output: %w", err))
	}
	return n, err
}

func (r *results) error() error { return r.err }

// statusError is an error with the exit status it stands for. err may be nil
// where all has been said already.
type statusError struct {
	code int
	err  error
}

func (e statusError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit status %d", e.code)
	}
	return e.err.Error()
}

func (e statusError) Unwrap() error { return e.err }

// failed is for what went wrong while something was being done.
func failed(err error) error {
	if err == nil {
		return nil
	}
	return statusError{exitFailed, err}
}
