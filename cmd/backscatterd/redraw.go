package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
)

const (
	redrawEvery = 2 * time.Second // --watch without a value
	leastRedraw = 100 * time.Millisecond
)

// every is the value of --watch: 0 is once.
type every time.Duration

func (e *every) String() string {
	if *e == 0 {
		return ""
	}
	return time.Duration(*e).String()
}

func (e *every) Type() string { return "seconds" }

func (e *every) Set(text string) error {
	if _, err := strconv.ParseFloat(text, 64); err == nil {
		text += "s"
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < leastRedraw || d > 24*time.Hour {
		return errors.New("want seconds between 0.1 and 86400, as in --watch=5")
	}
	*e = every(d)
	return nil
}

// watchFlag adds --watch to a command that shows something. With it, the command
// shows it again and again; show is given what to write to.
func (a *app) watchFlag(cmd *cobra.Command, asJSON *bool, show func(cmd *cobra.Command, out terminal) error) {
	var again every
	cmd.Flags().Var(&again, "watch", "show it again every so many `seconds` until ^C; --watch alone is every 2")
	cmd.Flags().Lookup("watch").NoOptDefVal = redrawEvery.String()
	cmd.RunE = func(cmd *cobra.Command, more []string) error {
		if len(more) > 0 && again == every(redrawEvery) && new(every).Set(more[0]) == nil {
			return fmt.Errorf("write the seconds with an equals sign: --watch=%s", more[0])
		}
		a.queues = append(a.queues, more...)
		switch {
		case again == 0:
			return show(cmd, a.out)
		case *asJSON:
			return errors.New("--watch draws on a terminal, and --json is for programs: say one of them")
		}
		return a.redraw(cmd.Context(), time.Duration(again), cmd.CommandPath(), func(out terminal) error { return show(cmd, out) })
	}
}

// redraw shows something on the terminal's other screen until ctx ends, and then
// leaves the terminal as it was.
func (a *app) redraw(ctx context.Context, each time.Duration, title string, show func(terminal) error) error {
	if _, _, ok := screenOf(a.stdout); !ok || os.Getenv("TERM") == "dumb" {
		return errors.New("--watch needs a terminal that it can draw on: leave it out, or use watch(1) or a loop around the command")
	}
	// What is wrong with a message is seen in its row; a bar would be drawn over.
	said, bar := a.stderr, a.progress
	a.stderr, a.progress = io.Discard, nil
	defer func() { a.stderr, a.progress = said, bar }()
	look := func() (*frame, error) {
		f := newFrame(a.out, a.stdout)
		heading := fmt.Sprintf("%s · every %s · %s · ^C ends", title, each, time.Now().Format(time.TimeOnly))
		fmt.Fprintln(f.out, a.out.paint(faint, fit(heading, f.out.width)))
		return f, show(f.out)
	}
	f, err := look()
	if err != nil && len(f.lines) < 2 {
		return err // nothing can be shown, and the next time it will be the same
	}
	// Room for all of them: one who comes back to a window of another size must
	// not lose the signal that tells of one to that of the other.
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, unix.SIGWINCH, unix.SIGTSTP, unix.SIGCONT)
	defer signal.Stop(signals)
	w := a.out.Writer
	io.WriteString(w, enterScreen)
	defer io.WriteString(w, leaveScreen)
	tick := time.NewTicker(each)
	defer tick.Stop()
	for {
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			// The next look may do better: a queue is being changed.
			f.error(err)
		}
		if _, err := w.Write(f.bytes()); err != nil {
			return err
		}
		if waitToRedraw(ctx, tick.C, signals, w) != nil {
			return nil
		}
		f, err = look()
	}
}

// waitToRedraw returns when the next frame is due: in time, when the terminal
// has another size, or when a person who had stopped the program is back.
func waitToRedraw(ctx context.Context, tick <-chan time.Time, signals <-chan os.Signal, w io.Writer) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick:
			return nil
		case s := <-signals:
			switch s {
			case unix.SIGTSTP: // ^Z
				io.WriteString(w, leaveScreen)
				unix.Kill(unix.Getpid(), unix.SIGSTOP)
			case unix.SIGCONT:
				io.WriteString(w, enterScreen)
				return nil
			default:
				return nil
			}
		}
	}
}

// Control sequences of xterm, which the terminals of today know.
const (
	enterScreen = "\x1b[?1049h\x1b[?25l\x1b[H\x1b[2J" // the other screen, without a cursor
	leaveScreen = "\x1b[?25h\x1b[?1049l"
	beginFrame  = "\x1b[?2026h\x1b[H" // shown at once, where the terminal can
	endLine     = "\x1b[K\r\n"        // the rest of the line before is erased
	endFrame    = "\x1b[K\x1b[J\x1b[?2026l"
)

// frame collects as many lines as the screen has. It is drawn over the last one
// without clearing the screen, which would flicker.
type frame struct {
	out    terminal
	lines  []string
	height int
	more   int
	rest   []byte // of a line that has not ended
}

func newFrame(like terminal, stdout any) *frame {
	f := &frame{out: like}
	f.out.width, f.height, _ = screenOf(stdout)
	f.out.Writer = f
	return f
}

func (f *frame) Write(text []byte) (int, error) {
	f.rest = append(f.rest, text...)
	for {
		i := bytes.IndexByte(f.rest, '\n')
		if i < 0 {
			return len(text), nil
		}
		if len(f.lines) < f.height {
			f.lines = append(f.lines, string(f.rest[:i]))
		} else {
			f.more++
		}
		f.rest = f.rest[i+1:]
	}
}

// error tells of one below the heading, where a list that is longer than the
// screen does not hide it.
func (f *frame) error(err error) {
	text := f.out.paint(red, fit("error: "+clean(err.Error()), f.out.width))
	if f.out.ascii {
		text = string(plain([]byte(text)))
	}
	f.lines = slices.Insert(f.lines, min(1, len(f.lines)), text)
	if len(f.lines) > f.height {
		f.lines = f.lines[:f.height]
		f.more++
	}
}

func (f *frame) bytes() []byte {
	if f.more > 0 {
		text := fmt.Sprintf("… %s below: a higher window shows more, --where less", plural(f.more+1, "line"))
		f.lines[f.height-1] = f.out.paint(faint, fit(text, f.out.width))
		if f.out.ascii {
			f.lines[f.height-1] = string(plain([]byte(f.lines[f.height-1])))
		}
	}
	return []byte(beginFrame + strings.Join(f.lines, endLine) + endFrame)
}
