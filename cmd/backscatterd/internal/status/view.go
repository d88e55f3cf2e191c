package status

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/backscatterd/backscatterd/queuesweep"
)

// verdicts in the order in which they are shown.
var verdicts = []string{"suspect", "unknown", "legit"}

// view is what the page shows.
type view struct {
	Host, Version   string
	Now             string
	Problems        []string
	Sweeps, Filters bool

	// Of the queue.
	Read            bool // it has been
	ReadAt, ReadAgo string
	Tiles           []tile
	Queue           heat
	QueueRows       int
	QueueHeight     int
	NarrowHeight    int
	Statuses        []bar
	StatusesLeft    int

	// Of the milter.
	History      bool
	HistoryError string
	Bounces      []dayRow

	LastRun string
	Rules   []ruleRow
	Actions []actionRow
	Next    []nextRow
	Held    int
	Removed int
}

type tile struct{ Name, Value, More, Class string }

type bar struct {
	Text    string
	N       string
	Percent int // of all that wait
	Oldest  string
}

type dayRow struct {
	Day                            string
	Suspect, Unknown, Legit, Total string
}

type ruleRow struct {
	Rule, Action, Done, Other string
}

type actionRow struct {
	When, Time, Rule, Action, Result, Class, ID, To, Why, Age string
}

type nextRow struct{ Job, Schedule, At, In string }

const (
	shownStatuses = 12
	shownActions  = 30
	shownRules    = 20
)

func (b *Board) view() view {
	b.want()
	now := b.opts.Now()
	survey, stock, run := b.snapshot()
	v := view{Host: b.opts.Host, Version: b.opts.Version, Now: stamp(now), Problems: b.Problems(),
		Sweeps: b.opts.Sweeps, Filters: b.opts.Filters}
	for i, p := range v.Problems {
		v.Problems[i] = Short(p, 400)
	}
	hours, err := b.hours(now)
	if err != nil {
		v.HistoryError = Short(err.Error(), 400)
	}
	if v.Sweeps {
		v.queue(survey, stock, now)
		v.sweeps(b, run, now)
	}
	v.bounces(b, hours, now)
	return v
}

func stamp(t time.Time) string { return t.Format("2006-01-02 15:04:05 MST") }

func (v *view) queue(s queuesweep.Survey, stock queuesweep.Stock, now time.Time) {
	v.Held, v.Removed = s.States[queuesweep.StateHeld], stock.Messages
	v.Read = s.States != nil
	if !v.Read {
		return
	}
	v.ReadAt, v.ReadAgo = stamp(s.At), Ago(now.Sub(s.At))
	oldest := "none is old"
	if !s.Oldest.IsZero() {
		oldest = "the oldest for " + Ago(s.At.Sub(s.Oldest))
	}
	v.Tiles = append(v.Tiles,
		tile{Name: "waiting", Value: grouped(s.Waiting.Total), More: oldest},
		tile{Name: "held", Value: grouped(v.Held), More: "until somebody releases them"},
		tile{Name: "removed", Value: grouped(stock.Messages), More: Size(stock.Bytes) + " in the store"})
	if stock.Owed > 0 {
		v.Tiles = append(v.Tiles, tile{Name: "owed bounces", Value: grouped(stock.Owed), More: "tried again at each sweep", Class: "bad"})
	}
	odd := s.States[queuesweep.StateLost] + s.States[queuesweep.StateDamaged]
	if odd > 0 {
		v.Tiles = append(v.Tiles, tile{Name: "lost or damaged", Value: grouped(odd), More: "left alone: look at them by hand", Class: "bad"})
	}
	v.Queue = newHeat(s)
	v.QueueRows = len(v.Queue.Rows)
	v.QueueHeight, v.NarrowHeight = v.Queue.height(), v.Queue.narrowHeight()
	for i, c := range s.Statuses {
		if i == shownStatuses {
			v.StatusesLeft = len(s.Statuses) - i
			break
		}
		v.Statuses = append(v.Statuses, bar{Text: Short(c.Key, 240), N: grouped(c.Total),
			Percent: percent(c.Total, s.Waiting.Total), Oldest: oldestColumn(c)})
	}
}

func percent(n, of int) int {
	if of == 0 || n == 0 {
		return 0
	}
	return max(1, min(100, n*100/of))
}

// oldestColumn says in words the last column of ages that is not empty.
func oldestColumn(c queuesweep.Count) string {
	columns := ageColumns()
	for i := len(c.Ages) - 1; i >= 0; i-- {
		if c.Ages[i] == 0 {
			continue
		}
		if i == len(c.Ages)-1 {
			return "over " + columns[i-1]
		}
		return "up to " + columns[i]
	}
	return ""
}

