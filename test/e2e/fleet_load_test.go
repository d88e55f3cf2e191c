package e2e

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/backscatterd/backscatterd/test/lab"
)

// shown is a bounce that was handed in on the second host.
type shown struct {
	span
	id     string
	ours   bool
	late   bool // not as soon as the message had left
	status string
}

// load sends mail through the first host, and shows the bounces of it, and
// forged ones, to the second, until it is ended.
type load struct {
	f       *fleet
	stop    chan struct{}
	running sync.WaitGroup

	mu     sync.Mutex
	sent   []lab.Delivery
	shown  []shown
	submit []span // when each was handed in
	failed []error
}

func (f *fleet) load(ctx context.Context, name string) *load {
	l := &load{f: f, stop: make(chan struct{})}
	l.running.Go(func() { l.every(200*time.Millisecond, func(n int) error { return l.ours(ctx, name, n) }) })
	l.running.Go(func() { l.every(250*time.Millisecond, func(n int) error { return l.forged(ctx, name, n) }) })
	return l
}

// every calls do at this pace, or as fast as it gets on.
func (l *load) every(pace time.Duration, do func(n int) error) {
	tick := time.NewTicker(pace)
	defer tick.Stop()
	for n := range 1000 {
		if err := do(n); err != nil {
			l.note(err)
			return
		}
		select {
		case <-tick.C:
		case <-l.stop:
			return
		}
	}
}

// moment is how long a bounce takes that is not the fastest: the record of the
// message has arrived.
const moment = time.Second

// ours sends a message, from somebody who never sent one before, and shows its
// bounce: of every other one as soon as it has left, when its record may still be
// on its way, of the rest a moment later.
func (l *load) ours(ctx context.Context, name string, n int) error {
	id := fmt.Sprintf("%s%d@%s", name, n, ourDomain)
	from, to := fmt.Sprintf("%s%d@%s", name, n, ourDomain), fmt.Sprintf("%s%d@remote.example", name, n)
	took := span{began: time.Now()}
	if _, err := l.f.a.Submit(ctx, lab.Envelope{From: from, To: lab.To(to), Data: letter(from, to, id)}); err != nil {
		return err
	}
	took.ended = time.Now()
	d, err := l.f.a.delivered(ctx, id)
	if err != nil {
		return err
	}
	l.mu.Lock()
	l.submit, l.sent = append(l.submit, took), append(l.sent, d)
	l.mu.Unlock()
	bounce := bounceOf(d.Data, from, to, "bounce-"+id)
	if n%2 == 0 {
		return l.show(ctx, bounce, shown{id: "bounce-" + id, ours: true})
	}
	l.running.Go(func() {
		time.Sleep(moment)
		l.note(l.show(ctx, bounce, shown{id: "bounce-" + id, ours: true, late: true}))
	})
	return nil
}

// note keeps an error for the end.
func (l *load) note(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failed = append(l.failed, err)
}

func (l *load) forged(ctx context.Context, name string, n int) error {
	id := fmt.Sprintf("forged-%s%d@mx.remote.example", name, n)
	returned, sender, recipient := forgery(n)
	return l.show(ctx, bounceOf(returned, sender, recipient, id), shown{id: id})
}

func (l *load) show(ctx context.Context, bounce lab.Envelope, s shown) error {
	s.began = time.Now()
	err := l.f.b.takes(ctx, l.f.net, bounce)
	s.ended = time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.shown = append(l.shown, s)
	return err
}

// await waits for so long, and until so many more bounces of each kind were shown.
func (l *load) await(ctx context.Context, more int, atLeast time.Duration) {
	count := func() (forged, soon, late int) {
		l.mu.Lock()
		defer l.mu.Unlock()
		for _, s := range l.shown {
			switch {
			case !s.ours:
				forged++
			case s.late:
				late++
			default:
				soon++
			}
		}
		return forged, soon, late
	}
	forged, soon, late := count()
	for began := time.Now(); ctx.Err() == nil; {
		f, s, t := count()
		if time.Since(began) > atLeast && min(f-forged, s-soon, t-late) >= more {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// end ends it and returns what became of each bounce.
func (l *load) end(ctx context.Context) []shown {
	l.f.t.Helper()
	close(l.stop)
	l.running.Wait()
	if err := errors.Join(l.failed...); err != nil {
		l.f.t.Fatalf("mail did not flow: %v", err)
	}
	for i := range l.shown {
		d, err := l.f.b.delivered(ctx, l.shown[i].id)
		if err != nil {
			l.f.t.Fatal(err)
		}
		l.shown[i].status = header(l.f.t, d).Get("X-Backscatter-Status")
	}
	return l.shown
}
