package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

// onTerminal is the program on a terminal of its own.
type onTerminal struct {
	t      *testing.T
	cmd    *exec.Cmd
	master *os.File
	ended  chan struct{} // the program has closed its terminal

	mu     sync.Mutex
	raw    []byte
	screen *screen
}

// startOnTerminal runs the program; stdout, if set, takes its results instead.
func startOnTerminal(t *testing.T, width, height int, stdout *os.File, env []string, args ...string) *onTerminal {
	t.Helper()
	master, slave := openPTY(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	o := &onTerminal{t: t, cmd: exec.CommandContext(ctx, self, args...), master: master, ended: make(chan struct{}), screen: newScreen(width, height)}
	o.cmd.Args[0] = "backscatterd" // what TestMain knows the program by
	o.cmd.Env = append([]string{"TERM=xterm-256color", "LANG=C.UTF-8", "TZ=UTC", "HOME=/nonexistent", "PATH=" + os.Getenv("PATH")}, env...)
	o.cmd.Stdin, o.cmd.Stdout, o.cmd.Stderr = slave, slave, slave
	if stdout != nil {
		o.cmd.Stdout = stdout
	}
	o.cmd.SysProcAttr = &unix.SysProcAttr{Setsid: true, Setctty: true}
	o.resize(width, height)
	if err := o.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	slave.Close()
	go o.read()
	return o
}

func openPTY(t *testing.T) (master, slave *os.File) {
	t.Helper()
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	master = os.NewFile(uintptr(fd), "/dev/ptmx")
	t.Cleanup(func() { master.Close() })
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	return master, slave
}

func (o *onTerminal) resize(width, height int) {
	o.t.Helper()
	o.mu.Lock()
	o.screen.resize(width, height)
	o.mu.Unlock()
	size := unix.Winsize{Row: uint16(height), Col: uint16(width)}
	if err := unix.IoctlSetWinsize(int(o.master.Fd()), unix.TIOCSWINSZ, &size); err != nil {
		o.t.Fatal(err)
	}
}

func (o *onTerminal) read() {
	defer close(o.ended)
	buf := make([]byte, 32<<10)
	for {
		n, err := o.master.Read(buf)
		o.mu.Lock()
		o.raw = append(o.raw, buf[:n]...)
		o.screen.write(buf[:n])
		o.mu.Unlock()
		if err != nil {
			return // EIO: nobody has the other end any more
		}
	}
}

// sees waits until the screen has a text.
func (o *onTerminal) sees(text string) {
	o.t.Helper()
	for range 6000 {
		if strings.Contains(o.shown(), text) {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	o.t.Fatalf("the screen never shows %q:\n%s", text, o.shown())
}

func (o *onTerminal) shown() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.screen.String()
}

func (o *onTerminal) written() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return string(o.raw)
}

// end waits for the program and returns its exit status.
func (o *onTerminal) end() int {
	o.t.Helper()
	err := o.cmd.Wait()
	select {
	case <-o.ended:
	case <-time.After(time.Minute):
		o.t.Fatal("the terminal is still open")
	}
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		return exit.ExitCode()
	case err != nil:
		o.t.Fatal(err)
	}
	return 0
}

// screen is as much of a terminal as the program uses.
type screen struct {
	width, height int
	rows          [][]string // a cell is a character with its marks; "" is the right half of a wide one
	x, y          int
	wrapped       int // how often a line was too long
	other         *screen
	hidden        bool // the cursor
	rest          []byte
}

func newScreen(width, height int) *screen {
	s := &screen{}
	s.resize(width, height)
	return s
}

func (s *screen) resize(width, height int) { s.width, s.height = width, height }

func (s *screen) write(text []byte) {
	text = append(s.rest, text...)
	s.rest = nil
	for len(text) > 0 {
		n := s.next(text)
		if n == 0 {
			s.rest = bytes.Clone(text)
			return
		}
		text = text[n:]
	}
}

// next takes a character or a sequence; 0 is that it is not whole yet.
func (s *screen) next(text []byte) int {
	switch text[0] {
	case '\r':
		s.x = 0
		return 1
	case '\n':
		s.y++
		return 1
	case '\x1b':
		end := bytes.IndexFunc(text[min(2, len(text)):], func(r rune) bool { return r >= 0x40 && r <= 0x7e })
		if end < 0 {
			return 0
		}
		s.control(string(text[2:2+end]), text[2+end])
		return 3 + end
	}
	if !utf8.FullRune(text) {
		return 0
	}
	r, size := utf8.DecodeRune(text)
	s.put(r)
	return size
}

func (s *screen) control(args string, final byte) {
	switch {
	case final == 'H':
		s.x, s.y = 0, 0
	case final == 'K':
		row := s.row()
		*row = (*row)[:min(s.x, len(*row))]
	case final == 'J' && args == "2":
		s.rows = nil
	case final == 'J':
		s.rows = s.rows[:min(s.y+1, len(s.rows))]
	case final == 'h' && args == "?1049":
		s.other, s.rows = &screen{rows: s.rows, x: s.x, y: s.y}, nil
	case final == 'l' && args == "?1049" && s.other != nil:
		s.rows, s.x, s.y, s.other = s.other.rows, s.other.x, s.other.y, nil
	case args == "?25":
		s.hidden = final == 'l'
	}
}

