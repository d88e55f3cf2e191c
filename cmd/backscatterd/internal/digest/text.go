package digest

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/backscatterd/backscatterd/cmd/backscatterd/internal/status"
	"github.com/backscatterd/backscatterd/queuesweep"
)

const (
	width     = 76 // of a line, in characters, where it can be broken
	toldIDs   = 60 // of a rule
	idsALine  = 4
	toldRows  = 5 // destinations and reasons
	toldRules = 30
)

// Subject says the most important in one line.
func (r *Report) Subject() string {
	s := "backscatterd on " + status.Short(r.Host, 60) + ": "
	if n := len(r.Problems); n > 0 {
		return s + plural(n, "problem")
	}
	removed, bounces := 0, 0
	for _, rl := range r.rules {
		removed += rl.Counts["move"][queuesweep.Done] + rl.Counts["bounce"][queuesweep.Done] + rl.Counts["delete"][queuesweep.Done]
	}
	for _, h := range r.Hours {
		bounces += h.Of("suspect")
	}
	if removed == 0 && bounces == 0 {
		return s + "nothing to do"
	}
	var parts []string
	if removed > 0 {
		parts = append(parts, fmt.Sprintf("%d removed", removed))
	}
	if bounces > 0 {
		parts = append(parts, plural(bounces, "suspect bounce"))
	}
	return s + strings.Join(parts, ", ")
}

// Text is the digest as people read it: lines that end in LF.
func (r *Report) Text() string {
	r.finish()
	w := new(writer)
	const form = "Mon 2 Jan 15:04"
	w.line("%s, %s to %s.", status.Short(r.Host, 60), r.From.Format(form), r.Until.Format(form+" MST"))
	r.problems(w)
	r.sweeps(w)
	r.bounces(w)
	r.near(w)
	r.waits(w)
	r.undoing(w)
	w.line("")
	w.line("This mail is the [digest] of backscatterd; digest.to says who gets it.")
	return w.String()
}

type writer struct{ strings.Builder }

func (w *writer) line(format string, args ...any) {
	w.WriteString(strings.TrimRight(fmt.Sprintf(format, args...), " ") + "\n")
}

func (w *writer) title(s string) { w.line("\n%s\n%s", s, strings.Repeat("-", len(s))) }

// item is a text behind a dash.
func (w *writer) item(text string) { w.folded("- ", text) }

// folded is a text behind its head, broken into lines that begin below its first
// word.
func (w *writer) folded(head, text string) {
	line, begun := head, false
	for word := range strings.FieldsSeq(status.Short(text, 600)) {
		if begun && len([]rune(line))+1+len([]rune(word)) > width {
			w.line("%s", line)
			line, begun = strings.Repeat(" ", len(head)), false
		}
		if begun {
			line += " "
		}
		line, begun = line+word, true
	}
	w.line("%s", line)
}

func (r *Report) problems(w *writer) {
	if len(r.Problems) == 0 {
		return
	}
	w.title("This needs you")
	for _, p := range r.Problems {
		w.item(p)
	}
	if n := r.failures - toldFailures; n > 0 {
		w.item(fmt.Sprintf("%s more failed; the audit log has them", plural(n, "message")))
	}
}

func (r *Report) sweeps(w *writer) {
	w.title("What sweeps did")
	switch {
	case r.DryRun:
		w.line("Sweeps are in dry run (sweep.dry_run): they change nothing.")
	case r.Sweeps == 0:
		w.line("No sweep, and no command by hand, has ended in this time.")
	default:
		w.line("%s, by schedule or by hand.", plural(r.Sweeps, "run"))
	}
	if len(r.Rules) == 0 {
		w.line("No message was matched.")
		return
	}
	w.line("")
	w.line("%-30s %-8s %7s %9s", "rule", "action", "done", "not done")
	for i, rl := range r.Rules {
		if i == toldRules {
			w.line("... and %s more", plural(len(r.Rules)-i, "rule"))
			return
		}
		for _, action := range rl.actions() {
			not := 0
			for code, n := range rl.Counts[action] {
				if code != queuesweep.Done {
					not += n
				}
			}
			w.line("%-30s %-8s %7d %9d", status.Short(cmp.Or(rl.Name, "(by hand, or settled later)"), 30), word(string(action)), rl.Counts[action][queuesweep.Done], not)
		}
	}
}

