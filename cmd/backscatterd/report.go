package main

import (
	"cmp"
	"context"
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
	ctx    context.Context // of the run: progress is drawn for as long
	json   bool
	named  bool // a person named the messages: what was passed over has failed them
	quiet  bool // nothing is said of a run that matched nothing: cron would mail it
	total  int  // so many messages were named by their ids; 0 is those of the queues
	stored bool // they are in the removed store
}

// toDo is how many messages there are to get over, 0 where nobody knows.
func (t telling) toDo(queued func(context.Context) int) func(context.Context) int {
	if t.total > 0 || t.stored {
		return func(context.Context) int { return t.total }
	}
	return queued
}

// report runs something and prints what it does to each message, and a summary.
func (a *app) report(how telling, do func(emit func(queuesweep.Result)) (queuesweep.Summary, error)) error {
	stop := a.progress.start(how.ctx, "working", how.toDo(a.messagesQueued))
	sum, err := do(func(r queuesweep.Result) {
		a.progress.act()
		if how.json {
			a.json(r)
			return
		}
		a.printResult(r)
	})
	stop()
	if err != nil && !sum.Summary {
		return statusOf(err)
	}
	switch {
	case how.json:
		a.json(sum)
	case sum.Matched > 0 || sum.Failed > 0 || !how.quiet:
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
	colour := cyan
	switch r.Result {
	case queuesweep.Failed:
		colour = red
	case queuesweep.Done:
	default:
		colour = yellow
	}
	line := fmt.Sprintf("%s %s", pad(string(r.Action), 7), pad(clean(r.ID), 15))
	if r.Rule != "" {
		line += " [" + clean(r.Rule) + "]"
	}
	fmt.Fprintf(a.out, "%s %s\n", a.out.paint(colour, pad(string(r.Result), 8)), fit(line+"  "+resultRoute(r), a.out.width-9))
	for _, more := range []string{r.Status, r.Note, r.Error} {
		if more != "" {
			for line := range strings.SplitSeq(more, "\n") {
				fmt.Fprintf(a.out, "         %s\n", a.out.paint(faint, fit(clean(line), a.out.width-9)))
			}
		}
	}
}

// resultRoute is where a message of a result comes from and goes to.
func resultRoute(r queuesweep.Result) string {
	route := cmp.Or(clean(r.Sender), "<>")
	if len(r.Recipients) == 0 {
		return route
	}
	route += " → " + clean(r.Recipients[0])
	if more := len(r.Recipients) - 1; more > 0 {
		route += fmt.Sprintf(" +%d", more)
		if len(r.Recipients) == queuesweep.MaxRecipients {
			route += " or more"
		}
	}
	return route
}

func (a *app) printSummary(s queuesweep.Summary) {
	done := "done"
	if s.DryRun {
		done = "would be done"
	}
	a.out.say("", fmt.Sprintf("%s scanned, %d matched: %d %s, %d skipped, %d failed (%.3f s)",
		plural(s.Scanned, "message"), s.Matched, s.Done, done, s.Skipped, s.Failed, s.Seconds))
	if s.Limit != "" {
		a.out.say(red, fmt.Sprintf("LIMIT: stopped at %s: see whether the rules are right, then raise it in [sweep], or act by hand with queue ... --where", s.Limit))
	}
}

func isTerminal(r io.Reader) bool {
	f, ok := r.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
