package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"

	"github.com/backscatterd/backscatterd/queuesweep"
)

// telling is how a run is reported.
type telling struct {
	json  bool
	named bool // a person named the messages: what was passed over has failed them
	quiet bool // nothing is said of a run that matched nothing: cron would mail it
}

// report runs something and prints what it does to each message, and a summary.
func (a *app) report(how telling, do func(emit func(queuesweep.Result)) (queuesweep.Summary, error)) error {
	sum, err := do(func(r queuesweep.Result) {
		if how.json {
			a.json(r)
			return
		}
		a.printResult(r)
	})
	if err != nil && !sum.Summary {
		return statusOf(err)
	}
	switch {
	case how.json:
		a.json(sum)
	case sum.Matched > 0 || !how.quiet:
		a.printSummary(sum)
	}
	switch {
	case err != nil:
		return failed(err)
	case sum.Failed > 0, sum.Limit != "", how.named && sum.Skipped > 0:
		return statusError{code: exitFailed}
	}
	return nil
}

// statusOf tells what could not be begun, since a folder or a file that the
// command line or the configuration names cannot be used, from what failed on
// the way.
func statusOf(err error) error {
	var status statusError
	if err == nil || errors.As(err, &status) || nothingDone(err) {
		return err
	}
	return failed(err)
}

// nothingDone tells that there was nothing to look at or to act on.
func nothingDone(err error) bool {
	var setup *queuesweep.SetupError
	return errors.As(err, &setup)
}

func (a *app) printResult(r queuesweep.Result) {
	colour := green
	switch r.Result {
	case queuesweep.Failed:
		colour = red
	case queuesweep.Done:
	default:
		colour = yellow
	}
	from := clean(r.Sender)
	if from == "" {
		from = "<>"
	}
	to := ""
	if len(r.Recipients) > 0 {
		to = " → " + clean(r.Recipients[0])
		if more := len(r.Recipients) - 1; more > 0 {
			to += fmt.Sprintf(" +%d", more)
			if len(r.Recipients) == queuesweep.MaxRecipients {
				to += " or more"
			}
		}
	}
	by := ""
	if r.Rule != "" {
		by = " [" + r.Rule + "]"
	}
	fmt.Fprintf(a.out, "%s %s %s%s  %s%s\n", a.out.paint(colour, pad(string(r.Result), 8)), pad(string(r.Action), 7), pad(clean(r.ID), 15), by, from, to)
	for _, more := range []string{r.Status, r.Note, r.Error} {
		if more != "" {
			for line := range strings.SplitSeq(more, "\n") {
				fmt.Fprintf(a.out, "         %s\n", a.out.paint(faint, fit(clean(line), a.out.width-9)))
			}
		}
	}
}

func (a *app) printSummary(s queuesweep.Summary) {
	done := "done"
	if s.DryRun {
		done = "would be done"
	}
	fmt.Fprintf(a.out, "%s scanned, %d matched: %d %s, %d skipped, %d failed (%.3f s)\n",
		plural(s.Scanned, "message"), s.Matched, s.Done, done, s.Skipped, s.Failed, s.Seconds)
	if s.Limit != "" {
		fmt.Fprintf(a.out, "%s stopped at %s: see whether the rules are right, then raise it in [sweep], or act by hand with queue ... --where\n",
			a.out.paint(red, "LIMIT:"), s.Limit)
	}
}

func isTerminal(r io.Reader) bool {
	f, ok := r.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
