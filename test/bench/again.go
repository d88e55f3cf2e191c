package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/backscatterd/backscatterd/config"
	"github.com/backscatterd/backscatterd/queuesweep"
	"github.com/backscatterd/backscatterd/queuesweep/rule"
	"github.com/backscatterd/backscatterd/queuesweep/spool"
)

// sweepAgain sweeps as the daemon does, from this process, with a memory: once
// with an empty one, then again after one control file in a hundred was
// rewritten as sendmail does it.
func sweepAgain(queue string, rounds int) (first, again usage, err error) {
	s, set, err := sweeper(queue)
	if err != nil {
		return first, again, err
	}
	var firsts, agains []usage
	for range rounds {
		memory := queuesweep.NewMemory(64 << 20)
		once := func() (usage, error) {
			began := time.Now()
			_, err := s.Sweep(context.Background(), set, queuesweep.SweepOptions{DryRun: true, Memory: memory})
			return usage{wall: time.Since(began)}, err
		}
		// A file that was written a moment ago is not remembered.
		time.Sleep(3 * time.Second)
		u, err := once()
		if err != nil {
			return first, again, err
		}
		firsts = append(firsts, u)
		if err := rewrite(queue, 100); err != nil {
			return first, again, err
		}
		if u, err = once(); err != nil {
			return first, again, err
		}
		agains = append(agains, u)
	}
	return middle(firsts), middle(agains), nil
}

// sweeper is one of the default rules for a queue, as the daemon has it.
func sweeper(queue string) (*queuesweep.Sweeper, *rule.Set, error) {
	set, err := rule.Compile(config.Default().Rules)
	return queuesweep.New(queuesweep.Options{
		Places: func() ([]spool.Place, error) { return spool.PlacesAt([]string{queue}) },
		Disk:   spool.System{}, Workers: runtime.NumCPU(), MaxControlFile: 32 << 20,
		Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Now: time.Now,
	}), set, err
}

// rewrite puts a new file in the place of every n-th control file.
func rewrite(queue string, n int) error {
	names, err := filepath.Glob(filepath.Join(queue, "qf*"))
	if err != nil || len(names) == 0 {
		return fmt.Errorf("no control files in %s: %v", queue, err)
	}
	for i := 0; i < len(names); i += n {
		data, err := os.ReadFile(names[i])
		if err != nil {
			return err
		}
		tf := filepath.Join(queue, "tf"+filepath.Base(names[i])[2:])
		if err := os.WriteFile(tf, data, 0o600); err != nil {
			return err
		}
		if err := os.Rename(tf, names[i]); err != nil {
			return err
		}
	}
	return nil
}
