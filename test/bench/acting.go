package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"github.com/backscatterd/backscatterd/config"
	"github.com/backscatterd/backscatterd/queuesweep"
	"github.com/backscatterd/backscatterd/queuesweep/qf"
	"github.com/backscatterd/backscatterd/queuesweep/rule"
	"github.com/backscatterd/backscatterd/queuesweep/spool"
)

// acting measures changes to a whole queue, all with the fsyncs that are
// promised, in three ways: in batches, as the program does it, with judging and
// the audit log; in batches of one message, without those, a tenth of them since
// it takes so long; by qtool.pl, which fsyncs nothing.
func acting(dir string, messages, rounds int) error {
	took := make(map[string][]time.Duration)
	for range rounds {
		for _, way := range []string{"batches", "ones", "qtool.pl"} {
			a := arena{dir: filepath.Join(dir, "acting"), messages: messages}
			if way == "ones" {
				a.messages = max(1, messages/10)
			}
			each := func(verb string, d time.Duration) {
				took[verb+way] = append(took[verb+way], d/time.Duration(a.messages))
			}
			if err := a.round(way, each); err != nil {
				return fmt.Errorf("acting by %s: %w", way, err)
			}
		}
	}
	fmt.Printf("\n%d messages changed, time for each, median of %d runs\n\n", messages, rounds)
	fmt.Printf("%-10s %10s %14s %10s %14s %14s\n", "", "batches", "batches of 1", "qtool.pl", "1 / batches", "qtool.pl / b.")
	for _, verb := range []string{"move", "restore", "delete"} {
		t := func(way string) float64 {
			all := slices.Sorted(slices.Values(took[verb+way]))
			return float64(all[len(all)/2].Microseconds()) / 1e3
		}
		b, one, perl := t("batches"), t("ones"), t("qtool.pl")
		fmt.Printf("%-10s %7.3f ms %11.3f ms %7.3f ms %14.2f %14.2f\n", verb, b, one, perl, one/b, perl/b)
	}
	fmt.Println("(wanted: at least 3, and at least 1)")
	return nil
}

// arena is a queue that is emptied, filled again from the store, and deleted.
type arena struct {
	dir      string
	messages int
}

func (a arena) queue() string     { return filepath.Join(a.dir, "mqueue") }
func (a arena) store() string     { return filepath.Join(a.dir, "removed") }
func (a arena) elsewhere() string { return filepath.Join(a.dir, "elsewhere") }

func (a arena) round(way string, tell func(verb string, d time.Duration)) error {
	defer os.RemoveAll(a.dir)
	if _, err := makeQueue(a.queue(), a.messages, control); err != nil {
		return err
	}
	if err := os.MkdirAll(a.elsewhere(), 0o700); err != nil {
		return err
	}
	cf := filepath.Join(a.dir, "sendmail.cf")
	if err := os.WriteFile(cf, []byte("O QueueDirectory="+a.queue()+"\n"), 0o600); err != nil {
		return err
	}
	for _, step := range []struct {
		verb string
		left int // control files in the queue afterwards
	}{{"move", 0}, {"restore", a.messages}, {"delete", 0}} {
		began := time.Now()
		var err error
		switch way {
		case "batches":
			err = a.inBatches(step.verb)
		case "ones":
			err = a.oneByOne(step.verb)
		default:
			err = a.byScript(step.verb, cf)
		}
		tell(step.verb, time.Since(began))
		if err != nil {
			return fmt.Errorf("%s: %w", step.verb, err)
		}
		if names, _ := filepath.Glob(filepath.Join(a.queue(), "qf*")); len(names) != step.left {
			return fmt.Errorf("%s has left %d messages in the queue, not %d", step.verb, len(names), step.left)
		}
	}
	return nil
}

func (a arena) byScript(verb, cf string) error {
	const script = "/usr/share/sendmail/qtool.pl"
	args := map[string][]string{
		"move":    {a.elsewhere(), a.queue()},
		"restore": {a.queue(), a.elsewhere()},
		"delete":  {"-d", a.queue()},
	}[verb]
	_, err := timed("perl", append([]string{script, "-C", cf}, args...)...)
	return err
}

func (a arena) inBatches(verb string) error {
	audit, err := queuesweep.OpenAudit(filepath.Join(a.dir, "audit.jsonl"))
	if err != nil {
		return err
	}
	defer audit.Close()
	s := queuesweep.New(queuesweep.Options{
		Places: func() ([]spool.Place, error) { return spool.PlacesAt([]string{a.queue()}) },
		Disk:   spool.System{}, Store: a.store(), Workers: runtime.NumCPU(), MaxControlFile: int64(config.Default().Queue.MaxControlFile),
		LockWait: time.Minute, Audit: audit, Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Now: time.Now,
	})
	do := rule.Move
	if verb == "delete" {
		do = rule.Delete
	}
	set, err := rule.Compile([]rule.Rule{{Name: "all", When: "true", Do: do}})
	if err != nil {
		return err
	}
	var sum queuesweep.Summary
	if verb == "restore" {
		sum, err = s.Restore(context.Background(), nil, set, queuesweep.SweepOptions{})
	} else {
		sum, err = s.Sweep(context.Background(), set, queuesweep.SweepOptions{Unlimited: true})
	}
	if err == nil && sum.Done != a.messages {
		err = fmt.Errorf("%d of %d messages done", sum.Done, a.messages)
	}
	return err
}

// oneByOne makes each change a batch of its own.
func (a arena) oneByOne(verb string) error {
	ctx := context.Background()
	places, err := spool.PlacesAt([]string{a.queue()})
	if err != nil {
		return err
	}
	sp, err := spool.Open(spool.System{}, places)
	if err != nil {
		return err
	}
	defer sp.Close()
	st, err := spool.OpenStore(spool.System{}, a.store())
	if err != nil {
		return err
	}
	defer st.Close()
	queue := sp.Folders()[0]
	if verb == "restore" {
		return st.Messages(ctx, func(m spool.Stored) error {
			return change(ctx, st, m.Entry, func(b *spool.Batch, c *spool.Claim, f *qf.File) error { return b.Restore(c, f, queue) })
		})
	}
	return queue.Entries(ctx, func(e spool.Entry) error {
		return change(ctx, st, e, func(b *spool.Batch, c *spool.Claim, f *qf.File) error {
			if verb == "delete" {
				return b.Delete(c, f)
			}
			return b.Move(c, f, spool.Record{Action: verb})
		})
	})
}

func change(ctx context.Context, st *spool.Store, e spool.Entry, add func(*spool.Batch, *spool.Claim, *qf.File) error) error {
	b, err := st.Begin(ctx, time.Now())
	if err != nil {
		return err
	}
	defer b.End()
	c, err := e.Claim()
	if err != nil {
		return err
	}
	data, err := c.Read(1 << 20)
	var f *qf.File
	if err == nil {
		f, err = qf.Parse(data)
	}
	if err == nil {
		err = add(b, c, f)
	}
	if err != nil {
		c.Release()
		return err
	}
	for _, o := range b.Commit() {
		if o.Err != nil {
			return o.Err
		}
	}
	return b.Forget()
}
