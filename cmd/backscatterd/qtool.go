package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/backscatterd/backscatterd/queuesweep"
	"github.com/backscatterd/backscatterd/queuesweep/qtool"
	"github.com/backscatterd/backscatterd/queuesweep/rule"
	"github.com/backscatterd/backscatterd/queuesweep/spool"
)

// qtoolCommand takes the command lines of sendmail's qtool.pl. Their flags are
// Getopt::Std's, so they are not cobra's to read.
func (a *app) qtoolCommand() *cobra.Command {
	return &cobra.Command{
		Use:                "qtool [-bdQ] [-C sendmail.cf] [-e PERL-EXPR] [-s SECONDS] [TARGET] SOURCE ...",
		Short:              "Do what a command line of qtool.pl was meant to do",
		Long:               qtool.Usage,
		DisableFlagParsing: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			inv, err := qtool.ParseArgs(args)
			if err != nil {
				return err
			}
			if inv.Help {
				fmt.Fprint(a.out, qtool.Usage)
				return nil
			}
			if inv.PrintRule {
				text, err := inv.Rule()
				if err != nil {
					return err
				}
				fmt.Fprint(a.out, text)
				return nil
			}
			return a.qtool(cmd, inv)
		},
	}
}

func (a *app) qtool(cmd *cobra.Command, inv qtool.Invocation) error {
	when, err := inv.Condition()
	if err != nil {
		return err
	}
	set, err := rule.CompileByHand(rule.Rule{When: when, Do: rule.Action(inv.Action)})
	if err != nil {
		return err
	}
	if inv.Config != "" {
		a.configFile = inv.Config
	}
	cfg, err := a.config()
	if err != nil {
		return err
	}
	if inv.CF != "" {
		cfg.Queue.SendmailCF = inv.CF
	}
	src, err := findSources(inv)
	if err != nil {
		return err
	}
	if len(src.folders) == 0 {
		return nil
	}
	if inv.Target != "" {
		if st, err := os.Stat(inv.Target); err != nil || !st.IsDir() {
			return fmt.Errorf("the target %s must be an existing folder; make it first: mkdir -m 700 %s", inv.Target, shellWords([]string{inv.Target}))
		}
	}
	a.places = func() ([]spool.Place, error) { return src.places(cfg.Queue.SendmailCF) }
	s, err := a.acting(inv.DryRun)
	if err != nil {
		return err
	}
	defer a.close()
	return a.report(telling{ctx: cmd.Context(), json: inv.JSON, named: inv.Expr == "", quiet: true}, func(emit func(queuesweep.Result)) (queuesweep.Summary, error) {
		return s.Sweep(cmd.Context(), set, queuesweep.SweepOptions{
			DryRun: inv.DryRun, Unlimited: true, Target: cleanPath(inv.Target), Only: src.wants, Emit: emit,
		})
	})
}

func cleanPath(p string) string {
	if p == "" {
		return ""
	}
	if abs, err := filepath.Abs(p); err == nil {
		return abs
	}
	return p
}

// sources are what a qtool command line names: whole folders, and single
// messages in folders.
type sources struct {
	kind    spool.Kind
	folders []string
	whole   map[string]bool
	ids     map[string]map[string]bool // by folder
}

// findSources reads operands as add_source() of qtool.pl does: a folder stands
// for the messages in it; anything else is a control file, a df or an id, whose
// folder may have qf and df below it.
func findSources(inv qtool.Invocation) (sources, error) {
	s := sources{kind: spool.Active, whole: map[string]bool{}, ids: map[string]map[string]bool{}}
	if inv.Quarantined {
		s.kind = spool.Held
	}
	var errs []error
	for _, name := range inv.Sources {
		name = cleanPath(name)
		if st, err := os.Stat(name); err == nil && st.IsDir() {
			s.add(name)
			s.whole[s.folders[len(s.folders)-1]] = true
			continue
		}
		folder, base := filepath.Split(name)
		prefix := string([]byte{byte(s.kind), 'f'})
		id := base
		if strings.HasPrefix(base, prefix) || strings.HasPrefix(base, "df") {
			id = base[2:]
		}
		folder = filepath.Clean(folder)
		if !exists(filepath.Join(folder, prefix+id)) && !exists(filepath.Join(folder, "qf", prefix+id)) {
			errs = append(errs, fmt.Errorf("%s: no such queue file (delivered meanwhile? queue list shows what there is)", filepath.Join(folder, prefix+id)))
			continue
		}
		s.add(folder)
		at := s.folders[len(s.folders)-1]
		if s.ids[at] == nil {
			s.ids[at] = map[string]bool{}
		}
		s.ids[at][id] = true
	}
	return s, errors.Join(errs...)
}

// add appends a folder; the qf folder of a split queue stands for the queue.
func (s *sources) add(folder string) {
	if filepath.Base(folder) == "qf" {
		folder = filepath.Dir(folder)
	}
	s.folders = append(s.folders, folder)
}

// wants tells whether the command line names a message.
func (s sources) wants(e spool.Entry) bool {
	return e.Kind == s.kind && (s.whole[e.Folder.Path] || s.ids[e.Folder.Path][e.ID])
}

// places are the queue folders to open: those named, and those of sendmail.cf,
// in which a df may lie or which may be the target. qtool.pl insists on a
// sendmail.cf; here it is a help, not a need.
func (s sources) places(cf string) ([]spool.Place, error) {
	known, _ := spool.PlacesOf(cf)
	named, err := spool.PlacesAt(s.folders)
	for _, p := range named {
		found := false
		for _, k := range known {
			found = found || k.Path == p.Path
		}
		if !found {
			known = append(known, p)
		}
	}
	return known, err
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
