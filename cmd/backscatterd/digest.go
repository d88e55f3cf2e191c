package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/backscatterd/backscatterd/cmd/backscatterd/internal/digest"
	"github.com/backscatterd/backscatterd/cmd/backscatterd/internal/status"
	"github.com/backscatterd/backscatterd/config"
	"github.com/backscatterd/backscatterd/milter/ledger"
	"github.com/backscatterd/backscatterd/queuesweep"
	"github.com/backscatterd/backscatterd/queuesweep/rule"
)

func (a *app) digestCommand() *cobra.Command {
	var since time.Duration
	var sinceText string
	var send bool
	cmd := &cobra.Command{
		Use:   "digest",
		Short: "Show what was done, what waits, and how to undo; the daemon sends it by mail",
		Long: "Show what sweeps and the milter have done since the last digest was sent, or within --since: what needs somebody\n" +
			"first, then what was done, what was nearly matched, what waits, and how to undo. Nothing is changed.\n\n" +
			"The daemon sends it on digest.schedule to digest.to. --send sends it now; without --since the next one goes on\n" +
			"where this one ends.",
		Example: "  backscatterd digest --since 24h\n  backscatterd digest --send",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := a.config()
			if err != nil {
				return err
			}
			if sinceText != "" {
				if since, err = rule.ParseDuration(sinceText); err != nil || since <= 0 {
					return fmt.Errorf(`--since %q: want a time such as "24h" or "7d"`, sinceText)
				}
			}
			s, err := a.looking()
			if err != nil {
				return err
			}
			p, err := a.post(cfg, s)
			if err != nil {
				return err
			}
			if send {
				p.told = func(to string, from, until time.Time) {
					fmt.Fprintf(a.out, "sent to %s: from %s to %s\n", to, from.Format(time.DateTime), until.Format(time.DateTime))
				}
				return p.sendNow(cmd.Context(), since)
			}
			return p.print(cmd.Context(), since, a.out)
		},
	}
	cmd.Flags().StringVar(&sinceText, "since", "", "how far back it goes, such as `24h`, instead of to the last one that was sent")
	cmd.Flags().BoolVar(&send, "send", false, "send it to digest.to instead of showing it")
	return cmd
}

// post makes digests and hands them over.
type post struct {
	cfg     *config.Config
	sweeper *queuesweep.Sweeper
	rules   *rule.Set
	letter  digest.Letter
	submit  func(ctx context.Context, to string, utf8 bool, message io.Reader) error
	command string
	host    string
	told    func(to string, from, until time.Time) // hears of each that was handed over; nil for nobody

	made map[string]*digest.Report // by the time that they are of
}

func (a *app) post(cfg *config.Config, s *queuesweep.Sweeper) (*post, error) {
	bounce, err := a.bounce(cfg)
	if err != nil {
		return nil, err
	}
	set, err := rule.Compile(cfg.Rules)
	if err != nil {
		return nil, err
	}
	p := &post{cfg: cfg, sweeper: s, rules: set, submit: bounce.Submit, host: bounce.Host, command: "backscatterd",
		letter: digest.Letter{From: cfg.Digest.From, Host: bounce.Host}, made: make(map[string]*digest.Report)}
	if p.letter.From == "" {
		p.letter.From = "backscatterd <backscatterd@" + bounce.Host + ">"
	}
	if a.configFile != "" {
		p.command += " -c " + shellWords([]string{a.configFile})
	}
	return p, nil
}

// dayBack is how far back a digest goes that nothing else tells.
const dayBack = 24 * time.Hour

func (p *post) print(ctx context.Context, since time.Duration, out io.Writer) error {
	now := p.sweeper.Now()
	from := now.Add(-since)
	if since == 0 {
		state, err := digest.ReadState(p.cfg.Digest.State)
		if err != nil {
			return err
		}
		if from = state.Until; from.IsZero() {
			from = now.Add(-dayBack)
		}
	}
	r, err := p.report(ctx, from, now, now.Add(time.Hour))
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "%s\n\n%s", r.Subject(), r.Text())
	return err
}

