package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/backscatterd/backscatterd/queuesweep"
	"github.com/backscatterd/backscatterd/queuesweep/rule"
)

func (a *app) sweepCommand() *cobra.Command {
	var names []string
	var dry, asJSON bool
	cmd := &cobra.Command{
		Use:   "sweep",
		Short: "Judge the queues by the rules and act, once, now",
		Args:  onlyBehind("rule"),
		RunE: func(cmd *cobra.Command, more []string) error {
			names = append(names, more...)
			cfg, err := a.config()
			if err != nil {
				return err
			}
			chosen, err := chooseRules(cfg.Rules, names)
			if err != nil {
				return err
			}
			set, err := rule.Compile(chosen)
			if err != nil {
				return err
			}
			dry := dry || cfg.Sweep.DryRun
			s, err := a.acting(dry)
			if err != nil {
				return err
			}
			defer a.close()
			return a.report(telling{ctx: cmd.Context(), json: asJSON}, func(emit func(queuesweep.Result)) (queuesweep.Summary, error) {
				return s.Sweep(cmd.Context(), set, queuesweep.SweepOptions{DryRun: dry, Emit: emit})
			})
		},
	}
	cmd.Flags().StringArrayVar(&names, "rule", nil, "only the rule of this `name`; may be given several times")
	cmd.Flags().BoolVar(&dry, "dry-run", false, "say what would be done, and do nothing")
	jsonFlag(cmd, &asJSON)
	return cmd
}

// chooseRules picks rules by their names, in the order of the configuration.
func chooseRules(all []rule.Rule, names []string) ([]rule.Rule, error) {
	if len(names) == 0 {
		return all, nil
	}
	var chosen []rule.Rule
	var known []string
	for _, r := range all {
		known = append(known, r.Name)
		if slices.Contains(names, r.Name) {
			chosen = append(chosen, r)
		}
	}
	for _, n := range names {
		if !slices.Contains(known, n) {
			return nil, fmt.Errorf("no rule is named %q; there are: %s", n, strings.Join(known, ", "))
		}
	}
	return chosen, nil
}
