package rule_test

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/backscatterd/backscatterd/dsn"
	"github.com/backscatterd/backscatterd/queuesweep/qf"
	"github.com/backscatterd/backscatterd/queuesweep/rule"
)

// body is a df that counts how often it is read.
type body struct {
	size     int64
	modified time.Time
	report   *dsn.Report
	reads    int
}

func (b *body) Size() int64         { return b.size }
func (b *body) Modified() time.Time { return b.modified }
func (b *body) Returned() *dsn.Report {
	b.reads++
	return b.report
}

const bounceFile = `V8
T1447493191
K1447495556
N2
P123490
MDeferred: Connection timed out with mx.forged.example.
Frs8
Zenv+2Bid
B8BITMIME
$_localhost
$r
${auth_authen}alice
SMAILER-DAEMON
MDeferred: Connection timed out with mx.forged.example.
rRFC822; spammer@forged.example
RPF:<spammer@forged.example>
MDeferred: 452 4.2.2 Mailbox full
RPF:<other@forged.example>
H?P?Return-Path: <` + "\xFF\x81" + `g>
H??Received: from localhost (localhost)
	by mail.example.org (8.17.1.9/8.17.1.9/Debian-2) id tAE9QVHl018335;
	Sat, 14 Nov 2015 20:26:31 +1100
H?D?Date: Sat, 14 Nov 2015 20:26:31 +1100
H??Received: from elsewhere
H??Content-Type: multipart/report; report-type="delivery-status";
        boundary="tAE9QVHl018335.1447493191/"
H??SUBJECT:  Returned mail: see transcript for details
H??X-Spam-Score: 7.5 points
H??X-Backscatter-Status: suspect kind=failed reasons=no-proof
.
`

func bounce(tb testing.TB) (*rule.Message, *body) {
	tb.Helper()
	f, err := qf.Parse([]byte(bounceFile))
	if err != nil {
		tb.Fatal(err)
	}
	now := time.Unix(1447493191, 0).Add(5 * time.Hour)
	b := &body{size: 4096, modified: now.Add(-90 * time.Minute), report: &dsn.Report{
		Kind: dsn.Failed, Status: "5.1.1",
		Recipients: []dsn.Recipient{{Final: "nobody@example.org", Action: dsn.Failed}},
		Returned:   dsn.Returned{Fields: []dsn.Field{{Name: "X-Spam-Flag", Value: "YES, very"}, {Name: "Received", Value: "a"}, {Name: "received", Value: "b"}}},
	}}
	return &rule.Message{ID: "tAE9QVHl018335", Queue: "/var/spool/mqueue", State: "active", File: f, Now: now, Body: b}, b
}

// holds tells whether a condition holds for a message, as a whole and as the
// only rule of a set.
func holds(t *testing.T, src string, m *rule.Message) bool {
	t.Helper()
	set, err := rule.CompileCondition(src)
	if err != nil {
		t.Fatalf("%s\n%v", src, err)
	}
	i, err := set.Judge().First(m)
	if err != nil {
		t.Fatalf("%s\n%v", src, err)
	}
	return i == 0
}

