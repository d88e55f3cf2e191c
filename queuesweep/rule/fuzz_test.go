package rule_test

import (
	"errors"
	"os"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/backscatterd/backscatterd/queuesweep/rule"
)

// FuzzCompileCondition: nothing makes it panic, errors have a place within the
// source, and what compiles is evaluated without a panic.
func FuzzCompileCondition(f *testing.F) {
	for _, r := range fieldRules {
		f.Add(r.When)
	}
	mistakes, err := os.ReadFile("testdata/mistakes.txt")
	if err != nil {
		f.Fatal(err)
	}
	for c := range strings.SplitSeq(string(mistakes), "\n====\n") {
		src, _, _ := strings.Cut(c, "\n----\n")
		f.Add(src)
	}
	for _, src := range []string{
		`recipients[0] == "x" ? true : status[1:2] == headers("X")[9]`, `map(filter(recipients, # != ""), len(#))[0] > 1`,
		`any(recipients, any(headers("Received"), # contains "a")) && returned.failed[0] in ["a", "b"]`, `min(1, 2.5, attempts) < max([1, 2]) - abs(-4)`,
		`recipients | len() > 1`, `status in {"a": 1}`, "age > duration(\"1d\") /* c */", `not not true`, `string(recipients) == ""`, `[1, [2, 3]][1][0] == 2`,
	} {
		f.Add(src)
	}
	f.Fuzz(func(t *testing.T, src string) {
		set, err := rule.CompileCondition(src)
		if err != nil {
			var ce *rule.ConditionError
			if !errors.As(err, &ce) {
				t.Fatalf("%T is no *ConditionError", err)
			}
			if ce.Offset < 0 || ce.Offset > len(src) || ce.Line < 1 || ce.Column < 1 || ce.Msg == "" {
				t.Fatalf("no place in the source: %+v", ce)
			}
			if strings.Contains(ce.Msg, "cannot be compiled") {
				t.Fatalf("the library panicked or gave up: %v", err)
			}
			if utf8.ValidString(src) && !utf8.ValidString(err.Error()) {
				t.Fatalf("the message is no UTF-8: %q", err.Error())
			}
			return
		}
		j := set.Judge()
		m, _ := bounce(t)
		for range 2 {
			_, _ = j.First(m)
		}
		_, _ = j.First(message(t, "<a@example.org>", "", "", "", 0))
	})
}
