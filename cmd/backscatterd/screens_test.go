package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/google/go-cmp/cmp"
)

var took = regexp.MustCompile(`\([0-9.]+ s\)`)

// golden compares with a file, which BACKSCATTERD_WRITE=1 in the environment writes.
func golden(t *testing.T, path, got string) {
	t.Helper()
	if os.Getenv("BACKSCATTERD_WRITE") != "" {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")); diff != "" {
		t.Errorf("%s: %s", path, diff)
	}
}

// A terminal whose locale has no Unicode gets none, and JSON is never changed.
func TestPlainTerminal(t *testing.T) {
	queue := madeQueue(t)
	for _, args := range [][]string{{"queue", "list"}, {"queue", "summary"}, {"rule", "try", "attempts > 2"}} {
		o := startOnTerminal(t, 80, 100, nil, []string{"LC_ALL=C"}, append(args, "--queue", queue)...)
		o.end()
		if i := strings.IndexFunc(o.shown(), func(r rune) bool { return r >= 0x80 }); i >= 0 {
			t.Errorf("%v: not ASCII:\n%s", args, o.shown())
		}
	}
	json := func(env ...string) string {
		o := startOnTerminal(t, 80, 100, nil, env, "queue", "list", "--json", "--queue", queue)
		o.end()
		return o.written()
	}
	if a, b := json("LC_ALL=C"), json(); a != b || !strings.Contains(a, "陳@例子.example") {
		t.Errorf("JSON depends on the locale:\n%s\n%s", a, b)
	}
}

// --color has the last word, after NO_COLOR and what stdout is.
func TestColours(t *testing.T) {
	queue, noColour := madeQueue(t), []string{"NO_COLOR=1"}
	for _, c := range []struct {
		env   []string
		flags []string
		want  bool
	}{
		{nil, nil, true}, {noColour, nil, false}, {[]string{"TERM=dumb"}, nil, false},
		{nil, []string{"--color=never"}, false}, {noColour, []string{"--color=always"}, true}, {noColour, []string{"--color=auto"}, false},
	} {
		o := startOnTerminal(t, 80, 50, nil, c.env, append(c.flags, "queue", "list", "--queue", queue)...)
		o.end()
		if got := strings.Contains(o.written(), "\x1b["); got != c.want {
			t.Errorf("%v %v: coloured %v, want %v", c.env, c.flags, got, c.want)
		}
	}
}

// --watch draws again when the queue or the window changes, and leaves the
// terminal as it was.
func TestWatch(t *testing.T) {
	queue := madeQueue(t)
	for _, signal := range []string{"^C", "SIGTERM"} {
		o := startOnTerminal(t, 80, 24, nil, []string{"NO_COLOR=1"}, "queue", "list", "--watch=0.2", "--queue", queue)
		o.sees("5 messages")
		if err := os.Rename(filepath.Join(queue, "qf6AOLt900000005"), filepath.Join(queue, "kept")); err != nil {
			t.Fatal(err)
		}
		o.sees("4 messages")
		if strings.Contains(o.shown(), "6AOLt900000005") || strings.Contains(o.shown(), "5 messages") {
			t.Errorf("the last frame shows through:\n%s", o.shown())
		}
		o.resize(60, 8)
		o.sees("… 8 lines below")
		o.mu.Lock()
		hidden, wrapped, other := o.screen.hidden, o.screen.wrapped, o.screen.other != nil
		o.mu.Unlock()
		if !hidden || !other || wrapped > 0 {
			t.Errorf("cursor hidden %v, other screen %v, %d lines too long", hidden, other, wrapped)
		}
		if n := strings.Count(o.written(), "\x1b[2J"); n != 1 {
			t.Errorf("the screen was cleared %d times: it flickers", n)
		}
		if signal == "^C" {
			o.master.WriteString("\x03")
		} else if err := o.cmd.Process.Signal(unix.SIGTERM); err != nil {
			t.Fatal(err)
		}
		if code := o.end(); code != exitDone {
			t.Errorf("%s: exit status %d", signal, code)
		}
		if o.screen.hidden || o.screen.other != nil || strings.TrimSpace(o.shown()) != "" {
			t.Errorf("%s: the terminal is not as it was:\n%s", signal, o.shown())
		}
		if err := os.Rename(filepath.Join(queue, "kept"), filepath.Join(queue, "qf6AOLt900000005")); err != nil {
			t.Fatal(err)
		}
	}
}

// ^C ends the wait for an answer: nothing is done.
func TestInterruptedWhileAsked(t *testing.T) {
	queue := madeQueue(t)
	for typed, says := range map[string]string{"\x03": "nothing was done: interrupted before it was confirmed", "n\n": "nothing was done: answer y"} {
		o := startOnTerminal(t, 120, 50, nil, []string{"NO_COLOR=1"}, "queue", "delete", "--where", "attempts > 2", "--queue", queue)
		o.sees("[y/N]")
		o.master.WriteString(typed)
		if code := o.end(); code != exitUsage || !strings.Contains(o.shown(), says) {
			t.Errorf("%q: exit status %d, want %d; it says\n%s", typed, code, exitUsage, o.shown())
		}
	}
	if left, err := filepath.Glob(filepath.Join(queue, "?f*")); err != nil || len(left) != 10 {
		t.Errorf("%d files are left of 10, %v", len(left), err)
	}
}

