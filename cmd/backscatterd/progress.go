package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/backscatterd/backscatterd/queuesweep/spool"
)

const (
	progressAfter = 500 * time.Millisecond // what is over sooner needs none
	progressEvery = 100 * time.Millisecond
)

// progress is the line on a terminal that tells how far long work has come. It
// is stderr's last line; whatever else is written to the terminal erases it
// first, and it comes back below. Safe for concurrent use.
type progress struct {
	out   terminal // stderr, as it came
	after time.Duration

	mu    sync.Mutex
	drawn bool

	looked, acted, total atomic.Int64
}

// newProgress is nil where stderr is no terminal: then nothing is drawn.
func newProgress(stderr io.Writer) *progress {
	out := newTerminal(stderr, stderr)
	if out.width == 0 {
		return nil
	}
	return &progress{out: out, after: progressAfter}
}

// over is w for those who write to the same terminal.
func (p *progress) over(w io.Writer) io.Writer {
	if _, _, ok := screenOf(w); p == nil || !ok {
		return w
	}
	return overProgress{p, w}
}

type overProgress struct {
	p *progress
	w io.Writer
}

func (o overProgress) Write(text []byte) (int, error) {
	o.p.mu.Lock()
	defer o.p.mu.Unlock()
	o.p.erase()
	return o.w.Write(text)
}

// erase is called with mu held.
func (p *progress) erase() {
	if p.drawn {
		io.WriteString(p.out.Writer, "\r\x1b[K")
		p.drawn = false
	}
}

// start draws progress until the function it returns is called, which may be
// called again. total counts what there is to do; it is asked once, when the
// first line is due.
func (p *progress) start(ctx context.Context, verb string, total func(context.Context) int) (stop func()) {
	if p == nil {
		return func() {}
	}
	p.looked.Store(0)
	p.acted.Store(0)
	p.total.Store(0)
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.keep(ctx, verb, total)
	}()
	return func() {
		cancel()
		<-done
	}
}

func (p *progress) keep(ctx context.Context, verb string, total func(context.Context) int) {
	began := time.Now()
	select {
	case <-ctx.Done():
		return
	case <-time.After(p.after):
	}
	p.total.Store(int64(total(ctx)))
	tick := time.NewTicker(progressEvery)
	defer tick.Stop()
	for ctx.Err() == nil {
		p.draw(verb, time.Since(began))
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
	p.mu.Lock()
	p.erase()
	p.mu.Unlock()
}

func (p *progress) draw(verb string, took time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if f, _, ok := screenOf(p.out.Writer); ok {
		p.out.width = f
	}
	line := p.out.progressLine(verb, int(p.looked.Load()), int(p.acted.Load()), int(p.total.Load()), took)
	fmt.Fprintf(p.out, "\r%s\x1b[K", line)
	p.drawn = true
}

// progressLine tells what was done of how much, and how fast. Where nobody knows
// how much there is, there is no bar. It leaves the last column free, where a
// terminal would wrap.
func (t terminal) progressLine(verb string, looked, acted, total int, took time.Duration) string {
	n := looked
	if looked == 0 {
		n = acted // messages that were named are not looked for
	}
	text := thousands(n)
	if total > 0 {
		text = fmt.Sprintf("%s of %s", text, thousands(max(total, n)))
	}
	rate := float64(n) / max(took.Seconds(), 0.001)
	text += fmt.Sprintf(" · %s/s", thousands(int(rate)))
	if looked > 0 && acted > 0 {
		text += fmt.Sprintf(" · %s matched", thousands(acted))
	}
	if left := total - n; total > 0 && left > 0 && rate > 0 && took > 2*time.Second {
		text += " · " + age(time.Duration(float64(left)/rate*1e9)) + " left"
	}
	room := t.width - 1
	wide := min(room-columns(verb)-columns(text)-4, 30)
	if total == 0 || wide < 5 {
		return fit(verb+"  "+text, room)
	}
	done := t.bar(n, max(total, n), wide)
	blank := strings.Repeat(" ", wide-columns(done))
	if t.ascii {
		return verb + " [" + done + blank + "] " + text
	}
	return verb + "  " + t.paint(cyan, done) + t.paint(faint, strings.ReplaceAll(blank, " ", "░")) + "  " + text
}

// thousands writes a number with a space between thousands.
func thousands(n int) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + " " + s[i:]
	}
	return s
}

// act counts a message that something was done to.
func (p *progress) act() {
	if p != nil {
		p.acted.Add(1)
	}
}

// following draws progress of a look at all queues.
func (a *app) following(ctx context.Context, verb string) (stop func()) {
	return a.progress.start(ctx, verb, a.messagesQueued)
}

// messagesQueued counts the control files, without opening any. What cannot be
// read is told of by those who read it.
func (a *app) messagesQueued(ctx context.Context) (n int) {
	cfg, err := a.config()
	if err != nil {
		return 0
	}
	places, _ := a.placesOf(cfg)()
	sp, _ := spool.Open(spool.System{}, places)
	if sp == nil {
		return 0
	}
	defer sp.Close()
	for _, f := range sp.Folders() {
		f.Entries(ctx, func(spool.Entry) error { n++; return nil })
	}
	return n
}