func (p *post) sendNow(ctx context.Context, since time.Duration) error {
	if !p.cfg.Digest.On() {
		return errors.New(`there is nobody to send a digest to: name them in the configuration, [digest] to = ["postmaster@example.com"]`)
	}
	now := p.sweeper.Now()
	if since == 0 {
		if _, err := p.round().Begin(now.Add(-dayBack)); err != nil {
			return failed(err)
		}
		return failed(p.round().Run(ctx, now))
	}
	var errs []error
	for _, to := range p.cfg.Digest.To {
		errs = append(errs, p.send(ctx, to, now.Add(-since), now))
	}
	return failed(errors.Join(errs...))
}

func (p *post) round() digest.Round {
	return digest.Round{File: p.cfg.Digest.State, To: p.cfg.Digest.To, Send: p.send}
}

// send makes the digest of a time, once for all that get it, and hands it over.
// The milter's counts are those of the full hours that have ended, so that no
// hour is told of in part, or twice.
func (p *post) send(ctx context.Context, to string, from, until time.Time) error {
	key := from.String() + until.String()
	r := p.made[key]
	if r == nil {
		var err error
		if r, err = p.report(ctx, from, until, until.Truncate(time.Hour)); err != nil {
			return err
		}
		clear(p.made)
		p.made[key] = r
	}
	letter := p.letter
	letter.To = to
	message, err := letter.Write(r)
	if err != nil {
		return err
	}
	if err := p.submit(ctx, to, false, bytes.NewReader(message)); err != nil {
		return err
	}
	if p.told != nil {
		p.told(to, from, until)
	}
	return nil
}

// report looks at what there is. What cannot be looked at is a problem that the
// digest tells of.
func (p *post) report(ctx context.Context, from, until, hours time.Time) (*digest.Report, error) {
	r := digest.NewReport(p.host, from, until)
	r.Command, r.DryRun, r.Filters = p.command, p.cfg.Sweep.DryRun, p.cfg.Milter.On()
	damaged, err := queuesweep.AuditBetween(p.cfg.Audit.File, from, until, r.Add)
	if err != nil {
		r.Problem("not all of the audit log could be read, so that this is not all: " + err.Error())
	}
	if damaged > 0 {
		r.Problem(plural(damaged, "line") + " of the audit log could not be made sense of, and " + p.cfg.Audit.File + " is not whole")
	}
	if r.Survey, err = p.sweeper.Survey(ctx); err != nil {
		r.Problem("not all queues could be read: " + err.Error())
	}
	if r.Stock, err = p.sweeper.Stock(ctx); err != nil {
		r.Problem("the removed store could not be read: " + err.Error())
	}
	if r.Near, err = p.sweeper.Near(ctx, p.rules); err != nil && r.Survey.States != nil {
		r.Problem("what was nearly matched could not be found out in full: " + err.Error())
	}
	p.judge(r)
	if r.Filters {
		p.filterOf(r, hours)
	}
	return r, ctx.Err()
}

// judge adds what is not as it should be.
func (p *post) judge(r *digest.Report) {
	if r.Limited > 0 {
		r.Problem(fmt.Sprintf("%s stopped at a limit: look at what the rules match (%s sweep --dry-run), then raise the limit or sweep by hand", plural(r.Limited, "sweep"), p.command))
	}
	if r.Stock.Owed > 0 {
		r.Problem(fmt.Sprintf("%s still owed: sendmail, or the server of bounce.submit, does not take them; the daemon's log says why", plural(r.Stock.Owed, "bounce")))
	}
	if r.Sweeps == 0 && !r.DryRun && p.due(r.From).Before(r.Until.Add(-time.Hour)) {
		r.Problem("no sweep has ended, though one was due: is the daemon running?")
	}
}

