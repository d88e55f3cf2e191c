package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/backscatterd/backscatterd/queuesweep"
)

// What a list sorts: so many messages, of so many bytes. A longer one is printed
// as it comes, so that memory does not grow with the queue.
const (
	maxSorted      = 10_000
	maxSortedBytes = 8 << 20
)

// rows prints messages: the oldest first while there are not too many.
type rows struct {
	out     terminal
	json    bool
	now     time.Time
	held    []queuesweep.Listed
	weight  int // of held, bytes
	printed int
	columns rowColumns
	none    string // what is said where there is nothing to list
}

func newRows(out terminal, asJSON bool, now time.Time) *rows {
	return &rows{out: out, json: asJSON, now: now, none: "no messages"}
}

func (r *rows) add(m queuesweep.Listed) {
	if !r.json {
		m.Headers = nil // not shown
	}
	if w := r.weight + weight(m); r.printed == 0 && len(r.held) < maxSorted && w <= maxSortedBytes {
		r.held, r.weight = append(r.held, m), w
		return
	}
	r.flush()
	r.print(m)
}

// weight is about what a message takes in memory.
func weight(m queuesweep.Listed) int {
	n := 400 + len(m.ID) + len(m.Sender) + len(m.Status) + len(m.Flags) + len(m.Quarantine) + len(m.Error)
	for _, r := range m.Recipients {
		n += 64 + len(r.Address) + len(r.Status) + len(r.Notify)
	}
	for _, h := range m.Headers {
		n += 48 + len(h[0]) + len(h[1])
	}
	return n
}

func (r *rows) flush() {
	slices.SortFunc(r.held, func(a, b queuesweep.Listed) int {
		return cmp.Or(created(a).Compare(created(b)), cmp.Compare(a.ID, b.ID), cmp.Compare(a.Queue, b.Queue))
	})
	if r.printed == 0 {
		r.columns = newRowColumns(r.out.width, r.held)
	}
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
		fmt.Fprintln(r.out, r.none)
		return
	}
	fmt.Fprintln(r.out, r.out.paint(faint, plural(r.printed, "message")))
}

// rowColumns are the widths of a list's columns. Zero leaves a column out.
type rowColumns struct {
	id, state, size, tries int
	route, why             int  // 0 is no limit
	beside                 bool // why stands beside the route, not below it
	below                  bool // so does the route, since it would be cut to nothing
}

const ageColumn = 6

// newRowColumns shares out the width of a terminal, given the first messages. In
// a pipe nothing is cut, and the columns are the same for any queue.
func newRowColumns(width int, first []queuesweep.Listed) rowColumns {
	if width == 0 {
		return rowColumns{id: 16, state: 10, size: 6, tries: 5}
	}
	c := rowColumns{id: 8, state: len("STATE"), size: 5, tries: len("TRIES")}
	for _, m := range first {
		c.id = max(c.id, columns(clean(m.ID)))
		c.state = max(c.state, len(m.State))
	}
	c.id = min(c.id, max(width/3, 14))
	used := c.id + 1 + c.state + 1 + ageColumn
	if width < 60 {
		c.size, c.tries = 0, 0
	} else {
		used += 1 + c.size + 1 + c.tries
	}
	rest := max(width-used-2, 1)
	switch c.why = max(width-4, 1); {
	case width < 72:
		c.below, c.route = true, c.why
	case width >= 160:
		c.beside = true
		c.route = rest * 2 / 5
		c.why = rest - c.route - 2
	default:
		c.route = rest
	}
	return c
}

// line is the columns before the route.
func (c rowColumns) line(id, state, age, size, tries string, paint func(string) string) string {
	line := pad(fit(id, c.id), c.id) + " " + paint(pad(state, c.state)) + " " + padLeft(age, ageColumn)
	if c.size > 0 {
		line += " " + padLeft(size, c.size)
	}
	if c.tries > 0 {
		line += " " + padLeft(fit(tries, c.tries), c.tries)
	}
	return line
}

func (r *rows) head() {
	c := r.columns
	title := c.line("ID", "STATE", "AGE", "SIZE", "TRIES", func(s string) string { return s })
	switch {
	case c.beside:
		title += "  " + pad("SENDER → RECIPIENTS", c.route) + "  WHY"
	case !c.below:
		title += "  " + fit("SENDER → RECIPIENTS", c.route)
	}
	fmt.Fprintln(r.out, r.out.paint(bold, title))
}

func (r *rows) print(m queuesweep.Listed) {
	r.printed++
	if r.json {
		r.out.json(m)
		return
	}
	if r.printed == 1 {
		r.head()
	}
	c := r.columns
	line := c.line(clean(m.ID), string(m.State), r.age(m), size(m.Size), fmt.Sprint(m.Attempts),
		func(s string) string { return r.out.paint(stateInk(m.State), s) })
	to, reason := route(m, c.route), clean(why(m))
	if c.below {
		fmt.Fprintln(r.out, line)
		line = "  " // and two more
	}
	line += "  " + to
	if c.beside && reason != "" {
		fmt.Fprintln(r.out, line+strings.Repeat(" ", c.route-columns(to)+2)+r.out.paint(faint, fit(reason, c.why)))
		return
	}
	fmt.Fprintln(r.out, line)
	if reason != "" {
		fmt.Fprintln(r.out, "    "+r.out.paint(faint, fit(reason, c.why)))
	}
}

// age is one word in a pipe, where programs count words.
func (r *rows) age(m queuesweep.Listed) string {
	if m.Created == nil {
		return "-"
	}
	text := age(r.now.Sub(*m.Created))
	if r.out.width == 0 {
		text = strings.ReplaceAll(text, " ", "")
	}
	return text
}

func stateInk(s queuesweep.State) ink {
	switch s {
	case queuesweep.StateHeld, queuesweep.StateIncomplete:
		return yellow
	case queuesweep.StateLost, queuesweep.StateDamaged:
		return red
	case queuesweep.StateLocked:
		return cyan
	}
	return ""
}

// route is where a message comes from and goes to, in so many columns; 0 is no
// limit. Domains tell more than the names before them, so these are cut first, the
// sender's before the recipient's.
func route(m queuesweep.Listed, most int) string {
	const arrow = " → "
	from, to, more := sender(m), "-", ""
	if len(m.Recipients) > 0 {
		to = clean(m.Recipients[0].Address)
		if n := len(m.Recipients) - 1; n > 0 {
			more = fmt.Sprintf(" +%d", n)
		}
	}
	if over := columns(from+arrow+to+more) - most; most > 0 && over > 0 {
		from = cutLocalPart(from, columns(from)-over)
		over = columns(from+arrow+to+more) - most
		to = cutLocalPart(to, columns(to)-over)
	}
	return fit(from+arrow+to+more, most)
}

// cutLocalPart cuts an address to so many columns, as far as that goes without
// its domain.
func cutLocalPart(address string, most int) string {
	at := strings.LastIndexByte(address, '@')
	if at < 0 || columns(address) <= most {
		return address
	}
	return fit(address[:at], max(most-columns(address[at:]), 2)) + address[at:]
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
