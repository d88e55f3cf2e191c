package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/backscatterd/backscatterd/queuesweep"
	"github.com/backscatterd/backscatterd/queuesweep/rule"
	"github.com/backscatterd/backscatterd/queuesweep/spool"
)

func (a *app) queueCommand() *cobra.Command {
	return group("queue", "Look at sendmail's queues and act on messages by hand",
		a.listCommand(), a.showCommand(), a.summaryCommand(),
		a.byHandCommand(rule.Move, "Take messages out of the queue into the removed store"),
		a.byHandCommand(rule.Delete, "Delete messages for good"),
		a.byHandCommand(rule.Bounce, "Tell the senders in plain words, and take messages out of the queue into the removed store"),
		a.byHandCommand(rule.Expire, "Have sendmail bounce messages as timed out"),
		a.byHandCommand(rule.Hold, "Quarantine messages: they stay, and are not delivered"),
		a.byHandCommand(rule.Release, "End the quarantine of messages"),
		a.restoreCommand(),
	)
}

func (a *app) listCommand() *cobra.Command {
	var where string
	var asJSON, removed bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the messages of the queues",
		Args:  onlyBehind("queue"),
	}
	a.watchFlag(cmd, &asJSON, func(cmd *cobra.Command, out terminal) error {
		set, err := condition(where)
		if err != nil {
			return err
		}
		s, err := a.looking()
		if err != nil {
			return err
		}
		rows := newRows(out, asJSON, s.Now())
		rows.none = nothingListed(where != "", removed)
		list, stop := s.List, func() {}
		if removed {
			list = s.ListRemoved
		} else {
			stop = a.following(cmd.Context(), "listing")
		}
		err = list(cmd.Context(), queuesweep.ListOptions{Where: set, Emit: rows.add})
		stop()
		if !nothingDone(err) {
			rows.end()
		}
		return statusOf(err)
	})
	cmd.Flags().StringVar(&where, "where", "", "only messages for which this `condition` holds")
	cmd.Flags().BoolVar(&removed, "removed", false, "list the removed store instead of the queues")
	jsonFlag(cmd, &asJSON)
	return cmd
}

// nothingListed says of what there is none.
func nothingListed(where, removed bool) string {
	switch {
	case where:
		return "no messages for which the condition holds"
	case removed:
		return "no messages: the removed store is empty"
	}
	return "no messages: the queue is empty"
}

func (a *app) showCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "show ID ...",
		Short: "Show messages: envelope, headers, why they are stuck, what the rules say",
		Args:  cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, ids []string) error {
			s, err := a.looking()
			if err != nil {
				return err
			}
			set, err := a.rules()
			if err != nil {
				return err
			}
			return statusOf(s.Show(cmd.Context(), ids, queuesweep.ListOptions{Rules: set, Emit: func(m queuesweep.Listed) {
				if asJSON {
					a.json(m)
					return
				}
				showMessage(a.out, m, s.Now())
			}}))
		},
	}
	jsonFlag(cmd, &asJSON)
	return cmd
}

func (a *app) summaryCommand() *cobra.Command {
	var by, where string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "summary",
		Short: "Count the messages by age and by domain, status, sender or rule",
		Args:  onlyBehind("queue"),
	}
	a.watchFlag(cmd, &asJSON, func(cmd *cobra.Command, out terminal) error {
		set, err := condition(where)
		if err != nil {
			return err
		}
		s, err := a.looking()
		if err != nil {
			return err
		}
		var rules *rule.Set
		if by == "rule" {
			if rules, err = a.rules(); err != nil {
				return err
			}
		}
		stop := a.following(cmd.Context(), "counting")
		counts, err := s.SummaryBy(cmd.Context(), by, rules, set)
		stop()
		if counts == nil || nothingDone(err) {
			return err
		}
		if asJSON {
			for _, c := range counts {
				out.json(c)
			}
		} else {
			showCounts(out, by, counts)
		}
		return failed(err)
	})
	cmd.Flags().StringVar(&by, "by", "domain", "count by `key`: "+strings.Join(queuesweep.Groupings(), ", "))
	cmd.Flags().StringVar(&where, "where", "", "only messages for which this `condition` holds")
	jsonFlag(cmd, &asJSON)
	return cmd
}

