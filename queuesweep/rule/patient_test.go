package rule_test

import (
	"testing"

	"github.com/backscatterd/backscatterd/queuesweep/qf"
	"github.com/backscatterd/backscatterd/queuesweep/rule"
)

// A patient set has the rules that wait for something, without that.
func TestPatient(t *testing.T) {
	set, err := rule.Compile([]rule.Rule{
		{Name: "attempts", When: `attempts > 50 && status contains "unreachable"`},
		{Name: "age", When: `status contains "timed out" && (age > duration("4h") || since_attempt > duration("1h"))`},
		{Name: "both", When: `(attempts > 3 || status contains "full") && sender == "a@b.example"`},
		{Name: "neither", When: `status contains "full"`},
		{Name: "alone", When: `attempts > 50`},
	})
	if err != nil {
		t.Fatal(err)
	}
	patient := set.Patient()
	var names []string
	for _, r := range patient.Rules() {
		names = append(names, r.Name)
	}
	if len(names) != 2 || names[0] != "attempts" || names[1] != "age" {
		t.Fatalf("patient rules are %q", names)
	}
	for status, want := range map[string]int{"Network is unreachable": 0, "Connection timed out": 1, "Mailbox full": -1} {
		f, err := qf.Parse([]byte("V8\nT1795557305\nK1795557305\nN2\nP1\nMDeferred: " + status + "\nS<x@y.example>\nRPFD:<a@b.example>\n.\n"))
		if err != nil {
			t.Fatal(err)
		}
		m := &rule.Message{ID: "x", State: "active", File: f}
		if i, err := set.Judge().First(m); err != nil || i != -1 && want != -1 {
			t.Errorf("%s: the set matches by rule %d, %v", status, i, err)
		}
		if i, err := patient.Judge().First(m); err != nil || i != want {
			t.Errorf("%s: rule %d, %v, want %d", status, i, err, want)
		}
	}
	if neither, err := rule.Compile([]rule.Rule{{When: `attempts > 1`}}); err != nil || neither.Patient() != nil {
		t.Errorf("%v, %v", neither, err)
	}
}
