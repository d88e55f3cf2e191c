package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"slices"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/backscatterd/backscatterd/config"
	"github.com/backscatterd/backscatterd/queuesweep"
	"github.com/backscatterd/backscatterd/queuesweep/rule"
)

func (a *app) serveCommand() *cobra.Command {
	var only, replay, sendmailSocket string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the daemon: the milter, and sweeps on their schedules",
		Long: "Run the daemon: the milter, where milter.our_domains names a domain, and sweeps on their schedules.\n\n" +
			"SIGHUP reads the configuration and the signing keys again, and keeps the old ones if the new ones are wrong; it also opens the audit log anew.\n" +
			"SIGTERM and SIGINT end it when the messages in hand are done.\n\n" +
			"With --replay it does not run: it reads a mailbox (a Maildir, an mbox, a folder of .eml files) and says of each\n" +
			"message what the milter would have done with it as configured, and counts at the end. Nothing is changed, nothing listens.",
		Example: "  backscatterd serve\n  backscatterd -c new.toml serve --replay ~/Maildir",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if cmd.Flags().Changed("replay") {
				return a.replay(cmd.Context(), replay, only, asJSON)
			}
			if asJSON {
				return errors.New("--json goes with --replay; the log of the daemon is JSON with [log] format = \"json\"")
			}
			a.daemon = true
			cfg, err := a.config()
			if err != nil {
				return err
			}
			parts, err := partsOf(only, cfg)
			if err != nil {
				return err
			}
			if err := a.confine(cfg, parts, sendmailSocket); err != nil {
				return failed(err)
			}
			hup := make(chan os.Signal, 1)
			signal.Notify(hup, unix.SIGHUP)
			defer signal.Stop(hup)
			return a.serve(cmd.Context(), cfg, parts, hup)
		},
	}
	cmd.Flags().StringVar(&only, "only", "", "run this `part` alone: milter or sweep")
	cmd.Flags().StringVar(&sendmailSocket, "sendmail-socket", "", "have sendmail run by the service behind this `socket`, not by a process of our own")
	cmd.Flags().StringVar(&replay, "replay", "", "say what the milter would have done with the messages in this `folder`, and end")
	jsonFlag(cmd, &asJSON)
	return cmd
}

// parts are what the daemon runs.
type parts struct{ milter, sweep bool }

func partsOf(only string, cfg *config.Config) (parts, error) {
	switch only {
	case "":
		return parts{milter: cfg.Milter.On(), sweep: true}, nil
	case "sweep":
		return parts{sweep: true}, nil
	case "milter":
		if !cfg.Milter.On() {
			return parts{}, errors.New(`there is no milter to run: name your domains in the configuration, [milter] our_domains = ["example.com"]`)
		}
		return parts{milter: true}, nil
	}
	return parts{}, fmt.Errorf("--only %q: want milter or sweep", only)
}

// generation is the daemon with one configuration.
type generation struct {
	cfg     *config.Config
	log     *slog.Logger
	sweeper *queuesweep.Sweeper // nil where it does not sweep
	jobs    []queuesweep.Job
	post    *post // nil where nobody gets a digest
}

// prepare makes all that a configuration needs, so that one that is wrong is
// found before the old one ends.
func (a *app) prepare(cfg *config.Config, p parts) (g generation, err error) {
	if a.watch == nil {
		a.watch = newWatch(cfg, p, a.logger(cfg.Log))
	}
	if !p.sweep {
		return generation{cfg: cfg, log: a.logger(cfg.Log)}, nil
	}
	audit, err := openAudit(cfg)
	if err != nil {
		return g, err
	}
	g = generation{cfg: cfg}
	if g.sweeper, err = a.sweeperOf(cfg, audit); err == nil {
		g.log = g.sweeper.Log
		g.jobs, err = jobs(cfg, g.sweeper, a.watch)
	}
	if err == nil && cfg.Digest.On() {
		if g.post, err = a.post(cfg, g.sweeper); err == nil {
			g.jobs = append(g.jobs, g.post.digestJob())
		}
	}
	if err != nil {
		audit.Close()
	}
	return g, err
}

func (g generation) close() {
	if g.sweeper == nil {
		return
	}
	if err := g.sweeper.Audit.Close(); err != nil {
		g.log.Error("the last lines of the audit log may not be there", "error", err)
	}
}

