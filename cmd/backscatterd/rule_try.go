package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/backscatterd/backscatterd/queuesweep"
	"github.com/backscatterd/backscatterd/queuesweep/qtool"
	"github.com/backscatterd/backscatterd/queuesweep/rule"
)

func (a *app) ruleCommand() *cobra.Command {
	var perl, asJSON bool
	var examples int
	try := &cobra.Command{
		Use:   "try CONDITION",
		Short: "Show what a condition would match now: counts, share, examples and why",
		Long: "Show what a condition would match now, as a rule with it would: how many messages and which share of the queues,\n" +
			"in which states, with which status messages, from whose domains, and a few examples with the words that made it\n" +
			"match. Nothing is changed. A CONDITION - is read from the standard input.",
		Example: "  backscatterd rule try 'attempts > 50 && status contains \"Connection timed out\"'\n" +
			"  backscatterd rule try --qtool '$msg{num_delivery_attempts} > 50'",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return fmt.Errorf("give one condition, in single quotes, or - to read it from the standard input; %d were given", len(args))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			condition, err := a.conditionToTry(cmd.Context(), args[0], perl)
			if err != nil {
				return err
			}
			if examples < 0 {
				return fmt.Errorf("--examples %d: want 0 or more", examples)
			}
			return a.try(cmd, condition, examples, asJSON)
		},
	}
	try.Flags().BoolVar(&perl, "qtool", false, "the condition is a Perl expression, as for qtool.pl -e")
	try.Flags().IntVar(&examples, "examples", 5, "how many `messages` to show")
	jsonFlag(try, &asJSON)
	return group("rule", "Try conditions of rules", try)
}

// conditionToTry is the condition in the language of rules.
func (a *app) conditionToTry(ctx context.Context, text string, perl bool) (string, error) {
	if text == "-" {
		const most = 64 << 10
		data, err := io.ReadAll(io.LimitReader(a.input(ctx), most+1))
		if err != nil {
			return "", fmt.Errorf("standard input: %w", err)
		}
		if len(data) > most {
			return "", fmt.Errorf("standard input: a condition has at most %d bytes; is this one?", most)
		}
		text = strings.TrimSpace(string(data))
	}
	if strings.TrimSpace(text) == "" {
		return "", errors.New("the condition is empty: give one such as 'attempts > 50' (docs/rules.md lists what there is)")
	}
	if perl {
		return qtool.Translate(text)
	}
	return text, nil
}

// tried is what a condition matches now: rule try --json.
type tried struct {
	Condition string         `json:"condition"`
	Scanned   int            `json:"scanned"`
	Matched   int            `json:"matched"`
	Share     float64        `json:"share"`            // of those scanned
	HeldLeft  int            `json:"held_not_judged"`  // since the condition does not name state or quarantine
	Unread    int            `json:"not_readable"`     // damaged, incomplete, or a failure of the condition
	States    []triedCount   `json:"by_state"`         // of those that match, the most frequent first
	Statuses  []triedCount   `json:"by_status"`        // likewise, less what differs between recipients
	Domains   []triedCount   `json:"by_sender_domain"` // likewise
	Examples  []triedExample `json:"examples"`         // the first that were found
	Seconds   float64        `json:"seconds"`
}

type triedCount struct {
	Key   string `json:"key"`
	Total int    `json:"total"`
}

type triedExample struct {
	ID     string   `json:"id"`
	Queue  string   `json:"queue"`
	Sender string   `json:"sender"`
	Status string   `json:"status"`
	Why    []reason `json:"why"`

	shown queuesweep.Listed
}

