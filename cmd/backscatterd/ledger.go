package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/backscatterd/backscatterd/milter/ledger"
)

func (a *app) ledgerCommand() *cobra.Command {
	var asJSON bool
	status := &cobra.Command{
		Use:   "status",
		Short: "Show what the ledger holds, and for which time it is complete",
		Long: "Show what the ledger holds, and for which time it is complete. The daemon writes this every minute; it is as\n" +
			"old as it says.",
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			cfg, err := a.config()
			if err != nil {
				return err
			}
			s, err := ledger.ReadStatus(cfg.Milter.Ledger)
			if err != nil {
				return failed(err)
			}
			if asJSON {
				a.out.json(s)
				return nil
			}
			a.printLedger(s, cfg.Milter.WarmUp.Std(), time.Now())
			return nil
		},
	}
	jsonFlag(status, &asJSON)
	return group("ledger", "Look at the ledger of what was sent", status)
}

// stale is the age of a status from which on its writer must be gone.
const stale = 5 * time.Minute

func (a *app) printLedger(s ledger.Status, warmUp time.Duration, now time.Time) {
	line := func(label, format string, args ...any) {
		fmt.Fprintf(a.out, "%s %s\n", pad(label, 9), fmt.Sprintf(format, args...))
	}
	line("file", "%s, %s bytes", clean(s.File), size(s.Size))
	switch {
	case !s.Running:
		line("state", "%s since %s", a.out.paint(yellow, "not running"), moment(s.At))
	case now.Sub(s.At) > stale:
		line("state", "%s; last seen at %s: its daemon has died, or the clock was set", a.out.paint(red, "not running"), moment(s.At))
	default:
		line("state", "%s, as of %s", a.out.paint(green, "running"), moment(s.At))
	}
	if s.Error != "" {
		line("error", "%s", a.out.paint(red, clean(s.Error)))
	}
	line("since", "%s", moment(s.Since))
	line("unbroken", "since %s", moment(s.Unbroken))
	if warm := s.Since.Add(warmUp); now.Before(warm) {
		line("warm-up", "%s: until then, its silence makes no bounce suspect", a.out.paint(yellow, "until "+moment(warm)))
	} else {
		line("warm-up", "over")
	}
	line("written", "all that came before %s; %s waiting", moment(s.Written), plural(s.Pending, "record"))
	for i, g := range s.Gaps {
		if older := len(s.Gaps) - maxShownGaps; i < older {
			if i == 0 {
				line("gaps", "%d older ones are not shown (--json shows all)", older)
			}
			continue
		}
		line("gap", "%s to %s (%s): %s", moment(g.From), moment(g.To), age(g.To.Sub(g.From)), clean(g.Reason))
	}
	for _, d := range s.Days {
		line("day", "%s %s", d.Day, plural(d.Messages, "message"))
	}
}

const maxShownGaps = 10

func moment(t time.Time) string { return t.Local().Format("2006-01-02 15:04:05") }
