package queuesweep

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/backscatterd/backscatterd/queuesweep/rule"
)

// AgeBounds are the upper bounds of the age columns, as qshape has them.
var ageBounds = [...]time.Duration{
	5 * time.Minute, 10 * time.Minute, 20 * time.Minute, 40 * time.Minute, 80 * time.Minute,
	160 * time.Minute, 320 * time.Minute, 640 * time.Minute, 1280 * time.Minute,
}

// AgeLabels name the columns of Count.Ages, in minutes.
func AgeLabels() []string {
	labels := make([]string, 0, len(ageBounds)+1)
	for _, b := range ageBounds {
		labels = append(labels, fmt.Sprint(int(b.Minutes())))
	}
	return append(labels, labels[len(labels)-1]+"+")
}

// Count is a row of a summary: how many messages, and how old they are.
type Count struct {
	Key   string                  `json:"key"`
	Total int                     `json:"total"`
	Ages  [len(ageBounds) + 1]int `json:"ages"` // by AgeLabels
}

// Groupings are what a summary can count by.
func Groupings() []string { return []string{"domain", "status", "sender", "rule", "age"} }

// SummaryBy counts the messages of the queues by one of Groupings, the largest
// first. A message counts once under each key that it has: under every domain
// that it goes to.
//
// Keys come from outside, so their number is bounded: where there are more than
// some thousands of them, the smallest counts are added up under OtherKeys.
func (s *Sweeper) SummaryBy(ctx context.Context, by string, rules *rule.Set, where *rule.Set) ([]Count, error) {
	if !slices.Contains(Groupings(), by) {
		return nil, fmt.Errorf("cannot count by %q: use one of %s", by, strings.Join(Groupings(), ", "))
	}
	if by != "rule" {
		rules = nil
	}
	counts := tally{}
	now := s.Now()
	err := s.List(ctx, ListOptions{Where: where, Rules: rules, Emit: func(m Listed) {
		age := bucket(ageOf(m, now))
		for _, key := range keys(m, by, age) {
			counts.add(key, age)
		}
	}})
	out := make([]Count, 0, len(counts))
	for _, c := range counts {
		out = append(out, *c)
	}
	slices.SortFunc(out, func(a, b Count) int {
		return cmp.Or(cmp.Compare(b.Total, a.Total), cmp.Compare(a.Key, b.Key))
	})
	return out, err
}

// OtherKeys is the key that stands for those which there are too many of.
const OtherKeys = "(others)"

const (
	maxKeys = 20_000
	maxKey  = 256 // bytes
)

// tally counts under a bounded number of keys of bounded length.
type tally map[string]*Count

func (t tally) add(key string, age int) {
	key = cut(key, maxKey)
	c := t[key]
	if c == nil {
		if len(t) >= maxKeys {
			t.fold()
		}
		c = &Count{Key: strings.Clone(key)}
		t[c.Key] = c
	}
	c.Total++
	c.Ages[age]++
}

// fold adds up the smaller half of the counts. What makes up much of a queue has
// been seen often by then, and stays.
func (t tally) fold() {
	all := make([]*Count, 0, len(t))
	for _, c := range t {
		if c.Key != OtherKeys {
			all = append(all, c)
		}
	}
	slices.SortFunc(all, func(a, b *Count) int { return cmp.Compare(a.Total, b.Total) })
	others := t[OtherKeys]
	if others == nil {
		others = &Count{Key: OtherKeys}
	}
	for _, c := range all[:len(all)/2] {
		others.Total += c.Total
		for i, n := range c.Ages {
			others.Ages[i] += n
		}
		delete(t, c.Key)
	}
	t[OtherKeys] = others
}

// ageOf is 0 where a message does not tell when it came.
func ageOf(m Listed, now time.Time) time.Duration {
	if m.Created == nil {
		return 0
	}
	return now.Sub(*m.Created)
}

func bucket(age time.Duration) int {
	for i, b := range ageBounds {
		if age < b {
			return i
		}
	}
	return len(ageBounds)
}

func keys(m Listed, by string, age int) []string {
	switch by {
	case "domain":
		var domains []string
		seen := make(map[string]bool)
		for _, r := range m.Recipients {
			if d := domainOf(r.Address); !seen[d] {
				seen[d] = true
				domains = append(domains, d)
			}
		}
		return orNone(domains)
	case "status":
		return orNone([]string{genericStatus(m.Status)})
	case "sender":
		if m.NullSender {
			return []string{"<>"}
		}
		return orNone([]string{m.Sender})
	case "rule":
		if len(m.Rules) == 0 {
			return []string{"(no rule)"}
		}
		return m.Rules[:1]
	}
	return []string{AgeLabels()[age]}
}

func orNone(keys []string) []string {
	if len(keys) == 0 || len(keys) == 1 && keys[0] == "" {
		return []string{"(none)"}
	}
	return keys
}

func domainOf(address string) string {
	if i := strings.LastIndexByte(address, '@'); i >= 0 {
		return strings.ToLower(strings.TrimSuffix(address[i+1:], ">"))
	}
	return "(local)"
}

// StatusKind is a status message as SummaryBy counts it: without what differs
// from one recipient to the next.
func StatusKind(status string) string { return genericStatus(status) }

// genericStatus takes out of a status message what differs from one recipient
// to the next, so that equal reasons count together: addresses, and the host at
// the end of "Connection timed out with mx.example.".
func genericStatus(status string) string {
	if i := strings.Index(status, " with "); i >= 0 && strings.HasPrefix(status, "Deferred: ") {
		status = status[:i]
	}
	words := strings.Fields(status)
	for i, w := range words {
		if strings.Contains(w, "@") {
			words[i] = "<...>"
		}
	}
	return strings.Join(words, " ")
}