func (s *screen) row() *[]string {
	for len(s.rows) <= s.y {
		s.rows = append(s.rows, nil)
	}
	return &s.rows[s.y]
}

// put does not use the program's own table of widths but for the few characters
// that the tests have.
func (s *screen) put(r rune) {
	wide := r >= '一' && r <= '鿿'
	row := s.row()
	if r == '\u0301' && s.x > 0 {
		(*row)[s.x-1] += string(r)
		return
	}
	w := 1
	if wide {
		w = 2
	}
	if s.x+w > s.width {
		s.wrapped++
		s.x, s.y = 0, s.y+1
		row = s.row()
	}
	for len(*row) < s.x+w {
		*row = append(*row, " ")
	}
	(*row)[s.x] = string(r)
	if wide {
		(*row)[s.x+1] = ""
	}
	s.x += w
}

func (s *screen) String() string {
	var b strings.Builder
	for _, row := range s.rows {
		b.WriteString(strings.TrimRight(strings.Join(row, ""), " ") + "\n")
	}
	return strings.TrimRight(b.String(), "\n") + "\n"
}

// madeQueue is a queue with messages of known ages, some of which are hard to
// show.
func madeQueue(t *testing.T) string {
	t.Helper()
	queue := filepath.Join(t.TempDir(), "mqueue")
	if err := os.Mkdir(queue, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, m := range []struct {
		kind, id, sender, status string
		to                       []string
		attempts                 int
		age                      time.Duration
	}{
		{"qf", "6AOLt900000001", "", "Deferred: 452 4.2.2 Mailbox size limit exceeded; the user has been told so many times, and will be told again tomorrow", []string{"a@full.example"}, 42, 50*time.Hour + time.Minute},
		{"qf", "6AOLt900000002", "news@shop.example", "Deferred: Connection timed out with mx.far.example.", []string{"b@far.example", "c@far.example", "d@full.example"}, 7, 3*time.Hour + time.Minute},
		{"hf", "6AOLt900000003", "root@host.example", "", []string{"a.very.long.local.part.of.an.address.that.nobody.would.type@a-long-name.of.a.host.somewhere.example"}, 1, 20*time.Minute + 30*time.Second},
		{"qf", "6AOLt900000004", "陳@例子.example", "Deferred: 450 4.2.0 信箱已滿信箱已滿信箱已滿信箱已滿信箱已滿信箱已滿信箱已滿信箱已滿信箱已滿 re\u0301essayez", []string{"李小龍@例子例子例子例子例子例子.example"}, 3, 5*time.Minute + 30*time.Second},
		{"qf", "6AOLt900000005", "x@y.example", "Deferred: \x1b[2Jboo\u202e", []string{"z@full.example"}, 0, 4*time.Minute + 30*time.Second},
	} {
		text := fmt.Sprintf("V8\nT%d\nK0\nN%d\nP30000\n", time.Now().Add(-m.age).Unix(), m.attempts)
		if m.status != "" {
			text += "M" + m.status + "\n"
		}
		if m.kind == "hf" {
			text += "qheld by the filter\n"
		}
		text += "S<" + m.sender + ">\n"
		for _, to := range m.to {
			text += "RPFD:<" + to + ">\n"
		}
		text += "H??Subject: test\n.\n"
		for name, data := range map[string]string{m.kind + m.id: text, "df" + m.id: "text\n"} {
			if err := os.WriteFile(filepath.Join(queue, name), []byte(data), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	return queue
}

func TestScreens(t *testing.T) {
	queue := madeQueue(t)
	for name, args := range map[string][]string{
		"list":    {"queue", "list"},
		"summary": {"queue", "summary"},
		"ages":    {"queue", "summary", "--by", "age"},
		"status":  {"queue", "summary", "--by", "status"},
		"try":     {"rule", "try", `status contains "4.2"`},
		"sweep":   {"sweep", "--dry-run"},
	} {
		for _, width := range []int{40, 60, 80, 120, 200} {
			o := startOnTerminal(t, width, 200, nil, nil, append(args, "--queue", queue)...)
			code := o.end()
			got := took.ReplaceAllString(o.shown(), "(0.001 s)")
			if code != exitDone && name != "sweep" {
				t.Errorf("%s at %d columns: exit status %d:\n%s", name, width, code, got)
			}
			if n := o.screen.wrapped; n > 0 && name != "sweep" {
				t.Errorf("%s at %d columns: %d lines are too long:\n%s", name, width, n, got)
			}
			if name != "sweep" && width >= 60 && width <= 120 {
				golden(t, filepath.Join("testdata", "screens", name+"-"+strconv.Itoa(width)+".txt"), got)
			}
		}
	}
}
