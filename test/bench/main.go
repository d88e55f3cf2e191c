// Command bench measures the sweeper against what there is to compare it with,
// in one run on one machine, with all files in the cache:
//
//   - the floor: list, open, read and close every control file by plain system
//     calls, with as many threads as there are cores, and nothing else;
//   - the grep one-liner that administrators use on control files;
//   - sendmail's qtool.pl with one expression.
//
// Only ratios mean something beyond this machine. It must be run from the
// project's top folder, on Linux, with perl and sendmail-cf installed.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
)

func main() {
	messages := flag.Int("n", 50_000, "messages in the queue")
	rounds := flag.Int("rounds", 5, "runs of each; the median counts")
	changes := flag.Bool("acting", false, "measure only moves, restores and deletes, of two fifths of the messages")
	picture := flag.String("growth", "", "measure only how the time for a message goes with the size of the queue, up to -n messages, and draw it in this `file`")
	only := flag.Bool("queue", false, "make the queue in the folder that is named, and end")
	flag.Parse()
	var err error
	switch {
	case *only:
		_, err = makeQueue(flag.Arg(0), *messages, control)
	case *picture != "":
		err = growth(*picture, *messages, *rounds)
	case *changes:
		err = actingOnly(*messages, *rounds)
	default:
		err = run(*messages, *rounds)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func actingOnly(messages, rounds int) error {
	dir, err := os.MkdirTemp("", "backscatterd-bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	return acting(dir, messages*2/5, min(rounds, 3))
}

func run(messages, rounds int) error {
	dir, err := os.MkdirTemp("", "backscatterd-bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	b := bench{dir: dir, program: filepath.Join(dir, "backscatterd"), rounds: rounds, took: make(map[string]usage)}
	if err := build(b.program); err != nil {
		return err
	}
	for name, q := range map[string]struct {
		messages int
		control  func(id string, i int) []byte
	}{
		"empty": {0, control}, "small": {messages / 10, control}, "large": {messages, control}, "bounces": {messages, bounce},
	} {
		if _, err := makeQueue(filepath.Join(dir, name), q.messages, q.control); err != nil {
			return err
		}
	}
	fmt.Printf("%d messages, %d cores, median of %d runs\n\n", messages, runtime.NumCPU(), rounds)
	if err := b.measure(); err != nil {
		return err
	}
	if err := b.print(); err != nil {
		return err
	}
	return acting(dir, messages*2/5, min(rounds, 3))
}

// bench is what is measured, and how long it took.
type bench struct {
	dir, program string
	rounds       int
	took         map[string]usage
}

// The rows, in the order in which they are told.
const (
	floor     = "floor: list, open, read, close"
	sweep     = "backscatterd sweep --dry-run"
	plain     = "the same without io_uring"
	first     = "serve, its first sweep"
	again     = "serve, again with 1 % changed"
	grep      = "grep of the control files"
	perl      = "qtool.pl -e, one expression"
	bothFloor = "floor of as many bounces, qf and df"
	returned  = "sweep with one returned.* rule"
	tenth     = "sweep of a tenth of the queue"
	start     = "queue list of an empty queue"
)

func (b *bench) measure() error {
	large, bounces := filepath.Join(b.dir, "large"), filepath.Join(b.dir, "bounces")
	sweepOf := func(queue, config string) func() (usage, error) {
		return func() (usage, error) {
			return timed(b.program, "sweep", "-c", filepath.Join(b.dir, queue)+config, "--dry-run", "--json")
		}
	}
	for _, m := range []struct {
		name   string
		rounds int
		run    func() (usage, error)
	}{
		{floor, b.rounds, func() (usage, error) { return readAll(large, false) }},
		{sweep, b.rounds, sweepOf("large", ".toml")},
		{plain, b.rounds, sweepOf("large", ".plain.toml")},
		{tenth, b.rounds, sweepOf("small", ".toml")},
		{grep, b.rounds, func() (usage, error) { return grepAll(large) }},
		{perl, 3, func() (usage, error) { return qtool(b.dir, large) }},
		{bothFloor, b.rounds, func() (usage, error) { return readAll(bounces, true) }},
		{returned, b.rounds, sweepOf("bounces", ".returned.toml")},
		{start, 4 * b.rounds, func() (usage, error) {
			return timed(b.program, "queue", "list", "-c", filepath.Join(b.dir, "empty.toml"))
		}},
	} {
		u, err := median(m.rounds, m.run)
		if err != nil {
			return err
		}
		b.took[m.name] = u
	}
	firsts, agains, err := sweepAgain(large, b.rounds)
	b.took[first], b.took[again] = firsts, agains
	return err
}

func (b *bench) print() error {
	for _, name := range []string{floor, sweep, plain, first, again, grep, perl, bothFloor, returned, start} {
		u := b.took[name]
		fmt.Printf("%-36s %8.3f s  %6.2f x floor  %6.1f MiB\n", name, u.wall.Seconds(), ratio(u, b.took[floor]), float64(u.peak)/(1<<20))
	}
	size, err := os.Stat(b.program)
	if err != nil {
		return err
	}
	fmt.Println()
	of := func(what, x, y, want string) {
		fmt.Printf("%-36s %8.2f   (%s)\n", what, ratio(b.took[x], b.took[y]), want)
	}
	of("sweep / floor", sweep, floor, "at most 1.6")
	of("sweep without io_uring / floor", plain, floor, "where the system has none")
	of("sweep / grep", sweep, grep, "at most 0.8")
	of("qtool.pl / sweep", perl, sweep, "at least 60")
	of("qtool.pl / sweep without io_uring", perl, plain, "where the system has none")
	of("again / first", again, first, "at most 0.35")
	of("returned.* / its floor", returned, bothFloor, "at most 2.5")
	fmt.Printf("%-36s %8.1f ms (at most 15)\n", "start", b.took[start].wall.Seconds()*1e3)
	fmt.Printf("%-36s %8.1f MB (at most 25)\n", "the program", float64(size.Size())/1e6)
	fmt.Printf("%-36s %8.1f MiB (at most 64), with a tenth of the queue %.1f MiB\n", "peak memory of a sweep",
		float64(b.took[sweep].peak)/(1<<20), float64(b.took[tenth].peak)/(1<<20))
	return nil
}