func (v *view) sweeps(b *Board, run Run, now time.Time) {
	s := b.sweeper.Load()
	switch {
	case run.Began.IsZero():
		v.LastRun = "No sweep has run since the daemon started."
	case run.Err != nil:
		v.LastRun = fmt.Sprintf("The last sweep, %s ago, failed.", Ago(now.Sub(run.Began)))
	default:
		v.LastRun = fmt.Sprintf("The last sweep began %s ago and judged %s messages in %.2f s: %s.",
			Ago(now.Sub(run.Began)), grouped(run.Summary.Scanned), run.Took.Seconds(), matches(run))
		if run.Summary.Limit != "" {
			v.LastRun += " It stopped at " + run.Summary.Limit + "."
		}
	}
	if s.Audit != nil {
		entries, err := s.Audit()
		if err != nil {
			v.Problems = append(v.Problems, Short(err.Error(), 400))
		}
		v.acted(entries, now)
	}
	if s.Next != nil {
		for _, n := range s.Next(now) {
			row := nextRow{Job: oneLine(n.Job), Schedule: n.Schedule, At: "never", In: ""}
			if !n.At.IsZero() {
				row.At, row.In = n.At.Format("Mon 15:04:05"), Ago(n.At.Sub(now))
			}
			v.Next = append(v.Next, row)
		}
	}
}

// matches says what a sweep found.
func matches(run Run) string {
	verb := "acted on"
	if run.DryRun {
		verb = "would have acted on"
	}
	if run.Summary.Matched == 0 {
		return "no rule matched any"
	}
	return fmt.Sprintf("rules matched %s, and it %s %s", grouped(run.Summary.Matched), verb, grouped(run.Summary.Done))
}

// acted shows the last actions, and counts those that the log's end has by rule.
func (v *view) acted(entries []queuesweep.AuditEntry, now time.Time) {
	type key struct{ rule, action string }
	type count struct{ done, other int }
	counts := make(map[key]*count)
	var order []key
	for _, e := range slices.Backward(entries) {
		if e.Summary.Summary || now.Sub(e.Time) > 24*time.Hour {
			continue
		}
		k := key{cmp.Or(e.Rule, "by hand"), string(e.Action)}
		if counts[k] == nil {
			counts[k] = new(count)
			order = append(order, k)
		}
		if e.Result.Result == queuesweep.Done {
			counts[k].done++
		} else {
			counts[k].other++
		}
	}
	slices.SortStableFunc(order, func(a, b key) int {
		return cmp.Compare(counts[b].done+counts[b].other, counts[a].done+counts[a].other)
	})
	for _, k := range order[:min(len(order), shownRules)] {
		v.Rules = append(v.Rules, ruleRow{Short(k.rule, 60), Short(k.action, 20), grouped(counts[k].done), grouped(counts[k].other)})
	}
	for _, e := range slices.Backward(entries) {
		if len(v.Actions) == shownActions {
			break
		}
		if !e.Summary.Summary {
			v.Actions = append(v.Actions, actionOf(e, now))
		}
	}
}

func actionOf(e queuesweep.AuditEntry, now time.Time) actionRow {
	row := actionRow{
		When: Ago(now.Sub(e.Time)) + " ago", Time: stamp(e.Time), Rule: Short(cmp.Or(e.Rule, "by hand"), 60), Action: Short(string(e.Action), 20),
		Result: Short(string(e.Result.Result), 20), ID: Short(e.ID, 40), Why: Short(cmp.Or(e.Error, e.Note, e.Status), 200),
		Age: Ago(time.Duration(e.AgeSeconds) * time.Second),
	}
	switch e.Result.Result {
	case queuesweep.Done, queuesweep.DryRun:
		row.Class = "done"
	case queuesweep.Failed:
		row.Class = "bad"
	default:
		row.Class = "left"
	}
	switch n := len(e.Recipients); {
	case n == 1:
		row.To = Short(e.Recipients[0], 60)
	case n > 1:
		row.To = fmt.Sprintf("%s and %d more", Short(e.Recipients[0], 60), n-1)
	}
	return row
}

// hours is what the filter has counted in this process, or written to its file.
func (b *Board) hours(now time.Time) ([]Hour, error) {
	h := b.history
	if !b.opts.Filters {
		if b.opts.History == "" {
			return nil, nil
		}
		read, err := ReadHistory(b.opts.History)
		if err != nil {
			return nil, err
		}
		h = read
	}
	return h.Between(now.Add(-historyHours*time.Hour), now.Add(time.Hour)), nil
}

const shownDays = 7

func (v *view) bounces(b *Board, hours []Hour, now time.Time) {
	v.History = b.opts.Filters || len(hours) > 0
	if !v.History {
		return
	}
	last := make(map[string]int)
	days := make(map[string]map[string]int)
	for _, h := range hours {
		day := h.Start.In(now.Location()).Format("Mon 2 Jan")
		if days[day] == nil {
			days[day] = make(map[string]int)
		}
		for _, verdict := range verdicts {
			n := h.Of(verdict)
			days[day][verdict] += n
			if now.Sub(h.Start) < 24*time.Hour {
				last[verdict] += n
			}
		}
	}
	for i := range shownDays {
		day := now.AddDate(0, 0, -i).Format("Mon 2 Jan")
		d := days[day]
		v.Bounces = append(v.Bounces, dayRow{day, grouped(d["suspect"]), grouped(d["unknown"]), grouped(d["legit"]),
			grouped(d["suspect"] + d["unknown"] + d["legit"])})
	}
	total := last["suspect"] + last["unknown"] + last["legit"]
	v.Tiles = append(v.Tiles, tile{Name: "bounces in 24 h", Value: grouped(total),
		More: fmt.Sprintf("%s\u00a0suspect, %s\u00a0unknown, %s\u00a0legit", grouped(last["suspect"]), grouped(last["unknown"]), grouped(last["legit"]))})
}
