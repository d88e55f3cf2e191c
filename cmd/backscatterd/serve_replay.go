package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/backscatterd/backscatterd/dsn"
	"github.com/backscatterd/backscatterd/milter"
	"github.com/backscatterd/backscatterd/milter/evidence"
	"github.com/backscatterd/backscatterd/milter/mailbox"
)

// replayer says of stored messages what the milter would have done with them. It
// judges them as classify does, and changes nothing.
type replayer struct {
	*classifier
	rehearsal milter.Rehearsal
	tally     map[evidence.Verdict]map[milter.Action]int
}

// replay is serve --replay.
func (a *app) replay(ctx context.Context, path, only string, asJSON bool) error {
	cfg, err := a.config()
	if err != nil {
		return err
	}
	if only == "sweep" {
		return errors.New("--replay is of the milter: leave --only sweep out")
	}
	if !cfg.Milter.On() {
		return errors.New(`there is no milter policy to replay: name your domains in the configuration, [milter] our_domains = ["example.com"]`)
	}
	if _, err := partsOf(only, cfg); err != nil {
		return err
	}
	r := &replayer{
		classifier: &classifier{app: a, milter: cfg.Milter, json: asJSON},
		tally:      make(map[evidence.Verdict]map[milter.Action]int),
	}
	defer r.close()
	if err := r.prepare(time.Now()); err != nil {
		return err
	}
	if r.rehearsal, err = milter.Rehearse(policyOf(cfg.Milter, signers{}, r.engine)); err != nil {
		return err
	}
	err = mailbox.Read(ctx, path, a.input(ctx), func(m mailbox.Message) error { return r.take(ctx, m) })
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		r.fail(err)
	}
	r.summary()
	if r.failed > 0 {
		return statusError{code: exitFailed}
	}
	return nil
}

// replayed is a line of serve --replay --json.
type replayed struct {
	File       string           `json:"file"`
	Kind       dsn.Kind         `json:"kind"`
	Verdict    evidence.Verdict `json:"verdict"`
	Reasons    []evidence.Name  `json:"reasons"`
	Recipients []string         `json:"recipients"`
	Listed     []string         `json:"listed"` // those of milter.listed
	Action     milter.Action    `json:"action"`
}

func (r *replayer) take(ctx context.Context, m mailbox.Message) error {
	if m.Err != nil {
		r.fail(m.Err)
		return nil
	}
	now := time.Now()
	if err := r.prepare(now); err != nil {
		return err
	}
	j := r.engine.JudgeStored(ctx, m.Data, m.Stored, now)
	if err := ctx.Err(); err != nil {
		return err
	}
	to := evidence.StoredEnvelope(m.Data).Recipients
	one := replayed{
		File: m.Name, Kind: j.Kind, Verdict: j.Verdict,
		Reasons: append([]evidence.Name{}, j.Reasons...), Recipients: append([]string{}, to...),
		Listed: append([]string{}, r.rehearsal.Listed(to)...), Action: r.rehearsal.Action(j, to),
	}
	if r.tally[one.Verdict] == nil {
		r.tally[one.Verdict] = make(map[milter.Action]int)
	}
	r.tally[one.Verdict][one.Action]++
	if r.json {
		r.app.out.json(one)
		return nil
	}
	r.print(one, j.Status().String())
	return nil
}

func (r *replayer) print(one replayed, status string) {
	out := r.app.out
	if one.Kind == dsn.None {
		fmt.Fprintf(out, "%s: %s, ordinary mail, no bounce\n", clean(one.File), one.Action)
		return
	}
	fmt.Fprintf(out, "%s: %s, %s", clean(one.File), out.paint(verdictInks[one.Verdict], string(one.Action)), clean(status))
	for _, list := range []struct {
		name string
		who  []string
	}{{"to", one.Recipients}, {"listed", one.Listed}} {
		if len(list.who) > 0 {
			fmt.Fprintf(out, " %s=%s", list.name, clean(strings.Join(list.who, ",")))
		}
	}
	fmt.Fprintln(out)
}

// The order in which verdicts and actions are counted out. Ordinary mail has no
// verdict.
var (
	replayVerdicts = []evidence.Verdict{evidence.Suspect, evidence.Unknown, evidence.Legit, ""}
	replayActions  = []milter.Action{milter.Accept, milter.Tag, milter.Quarantine, milter.Reject, milter.Discard}
)

// replaySummary is the last line of serve --replay --json. Ordinary mail is
// counted below "none".
type replaySummary struct {
	Summary  bool                             `json:"summary"`
	Messages int                              `json:"messages"`
	Failed   int                              `json:"failed"`
	Counts   map[string]map[milter.Action]int `json:"counts"`
}

// summary counts by verdict and action.
func (r *replayer) summary() {
	sum := replaySummary{Summary: true, Failed: r.failed, Counts: make(map[string]map[milter.Action]int)}
	for v, actions := range r.tally {
		sum.Counts[cmp.Or(string(v), "none")] = actions
		for _, n := range actions {
			sum.Messages += n
		}
	}
	if r.json {
		r.app.out.json(sum)
		return
	}
	out := r.app.out
	fmt.Fprint(out, plural(sum.Messages, "message"))
	if r.failed > 0 {
		fmt.Fprintf(out, ", and %d could not be read", r.failed)
	}
	fmt.Fprintln(out)
	for _, v := range replayVerdicts {
		var parts []string
		total := 0
		for _, a := range replayActions {
			if n := r.tally[v][a]; n > 0 {
				parts = append(parts, fmt.Sprintf("%d %s", n, a))
				total += n
			}
		}
		if total > 0 {
			fmt.Fprintf(out, "  %s %d: %s\n", pad(cmp.Or(string(v), "no bounce"), 9), total, strings.Join(parts, ", "))
		}
	}
}
