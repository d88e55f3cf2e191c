package rule

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/expr-lang/expr/compiler"
	"github.com/expr-lang/expr/vm"
	"pgregory.net/rapid"

	"github.com/backscatterd/backscatterd/dsn"
	"github.com/backscatterd/backscatterd/queuesweep/qf"
)

// plainly evaluates a condition as expr does when it gets it whole: not taken
// apart, not optimized, nothing remembered.
func plainly(t interface{ Fatalf(string, ...any) }, src string, m *Message) (bool, error) {
	cfg := newConfig()
	tree, _, err := checkedTree(src, cfg)
	if err != nil {
		t.Fatalf("%s\n%v", src, err)
	}
	program, err := compiler.Compile(tree, cfg)
	if err != nil {
		t.Fatalf("%s\n%v", src, err)
	}
	j := &Judge{set: &Set{}, m: m}
	v, err := (&vm.VM{MemoryBudget: maxMemory}).Run(program, environment(j))
	if err != nil {
		return false, err
	}
	return v.(bool), nil
}

// terms are conditions and parts of such, among them ones that fail for some
// messages.
var someTerms = []string{
	`status contains "timed out"`, `status startsWith "Deferred"`, `status matches "45.* spam"`, `status == ""`, `status in ["", "Deferred: x"]`,
	`status[:3] == "Def"`, `split(status, ":")[1] == " x"`, `int(status) == 5`, `len(status) > 10`, `10 % len(status) == 0`, `number(status) > 0`,
	`true`, `false`, `null_sender`, `sender == ""`, `attempts > 10`, `age > duration("4h")`, `since_attempt <= age`,
	`recipients[0] == "a@example.org"`, `recipients[1] contains "b"`, `len(recipients) > 1`, `any(recipients, # startsWith "a")`,
	`any(recipients, split(#, "@")[1] == "example.org")`, `"a@example.org" in recipients`, `len(statuses) == 1`,
	`header("Subject") contains "Returned"`, `header("X-Spam-Flag") startsWith "YES"`, `int(header("X-Count")) > 3`, `headers("Received")[1] == "x"`,
	`line("S") == "MAILER-DAEMON"`, `returned.header("X-Spam-Flag") == "YES"`, `returned.failed[0] == "n@example.org"`, `10 / attempts > 1`, `10 % attempts == 1`,
	`[1, "a"][attempts] == 1`, `(attempts > 3 ? status : sender) == ""`, `count(recipients, # == status) == 0`, `state == "active"`,
}

func drawCondition(t *rapid.T, depth int) string {
	term := rapid.SampledFrom(someTerms)
	if depth == 0 {
		return term.Draw(t, "term")
	}
	n := rapid.IntRange(1, 4).Draw(t, "operands")
	op := rapid.SampledFrom([]string{" && ", " and ", " && ", " || "}).Draw(t, "operator")
	var parts []string
	for range n {
		switch rapid.IntRange(0, 5).Draw(t, "kind") {
		case 0:
			parts = append(parts, "("+drawCondition(t, depth-1)+")")
		case 1:
			parts = append(parts, "!("+drawCondition(t, depth-1)+")")
		default:
			parts = append(parts, term.Draw(t, "term"))
		}
	}
	return strings.Join(parts, op)
}

type fixedBody struct{ report *dsn.Report }

func (fixedBody) Size() int64             { return 1000 }
func (fixedBody) Modified() time.Time     { return time.Unix(1447490000, 0) }
func (b fixedBody) Returned() *dsn.Report { return b.report }

func drawMessage(t *rapid.T) *Message {
	var b strings.Builder
	pick := func(label string, of ...string) { b.WriteString(rapid.SampledFrom(of).Draw(t, label)) }
	b.WriteString("V8\nT1447493191\n")
	pick("attempts", "N0\n", "N1\n", "N3\n", "N20\n")
	pick("status", "", "MDeferred: x\n", "MDeferred: 451 no spam\n", "MDeferred: Connection timed out\n", "M5\n", "M\n")
	pick("sender", "S<>\n", "SMAILER-DAEMON\n", "S<a@example.org>\n")
	pick("recipients", "", "RPF:<a@example.org>\n", "RPF:<a@example.org>\nRPF:<b>\n")
	pick("headers", "", "H??Subject: Returned mail\nH??X-Spam-Flag: YES\n", "H??X-Count: 4\n", "H??X-Count: many\nH??Received: y\nH??Received: x\n")
	b.WriteString(".\n")
	f, err := qf.Parse([]byte(b.String()))
	if err != nil {
		t.Fatal(err)
	}
	m := &Message{ID: "x", State: "active", File: f, Now: time.Unix(1447500000, 0)}
	switch rapid.IntRange(0, 2).Draw(t, "body") {
	case 1:
		m.Body = fixedBody{}
	case 2:
		m.Body = fixedBody{&dsn.Report{
			Kind: dsn.Failed, Recipients: []dsn.Recipient{{Final: "n@example.org", Action: dsn.Failed}},
			Returned: dsn.Returned{Fields: []dsn.Field{{Name: "X-Spam-Flag", Value: "YES"}}},
		}}
	}
	return m
}

