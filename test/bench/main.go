// Command bench measures a dry run of the default rules against what there is
// to compare it with, in one run on one machine, with all files in the cache:
//
//   - the floor: list, open, read and close every control file, with as many
//     threads as there are cores, and nothing else;
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
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

func main() {
	messages := flag.Int("n", 50_000, "messages in the queue")
	rounds := flag.Int("rounds", 5, "runs of each; the median counts")
	flag.Parse()
	if err := run(*messages, *rounds); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(messages, rounds int) error {
	dir, err := os.MkdirTemp("", "backscatterd-bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	program := filepath.Join(dir, "backscatterd")
	if out, err := exec.Command("go", "build", "-trimpath", "-o", program, "./cmd/backscatterd").CombinedOutput(); err != nil {
		return fmt.Errorf("build: %w\n%s", err, out)
	}
	small, err := makeQueue(filepath.Join(dir, "small"), messages/10)
	if err != nil {
		return err
	}
	queue, err := makeQueue(filepath.Join(dir, "large"), messages)
	if err != nil {
		return err
	}
	fmt.Printf("%d messages, %d cores, median of %d runs\n\n", messages, runtime.NumCPU(), rounds)

	sweep := func(queue string) func() (usage, error) {
		return func() (usage, error) {
			return timed(program, "sweep", "-c", queue+".toml", "--dry-run", "--json")
		}
	}
	floor, err := median(rounds, func() (usage, error) { return readAll(queue) })
	if err != nil {
		return err
	}
	ours, err := median(rounds, sweep(queue))
	if err != nil {
		return err
	}
	tenth, err := median(rounds, sweep(small))
	if err != nil {
		return err
	}
	grep, err := median(rounds, func() (usage, error) {
		return timed("sh", "-c", `find "$1" -name 'qf*' -print0 | xargs -0 grep -E -h '(^M|^N|^R|Subject:|^\.)' >/dev/null`, "sh", queue)
	})
	if err != nil {
		return err
	}
	perl, err := median(1, func() (usage, error) { return qtool(dir, queue) })
	if err != nil {
		return err
	}
	row := func(name string, u usage) {
		fmt.Printf("%-34s %8.3f s  %6.2f x floor  %6.1f MiB\n", name, u.wall.Seconds(), ratio(u, floor), float64(u.peak)/(1<<20))
	}
	row("floor: list, open, read, close", floor)
	row("backscatterd sweep --dry-run", ours)
	row("grep of the control files", grep)
	row("qtool.pl -e, one expression", perl)
	fmt.Printf("\nsweep / grep      %6.2f   (at most 1)\n", ratio(ours, grep))
	fmt.Printf("qtool.pl / sweep  %6.1f   (at least 40)\n", ratio(perl, ours))
	fmt.Printf("peak memory       %6.1f MiB (at most 64), with a tenth of the queue %.1f MiB\n", float64(ours.peak)/(1<<20), float64(tenth.peak)/(1<<20))
	return nil
}

// usage is what a run has cost.
type usage struct {
	wall time.Duration
	peak int64 // of memory, in bytes; 0 where it was not a process of its own
}

func ratio(a, b usage) float64 { return a.wall.Seconds() / b.wall.Seconds() }

// median runs once to warm up, then rounds times.
func median(rounds int, f func() (usage, error)) (usage, error) {
	var all []usage
	for i := range rounds + 1 {
		u, err := f()
		if err != nil {
			return u, err
		}
		if i > 0 || rounds == 1 {
			all = append(all, u)
		}
	}
	slices.SortFunc(all, func(a, b usage) int { return int(a.wall - b.wall) })
	return all[len(all)/2], nil
}

func timed(name string, args ...string) (usage, error) {
	cmd := exec.Command(name, args...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	began := time.Now()
	err := cmd.Run()
	u := usage{wall: time.Since(began)}
	if err != nil {
		return u, fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args, " "), err, stderr.String())
	}
	if ru, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		u.peak = ru.Maxrss << 10
	}
	return u, nil
}

// readAll is the floor.
func readAll(queue string) (usage, error) {
	began := time.Now()
	f, err := os.Open(queue)
	if err != nil {
		return usage{}, err
	}
	defer f.Close()
	work := make(chan []string, runtime.NumCPU())
	var wg sync.WaitGroup
	for range runtime.NumCPU() {
		wg.Go(func() {
			buf := make([]byte, 64<<10)
			for names := range work {
				for _, n := range names {
					if n[0] != 'q' {
						continue
					}
					if fd, err := unix.Openat(int(f.Fd()), n, unix.O_RDONLY, 0); err == nil {
						unix.Read(fd, buf)
						unix.Close(fd)
					}
				}
			}
		})
	}
	for {
		names, err := f.Readdirnames(512)
		if len(names) == 0 {
			break
		}
		work <- names
		if err != nil {
			break
		}
	}
	close(work)
	wg.Wait()
	return usage{wall: time.Since(began)}, nil
}

// qtool runs the stock script with an expression that matches nothing, so that
// it reads everything and moves nothing.
func qtool(dir, queue string) (usage, error) {
	const script = "/usr/share/sendmail/qtool.pl"
	target := filepath.Join(dir, "removed")
	if err := os.MkdirAll(target, 0o700); err != nil {
		return usage{}, err
	}
	cf := filepath.Join(dir, "sendmail.cf")
	if err := os.WriteFile(cf, []byte("O QueueDirectory="+queue+"\n"), 0o600); err != nil {
		return usage{}, err
	}
	return timed("perl", script, "-C", cf, "-e", `$msg{message}[0] =~ /no such status/`, target, queue)
}