func TestEveryName(t *testing.T) {
	m, _ := bounce(t)
	for _, src := range []string{
		`id == "tAE9QVHl018335"`, `queue == "/var/spool/mqueue"`, `state == "active"`,
		`sender == ""`, `null_sender`, `is_dsn`, `verdict == "suspect"`,
		`recipients == ["spammer@forged.example", "other@forged.example"]`, `len(recipients) == 2`,
		`recipients[0] == "spammer@forged.example"`, `recipients[-1] startsWith "other@"`,
		`"other@forged.example" in recipients`, `"x" not in recipients`,
		`any(recipients, # contains "other")`, `all(recipients, # endsWith "@forged.example")`, `none(recipients, # == "")`,
		`count(recipients, # contains "o") == 2`, `one(recipients, # contains "spam")`,
		`len(filter(recipients, # contains "spam")) == 1`, `map(recipients, upper(#))[0] == "SPAMMER@FORGED.EXAMPLE"`,
		`status == "Deferred: Connection timed out with mx.forged.example."`, `status[:8] == "Deferred"`,
		`len(statuses) == 2`, `any(statuses, # contains "Mailbox full")`,
		`attempts == 2`, `priority == 123490`, `size == 4096`, `attempts in [1, 2, 3]`, `attempts + 1 == 3 && attempts * 2 - 1 == 3 && attempts / 4 == 0.5 && attempts % 2 == 0`,
		`age == duration("5h")`, `age > duration("4h")`, `age < duration("1d")`, `age * 2 > duration("9h")`, `since_attempt < age && since_attempt > duration("4h")`,
		`df_age == duration("1h30m")`, `df_age == duration("90m")`,
		`flags == "rs8"`, `flags contains "r"`, `body_type == "8BITMIME"`, `envid == "env+2Bid"`, `quarantine == ""`,
		`header("Subject") == "Returned mail: see transcript for details"`, `header("no-such") == ""`, `header("subject") matches "^Returned mail"`,
		`len(headers("received")) == 2`, `headers("Received")[1] == "from elsewhere"`,
		`raw_header("Subject") == "  Returned mail: see transcript for details"`, `raw_header("Received") contains "\n\tby"`, `raw_headers("received")[1] == " from elsewhere"`,
		`old_headers("UBJECT") == raw_headers("subject")`, `old_headers("Subject") == old_headers("ubject")`,
		`len(old_headers("ate")) == 0`, `len(old_headers("Date")) == 1`,
		`macro("auth_authen") == "alice"`, `macro("_") == "localhost"`, `macro("{auth_authen}") == "alice"`, `macro("nothing") == ""`,
		`line("S") == "MAILER-DAEMON"`, `line("N") == "2"`, `line("A") == ""`, `lines("R") == ["PF:<spammer@forged.example>", "PF:<other@forged.example>"]`, `len(lines("M")) == 3`,
		`number(line("N")) > 1.5`, `number(header("X-Spam-Score")) == 7.5`, `number("x") == 0`,
		`returned.header("x-spam-flag") startsWith "YES"`, `returned.headers("Received") == ["a", "b"]`,
		`returned.failed == ["nobody@example.org"]`, `any(returned.failed, # endsWith "example.org")`, `returned.status == "5.1.1"`, `returned.status startsWith "5."`,
		`lower("A") == "a" && upper("a") == "A" && trim(" a ") == "a" && trimPrefix(status, "Deferred: ") startsWith "Connection" && trimSuffix("ab", "b") == "a"`,
		`split(recipients[0], "@")[1] == "forged.example"`, `indexOf(status, ":") == 8`,
		`int("5") == 5 && float("1.5") == 1.5 && string(attempts) == "2" && abs(-2) == 2 && min(3, attempts) == 2 && max(3, attempts) == 3`,
		`status matches "(?i)CONNECTION TIMED"`, "status matches `mx\\.forged\\.example\\.$`", `status not matches "refused"`, `not (status contains "refused")`,
		`null_sender ? attempts > 1 : attempts > 50`, "attempts > 1 // more than once\n && null_sender", `sender in ["", "a"]`,
		`1 < attempts < 3`, `status contains 'timed' or false`,
	} {
		if !holds(t, src, m) {
			t.Errorf("does not hold: %s", src)
		}
		if holds(t, "!("+src+")", m) && !strings.Contains(src, "//") {
			t.Errorf("its opposite holds: %s", src)
		}
	}
}

// Absent things have the empty value of their type.
func TestAbsentThings(t *testing.T) {
	f, err := qf.Parse([]byte("V8\nS<a@example.org>\n.\n"))
	if err != nil {
		t.Fatal(err)
	}
	m := &rule.Message{ID: "x", State: "active", File: f, Now: time.Now()}
	for _, src := range []string{
		`sender == "a@example.org" && !null_sender && !is_dsn`,
		`status == "" && len(statuses) == 0 && len(recipients) == 0`,
		`attempts == 0 && priority == 0 && size == 0`,
		`age == duration("0") && since_attempt == duration("0s") && df_age == duration("0")`,
		`returned.header("Subject") == "" && len(returned.headers("Subject")) == 0 && len(returned.failed) == 0 && returned.status == ""`,
		`verdict == "" && len(headers("Subject")) == 0 && len(lines("R")) == 0`,
		`none(recipients, true) && all(recipients, false)`,
	} {
		if !holds(t, src, m) {
			t.Errorf("does not hold: %s", src)
		}
	}
}

