package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/backscatterd/backscatterd/queuesweep"
)

// maxSorted is how many messages a list sorts; a longer one is printed as it
// comes, so that memory does not grow with the queue.
const maxSorted = 10_000

// rows prints messages: the oldest first while there are not too many.
type rows struct {
	out     terminal
	json    bool
	now     time.Time
	held    []queuesweep.Listed
	printed int
}

func newRows(out terminal, asJSON bool, now time.Time) *rows {
	return &rows{out: out, json: asJSON, now: now}
}

func (r *rows) add(m queuesweep.Listed) {
	if r.printed == 0 && len(r.held) < maxSorted {
		r.held = append(r.held, m)
		return
	}
	r.flush()
	r.print(m)
}

func (r *rows) flush() {
	slices.SortFunc(r.held, func(a, b queuesweep.Listed) int {
		return cmp.Or(created(a).Compare(created(b)), cmp.Compare(a.ID, b.ID), cmp.Compare(a.Queue, b.Queue))
	})
	for _, m := range r.held {
		r.print(m)
	}
	r.held = nil
}

func created(m queuesweep.Listed) time.Time {
	if m.Created == nil {
		return time.Time{}
	}
	return *m.Created
}

func (r *rows) end() {
	r.flush()
	if r.json {
		return
	}
	if r.printed == 0 {
		fmt.Fprintln(r.out, "no messages")
		return
	}
	fmt.Fprintln(r.out, r.out.paint(faint, plural(r.printed, "message")))
}

func (r *rows) print(m queuesweep.Listed) {
	r.printed++
	if r.json {
		r.out.json(m)
		return
	}
	if r.printed == 1 {
		fmt.Fprintln(r.out, r.out.paint(bold, fmt.Sprintf("%-16s %-10s %6s %6s %5s  %s", "ID", "STATE", "AGE", "SIZE", "TRIES", "SENDER → RECIPIENTS")))
	}
	age, tries := r.age(m), fmt.Sprint(m.Attempts)
	line := fmt.Sprintf("%s %s %6s %6s %5s  ", pad(clean(m.ID), 16), r.out.paint(stateInk(m.State), pad(string(m.State), 10)), age, size(m.Size), tries)
	room := 0
	if r.out.width > 0 {
		room = max(r.out.width-49, 20)
	}
	fmt.Fprintln(r.out, line+fit(route(m), room))
	if why := why(m); why != "" {
		fmt.Fprintln(r.out, "    "+r.out.paint(faint, fit(clean(why), r.out.width-4)))
	}
}

func (r *rows) age(m queuesweep.Listed) string {
	if m.Created == nil {
		return "-"
	}
	return age(r.now.Sub(*m.Created))
}

func stateInk(s queuesweep.State) ink {
	switch s {
	case queuesweep.StateHeld, queuesweep.StateIncomplete:
		return yellow
	case queuesweep.StateLost, queuesweep.StateDamaged:
		return red
	case queuesweep.StateLocked:
		return green
	}
	return "39"
}

// route is where a message comes from and goes to.
func route(m queuesweep.Listed) string {
	to := "-"
	if len(m.Recipients) > 0 {
		to = clean(m.Recipients[0].Address)
		if more := len(m.Recipients) - 1; more > 0 {
			to += fmt.Sprintf(" +%d", more)
		}
	}
	return sender(m) + " → " + to
}

func sender(m queuesweep.Listed) string {
	if m.NullSender {
		return "<>"
	}
	return clean(m.Sender)
}

// why is what keeps a message in the queue.
func why(m queuesweep.Listed) string {
	switch {
	case m.Error != "":
		return m.Error
	case m.Removed != nil:
		owed := ""
		if m.BounceOwed {
			owed = ", its bounce is still owed"
		}
		return fmt.Sprintf("removed %s by %s%s", m.Removed.Time.Format("2006-01-02 15:04"), cmp.Or(m.Removed.Rule, "hand"), owed)
	case m.Quarantine != "":
		return "held: " + m.Quarantine
	}
	return m.Status
}

// showMessage prints all of one message.
func showMessage(out terminal, m queuesweep.Listed, now time.Time) {
	field := func(name, value string) {
		if value != "" {
			fmt.Fprintf(out, "%s %s\n", out.paint(bold, pad(name, 13)), value)
		}
	}
	field("id", clean(m.ID))
	field("queue", clean(m.Queue))
	field("state", out.paint(stateInk(m.State), string(m.State)))
	field("error", clean(m.Error))
	if m.Created != nil {
		field("created", fmt.Sprintf("%s (%s ago)", m.Created.Local().Format("2006-01-02 15:04:05"), age(now.Sub(*m.Created))))
	}
	if m.LastAttempt != nil {
		field("last attempt", fmt.Sprintf("%s (%s ago), %d so far", m.LastAttempt.Local().Format("2006-01-02 15:04:05"), age(now.Sub(*m.LastAttempt)), m.Attempts))
	}
	field("size", size(m.Size)+" bytes")
	field("priority", fmt.Sprint(m.Priority))
	field("flags", clean(m.Flags))
	field("sender", sender(m))
	field("status", clean(m.Status))
	field("held", clean(m.Quarantine))
	for _, r := range m.Recipients {
		text := clean(r.Address)
		if r.Notify != "" {
			text += " (NOTIFY=" + r.Notify + ")"
		}
		if r.Status != "" && r.Status != m.Status {
			text += ": " + clean(r.Status)
		}
		field("recipient", text)
	}
	rules := "none matches"
	if len(m.Rules) > 0 {
		rules = m.Rules[0] + " decides"
		if len(m.Rules) > 1 {
			rules += "; would match too: " + strings.Join(m.Rules[1:], ", ")
		}
	}
	field("rules", rules)
	for _, h := range m.Headers {
		fmt.Fprintf(out, "  %s: %s\n", clean(h[0]), clean(h[1]))
	}
	fmt.Fprintln(out)
}

// showCounts prints a summary as qshape does: a row a key, a column an age.
func showCounts(out terminal, by string, counts []queuesweep.Count) {
	labels := queuesweep.AgeLabels()
	total := queuesweep.Count{Key: "TOTAL"}
	width := max(len(by), len(total.Key))
	for _, c := range counts {
		width = max(width, len([]rune(clean(c.Key))))
		total.Total += c.Total
		for i, n := range c.Ages {
			total.Ages[i] += n
		}
	}
	width = min(width, 50)
	fmt.Fprintf(out, "%s %6s", out.paint(bold, pad(by, width)), "T")
	for _, l := range labels {
		fmt.Fprintf(out, " %6s", l)
	}
	fmt.Fprintln(out)
	for _, c := range append([]queuesweep.Count{total}, counts...) {
		fmt.Fprintf(out, "%s %6d", pad(fit(clean(c.Key), width), width), c.Total)
		for _, n := range c.Ages {
			fmt.Fprintf(out, " %6d", n)
		}
		fmt.Fprintln(out)
	}
	fmt.Fprintln(out, out.paint(faint, "columns: minutes in the queue"))
}
