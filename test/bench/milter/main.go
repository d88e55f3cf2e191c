// Command milter compares the milter with a C filter on libmilter that does
// nothing: messages a second and the 99th percentile of their time, for bounces
// of 8 kB and for ordinary mail, over a unix socket, in one run; and what 1,000
// idle connections cost. Run it from the top of the repository, with gcc and
// libmilter-dev installed:
//
//	go run ./test/bench/milter
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"runtime"
	"slices"
	"sync"
	"time"
)

func main() {
	messages := flag.Int("n", 2000, "messages a connection and round")
	conns := flag.Int("conns", 8, "connections")
	rounds := flag.Int("rounds", 7, "rounds; the medians count")
	idle := flag.Int("idle", 1000, "idle connections")
	flag.Parse()
	if err := run(*messages, *conns, *rounds, *idle); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(messages, conns, rounds, idle int) error {
	dir, err := os.MkdirTemp("", "bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	noop, err := startNoop(dir)
	if err != nil {
		return err
	}
	defer noop.stop()
	ours, err := startOurs(dir)
	if err != nil {
		return err
	}
	defer ours.stop()
	time.Sleep(2 * time.Second) // its warm-up
	loads, err := makeLoads(ours)
	if err != nil {
		return err
	}
	fmt.Printf("%d cores, %d connections, unix socket, %d messages each, median of %d rounds\n", runtime.NumCPU(), conns, messages, rounds)
	for _, l := range loads {
		if err := compare(l, noop, ours, messages, conns, rounds); err != nil {
			return fmt.Errorf("%s: %w", l.name, err)
		}
	}
	for _, f := range []*filter{noop, ours} {
		if err := idleMemory(f, loads[0], idle); err != nil {
			return fmt.Errorf("%s: %w", f.name, err)
		}
	}
	return nil
}

// figures are what a round has measured.
type figures struct {
	rate float64 // messages a second
	p99  time.Duration
}

// compare runs both filters in turn, so that what else the machine does hits
// both. The ratios are of rounds that followed each other.
func compare(l load, noop, ours *filter, messages, conns, rounds int) error {
	var c, b []figures
	var rates, tails []float64
	for i := range rounds + 1 {
		x, err := round(l, noop, messages, conns)
		if err != nil {
			return err
		}
		y, err := round(l, ours, messages, conns)
		if err != nil {
			return err
		}
		if i == 0 {
			continue // to warm up
		}
		c, b = append(c, x), append(b, y)
		rates, tails = append(rates, y.rate/x.rate), append(tails, float64(y.p99)/float64(x.p99))
	}
	fmt.Printf("\n%s\n", l.name)
	for name, f := range map[string][]figures{noop.name: c, ours.name: b} {
		var rate, tail []float64
		for _, one := range f {
			rate, tail = append(rate, one.rate), append(tail, float64(one.p99.Microseconds()))
		}
		fmt.Printf("  %-16s %8.0f messages/s   p99 %7.0f µs\n", name, median(rate), median(tail))
	}
	fmt.Printf("  %-16s %8.2f (at least %.1f)      %7.2f (at most 1.0)\n", "ratio", median(rates), l.want, median(tails))
	return nil
}

// round has each connection deliver its messages, all at once.
func round(l load, f *filter, messages, conns int) (figures, error) {
	times := make([][]time.Duration, conns)
	errs := make([]error, conns)
	var ready, done sync.WaitGroup
	begin := make(chan struct{})
	ready.Add(conns)
	for i := range conns {
		done.Go(func() {
			times[i], errs[i] = worker(l, f, messages, &ready, begin)
		})
	}
	ready.Wait()
	began := time.Now()
	close(begin)
	done.Wait()
	took := time.Since(began)
	all := slices.Concat(times...)
	if err := errors.Join(errs...); err != nil || len(all) == 0 {
		return figures{}, fmt.Errorf("%s: %w", f.name, err)
	}
	slices.Sort(all)
	return figures{float64(len(all)) / took.Seconds(), all[len(all)*99/100]}, nil
}

func worker(l load, f *filter, messages int, ready *sync.WaitGroup, begin <-chan struct{}) ([]time.Duration, error) {
	c, err := dial(f.socket, l.client)
	ready.Done()
	if err != nil {
		return nil, err
	}
	defer c.Close()
	<-begin
	times := make([]time.Duration, 0, messages)
	for i := range messages {
		began := time.Now()
		if answer, err := c.deliver(l.messages[i%len(l.messages)]); err != nil || answer != 'a' && answer != 'c' {
			return nil, fmt.Errorf("answered %q, %w", answer, err)
		}
		times = append(times, time.Since(began))
	}
	return times, nil
}

// idleMemory tells what connections cost that have had a message and are idle.
func idleMemory(f *filter, l load, n int) error {
	before, err := f.memory()
	if err != nil {
		return err
	}
	var open []*client
	defer func() {
		for _, c := range open {
			c.Close()
		}
	}()
	for range n {
		c, err := dial(f.socket, l.client)
		if err != nil {
			return err
		}
		open = append(open, c)
		if _, err := c.deliver(l.messages[0]); err != nil {
			return err
		}
	}
	after, err := f.memory()
	if err != nil {
		return err
	}
	fmt.Printf("\n%d idle connections of %s: %.1f MiB more than none (%.1f MiB in all)\n", n, f.name, float64(after-before)/(1<<20), float64(after)/(1<<20))
	return nil
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return v[len(v)/2]
}
