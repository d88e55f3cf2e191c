package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/backscatterd/backscatterd/config"
	"github.com/backscatterd/backscatterd/milter/ledger"
)

func (a *app) ledgerCommand() *cobra.Command {
	var asJSON bool
	status := &cobra.Command{
		Use:   "status",
		Short: "Show what the ledger holds, and for which time it is complete",
		Long: "Show what the ledger holds, and for which time it is complete. Of a ledger in a file, the daemon writes this\n" +
			"every minute; it is as old as it says. A ledger on a server is asked, and every host that keeps it is shown.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := a.config()
			if err != nil {
				return err
			}
			s, err := ledgerStatus(cmd.Context(), cfg.Milter)
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
	return group("ledger", "Look at the ledger of what was sent", status,
		a.ledgerHostCommand("forget", "Take a host out that no longer sends, of a ledger on a server",
			"The others then no longer wait for its reports. A host that still runs begins anew, and all warm up again.", (*ledger.Shared).Forget),
		a.ledgerHostCommand("trust", "Say that a host sent nothing before it first reported, of a ledger on a server",
			"The others need not warm up again for its sake. Say it of new hosts only: what a host sent before is not in the\n"+
				"ledger, and bounces of it may be called suspect.", (*ledger.Shared).Trust))
}

func ledgerStatus(ctx context.Context, m config.Milter) (ledger.Status, error) {
	if !m.LedgerServer.On() {
		return ledger.ReadStatus(m.Ledger)
	}
	l, err := lookAtServer(ctx, m)
	if err != nil {
		return ledger.Status{}, err
	}
	defer l.Close()
	ctx, cancel := context.WithTimeout(ctx, serverTime)
	defer cancel()
	return l.Status(ctx)
}

// ledgerHostCommand is one that says something of a host to the ledger's server.
func (a *app) ledgerHostCommand(name, short, long string, do func(*ledger.Shared, context.Context, string) error) *cobra.Command {
	return &cobra.Command{
		Use:   name + " HOST",
		Short: short,
		Long:  short + ". " + long,
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, err := a.config()
			if err != nil {
				return err
			}
			if !cfg.Milter.LedgerServer.On() {
				return fmt.Errorf("the ledger is in a file of this host alone; addresses in [milter.ledger_server] would put it on a server")
			}
			l, err := lookAtServer(cmd.Context(), cfg.Milter)
			if err != nil {
				return failed(err)
			}
			defer l.Close()
			ctx, cancel := context.WithTimeout(cmd.Context(), serverTime)
			defer cancel()
			if err := do(l, ctx, strings.ToLower(args[0])); err != nil {
				return failed(err)
			}
			return nil
		},
	}
}

// stale is the age of a status from which on its writer must be gone.
const stale = 5 * time.Minute

func (a *app) printLedger(s ledger.Status, warmUp time.Duration, now time.Time) {
	line := func(label, format string, args ...any) {
		fmt.Fprintf(a.out, "%s %s\n", pad(label, 9), fmt.Sprintf(format, args...))
	}
	if s.Server != "" {
		line("server", "%s, as of %s", clean(s.Server), moment(s.At))
	} else {
		line("file", "%s, %s bytes", clean(s.File), size(s.Size))
	}
	switch {
	case s.Server != "" && len(s.Hosts) == 0:
		line("state", "%s", a.out.paint(yellow, "no host has reported yet"))
	case s.Server != "":
		a.printHosts(s.Hosts, now)
	case !s.Running:
		line("state", "%s since %s", a.out.paint(yellow, "not running"), moment(s.At))
	case now.Sub(s.At) > stale:
		line("state", "%s; last seen at %s: its daemon has died, or the clock was set", a.out.paint(red, "not running"), moment(s.At))
	default:
		line("state", "%s, as of %s", a.out.paint(cyan, "running"), moment(s.At))
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
		filled := ""
		if g.Filled {
			filled = "; does not count"
		}
		line("gap", "%s to %s (%s): %s%s", moment(g.From), moment(g.To), age(g.To.Sub(g.From)), clean(g.Reason), filled)
	}
	for _, d := range s.Days {
		line("day", "%s %s", d.Day, plural(d.Messages, "message"))
	}
}

const maxShownGaps = 10

// silent is how old a host's report may be: hosts report every second.
const silent = 10 * time.Second

func (a *app) printHosts(hosts []ledger.Host, now time.Time) {
	for _, h := range hosts {
		state := a.out.paint(cyan, "reports")
		switch {
		case h.Since.IsZero():
			state = a.out.paint(red, "has never reported")
		case h.Stopped:
			state = a.out.paint(yellow, "stopped at "+moment(h.Written))
		case now.Sub(h.Written) > silent:
			state = a.out.paint(red, "silent since "+moment(h.Written))
		}
		since := ""
		switch {
		case h.Since.IsZero():
		case h.Since.Unix() == 0:
			since = ", new when it came"
		default:
			since = ", since " + moment(h.Since)
		}
		fmt.Fprintf(a.out, "%s %s: %s%s, %s\n", pad("host", 9), clean(h.Name), state, since, plural(len(h.Gaps), "gap"))
	}
}

func moment(t time.Time) string { return t.Local().Format("2006-01-02 15:04:05") }