func (a *app) try(cmd *cobra.Command, condition string, examples int, asJSON bool) error {
	set, err := rule.Compile([]rule.Rule{{When: condition, Do: rule.Log}})
	if err != nil {
		var fault *rule.ConditionError
		if errors.As(err, &fault) {
			return fault
		}
		return err
	}
	s, err := a.looking()
	if err != nil {
		return err
	}
	began := time.Now()
	t := tried{Condition: condition, Examples: []triedExample{}}
	states, statuses, domains := map[string]int{}, map[string]int{}, map[string]int{}
	reasons := newReasons(condition)
	stop := a.following(cmd.Context(), "judging")
	err = s.List(cmd.Context(), queuesweep.ListOptions{Rules: set, Emit: func(m queuesweep.Listed) {
		t.Scanned++
		switch {
		case len(m.Rules) > 0:
		case m.Error != "":
			t.Unread++
			return
		case m.State == queuesweep.StateHeld && !set.JudgesHeld():
			t.HeldLeft++
			return
		default:
			return
		}
		t.Matched++
		tally(states, string(m.State))
		tally(statuses, cmp.Or(queuesweep.StatusKind(m.Status), "(none)"))
		tally(domains, senderDomain(m))
		if len(t.Examples) < examples {
			t.Examples = append(t.Examples, triedExample{m.ID, m.Queue, m.Sender, m.Status, reasons.of(m), m})
		}
	}})
	stop()
	if nothingDone(err) {
		return err
	}
	t.Seconds = time.Since(began).Seconds()
	t.Share = float64(t.Matched) / float64(max(t.Scanned, 1))
	t.States, t.Statuses, t.Domains = ranked(states), ranked(statuses), ranked(domains)
	slices.SortFunc(t.Examples, func(a, b triedExample) int { return cmp.Compare(a.ID, b.ID) })
	if asJSON {
		a.json(t)
	} else {
		a.printTried(t)
	}
	return statusOf(err)
}

// tally counts a key. Keys come from outside: from some number of them on, new
// ones are counted together.
func tally(counts map[string]int, key string) {
	const most = 5000
	if _, known := counts[key]; !known && len(counts) >= most {
		key = queuesweep.OtherKeys
	}
	counts[key]++
}

func senderDomain(m queuesweep.Listed) string {
	if m.NullSender {
		return "<>"
	}
	if i := strings.LastIndexByte(m.Sender, '@'); i >= 0 {
		return strings.ToLower(m.Sender[i+1:])
	}
	return "(local)"
}

func ranked(counts map[string]int) []triedCount {
	out := make([]triedCount, 0, len(counts))
	for _, key := range slices.Sorted(maps.Keys(counts)) {
		out = append(out, triedCount{key, counts[key]})
	}
	slices.SortStableFunc(out, func(a, b triedCount) int { return cmp.Compare(b.Total, a.Total) })
	return out
}

const (
	maxTriedRows = 8
	triedBar     = 10 // columns, on a terminal
)

// triedBar draws the share of a row in what matches.
func (a *app) triedBar(part, whole int) string {
	if a.out.width == 0 {
		return ""
	}
	bar := a.out.bar(part, whole, triedBar)
	return a.out.paint(cyan, bar) + strings.Repeat(" ", triedBar-columns(bar)+2)
}

func (a *app) printTried(t tried) {
	a.out.say("", fmt.Sprintf("%s of %d match: %.1f %% of the queues (%.3f s)", plural(t.Matched, "message"), t.Scanned, 100*t.Share, t.Seconds))
	if t.HeldLeft > 0 {
		a.out.say("", plural(t.HeldLeft, "held message")+" not judged: a rule looks at held ones only if its condition names state or quarantine")
	}
	if t.Unread > 0 {
		a.out.say("", plural(t.Unread, "message")+" could not be judged: queue list says why")
	}
	if t.Matched == 0 {
		a.out.say("", "nothing matches now; queue summary --by status shows what there is")
		return
	}
	for _, table := range []struct {
		name string
		rows []triedCount
	}{{"state", t.States}, {"status", t.Statuses}, {"sender domain", t.Domains}} {
		fmt.Fprintf(a.out, "\n%s\n", a.out.paint(bold, "by "+table.name))
		for i, row := range table.rows {
			if i == maxTriedRows {
				fmt.Fprintf(a.out, "        and %d more (--json has all)\n", len(table.rows)-i)
				break
			}
			fmt.Fprintf(a.out, "%7d  %s%s\n", row.Total, a.triedBar(row.Total, t.Matched), fit(clean(row.Key), a.out.width-11-triedBar))
		}
	}
	if len(t.Examples) > 0 {
		fmt.Fprintf(a.out, "\n%s\n", a.out.paint(bold, "examples"))
	}
	for _, e := range t.Examples {
		id, room := clean(e.ID), 0
		if a.out.width > 0 {
			room = max(a.out.width-columns(id)-2, 1)
		}
		fmt.Fprintf(a.out, "%s  %s\n", id, route(e.shown, room))
		if len(e.Why) == 0 && e.Status != "" {
			fmt.Fprintf(a.out, "    %s\n", a.out.paint(faint, fit(clean(e.Status), a.out.width-4)))
		}
		for _, r := range e.Why {
			fmt.Fprintf(a.out, "    %s\n", r.show(a.out))
		}
	}
}
