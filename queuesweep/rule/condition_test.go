package rule_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/backscatterd/backscatterd/queuesweep/rule"
)

// TestConditionErrors compares each mistake of testdata/mistakes.txt with what
// is said of it there: where it is, what it is, what to do. Cases are divided
// by lines of "====", condition and error by a line of "----".
func TestConditionErrors(t *testing.T) {
	file := filepath.Join("testdata", "mistakes.txt")
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	cases := strings.Split(strings.TrimSuffix(string(data), "\n"), "\n====\n")
	if len(cases) < 50 {
		t.Fatalf("only %d cases in %s", len(cases), file)
	}
	for _, c := range cases {
		src, want, ok := strings.Cut(c, "\n----\n")
		if !ok {
			t.Fatalf("no expected error in %q", c)
		}
		_, err := rule.CompileCondition(src)
		if err == nil {
			t.Errorf("%s\ncompiles", src)
			continue
		}
		// The lists of all names are long and change as names are added.
		lines := slices.DeleteFunc(strings.Split(err.Error(), "\n"), func(l string) bool {
			return strings.HasPrefix(l, "  the names are: ") || strings.HasPrefix(l, "  the functions are: ")
		})
		if diff := cmp.Diff(want, strings.Join(lines, "\n")); diff != "" {
			t.Errorf("%s\n%s", src, diff)
		}
	}
}

func TestConditionErrorHasItsPlace(t *testing.T) {
	src := "attempts > 4 &&\n\t\"é\" == staus"
	_, err := rule.CompileCondition(src)
	var ce *rule.ConditionError
	if !errors.As(err, &ce) {
		t.Fatalf("got %v, want a *ConditionError", err)
	}
	if ce.Line != 2 || ce.Column != 9 || ce.Offset != strings.Index(src, "staus") || ce.Source != src {
		t.Errorf("line %d, column %d, offset %d of %q", ce.Line, ce.Column, ce.Offset, ce.Source)
	}
	if ce.Hint != `did you mean "status"?` {
		t.Errorf("the hint is %q", ce.Hint)
	}
	if _, err := rule.CompileCondition("subject == ``"); !errors.As(err, &ce) || !strings.Contains(ce.Hint, "null_sender, number") {
		t.Errorf("%v does not list the names", err)
	}
}

func TestTooLongCondition(t *testing.T) {
	_, err := rule.CompileCondition("true" + strings.Repeat(" && true", 3000))
	if err == nil || !strings.Contains(err.Error(), "longer than 16384 bytes") {
		t.Errorf("got %v", err)
	}
	_, err = rule.CompileCondition(strings.Repeat("!", 8000) + "true")
	if err == nil {
		t.Error("8000 operators are taken")
	}
	_, err = rule.CompileCondition(strings.Repeat("(", 8000) + "true" + strings.Repeat(")", 8000))
	if err != nil {
		t.Errorf("parentheses: %v", err)
	}
}

func TestCompileTellsAllFaults(t *testing.T) {
	_, err := rule.Compile([]rule.Rule{
		{Name: "good", When: "true"},
		{Name: "name", When: "stauts == ``"},
		{Name: "action", When: "true", Do: "remove"},
		{Name: "both", When: "attempts", Do: "drop"},
	})
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		t.Fatalf("got %T %v, want joined errors", err, err)
	}
	var got []int
	for _, e := range joined.Unwrap() {
		var re *rule.RuleError
		if !errors.As(e, &re) {
			t.Fatalf("%T is no *RuleError", e)
		}
		got = append(got, re.Rule)
		var ce *rule.ConditionError
		if isCondition := errors.As(e, &ce); isCondition == strings.Contains(e.Error(), "unknown action") {
			t.Errorf("%v: is a *ConditionError: %v", e, isCondition)
		}
	}
	if want := []int{1, 2, 3, 3}; !slices.Equal(got, want) {
		t.Errorf("faults of rules %v, want %v", got, want)
	}
}

func TestRulesHaveTheirDefaults(t *testing.T) {
	set, err := rule.Compile([]rule.Rule{{Name: "a", When: "true"}, {Name: "b", When: "true", Do: rule.Log}})
	if err != nil {
		t.Fatal(err)
	}
	got := set.Rules()
	if got[0].Do != rule.Move || got[1].Do != rule.Log {
		t.Errorf("actions %q and %q, want move and log", got[0].Do, got[1].Do)
	}
	got[0].Name = "changed"
	if set.Rules()[0].Name != "a" {
		t.Error("the set's own rules can be changed from outside")
	}
}
