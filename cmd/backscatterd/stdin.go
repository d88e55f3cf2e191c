package main

import (
	"context"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// input is stdin for those who read from it. Signals are caught, so that a change
// ends in order: nothing but this ends the wait for a person who types ^C where
// an answer, or a message, is asked for.
func (a *app) input(ctx context.Context) io.Reader {
	if f, ok := a.stdin.(*os.File); ok {
		return awaited{ctx, f}
	}
	return a.stdin
}

// awaited is a file that is read only when there is something to read.
type awaited struct {
	ctx  context.Context
	file *os.File
}

// lookAgain is how soon the end of a context is noticed.
const lookAgain = 100 * time.Millisecond

func (w awaited) Read(p []byte) (int, error) {
	for {
		if err := w.ctx.Err(); err != nil {
			return 0, err
		}
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(w.file.Fd()), Events: unix.POLLIN}}, int(lookAgain.Milliseconds()))
		if n > 0 || err != nil && err != unix.EINTR {
			return w.file.Read(p)
		}
	}
}
