package milter

import (
	"slices"
	"testing"

	"github.com/backscatterd/backscatterd/dsn"
	"github.com/backscatterd/backscatterd/milter/evidence"
)

// A rehearsal names the action of the verdict, the mildest of several
// recipients', and never one that the kind of the message rules out.
func TestRehearsal(t *testing.T) {
	engine, err := evidence.New(evidence.Options{Domains: []string{"ours.example"}})
	if err != nil {
		t.Fatal(err)
	}
	r, err := Rehearse(Policy{
		Evidence: engine, Domains: []string{"ours.example"},
		Actions: Actions{Suspect: Reject, Unknown: Quarantine},
		Listed:  []string{"abuse@ours.example", "@lists.ours.example"}, ListedActions: Actions{Suspect: Accept},
	})
	if err != nil {
		t.Fatal(err)
	}
	user, abuse, list := "joe@ours.example", "prvs=0730570649=Abuse@ours.example", "a@Lists.ours.example"
	for _, c := range []struct {
		kind    dsn.Kind
		verdict evidence.Verdict
		to      []string
		want    Action
	}{
		{dsn.Failed, evidence.Suspect, []string{user}, Reject},
		{dsn.Failed, evidence.Suspect, []string{abuse}, Accept},
		{dsn.Failed, evidence.Suspect, []string{user, list}, Accept},
		{dsn.Failed, evidence.Suspect, nil, Reject},
		{dsn.Failed, evidence.Legit, []string{user}, Tag},
		{dsn.Delayed, evidence.Unknown, []string{user}, Quarantine},
		{dsn.AutoReply, evidence.Unknown, []string{user}, Tag},
		{dsn.None, "", []string{user}, Accept},
	} {
		if got := r.Action(evidence.Judgement{Kind: c.kind, Verdict: c.verdict}, c.to); got != c.want {
			t.Errorf("%s %s to %q: %s, want %s", c.kind, c.verdict, c.to, got, c.want)
		}
	}
	if got := r.Listed([]string{user, abuse, list}); !slices.Equal(got, []string{abuse, list}) {
		t.Errorf("listed are %q", got)
	}
	if _, err := Rehearse(Policy{Evidence: engine, Actions: Actions{Legit: Discard}}); err == nil {
		t.Error("a policy that loses our own bounces is taken")
	}
}