// due is when the first sweep was due after a time.
func (p *post) due(from time.Time) time.Time {
	first := from.AddDate(100, 0, 0)
	for _, r := range p.cfg.Rules {
		spec := r.Schedule
		if spec == "" {
			spec = p.cfg.Sweep.Schedule
		}
		if schedule, err := queuesweep.ParseSchedule(spec); err == nil {
			if at := schedule.Next(from); at.Before(first) {
				first = at
			}
		}
	}
	return first
}

// filterOf adds what the milter's half has written down.
func (p *post) filterOf(r *digest.Report, hours time.Time) {
	if file := historyOf(p.cfg.Milter); file != "" {
		h, err := status.ReadHistory(file)
		if err != nil {
			r.Problem("what the milter saw cannot be told: " + err.Error())
		}
		r.Hours = h.Between(r.From.Truncate(time.Hour), hours)
	}
	// The milter's half writes this down of a ledger on a server, too: the half
	// that sweeps has neither its keys nor a network.
	l, err := ledger.ReadStatus(p.cfg.Milter.Ledger)
	switch {
	case err != nil:
		if strings.HasPrefix(p.cfg.Milter.Ledger, "/") {
			r.Problem(err.Error())
		}
	case l.Error != "" && l.Server != "":
		r.Problem("the ledger cannot be relied on, so that no bounce is called suspect for not being found in it: " + l.Error)
	case l.Error != "":
		r.Problem("the ledger cannot be written, so that bounces of mail that leaves now will be unknown: " + l.Error)
	case !l.Running || r.Until.Sub(l.At) > 10*time.Minute:
		r.Problem("the milter does not run; its ledger was last written at " + l.At.Format(time.RFC3339))
	}
	for _, h := range l.Hosts {
		switch {
		case h.Since.IsZero():
			r.Problem("the host " + h.Name + " has never reported to the ledger, so that nothing is covered (backscatterd ledger status)")
		case !h.Stopped && l.At.Sub(h.Written) > 10*time.Minute:
			r.Problem("the host " + h.Name + " has not reported to the ledger since " + h.Written.Format(time.RFC3339) + ", so that nothing that left later is covered (backscatterd ledger status)")
		}
	}
}

// digestJob sends the digest on its schedule.
func (p *post) digestJob() queuesweep.Job {
	return queuesweep.Job{Name: "digest by mail", Spec: p.cfg.Digest.Schedule, Run: func(ctx context.Context) { p.run(ctx, p.round().Run) }}
}

// againJob tries again what could not be handed over.
func (p *post) againJob() queuesweep.Job {
	return queuesweep.Job{Name: "digest that could not be handed over", Spec: "@every 10m", Run: p.again}
}

func (p *post) again(ctx context.Context) {
	if state, err := digest.ReadState(p.cfg.Digest.State); err == nil && state.Pending() {
		p.run(ctx, p.round().Again)
	}
}

func (p *post) run(ctx context.Context, round func(context.Context, time.Time) error) {
	if err := round(ctx, p.sweeper.Now()); err != nil {
		logEnd(ctx, p.sweeper.Log, "digest by mail: who was not told is told at one of the next tries, of the same time", err)
		return
	}
	p.sweeper.Log.Info("the digest was sent", "to", len(p.cfg.Digest.To))
}

// catchUp sends the digest that was due while the daemon did not run, or that
// could not be handed over. The first digest of all begins with the daemon.
func (p *post) catchUp(ctx context.Context) {
	now := p.sweeper.Now()
	state, err := p.round().Begin(now)
	if err != nil {
		p.sweeper.Log.Error("digest by mail", "error", err)
		return
	}
	schedule, err := queuesweep.ParseSchedule(p.cfg.Digest.Schedule)
	if err == nil && schedule.Next(state.Until).Before(now) {
		p.run(ctx, p.round().Run)
		return
	}
	p.again(ctx)
}