// serve runs the filter, and one generation of the rest of the daemon after the
// other: a new configuration begins a new one, after the old one has ended what
// it was doing.
func (a *app) serve(ctx context.Context, cfg *config.Config, p parts, hup <-chan os.Signal) error {
	g, err := a.prepare(cfg, p)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	a.watch.use(g)
	shown, err := a.watch.start(ctx, cfg.Status, g.log)
	if err != nil {
		g.close()
		return failed(err)
	}
	defer func() { cancel(); <-shown; a.watch.board.Save() }()
	var f *filter
	filtering := make(chan error, 1)
	if p.milter {
		if f, err = startFilter(ctx, cfg.Milter, g.log, a.watch.board); err != nil {
			g.close()
			return failed(err)
		}
		a.watch.useFilter(f)
		go func() {
			defer cancel()
			filtering <- f.run(ctx)
		}()
	} else {
		g.log.Info("the milter does not run", "our_domains", len(cfg.Milter.OurDomains))
		filtering <- nil
	}
	for next := &g; next != nil; {
		g = *next
		a.watch.use(g)
		next, err = a.generation(ctx, g, p, f, hup)
		g.close()
		if err != nil {
			break
		}
	}
	cancel()
	return errors.Join(err, failed(<-filtering))
}

// generation serves until ctx ends (then next is nil) or SIGHUP brings a
// configuration that is good.
func (a *app) generation(ctx context.Context, g generation, p parts, f *filter, hup <-chan os.Signal) (next *generation, err error) {
	g.log.Info("serving", "version", version, "rules", len(g.cfg.Rules), "dry_run", g.cfg.Sweep.DryRun)

	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	failure := make(chan error, 1)
	go func() {
		if g.sweeper == nil {
			<-ctx.Done()
			failure <- nil
			return
		}
		settle(ctx, g)
		jobs := g.jobs
		if g.post != nil {
			g.post.catchUp(ctx)
			jobs = append(slices.Clone(jobs), g.post.againJob())
		}
		failure <- queuesweep.RunSchedule(ctx, g.log, jobs)
	}()
	for {
		select {
		case <-ctx.Done():
			g.log.Info("stopping: waiting for what is under way")
			return nil, <-failure
		case err := <-failure:
			return nil, err
		case <-hup:
			if next := a.reload(g.log, p, f); next != nil {
				cancel()
				return next, <-failure
			}
			if g.sweeper == nil {
				continue
			}
			if err := g.sweeper.Audit.Reopen(); err != nil {
				g.log.Error("SIGHUP", "error", err)
			}
		}
	}
}

// settle ends what a killed run has left and sends the bounces that it owes. A
// daemon that is to do nothing leaves that, too.
func settle(ctx context.Context, g generation) {
	if g.cfg.Sweep.DryRun {
		return
	}
	if err := g.sweeper.Settle(ctx); err != nil && ctx.Err() == nil {
		g.log.Error("what was left from earlier could not be settled: the next sweep tries again", "error", err)
	}
}

// reload reads the configuration again; nil if it is wrong.
func (a *app) reload(log *slog.Logger, p parts, f *filter) *generation {
	cfg, err := a.load()
	if err == nil {
		err = a.confined.covers(a, cfg, p)
	}
	if err == nil {
		var g generation
		if g, err = a.prepare(cfg, p); err == nil {
			if err = f.reload(cfg.Milter, g.log); err == nil {
				log.Info("the configuration was read again")
				return &g
			}
			g.close()
		}
	}
	log.Error("the new configuration is wrong, the old one stays", "error", err)
	return nil
}

// sweepMemory is how many bytes all scheduled sweeps together use to spare
// reading again what has not changed.
const sweepMemory = 64 << 20

// jobs are what the configuration schedules: a sweep for each schedule that
// rules have, and the purge of the removed store.
func jobs(cfg *config.Config, s *queuesweep.Sweeper, w *watch) ([]queuesweep.Job, error) {
	var order []string
	rules := make(map[string][]rule.Rule)
	for _, r := range cfg.Rules {
		spec := r.Schedule
		if spec == "" {
			spec = cfg.Sweep.Schedule
		}
		if rules[spec] == nil {
			order = append(order, spec)
		}
		rules[spec] = append(rules[spec], r)
	}
	var all []queuesweep.Job
	for _, spec := range order {
		set, err := rule.Compile(rules[spec])
		if err != nil {
			return nil, err
		}
		memory := queuesweep.NewMemory(sweepMemory / int64(len(order)))
		all = append(all, queuesweep.Job{
			Name: fmt.Sprintf("sweep with %s", plural(len(rules[spec]), "rule")), Spec: spec,
			Run: func(ctx context.Context) {
				if err := w.sweep(ctx, s, set, memory, cfg.Sweep.DryRun); err != nil {
					logEnd(ctx, s.Log, "sweep", err)
				}
			},
		})
	}
	return append(all, queuesweep.Job{Name: "purge of the removed store", Spec: cfg.Store.Purge, Run: func(ctx context.Context) {
		if err := s.Purge(ctx, cfg.Store.Keep.Std()); err != nil {
			logEnd(ctx, s.Log, "purge of the removed store", err)
		}
	}}), nil
}

// logEnd tells that a job has failed, or that it has stopped as it was told to.
func logEnd(ctx context.Context, log *slog.Logger, job string, err error) {
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		log.Info("stopped before its end", "job", job)
		return
	}
	log.Error(job, "error", err)
}
