package milter

import (
	"slices"
	"strings"

	"github.com/backscatterd/backscatterd/milter/evidence"
)

// Rehearsal says what the filter would do, and does nothing. It may be used
// concurrently.
type Rehearsal struct{ rules *rules }

// Rehearse makes one of a policy. It is wrong where New and Use find it wrong.
func Rehearse(p Policy) (Rehearsal, error) {
	r, err := compile(p)
	return Rehearsal{r}, err
}

// Action is what would be done with a message that came from outside, to these
// recipients. Without any it is what is done for one who is not listed.
func (r Rehearsal) Action(j evidence.Judgement, recipients []string) Action {
	if !tagged(j.Kind) {
		return Accept
	}
	if len(recipients) == 0 {
		recipients = []string{""}
	}
	s := session{msg: &message{rules: r.rules, to: recipients}}
	return s.action(j)
}

// Listed are those of the recipients for whom ListedActions hold.
func (r Rehearsal) Listed(recipients []string) []string {
	return slices.DeleteFunc(slices.Clone(recipients), func(to string) bool {
		to = strings.ToLower(stripTag(to))
		return !r.rules.listed[to] && !r.rules.listed["@"+domainOf(to)]
	})
}
