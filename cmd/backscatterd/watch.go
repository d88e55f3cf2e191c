package main

import (
	"context"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/backscatterd/backscatterd/cmd/backscatterd/internal/status"
	"github.com/backscatterd/backscatterd/config"
	"github.com/backscatterd/backscatterd/milter/ledger"
	"github.com/backscatterd/backscatterd/queuesweep"
	"github.com/backscatterd/backscatterd/queuesweep/rule"
)

// watch tells the status board what the daemon does. A nil one tells nobody.
type watch struct {
	board  *status.Board
	listen string // "" where nobody can look
}

// newWatch makes what stays over all configurations of a daemon.
func newWatch(cfg *config.Config, p parts, log *slog.Logger) *watch {
	host, err := os.Hostname()
	if err != nil {
		host = "this host"
	}
	w := &watch{listen: p.statusListen(cfg.Status)}
	w.board = status.NewBoard(status.Options{
		Version: version, Host: host, Sweeps: p.sweep, Filters: p.milter, TempFail: cfg.Milter.OnError == "tempfail",
		History: historyOf(cfg.Milter), Refresh: cfg.Status.Refresh.Std(), Log: log,
	})
	return w
}

// historyOf is the file where the milter keeps its counts by the hour: beside
// its ledger, where it may write. "" is none.
func historyOf(m config.Milter) string {
	if !m.On() || !filepath.IsAbs(m.Ledger) {
		return ""
	}
	return m.Ledger + ".bounces"
}

// start serves the endpoint, and keeps the board, until ctx ends; the channel
// tells when both are done.
func (w *watch) start(ctx context.Context, cfg config.Status, log *slog.Logger) (<-chan struct{}, error) {
	hosts := slices.Clone(cfg.Hosts)
	if host, _, err := net.SplitHostPort(w.listen); err == nil && cfg.Public && host != "" {
		hosts = append(hosts, host)
	}
	served, err := serveStatus(ctx, w.listen, w.board.Handler(hosts), log)
	if err != nil {
		return nil, err
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.board.Keep(ctx)
		<-served
	}()
	return done, nil
}

// auditEnd is how many bytes of the audit log the page is made of.
const auditEnd = 512 << 10

// use says who sweeps now.
func (w *watch) use(g generation) {
	if g.sweeper == nil {
		return
	}
	s := status.Sources{
		AuditFailures: g.sweeper.Audit.Failures,
		AuditFailing:  g.sweeper.Audit.Failing,
		Audit: func() ([]queuesweep.AuditEntry, error) {
			return queuesweep.AuditTail(g.cfg.Audit.File, auditEnd)
		},
		Next: func(now time.Time) []status.Next { return next(g.jobs, now) },
	}
	if w.listen != "" {
		s.Survey, s.Stock = g.sweeper.Survey, g.sweeper.Stock
	}
	w.board.UseSweeper(s)
}

// useFilter says what filters.
func (w *watch) useFilter(f *filter) {
	w.board.UseFilter(status.Sources{Filter: f.Counts, Ledger: func() (ledger.Status, error) {
		return describe(f.ledger)
	}})
}

// next are the times at which jobs are due, the soonest first.
func next(jobs []queuesweep.Job, now time.Time) (due []status.Next) {
	for _, j := range jobs {
		if schedule, err := queuesweep.ParseSchedule(j.Spec); err == nil {
			due = append(due, status.Next{Job: j.Name, Schedule: j.Spec, At: schedule.Next(now)})
		}
	}
	slices.SortStableFunc(due, func(a, b status.Next) int { return a.At.Compare(b.At) })
	return due
}

// sweep is a scheduled sweep.
func (w *watch) sweep(ctx context.Context, s *queuesweep.Sweeper, set *rule.Set, m *queuesweep.Memory, dry bool) error {
	o := queuesweep.SweepOptions{DryRun: dry, Memory: m}
	if w == nil {
		_, err := s.Sweep(ctx, set, o)
		return err
	}
	o.Emit = w.board.Acted
	if w.listen != "" {
		o.Survey = w.board.Surveyed
	}
	began := time.Now()
	sum, err := s.Sweep(ctx, set, o)
	if ctx.Err() == nil {
		w.board.Swept(ctx, status.Run{Began: began, Took: time.Since(began), DryRun: dry, Summary: sum, Err: err})
	}
	return err
}