func (r *Report) bounces(w *writer) {
	if !r.Filters {
		return
	}
	w.title("What the milter saw")
	counts := make(map[string]map[string]int)
	for _, h := range r.Hours {
		for verdict, actions := range h.Bounces {
			if counts[verdict] == nil {
				counts[verdict] = make(map[string]int)
			}
			for action, n := range actions {
				counts[verdict][action] += n
			}
		}
	}
	if len(counts) == 0 {
		w.line("No bounce came in.")
		return
	}
	w.line("Bounces by verdict, counted by full hours:")
	for _, verdict := range []string{"suspect", "unknown", "legit"} {
		total, parts := 0, []string(nil)
		for _, action := range slices.Sorted(maps.Keys(counts[verdict])) {
			total += counts[verdict][action]
			parts = append(parts, fmt.Sprintf("%d %s", counts[verdict][action], word(action)))
		}
		w.line("  %-8s %6d  %s", verdict, total, strings.Join(parts, ", "))
	}
}

// near tells of what a rule matched and did not act on, and of what it may match
// later.
func (r *Report) near(w *writer) {
	why := []struct {
		code queuesweep.Code
		text string
	}{
		{queuesweep.Limit, "kept by a limit (max_share, max_messages)"},
		{queuesweep.Locked, "in sendmail's hands at that moment"},
		{queuesweep.Changed, "changed before it could be done"},
		{queuesweep.Gone, "delivered or removed before it could be done"},
	}
	var lines []string
	for _, c := range why {
		for _, rl := range r.Rules {
			if n := rl.total(c.code); n > 0 {
				lines = append(lines, fmt.Sprintf("%6d  %s: %s", n, status.Short(cmp.Or(rl.Name, "by hand"), 30), c.text))
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(r.Near)) {
		lines = append(lines, fmt.Sprintf("%6d  %s: now in the queue, waiting for the age or attempts", r.Near[name], status.Short(name, 30)))
	}
	if len(lines) == 0 {
		return
	}
	w.title("What was nearly matched")
	for _, l := range lines {
		w.line("%s", l)
	}
}

func (r *Report) waits(w *writer) {
	if r.Survey.States == nil {
		return
	}
	w.title("What waits now")
	waiting := plural(r.Survey.Waiting.Total, "message") + " in the queue"
	if !r.Survey.Oldest.IsZero() {
		waiting += ", the oldest for " + status.Ago(r.Survey.At.Sub(r.Survey.Oldest))
	}
	w.line("%s.", waiting)
	w.line("%s held, %d lost or damaged.", plural(r.Survey.States[queuesweep.StateHeld], "message"),
		r.Survey.States[queuesweep.StateLost]+r.Survey.States[queuesweep.StateDamaged])
	w.line("%s in the removed store (%s); %s owed.", plural(r.Stock.Messages, "message"), status.Size(r.Stock.Bytes), plural(r.Stock.Owed, "bounce"))
	rows(w, "To", r.Survey.Domains)
	rows(w, "Because", r.Survey.Statuses)
}

func rows(w *writer, what string, counts []queuesweep.Count) {
	if len(counts) == 0 {
		return
	}
	w.line("\n%s:", what)
	for _, c := range counts[:min(len(counts), toldRows)] {
		w.folded(fmt.Sprintf("%6d  ", c.Total), c.Key)
	}
}

func (r *Report) undoing(w *writer) {
	var lines []string
	for _, rl := range r.Rules {
		name := status.Short(cmp.Or(rl.Name, "by hand"), 60)
		lines = append(lines, r.commands(name, "queue restore", "queue list --removed", rl.Restore)...)
		lines = append(lines, r.commands(name, "queue release", `queue list --where 'state == "held"'`, rl.Release)...)
	}
	if len(lines) == 0 {
		return
	}
	w.title("How to undo it")
	w.line("Removed messages are kept for the time of store.keep. What was deleted,")
	w.line("expired or bounced by sendmail cannot be brought back.")
	for _, l := range lines {
		w.line("%s", l)
	}
}

func (r *Report) commands(name, command, list string, ids []string) (lines []string) {
	if len(ids) == 0 {
		return nil
	}
	lines = append(lines, "", name+":")
	told := ids[max(0, len(ids)-toldIDs):]
	line := "  " + r.Command + " " + command
	var all []string
	for chunk := range slices.Chunk(told, idsALine) {
		all = append(all, strings.Join(chunk, " "))
	}
	lines = append(lines, line+" "+strings.Join(all, " \\\n    "))
	if n := len(ids) - len(told); n > 0 {
		lines = append(lines, fmt.Sprintf("  # and %d before these: %s %s", n, r.Command, list))
	}
	return lines
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
