package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/backscatterd/backscatterd/queuesweep"
)

// sizes are the queues that are measured, in messages.
var sizes = []int{1_000, 3_000, 10_000, 30_000, 100_000, 300_000, 1_000_000}

// largestForPerl is where qtool.pl is asked for the last time: it keeps all
// messages in memory, 6 MB for a thousand of them.
const largestForPerl = 100_000

// point is what one program takes for one queue: the time for a message, less
// that for a queue of none.
type point struct {
	messages int
	each     time.Duration
}

// curve is one program over all sizes.
type curve struct {
	name   string
	points []point
}

// program is what is measured over queues that grow. limit is the largest.
type program struct {
	name  string
	limit int
	run   func(queue string) (usage, error)
}

// growth measures how the time for a message goes with the size of the queue,
// flat and split, and draws it.
func growth(picture string, largest, rounds int) error {
	dir, err := os.MkdirTemp("", "backscatterd-growth")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	bin := filepath.Join(dir, "backscatterd")
	if err := build(bin); err != nil {
		return err
	}
	fmt.Printf("median of %d runs; time for each message, less that for an empty queue\n", rounds)
	charts := make([]chart, 0, 2)
	for _, split := range []bool{false, true} {
		c := chart{title: "flat queue", curves: make([]curve, 0, 5)}
		if split {
			c.title = "split queue (qf, df)"
		}
		fmt.Printf("\n%s\n%10s  %-24s %12s\n", c.title, "messages", "", "µs a message")
		if err := c.measure(filepath.Join(dir, "queue"), bin, programs(dir), split, largest, rounds); err != nil {
			return err
		}
		c.tell()
		charts = append(charts, c)
	}
	return os.WriteFile(picture, draw(charts), 0o644)
}

func build(bin string) error {
	cmd := exec.Command("make", "-s", "build", "BIN="+bin)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build: %w\n%s", err, out)
	}
	return nil
}

// The names of the programs, as the picture has them.
const (
	growingFloor = "floor: open, read, close"
	growingSweep = "backscatterd sweep"
	growingGrep  = "grep"
	growingMailq = "mailq"
	growingPerl  = "qtool.pl"
)

func programs(dir string) []program {
	all := sizes[len(sizes)-1]
	return []program{
		{growingFloor, all, func(queue string) (usage, error) { return readAll(controls(queue), false) }},
		{growingSweep, all, sweepHere},
		{growingGrep, all, grepAll},
		{growingMailq, all, func(queue string) (usage, error) { return mailq(dir, queue) }},
		{growingPerl, largestForPerl, func(queue string) (usage, error) { return qtool(dir, controls(queue)) }},
	}
}

