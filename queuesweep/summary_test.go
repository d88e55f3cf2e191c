package queuesweep

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/backscatterd/backscatterd/queuesweep/rule"
)

func itoa(n int) string { return strconv.Itoa(n) }

// A message counts under each domain that it goes to, and once in each.
func TestSummaryBy(t *testing.T) {
	w := newWorld(t)
	w.put("6AOLt900000001", message{sender: "", status: "Deferred: Connection timed out with mx1.a.example.",
		more: "RPFD:<u@A.example>\nRPFD:<v@a.example>\nRPFD:<w@b.example>\n"})
	w.put("6AOLt900000002", message{sender: "x@y.example", status: "Deferred: Connection timed out with mx2.b.example.", attempts: 60})
	w.put("6AOLt900000003", message{sender: "x@y.example", status: "Deferred: 450 4.1.1 <u@b.example>: Recipient address rejected", more: "RPFD:<root>\n"})
	if err := os.WriteFile(filepath.Join(w.queue, "qf6AOLt900000004"), []byte("V8\nT1795557305\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	rules, err := rule.Compile([]rule.Rule{{Name: "many", When: "attempts > 50"}, {Name: "any", When: "sender != \"\""}})
	if err != nil {
		t.Fatal(err)
	}
	for by, want := range map[string]map[string]int{
		"domain": {"a.example": 1, "b.example": 1, "d.example": 1, "(local)": 1, "(none)": 1},
		"status": {"Deferred: Connection timed out": 2, "Deferred: 450 4.1.1 <...> Recipient address rejected": 1, "(none)": 1},
		"sender": {"<>": 2, "x@y.example": 2},
		"rule":   {"many": 1, "any": 1, "(no rule)": 2},
		"age":    {"80": 4},
	} {
		counts, err := w.sweeper.SummaryBy(t.Context(), by, rules, nil)
		if err != nil {
			t.Errorf("by %s: %v", by, err)
		}
		got := make(map[string]int)
		for _, c := range counts {
			got[c.Key] = c.Total
			sum := 0
			for _, n := range c.Ages {
				sum += n
			}
			if sum != c.Total {
				t.Errorf("by %s, %s: %d by age, %d in all", by, c.Key, sum, c.Total)
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("by %s: %s", by, diff)
		}
	}
	if _, err := w.sweeper.SummaryBy(t.Context(), "colour", rules, nil); err == nil || !strings.Contains(err.Error(), "domain, status, sender, rule, age") {
		t.Errorf("by colour: %v", err)
	}
}

func TestAgeColumns(t *testing.T) {
	labels := AgeLabels()
	for age, want := range map[time.Duration]string{
		-time.Hour: "5", 0: "5", 5*time.Minute - 1: "5", 5 * time.Minute: "10", 79 * time.Minute: "80", 80 * time.Minute: "160",
		1280*time.Minute - 1: "1280", 1280 * time.Minute: "1280+", 1000 * time.Hour: "1280+",
	} {
		if got := labels[bucket(age)]; got != want {
			t.Errorf("%v is in column %s, want %s", age, got, want)
		}
	}
}

// Equal reasons count together, whoever they are about.
func TestGenericStatus(t *testing.T) {
	for status, want := range map[string]string{
		"Deferred: Connection timed out with mx.a.example.":                       "Deferred: Connection timed out",
		"Deferred: Connection refused by mx.a.example.":                           "Deferred: Connection refused by mx.a.example.",
		"Deferred: 450 4.1.1 <u@a.example>: Recipient address rejected":           "Deferred: 450 4.1.1 <...> Recipient address rejected",
		"Deferred: 451 4.1.8 Domain of sender address a@b.example does not exist": "Deferred: 451 4.1.8 Domain of sender address <...> does not exist",
		"User unknown": "User unknown",
		"":             "",
	} {
		if got := genericStatus(status); got != want {
			t.Errorf("%q counts as %q, want %q", status, got, want)
		}
	}
}

// SIGHUP after logrotate: what is written goes to the new file, and the old one
// stays as it was.
func TestAuditReopen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log", "audit.jsonl")
	a, err := OpenAudit(path)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	write := func(id string) {
		t.Helper()
		if err := a.result(began, "run", Result{ID: id, Recipients: []string{}}); err != nil {
			t.Fatal(err)
		}
	}
	write("one")
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	write("two")
	if err := a.Reopen(); err != nil {
		t.Fatal(err)
	}
	write("three")
	for name, want := range map[string][]string{path + ".1": {"one", "two"}, path: {"three"}} {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if lines(string(data), "") != len(want) {
			t.Errorf("%s: %s", name, data)
		}
		for _, id := range want {
			if lines(string(data), `"id":"`+id+`"`) != 1 {
				t.Errorf("%s lacks %s", name, id)
			}
		}
	}
	// Where it cannot be opened anew, the old one is kept.
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := a.Reopen(); err == nil || !strings.Contains(err.Error(), "audit.file") {
		t.Errorf("error %v", err)
	}
	write("four")
	if _, err := OpenAudit(filepath.Join(t.TempDir(), "no", "such", "audit.jsonl")); err == nil || !strings.Contains(err.Error(), "name another file in audit.file") {
		t.Errorf("error %v", err)
	}
}

// A line of JSON is the same to a program, and harmless to a terminal.
func TestJSONLine(t *testing.T) {
	for text, want := range map[string]string{
		"plain <>&":        `"plain <>&"`,
		"\x1b[31m\n\t":     `"\u001b[31m\n\t"`,
		"a\x7fb\u009bc":    `"a\u007fb\u009bc"`,
		"\u202e\u2028":     `"\u202e\u2028"`,
		"héllo → 世界":       `"héllo → 世界"`,
		"\U000e0001 tag":   `"\udb40\udc01 tag"`,
		"bad \xff\xc3 end": `"bad \ufffd\ufffd end"`,
	} {
		got, err := JSONLine(text)
		if err != nil || string(got) != want+"\n" {
			t.Errorf("%q is %s, %v, want %s", text, got, err, want)
		}
	}
}
