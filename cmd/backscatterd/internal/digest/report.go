package digest

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/backscatterd/backscatterd/cmd/backscatterd/internal/status"
	"github.com/backscatterd/backscatterd/queuesweep"
)

// Report is what a digest tells.
type Report struct {
	Host        string
	From, Until time.Time
	DryRun      bool   // sweeps only say what they would do
	Command     string // how the program is called, its configuration file included

	Problems []string
	Rules    []Rule
	Filters  bool // the milter runs
	Hours    []status.Hour

	// Of the queues, as they were when the digest was made.
	Survey queuesweep.Survey
	Stock  queuesweep.Stock
	Near   map[string]int // messages that wait, by the rule that may match them later

	Sweeps, Limited int
	rules           map[string]*Rule
	failures, turn  int
	undone          map[string]undo // by queue id
}

// undo is what would bring a message back, of what was done to it last.
type undo struct {
	rule    string
	release bool // else restore
	turn    int
}

// Rule is what one rule did, "" for what was done by hand.
type Rule struct {
	Name   string
	Counts map[queuesweep.Verb]map[queuesweep.Code]int
	// What can be undone: ids of messages in the removed store, and held ones.
	Restore, Release []string
}

// NewReport makes one that knows of nothing yet.
func NewReport(host string, from, until time.Time) *Report {
	return &Report{Host: host, From: from, Until: until, Command: "backscatterd", rules: make(map[string]*Rule), undone: make(map[string]undo)}
}

// toldFailures is how many failed messages are named.
const toldFailures = 5

// Add takes in a line of the audit log. Lines come in their order.
func (r *Report) Add(e queuesweep.AuditEntry) {
	if e.Summary.Summary {
		r.Sweeps++
		if e.Limit != "" {
			r.Limited++
		}
		return
	}
	rl := r.rules[e.Rule]
	if rl == nil {
		rl = &Rule{Name: e.Rule, Counts: make(map[queuesweep.Verb]map[queuesweep.Code]int)}
		r.rules[e.Rule] = rl
	}
	if rl.Counts[e.Action] == nil {
		rl.Counts[e.Action] = make(map[queuesweep.Code]int)
	}
	rl.Counts[e.Action][e.Result.Result]++
	switch {
	case e.Result.Result == queuesweep.Failed:
		if r.failures++; r.failures <= toldFailures {
			r.Problem("message " + word(e.ID) + " could not be dealt with (" + word(string(e.Action)) + "): " + e.Error)
		}
	case e.Result.Result == queuesweep.Done:
		r.undo(e)
	}
}

// undo keeps what can be brought back: the last thing that was done to a message
// counts.
func (r *Report) undo(e queuesweep.AuditEntry) {
	switch {
	case !isID(e.ID):
	case e.Action == "move" || e.Action == "bounce" || e.Action == "hold":
		r.turn++
		r.undone[e.ID] = undo{rule: e.Rule, release: e.Action == "hold", turn: r.turn}
	default:
		delete(r.undone, e.ID)
	}
}

// isID keeps everything out of a command line that is no queue id.
func isID(s string) bool {
	return s != "" && len(s) <= 40 && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789") == ""
}

// Problem adds what needs somebody.
func (r *Report) Problem(text string) { r.Problems = append(r.Problems, text) }

// finish sorts what was added.
func (r *Report) finish() {
	if r.rules == nil {
		return
	}
	for _, rl := range r.rules {
		rl.Restore, rl.Release = nil, nil
	}
	inTurn := func(a, b string) int { return cmp.Compare(r.undone[a].turn, r.undone[b].turn) }
	for _, id := range slices.SortedFunc(maps.Keys(r.undone), inTurn) {
		u := r.undone[id]
		if rl := r.rules[u.rule]; u.release {
			rl.Release = append(rl.Release, id)
		} else {
			rl.Restore = append(rl.Restore, id)
		}
	}
	r.Rules = r.Rules[:0]
	for _, rl := range r.rules {
		r.Rules = append(r.Rules, *rl)
	}
	slices.SortFunc(r.Rules, func(a, b Rule) int {
		return cmp.Or(cmp.Compare(b.total(queuesweep.Done), a.total(queuesweep.Done)), cmp.Compare(a.Name, b.Name))
	})
}

func (r Rule) total(c queuesweep.Code) (n int) {
	for _, codes := range r.Counts {
		n += codes[c]
	}
	return n
}

// actions are what the rule did, in the order of their names.
func (r Rule) actions() []queuesweep.Verb { return slices.Sorted(maps.Keys(r.Counts)) }

func word(s string) string { return status.Short(s, 40) }