// controls is the folder that the control files of a queue lie in.
func controls(queue string) string {
	if sub := filepath.Join(queue, "qf"); exists(sub) {
		return sub
	}
	return queue
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func grepAll(queue string) (usage, error) {
	return timed("sh", "-c", `find "$1" -name 'qf?*' -print0 | xargs -0 -r grep -E -h '(^M|^N|^R|Subject:|^\.)' >/dev/null || [ $? = 123 ]`, "sh", queue)
}

// mailq lists the queue as sendmail does, in a UTS namespace whose host name is
// a full one: sendmail waits a minute for it otherwise.
func mailq(dir, queue string) (usage, error) {
	cf := filepath.Join(dir, "mailq.cf")
	text := "V10/Berkeley\nDjmx.lab.example\nO QueueDirectory=" + queue + "\nO QueueFileMode=0600\n" +
		"Mlocal, P=/bin/true, F=lsDFM, A=true\nMprog, P=/bin/true, F=lsD, A=true\n"
	if err := os.WriteFile(cf, []byte(text), 0o600); err != nil {
		return usage{}, err
	}
	return timed("unshare", "-u", "sh", "-c", `hostname mx.lab.example && exec /usr/sbin/sendmail -C "$1" -bp >/dev/null`, "sh", cf)
}

// sweepHere sweeps from this process: to start one takes longer than a queue of
// a few thousand.
func sweepHere(queue string) (usage, error) {
	s, set, err := sweeper(queue)
	if err != nil {
		return usage{}, err
	}
	began := time.Now()
	_, err = s.Sweep(context.Background(), set, queuesweep.SweepOptions{DryRun: true})
	return usage{wall: time.Since(began)}, err
}

// slow is how long a run takes that is not made again.
const slow = 20 * time.Second

// several runs a program for a median. Small queues are over at once: more runs
// of them, for one that means something.
func (p program) several(queue string, size, rounds int) (usage, error) {
	if size <= 10_000 {
		rounds *= 5
	}
	u, err := p.run(queue)
	if err != nil || u.wall > slow {
		return u, err
	}
	return median(rounds, func() (usage, error) { return p.run(queue) })
}

// measure makes the queue larger from size to size. The time for an empty one,
// which is starting up, is taken off.
func (c *chart) measure(queue, bin string, programs []program, split bool, largest, rounds int) error {
	defer os.RemoveAll(queue)
	base := make(map[string]time.Duration)
	curves := make(map[string]*curve)
	grown := 0
	for _, size := range append([]int{0}, sizes...) {
		if size > largest {
			break
		}
		if err := grow(queue, grown, size, split); err != nil {
			return err
		}
		grown = size
		for _, p := range programs {
			if size > p.limit {
				continue
			}
			u, err := p.several(queue, size, rounds)
			if err != nil {
				return fmt.Errorf("%s, %d messages: %w", p.name, size, err)
			}
			if size == 0 {
				base[p.name], curves[p.name] = u.wall, &curve{name: p.name}
				continue
			}
			each := max(0, u.wall-base[p.name]) / time.Duration(size)
			curves[p.name].points = append(curves[p.name].points, point{size, each})
			fmt.Printf("%10d  %-24s %12.2f\n", size, p.name, float64(each.Nanoseconds())/1e3)
		}
	}
	for _, p := range programs {
		c.curves = append(c.curves, *curves[p.name])
	}
	var err error
	c.peak, err = peak(bin, queue)
	return err
}

// peak is the memory, in bytes, of a sweep with the limits that it has by default.
// It ends with 1 where a tenth of the queue, which matches, is more than they let
// it act on.
func peak(bin, queue string) (int64, error) {
	config := queue + ".limits.toml"
	text := fmt.Sprintf("[queue]\ndirectories = [%q]\n[store]\ndirectory = %q\n", queue, queue+".store")
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return 0, err
	}
	u, err := timed(bin, "sweep", "-c", config, "--dry-run", "--json")
	var status *exec.ExitError
	if errors.As(err, &status) && status.ExitCode() == 1 {
		err = nil
	}
	return u.peak, err
}

// tell says how far the time for a message is from being the same for all sizes.
func (c chart) tell() {
	for _, cv := range c.curves[:2] {
		if len(cv.points) == 0 {
			continue
		}
		least, most := cv.points[0].each, cv.points[0].each
		for _, p := range cv.points {
			least, most = min(least, p.each), max(most, p.each)
		}
		fmt.Printf("%s: slowest / fastest %.2f (at most 1.2 wanted)\n", cv.name, float64(most)/float64(least))
	}
	fmt.Printf("peak memory of a sweep of the largest queue: %.1f MiB (at most 64)\n", float64(c.peak)/(1<<20))
}

// grow adds messages to a queue until it has so many of them.
func grow(queue string, from, to int, split bool) error {
	if from == 0 {
		if _, err := makeQueue(queue, 0, control); err != nil {
			return err
		}
		if split {
			for _, sub := range []string{"qf", "df"} {
				if err := os.MkdirAll(filepath.Join(queue, sub), 0o700); err != nil {
					return err
				}
			}
		}
	}
	data := queue
	if split {
		data = filepath.Join(queue, "df")
	}
	return writeMessages(context.Background(), controls(queue), data, from, to, control)
}