// TestAsEvaluatedPlainly checks that taking conditions apart and remembering
// what follows from a status changes nothing: neither what matches nor which
// rules fail.
func TestAsEvaluatedPlainly(t *testing.T) {
	var matched, failed, neither int
	rapid.Check(t, func(t *rapid.T) {
		var rules []Rule
		for i := range rapid.IntRange(1, 6).Draw(t, "rules") {
			rules = append(rules, Rule{Name: fmt.Sprint(i), When: drawCondition(t, 2)})
		}
		set, err := Compile(rules)
		if err != nil {
			t.Fatal(err)
		}
		j := set.Judge()
		for range 8 {
			m := drawMessage(t)
			want, wantErr := -1, error(nil)
			for i, r := range rules {
				ok, err := plainly(t, r.When, m)
				if err != nil {
					wantErr = &RuleError{Rule: i}
					failed++
					break
				}
				if ok {
					want = i
					matched++
					break
				}
				neither++
			}
			got, err := j.First(m)
			var re *RuleError
			if errors.As(err, &re); got != want || (err == nil) != (wantErr == nil) || err != nil && re.Rule != wantErr.(*RuleError).Rule {
				status := m.File.Status()
				t.Fatalf("status %q, rules %+v:\nFirst is %d, %v; evaluated plainly %d, fails: %v", status, rules, got, err, want, wantErr != nil)
			}
		}
	})
	if matched == 0 || failed == 0 || neither == 0 {
		t.Errorf("%d matched, %d failed, %d neither: the test did not see all", matched, failed, neither)
	}
}

// TestMemoryOfStatusesIsBounded feeds more texts than are remembered.
func TestMemoryOfStatusesIsBounded(t *testing.T) {
	set, err := Compile([]Rule{{When: `attempts > 3 && status endsWith "7"`}})
	if err != nil {
		t.Fatal(err)
	}
	j := set.Judge()
	for n := range 3 * memoTexts {
		long := ""
		if n%2 == 1 {
			long = strings.Repeat("x", memoLength)
		}
		f, err := qf.Parse(fmt.Appendf(nil, "V8\nN5\nM%s%d\nS<>\n.\n", long, n))
		if err != nil {
			t.Fatal(err)
		}
		i, err := j.First(&Message{File: f})
		if err != nil || (i == 0) != (n%10 == 7) {
			t.Fatalf("status %d: %d, %v", n, i, err)
		}
		if len(j.known) > memoTexts {
			t.Fatalf("%d texts are remembered", len(j.known))
		}
	}
	if len(j.known) < memoTexts/4 {
		t.Errorf("only %d texts are remembered", len(j.known))
	}
	for text := range j.known {
		if len(text) > memoLength {
			t.Errorf("a text of %d bytes is remembered", len(text))
		}
	}
}

// TestStatusDecidesAlone checks that the rules of the field fall out by their
// status: evaluation asks nothing else of a message that no rule can match.
func TestStatusDecidesAlone(t *testing.T) {
	for src, want := range map[string]bool{
		`status contains "a" && attempts > 5`:                                    true,
		`attempts > 5 && status contains "a"`:                                    true,
		`header("X") matches "y" && null_sender && status contains "a"`:          true,
		`returned.header("X") == "YES" && status contains "a"`:                   true,
		`any(recipients, # contains "x") && status contains "a"`:                 true,
		`recipients[0] == "x" && status contains "a"`:                            false, // may fail
		`int(header("X")) > 3 && status contains "a"`:                            false,
		`10 % attempts == 0 && status contains "a"`:                              false,
		`(status contains "a" || null_sender) && attempts > 5`:                   false,
		`(status contains "a" || status contains "b") && recipients[0] == "x"`:   true,
		`sender in ["a", "b"] && size > 100 && !null_sender && status == "a"`:    true,
		`age > duration("4h") && number(line("N")) > 3 && status not in ["b"]`:   false, // "" holds
		`status not contains "" && attempts > 5`:                                 true,
		`lower(header("X")) == "y" && status endsWith "a" && recipients[0] < ""`: true,
	} {
		set, err := Compile([]Rule{{When: src}})
		if err != nil {
			t.Fatal(err)
		}
		f, err := qf.Parse([]byte("V8\nS<>\n.\n"))
		if err != nil {
			t.Fatal(err)
		}
		j := set.Judge()
		j.begin(&Message{File: f})
		if got := j.recall().excludes(0); got != want {
			t.Errorf("%s: excluded by the status alone: %v, want %v", src, got, want)
		}
	}
}
