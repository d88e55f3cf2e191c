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
	failures        int
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
	return &Report{Host: host, From: from, Until: until, Command: "backscatterd", rules: make(map[string]*Rule)}
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
		r.undo(rl, e)
	}
}

// undo keeps what can be brought back: the last thing that was done to a message
// counts.
func (r *Report) undo(rl *Rule, e queuesweep.AuditEntry) {
	if !isID(e.ID) {
		return
	}
	for _, other := range r.rules {
		other.Restore = slices.DeleteFunc(other.Restore, func(id string) bool { return id == e.ID })
		other.Release = slices.DeleteFunc(other.Release, func(id string) bool { return id == e.ID })
	}
	switch e.Action {
	case "move", "bounce":
		rl.Restore = append(rl.Restore, e.ID)
	case "hold":
		rl.Release = append(rl.Release, e.ID)
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