// Who agrees to what was counted has not agreed to what comes meanwhile.
func TestAgreedToWhatWasCounted(t *testing.T) {
	s := newTestSite(t, t.TempDir(), "")
	arrive := func(id string) {
		text := "V8\nT1795481255\nK0\nN9\nP30000\nS<late@shop.example>\nRPFD:<b@far.example>\n.\n"
		s.write(filepath.Join(s.queue, "df"+id), "text\n")
		s.write(filepath.Join(s.queue, "qf"+id), text)
	}
	const where = `sender == "late@shop.example"`
	ask := func(verb, question string, meanwhile func()) {
		o := startOnTerminal(t, 120, 50, nil, []string{"NO_COLOR=1"}, "queue", verb, "--where", where, "-c", s.config)
		o.sees(question)
		meanwhile()
		o.master.WriteString("y\n")
		if code := o.end(); code != exitDone || !strings.Contains(o.shown(), "1 matched: 1 done") {
			t.Errorf("%s: exit status %d; it says\n%s", verb, code, o.shown())
		}
	}
	const early, late = "6AOLt900000001", "6AOLt900000002"
	arrive(early)
	ask("move", "move 1 message?", func() { arrive(late) })
	if in := s.whole(s.queue); in[early] || !in[late] {
		t.Fatal("not what was counted was moved")
	}
	ask("restore", "restore 1 message?", func() {
		s.want(exitDone, "1 done", "queue", "move", late)
	})
	if in := s.whole(s.queue); !in[early] || in[late] {
		t.Error("not what was counted was restored")
	}
}

// Nor does a signal wait for an input that does not end.
func TestInterruptedWhileReading(t *testing.T) {
	for _, args := range [][]string{{"rule", "try", "-"}, {"import", "-"}, {"classify", "-"}} {
		stdin, held, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer held.Close()
		defer stdin.Close()
		ctx, cancel := context.WithCancel(t.Context())
		timer := time.AfterFunc(50*time.Millisecond, cancel)
		defer timer.Stop()
		var said bytes.Buffer
		if code := run(ctx, append(args, "--config", "../../config/default.toml"), stdin, &said, &said); code != exitFailed || !strings.Contains(said.String(), "interrupted") {
			t.Errorf("%v: exit status %d, want %d; it says\n%s", args, code, exitFailed, said.String())
		}
	}
}

// An error is seen though the list is longer than the screen.
func TestWatchShowsErrors(t *testing.T) {
	for _, lines := range []int{1, 3, 4, 5, 40} {
		f := &frame{out: terminal{width: 40}, height: 4}
		f.out.Writer = f
		for i := range lines {
			fmt.Fprintln(f.out, "line", i)
		}
		f.error(errors.New("queue q2: permission denied"))
		drawn := strings.Split(string(f.bytes()), endLine)
		if len(drawn) > f.height || !strings.Contains(drawn[1], "permission denied") {
			t.Errorf("of %d lines: %q", lines, drawn)
		}
		if left := fmt.Sprintf("%d lines below", lines+1-3); lines+1 > f.height && !strings.Contains(drawn[3], left) {
			t.Errorf("of %d lines, no %q: %q", lines, left, drawn)
		}
	}
}

// Progress is drawn late, above nothing, and erased; results are not mixed with
// it.
func TestProgress(t *testing.T) {
	pr, pw, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer pr.Close()
	master, slave := openPTY(t)
	o := &onTerminal{t: t, master: master, ended: make(chan struct{}), screen: newScreen(80, 24)}
	o.resize(80, 24)
	go o.read()
	p := newProgress(slave)
	if p == nil || p.over(pw) != pw {
		t.Fatal("a pipe is written to as if it were the terminal")
	}
	pw.Close()
	p.after = time.Millisecond
	stop := p.start(t.Context(), "listing", func(context.Context) int { return 4000 })
	p.looked.Store(1000)
	o.sees("1 000 of 4 000")
	p.over(slave).Write([]byte("a line of the log\n"))
	o.sees("a line of the log\nlisting  ")
	stop()
	stop()
	slave.Close()
	select {
	case <-o.ended:
	case <-time.After(time.Minute):
		t.Fatal("the terminal is still open")
	}
	if got := o.shown(); got != "a line of the log\n" {
		t.Errorf("left on the screen: %q", got)
	}

	// What ends soon draws nothing; nor is anything drawn without a terminal.
	p.after = time.Hour
	p.start(t.Context(), "listing", nil)()
	if newProgress(pw) != nil {
		t.Error("progress on what is no terminal")
	}
}

func TestProgressLine(t *testing.T) {
	for _, c := range []struct {
		width, looked, acted, total int
		took                        time.Duration
		want                        string
	}{
		{80, 12500, 0, 50000, time.Second, "listing  ███████▌░░░░░░░░░░░░░░░░░░░░░░  12 500 of 50 000 · 12 500/s"},
		{80, 25000, 100, 50000, 5 * time.Second, "listing  ████████▌░░░░░░░░  25 000 of 50 000 · 5 000/s · 100 matched · 5 s left"},
		{40, 25000, 100, 50000, 5 * time.Second, "listing  25 000 of 50 000 · 5 000/s · …"},
		{80, 0, 300, 0, time.Second, "listing  300 · 300/s"},
		{80, 60, 0, 50, time.Second, "listing  ██████████████████████████████  60 of 60 · 60/s"},
	} {
		got := terminal{width: c.width}.progressLine("listing", c.looked, c.acted, c.total, c.took)
		if got != c.want {
			t.Errorf("%+v:\n got %q\nwant %q", c, got, c.want)
		}
		if columns(got) >= c.width {
			t.Errorf("%+v: %d columns", c, columns(got))
		}
	}
}