// byHand are the flags of a command that acts on messages that a person names.
type byHand struct {
	where, reason string
	dry, yes      bool
	json          bool
}

func (a *app) byHandCommand(do rule.Action, short string) *cobra.Command {
	var f byHand
	cmd := &cobra.Command{
		Use:   string(do) + " ID ... | --where CONDITION",
		Short: short,
		RunE: func(cmd *cobra.Command, ids []string) error {
			return a.actByHand(cmd, ids, rule.Rule{Do: do, Reason: f.reason, When: f.where}, f)
		},
	}
	f.flags(cmd)
	if do == rule.Hold {
		cmd.Flags().StringVar(&f.reason, "reason", "", "`text` that mailq shows for the message")
	}
	return cmd
}

func (f *byHand) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.where, "where", "", "all messages for which this `condition` holds, instead of ids")
	cmd.Flags().BoolVar(&f.dry, "dry-run", false, "say what would be done, and do nothing")
	cmd.Flags().BoolVarP(&f.yes, "yes", "y", false, "do not ask before acting on what --where matches")
	jsonFlag(cmd, &f.json)
}

func (f byHand) check(ids []string) error {
	switch {
	case len(ids) == 0 && f.where == "":
		return errors.New("name the messages: by their ids, or by --where CONDITION (queue list shows both)")
	case len(ids) > 0 && f.where != "":
		return errors.New("name the messages by their ids or by --where, not both")
	}
	return nil
}

func (a *app) actByHand(cmd *cobra.Command, ids []string, do rule.Rule, f byHand) error {
	if err := f.check(ids); err != nil {
		return err
	}
	report := a.report
	var preview func(queuesweep.Result, func(io.Writer) error) error
	if do.Do == rule.Bounce && f.dry && !f.json {
		p := &previews{app: a, mbox: len(ids) != 1}
		preview, report = p.print, p.report
	}
	if len(ids) > 0 {
		s, err := a.acting(f.dry)
		if err != nil {
			return err
		}
		defer a.close()
		return report(telling{ctx: cmd.Context(), json: f.json, named: true, total: len(ids)}, func(emit func(queuesweep.Result)) (queuesweep.Summary, error) {
			return s.Act(cmd.Context(), ids, do, queuesweep.SweepOptions{DryRun: f.dry, Emit: emit, Preview: preview})
		})
	}
	set, err := rule.CompileByHand(do)
	if err != nil {
		return err
	}
	only, err := a.confirm(cmd, &f, string(do.Do), func(emit func(queuesweep.Result)) (queuesweep.Summary, error) {
		s, err := a.acting(true)
		if err != nil {
			return queuesweep.Summary{}, err
		}
		return s.Sweep(cmd.Context(), set, queuesweep.SweepOptions{DryRun: true, Unlimited: true, Emit: emit})
	})
	if err != nil {
		return err
	}
	s, err := a.acting(f.dry)
	if err != nil {
		return err
	}
	defer a.close()
	return report(telling{ctx: cmd.Context(), json: f.json, named: true}, func(emit func(queuesweep.Result)) (queuesweep.Summary, error) {
		return s.Sweep(cmd.Context(), set, queuesweep.SweepOptions{DryRun: f.dry, Unlimited: true, Only: only, Emit: emit, Preview: preview})
	})
}