// A message that was never tried has been without an attempt since it came.
func TestSinceAttemptOfUntried(t *testing.T) {
	f, err := qf.Parse([]byte("V8\nT1447493191\nK0\nN0\nS<a@example.org>\n.\n"))
	if err != nil {
		t.Fatal(err)
	}
	m := &rule.Message{File: f, State: "active", Now: time.Unix(1447493191+7200, 0)}
	if !holds(t, `since_attempt == duration("2h") && since_attempt == age`, m) {
		t.Error("since_attempt is not the age")
	}
}

func TestIsDSN(t *testing.T) {
	for header, want := range map[string]bool{
		"multipart/report; report-type=delivery-status; boundary=x":       true,
		`Multipart/Report; Report-Type="Delivery-Status"; boundary="x/y"`: true,
		"multipart/report; report-type=disposition-notification":          false,
		"multipart/report": false,
		"multipart/mixed; report-type=delivery-status": false,
		"text/plain": false,
		"":           false,
		";;;":        false,
	} {
		f, err := qf.Parse([]byte("V8\nS<>\nH??Content-Type: " + header + "\n.\n"))
		if err != nil {
			t.Fatal(err)
		}
		if got := holds(t, "is_dsn", &rule.Message{File: f}); got != want {
			t.Errorf("%q: is_dsn is %v", header, got)
		}
	}
}

// The df is read when a term of returned is reached, and once a message.
func TestDFIsReadWhenNeeded(t *testing.T) {
	for _, c := range []struct {
		rules []string
		want  int
	}{
		{[]string{`attempts > 50 && returned.status == "5.1.1"`}, 0},
		{[]string{`attempts > 50 || returned.status == "5.1.2"`}, 1},
		{[]string{`status contains "refused" && returned.header("X") == ""`}, 0},
		{[]string{`returned.header("X") == "" && status contains "refused"`}, 0},
		{[]string{`returned.status == "x"`, `returned.header("Y") == "y" || returned.failed == ["z"]`, `len(returned.headers("A")) == 7`}, 1},
		{[]string{`null_sender`, `returned.status == "5.1.1"`}, 0},
	} {
		var rules []rule.Rule
		for _, when := range c.rules {
			rules = append(rules, rule.Rule{When: when})
		}
		set, err := rule.Compile(rules)
		if err != nil {
			t.Fatal(err)
		}
		j := set.Judge()
		for range 3 {
			m, b := bounce(t)
			if _, err := j.First(m); err != nil {
				t.Fatal(err)
			}
			if b.reads != c.want {
				t.Errorf("%q: the df was read %d times, want %d", c.rules, b.reads, c.want)
			}
		}
	}
}

func TestFirstOfSeveral(t *testing.T) {
	set, err := rule.Compile([]rule.Rule{
		{Name: "no", When: `attempts > 50`},
		{Name: "first", When: `null_sender && status startsWith "Deferred"`},
		{Name: "second", When: `status contains "timed out"`},
	})
	if err != nil {
		t.Fatal(err)
	}
	m, _ := bounce(t)
	j := set.Judge()
	if i, err := j.First(m); i != 1 || err != nil {
		t.Errorf("First is %d, %v, want 1", i, err)
	}
	if all, err := j.All(m); !slices.Equal(all, []int{1, 2}) || err != nil {
		t.Errorf("All is %v, %v, want [1 2]", all, err)
	}
}

