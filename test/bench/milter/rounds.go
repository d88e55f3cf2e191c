package main

import (
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// speed is what a round as fast as possible has measured.
type speed struct {
	rate float64 // messages a second
	cpu  float64 // of the filter, in microseconds a message
}

// delay is how long the messages of a round at a given rate took, sorted.
type delay []time.Duration

func (d delay) at(percent int) float64 { return float64(d[len(d)*percent/100].Nanoseconds()) / 1e3 }
func (d delay) median() float64        { return d.at(50) }
func (d delay) tail() float64          { return d.at(99) }

// fastest has each connection send its next message when the last one is
// answered. How long a message takes then is of no use for a comparison: it
// follows from the rate, and each filter is at another one.
func fastest(l load, f *filter, s sizes) (speed, error) {
	before, err := f.cpu()
	if err != nil {
		return speed{}, err
	}
	took, err := f.together(l.client, s.conns, func(_ int, c *client) error {
		for n := range s.messages {
			if err := l.send(c, n); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return speed{}, err
	}
	after, err := f.cpu()
	if err != nil {
		return speed{}, err
	}
	n := float64(s.conns * s.messages)
	return speed{n / took.Seconds(), float64((after - before).Microseconds()) / n}, nil
}

// paced sends messages at random times, at this rate on average, on whichever
// connection is free. A message that waits for a free one waits on the filter's
// account: its time counts from when it was to be sent. That the client wakes up
// late, with a connection free, does not.
func paced(l load, f *filter, s sizes, rate float64, seed uint64) (delay, error) {
	dice := rand.New(rand.NewPCG(seed, 0))
	var due []time.Duration
	for at := 0.0; at < s.paced.Seconds(); at += dice.ExpFloat64() / rate {
		due = append(due, time.Duration(at*float64(time.Second)))
	}
	times := make(delay, len(due))
	var next atomic.Int64
	var start sync.Once
	var began time.Time
	_, err := f.together(l.client, s.conns, func(_ int, c *client) error {
		start.Do(func() { began = time.Now() })
		for {
			n := int(next.Add(1)) - 1
			if n >= len(due) {
				return nil
			}
			since := began.Add(due[n])
			if wait := time.Until(since); wait > 0 {
				time.Sleep(wait)
				since = time.Now()
			}
			if err := l.send(c, n); err != nil {
				return err
			}
			times[n] = time.Since(since)
		}
	})
	slices.Sort(times)
	return times, err
}

// together runs work on so many connections at once, and tells how long it took.
func (f *filter) together(address string, conns int, work func(int, *client) error) (time.Duration, error) {
	errs := make([]error, conns)
	var ready, done sync.WaitGroup
	begin := make(chan struct{})
	ready.Add(conns)
	for i := range conns {
		done.Go(func() {
			c, err := dial(f.socket, address)
			ready.Done()
			if errs[i] = err; err != nil {
				return
			}
			defer c.Close()
			<-begin
			errs[i] = work(i, c)
		})
	}
	ready.Wait()
	began := time.Now()
	close(begin)
	done.Wait()
	return time.Since(began), errors.Join(errs...)
}
