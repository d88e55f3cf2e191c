package main

import (
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
		if i > 0 {
			all = append(all, u)
		}
	}
	return middle(all), nil
}

func middle(all []usage) usage {
	slices.SortFunc(all, func(a, b usage) int { return int(a.wall - b.wall) })
	return all[len(all)/2]
}

func timed(name string, args ...string) (usage, error) {
	cmd := exec.Command(name, args...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	began := time.Now()
	err := cmd.Run()
	u := usage{wall: time.Since(began)}
	if cmd.ProcessState != nil {
		if ru, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
			u.peak = ru.Maxrss << 10
		}
	}
	if err != nil {
		return u, fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args, " "), err, stderr.String())
	}
	return u, nil
}

// readAll is the floor: of the control files, or of both files of a message.
func readAll(queue string, both bool) (usage, error) {
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
					if n[0] != 'q' && !both {
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