// Which states are judged, and by which rules.
func TestStates(t *testing.T) {
	set, err := rule.Compile([]rule.Rule{
		{Name: "any", When: `attempts > 1`},
		{Name: "by state", When: `attempts > 1 && state != ""`},
		{Name: "by reason", When: `quarantine == ""`},
		{Name: "releases", When: `attempts > 1`, Do: rule.Release},
	})
	if err != nil {
		t.Fatal(err)
	}
	byHand, err := rule.CompileCondition(`attempts > 1`)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		state  string
		want   []int
		byHand []int
	}{
		{"active", []int{0, 1, 2, 3}, []int{0}},
		{"locked", []int{0, 1, 2, 3}, []int{0}},
		{"held", []int{1, 2, 3}, []int{0}},
		{"lost", nil, []int{0}},
		{"incomplete", nil, []int{0}},
		{"damaged", nil, []int{0}},
	} {
		m, _ := bounce(t)
		m.State = c.state
		j := set.Judge()
		first := -1
		if len(c.want) > 0 {
			first = c.want[0]
		}
		if i, err := j.First(m); i != first || err != nil {
			t.Errorf("%s: First is %d, %v, want %d", c.state, i, err, first)
		}
		if all, err := j.All(m); !slices.Equal(all, c.want) || err != nil {
			t.Errorf("%s: All is %v, %v, want %v", c.state, all, err, c.want)
		}
		if all, err := byHand.Judge().All(m); !slices.Equal(all, c.byHand) || err != nil {
			t.Errorf("%s: by hand: %v, %v, want %v", c.state, all, err, c.byHand)
		}
	}
	if i, err := set.Judge().First(&rule.Message{State: "active"}); i != -1 || err != nil {
		t.Errorf("without a file: %d, %v", i, err)
	}
}

// An error names the rule and the message, and nothing matches, not even a
// later rule.
func TestErrorOfEvaluation(t *testing.T) {
	set, err := rule.Compile([]rule.Rule{
		{Name: "harmless", When: `status contains "refused" && recipients[7] == ""`},
		{Name: "third recipient", When: `status contains "timed out" && recipients[2] == "x"`},
		{Name: "later", When: `true`},
	})
	if err != nil {
		t.Fatal(err)
	}
	m, _ := bounce(t)
	j := set.Judge()
	for range 2 {
		i, err := j.First(m)
		var re *rule.RuleError
		if i != -1 || !errors.As(err, &re) || re.Rule != 1 || re.Name != "third recipient" || !strings.Contains(err.Error(), m.ID) {
			t.Fatalf("got %d, %v", i, err)
		}
	}
	if all, err := j.All(m); !slices.Equal(all, []int{2}) || err == nil {
		t.Errorf("All is %v, %v, want [2] and an error", all, err)
	}
}

// A df that makes its reader panic is an error of that message.
type badBody struct{ *body }

func (badBody) Returned() *dsn.Report { panic("the disk is gone") }

func TestPanicStaysInside(t *testing.T) {
	set, err := rule.CompileCondition(`returned.status == ""`)
	if err != nil {
		t.Fatal(err)
	}
	m, _ := bounce(t)
	m.Body = badBody{new(body)}
	j := set.Judge()
	if i, err := j.First(m); i != -1 || err == nil || !strings.Contains(err.Error(), "the disk is gone") {
		t.Errorf("got %d, %v", i, err)
	}
	m, _ = bounce(t)
	if i, err := j.First(m); i != -1 || err != nil {
		t.Errorf("the next message: %d, %v", i, err)
	}
}

// A set is shared by goroutines, each with a judge of its own.
func TestJudgesInParallel(t *testing.T) {
	set, err := rule.Compile(fieldRules)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			j := set.Judge()
			for n := range 200 {
				m := message(t, "<a@example.org>", "", "Deferred: "+strings.Repeat("x", n%7)+" Network is unreachable", "s", n)
				want := -1
				if n > 50 {
					want = 5
				} else if n > 10 {
					want = 10
				}
				if i, err := j.First(m); i != want || err != nil {
					t.Errorf("attempt %d: %d, %v, want %d", n, i, err, want)
				}
			}
		})
	}
	wg.Wait()
}