func (a *app) restoreCommand() *cobra.Command {
	var f byHand
	var by removedBy
	cmd := &cobra.Command{
		Use:   "restore ID ... | --where CONDITION | --run RUN | --rule NAME",
		Short: "Bring messages of the removed store back into the queues they came from",
		RunE: func(cmd *cobra.Command, ids []string) error {
			if err := by.narrow(&f, ids); err != nil {
				return err
			}
			if err := f.check(ids); err != nil {
				return err
			}
			set, err := condition(f.where)
			if err != nil {
				return err
			}
			var only func(spool.Entry) bool
			restore := func(dry bool) func(func(queuesweep.Result)) (queuesweep.Summary, error) {
				return func(emit func(queuesweep.Result)) (queuesweep.Summary, error) {
					s, err := a.acting(dry)
					if err != nil {
						return queuesweep.Summary{}, err
					}
					defer a.close()
					return s.Restore(cmd.Context(), ids, set, queuesweep.SweepOptions{DryRun: dry, Only: only, Removed: by.takes(), Emit: emit})
				}
			}
			if f.where != "" {
				if only, err = a.confirm(cmd, &f, "restore", restore(true)); err != nil {
					return err
				}
			}
			return a.report(telling{ctx: cmd.Context(), json: f.json, named: true, total: len(ids), stored: true}, restore(f.dry))
		},
	}
	f.flags(cmd)
	cmd.Flags().StringVar(&by.run, "run", "", "all that this `run` has removed, as the audit log and queue list --removed --json name it")
	cmd.Flags().StringVar(&by.rule, "rule", "", "all that the rule of this `name` has removed")
	return cmd
}

// removedBy are the messages that a run, or a rule, has removed.
type removedBy struct{ run, rule string }

// narrow has them stand for all messages where no condition is said.
func (by removedBy) narrow(f *byHand, ids []string) error {
	switch {
	case by == removedBy{}:
		return nil
	case len(ids) > 0:
		return errors.New("name the messages by their ids, or by --run and --rule, not both")
	case f.where == "":
		f.where = "true"
	}
	return nil
}

func (by removedBy) takes() func(*spool.Record) bool {
	if (by == removedBy{}) {
		return nil
	}
	return func(r *spool.Record) bool {
		return (by.run == "" || r.Run == by.run) && (by.rule == "" || r.Rule == by.rule)
	}
}

// condition compiles the value of --where; "" is no condition.
func condition(where string) (*rule.Set, error) {
	if where == "" {
		return nil, nil
	}
	return rule.CompileCondition(where)
}

// confirm asks a person, at a terminal, before a condition acts on messages. A
// script says --yes. Where nothing matches there is nothing to ask for, and what
// comes to match a moment later is only shown: f.dry is set. only tells of which
// messages was spoken; it is nil where nobody was asked.
func (a *app) confirm(cmd *cobra.Command, f *byHand, verb string, dry func(func(queuesweep.Result)) (queuesweep.Summary, error)) (only func(spool.Entry) bool, err error) {
	if f.dry || f.yes {
		return nil, nil
	}
	counted := newAgreed()
	stop := a.following(cmd.Context(), "looking")
	sum, err := dry(counted.add)
	stop()
	if err != nil {
		return nil, err
	}
	if sum.Matched == 0 {
		f.dry = true
		return nil, nil
	}
	question := fmt.Sprintf("%s %s? [y/N] ", verb, plural(sum.Matched, "message"))
	if !isTerminal(a.stdin) {
		return nil, fmt.Errorf("%s %s: say --yes to do it, or --dry-run to see which", verb, plural(sum.Matched, "message"))
	}
	fmt.Fprint(a.stderr, question)
	var answer string
	fmt.Fscanln(a.input(cmd.Context()), &answer)
	if cmd.Context().Err() != nil {
		return nil, errors.New("nothing was done: interrupted before it was confirmed")
	}
	if a := strings.ToLower(answer); a != "y" && a != "yes" {
		return nil, errors.New("nothing was done: answer y, or say --yes, to have it done")
	}
	return counted.only(), nil
}

func jsonFlag(cmd *cobra.Command, v *bool) {
	cmd.Flags().BoolVar(v, "json", false, "print JSON, one object a line")
}

// json prints one object on a line of its own.
func (a *app) json(v any) { a.out.json(v) }
