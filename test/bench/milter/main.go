// Command milter compares the milter with a C filter on libmilter that does
// nothing, over a unix socket, in one run on one machine:
//
//   - how many messages a second each takes when every connection sends as fast
//     as it is answered, and what a message costs each of them in CPU time;
//   - how long messages take when both are offered the same number a second, at
//     random times that do not wait for the answers;
//   - what 1,000 idle connections cost;
//   - whether the milter's memory stays the same over many messages.
//
// Rounds alternate between the two, and the one that begins alternates too. Run
// it from the top of the repository, with gcc and libmilter-dev installed:
//
//	go run ./test/bench/milter
//	go run ./test/bench/milter -steady 1000000    (the long form)
package main

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"
)

// sizes are how much is measured.
type sizes struct {
	messages int           // a connection, of a round as fast as possible
	conns    int           // connections
	rounds   int           // of each filter
	paced    time.Duration // of a round at a given rate
	idle     int           // idle connections
	steady   int           // messages over which memory is watched
	only     string        // what the name of a load begins with
}

func main() {
	var s sizes
	flag.IntVar(&s.messages, "n", 750, "messages a connection, in a round as fast as possible")
	flag.IntVar(&s.conns, "conns", 8, "connections")
	flag.IntVar(&s.rounds, "rounds", 5, "rounds; the medians count")
	flag.DurationVar(&s.paced, "paced", 2*time.Second, "length of a round at a given rate")
	flag.IntVar(&s.idle, "idle", 1000, "idle connections")
	flag.IntVar(&s.steady, "steady", 50_000, "messages over which memory is watched; 1000000 is the long form")
	flag.StringVar(&s.only, "only", "", "compare only loads whose name begins so: bounces, ordinary, outgoing")
	flag.Parse()
	if err := run(s); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(s sizes) error {
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
	fmt.Printf("%d cores, shared by the client and the filter; %d connections, unix socket; medians of %d rounds, lowest and highest behind\n",
		runtime.NumCPU(), s.conns, s.rounds)
	for _, l := range loads {
		if !strings.HasPrefix(l.name, s.only) {
			continue
		}
		fmt.Printf("\n%s\n", l.name)
		if err := compare(l, noop, ours, s); err != nil {
			return fmt.Errorf("%s: %w", l.name, err)
		}
	}
	fmt.Println()
	for _, f := range []*filter{noop, ours} {
		if err := idleMemory(f, loads[0], s.idle); err != nil {
			return fmt.Errorf("%s: %w", f.name, err)
		}
	}
	if err := steadyMemory(ours, loads, s); err != nil {
		return fmt.Errorf("%s: %w", ours.name, err)
	}
	return nil
}

// shares of what the slower of the two can do, that both are offered.
var shares = []float64{0.5, 0.75}

// compare has both filters deal with a load: as fast as they can, and at equal
// rates.
func compare(l load, noop, ours *filter, s sizes) error {
	c, b, err := alternate(noop, ours, s.rounds, func(f *filter) (speed, error) { return fastest(l, f, s) })
	if err != nil {
		return err
	}
	rate := func(v speed) float64 { return v.rate }
	fmt.Println("  as fast as possible")
	for i, v := range [][]speed{c, b} {
		fmt.Printf("    %-15s %s messages/s   %s µs of CPU a message\n", []*filter{noop, ours}[i].name, spread(v, rate, 0),
			spread(v, func(v speed) float64 { return v.cpu }, 0))
	}
	fmt.Printf("    %-15s %s (at least %.1f)\n", "ratio", spreadOf(ratios(b, c, rate), 2), l.want)

	for _, share := range shares {
		offered := share * min(median(values(c, rate)), median(values(b, rate)))
		seed := uint64(0)
		c, b, err := alternate(noop, ours, s.rounds, func(f *filter) (delay, error) {
			seed++ // each pair of rounds has the same arrivals
			return paced(l, f, s, offered, seed/2)
		})
		if err != nil {
			return err
		}
		fmt.Printf("  both offered %.0f messages/s\n", offered)
		for i, v := range [][]delay{c, b} {
			fmt.Printf("    %-15s p50 %s   p99 %s µs\n", []*filter{noop, ours}[i].name, spread(v, delay.median, 0), spread(v, delay.tail, 0))
		}
		fmt.Printf("    %-15s p50 %s   p99 %s (at most 0.9)\n", "ratio", spreadOf(ratios(b, c, delay.median), 2), spreadOf(ratios(b, c, delay.tail), 2))
	}
	return nil
}

// alternate measures both filters in turn, after one round of each that does not
// count, so that what else the machine does hits both.
func alternate[T any](noop, ours *filter, rounds int, measure func(*filter) (T, error)) (c, b []T, err error) {
	for i := range rounds + 1 {
		order := []*filter{noop, ours}
		if i%2 == 1 {
			slices.Reverse(order)
		}
		for _, f := range order {
			v, err := measure(f)
			switch {
			case err != nil:
				return nil, nil, fmt.Errorf("%s: %w", f.name, err)
			case i == 0:
			case f == noop:
				c = append(c, v)
			default:
				b = append(b, v)
			}
		}
	}
	return c, b, nil
}

func values[T any](list []T, of func(T) float64) []float64 {
	out := make([]float64, len(list))
	for i, v := range list {
		out[i] = of(v)
	}
	return out
}

// ratios are those of rounds that followed each other.
func ratios[T any](b, c []T, of func(T) float64) []float64 {
	out := make([]float64, len(b))
	for i := range b {
		out[i] = of(b[i]) / of(c[i])
	}
	return out
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return v[len(v)/2]
}

func spread[T any](list []T, of func(T) float64, digits int) string {
	return spreadOf(values(list, of), digits)
}

// spreadOf writes a median, and the lowest and the highest behind it.
func spreadOf(v []float64, digits int) string {
	return fmt.Sprintf("%7.*f (%.*f..%.*f)", digits, median(v), digits, slices.Min(v), digits, slices.Max(v))
}
