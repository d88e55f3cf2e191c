package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/backscatterd/backscatterd/cmd/backscatterd/internal/doctor"
	"github.com/backscatterd/backscatterd/config"
	"github.com/backscatterd/backscatterd/milter/ledger"
)

func (a *app) doctorCommand() *cobra.Command {
	var asJSON bool
	var cron []string
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Check the whole setup and say what to do",
		Long: "Check the whole setup, from sendmail.cf to the last schedule, and say what to do about what is not right.\n" +
			"Nothing is changed. It works without root, and says what it could not see.\n\n" +
			"Exit status: 0 if all is well or there are warnings only, 1 if something has failed.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o := doctor.Options{Cron: cron, Now: time.Now(), ConfigFile: a.configFile}
			if o.ConfigFile == "" {
				if _, err := os.Stat(config.DefaultPath); err == nil {
					o.ConfigFile = config.DefaultPath
				}
			}
			if _, err := os.Stat("/run/systemd/system"); err == nil && o.ConfigFile == config.DefaultPath {
				o.Systemctl = "systemctl"
			}
			if o.Config, o.ConfigErr = a.config(); o.ConfigErr == nil {
				_, o.ConfigErr = a.bounce(o.Config)
			}
			if o.Config != nil {
				o.Places, o.PlacesErr = queuePlaces(o.Config.Queue)
			}
			if o.Config != nil {
				o.Ledger = func(ctx context.Context) (ledger.Status, error) { return ledgerStatus(ctx, o.Config.Milter) }
			}
			findings := doctor.Examine(cmd.Context(), o)
			for _, f := range findings {
				if asJSON {
					a.json(f)
				} else {
					a.printFinding(f)
				}
			}
			if doctor.Worst(findings) == doctor.Fail {
				return statusError{code: exitFailed}
			}
			return nil
		},
	}
	cmd.Flags().StringArrayVar(&cron, "cron", doctor.DefaultCron(), "`file` or folder in which calls of qtool.pl may be; may be given several times")
	jsonFlag(cmd, &asJSON)
	return cmd
}

func (a *app) printFinding(f doctor.Finding) {
	colour := map[doctor.Status]ink{doctor.OK: cyan, doctor.Warn: yellow, doctor.Fail: red, doctor.NotChecked: faint}[f.Status]
	fmt.Fprintf(a.out, "%s  %s  %s\n", a.out.paint(colour, pad(string(f.Status), 11)), pad(clean(f.Check), 17), clean(f.Message))
	if f.Advice == "" {
		return
	}
	for line := range strings.SplitSeq(f.Advice, "\n") {
		fmt.Fprintf(a.out, "             %s\n", cleanLines(line))
	}
}

// placesCommand tells, for packages that are removed, where there may be what
// cannot be made again: a word and a path a line.
func (a *app) placesCommand() *cobra.Command {
	return &cobra.Command{
		Use: "places", Hidden: true, Args: cobra.NoArgs,
		Short: "Say where removed mail, keys, ledger and audit log are",
		RunE: func(*cobra.Command, []string) error {
			cfg, err := a.config()
			if err != nil {
				return err
			}
			store := cfg.Store.Directory
			if store == "" {
				s, err := a.sweeperOf(cfg, nil)
				if err != nil {
					return failed(err)
				}
				store = s.Store
			}
			for _, p := range [][2]string{
				{"store", store}, {"keys", cfg.Milter.Keys}, {"ledger", cfg.Milter.Ledger}, {"audit", cfg.Audit.File},
			} {
				fmt.Fprintln(a.out, p[0], p[1])
			}
			return nil
		},
	}
}
