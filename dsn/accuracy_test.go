package dsn

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// A sample is one of the corpus, with what another reader found in it.
type sample struct {
	file, family string
	recipients   []string
	statuses     []string
	messageID    string
	action       string
	want         Kind // Failed stands for any delivery report
}

// corpusDir is where the corpus lies, or "".
func corpusDir() string {
	dir := os.Getenv("BACKSCATTERD_CORPUS")
	if dir == "" {
		dir = filepath.Join("..", "..", "shared", "corpus")
	}
	if _, err := os.Stat(filepath.Join(dir, "bounces", "labels.tsv")); err != nil {
		return ""
	}
	return filepath.Join(dir, "bounces")
}

var numbered = regexp.MustCompile(`-\d+\.eml$`)

// loadLabels reads labels.tsv: one line for each message and recipient.
func loadLabels(t testing.TB, dir string) []*sample {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, "labels.tsv"))
	if err != nil {
		t.Fatal(err)
	}
	byFile := map[string]*sample{}
	var all []*sample
	for _, line := range strings.Split(strings.TrimSpace(string(data)), "\n")[1:] {
		col := strings.Split(line, "\t")
		m := byFile[col[0]]
		if m == nil {
			m = &sample{file: col[0], family: numbered.ReplaceAllString(filepath.Base(col[0]), ""), messageID: col[7], action: col[6], want: Failed}
			byFile[col[0]], all = m, append(all, m)
			switch {
			case strings.HasPrefix(col[0], "not-a-bounce/"):
				m.want = None
			case col[5] == "feedback":
				m.want = Feedback
			case col[1] == "-" && m.family == "rfc3834":
				m.want = AutoReply
			}
		}
		if col[1] != "-" {
			m.recipients = append(m.recipients, col[1])
			m.statuses = append(m.statuses, col[3])
		}
	}
	return all
}

// A score counts what was read right, of what there was to read.
type score struct{ messages, kind, rcptOf, rcpt, exact, idOf, id, action, actionOf int }

func (s *score) add(o score) {
	s.messages += o.messages
	s.kind += o.kind
	s.rcptOf += o.rcptOf
	s.rcpt += o.rcpt
	s.exact += o.exact
	s.idOf += o.idOf
	s.id += o.id
	s.action += o.action
	s.actionOf += o.actionOf
}

func (s score) row() string {
	return fmt.Sprintf("%4d  %4d  %4d/%-4d %4d  %4d/%-4d %4d/%-4d", s.messages, s.kind, s.rcpt, s.rcptOf, s.exact, s.id, s.idOf, s.action, s.actionOf)
}

func percent(a, b int) float64 {
	if b == 0 {
		return 100
	}
	return 100 * float64(a) / float64(b)
}

// judgeLabelled compares a report with the labels. A recipient is right where
// every labelled one is reported, by its final or its original address.
func judgeLabelled(m *sample, r *Report) (score, []string) {
	var wrong []string
	s := score{messages: 1}
	bounce := m.want == Failed
	if bounce && r.Kind.IsBounce() || r.Kind == m.want || m.want == None && !r.Kind.IsBounce() {
		s.kind = 1
	} else {
		wrong = append(wrong, fmt.Sprintf("kind %s", r.Kind))
	}
	if !bounce {
		return s, wrong
	}
	if len(m.recipients) > 0 {
		s.rcptOf = 1
		missing := slices.DeleteFunc(slices.Clone(m.recipients), func(want string) bool {
			return slices.ContainsFunc(r.Recipients, func(have Recipient) bool {
				return strings.EqualFold(have.Final, want) || strings.EqualFold(have.Original, want)
			})
		})
		if len(missing) == 0 {
			s.rcpt = 1
			if len(slices.Compact(slices.Sorted(slices.Values(m.recipients)))) == len(r.Recipients) {
				s.exact = 1
			}
		}
		if s.exact == 0 {
			var have []string
			for _, x := range r.Recipients {
				have = append(have, x.Final)
			}
			wrong = append(wrong, fmt.Sprintf("recipients %q, want %q", have, m.recipients))
		}
	}
	if m.messageID != "" {
		s.idOf = 1
		if r.MessageID == m.messageID {
			s.id = 1
		} else {
			wrong = append(wrong, fmt.Sprintf("message-id %q, want %q", r.MessageID, m.messageID))
		}
	}
	if m.action != "" && r.Kind.IsBounce() {
		s.actionOf = 1
		if string(r.Kind) == m.action {
			s.action = 1
		} else {
			wrong = append(wrong, fmt.Sprintf("action %s, want %s", r.Kind, m.action))
		}
	}
	return s, wrong
}

func readFile(t testing.TB, name string) Report {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := Read(f, Limits{})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// The corpus: how much of it is understood, by family. Floors are those of the
// promise, not of today's score.
func TestAccuracy(t *testing.T) {
	dir := corpusDir()
	if dir == "" {
		t.Log("THE CORPUS IS NOT HERE (set BACKSCATTERD_CORPUS): counting on the bundled messages alone")
		bundledAccuracy(t)
		return
	}
	families := map[string]*score{}
	var bounces, others, none score
	for _, m := range loadLabels(t, dir) {
		r := readFile(t, filepath.Join(dir, m.file))
		s, wrong := judgeLabelled(m, &r)
		if m.want == None && len(m.recipients) > 0 {
			t.Logf("DISPUTED %s: filed as no bounce, labelled as one (%s); read as %s, not counted", m.file, m.recipients[0], r.Kind)
			continue
		}
		if families[m.family] == nil {
			families[m.family] = &score{}
		}
		families[m.family].add(s)
		switch m.want {
		case Failed:
			bounces.add(s)
		case None:
			none.add(s)
		default:
			others.add(s)
		}
		if len(wrong) > 0 {
			t.Logf("%s: %s", m.file, strings.Join(wrong, "; "))
		}
	}
	t.Logf("%-24s %4s  %4s  %-9s %4s  %-9s %-9s", "family", "n", "kind", "recipient", "only", "msg-id", "action")
	for _, name := range slices.Sorted(mapKeys(families)) {
		t.Logf("%-24s %s", name, families[name].row())
	}
	t.Logf("%-24s %s", "all bounces", bounces.row())
	t.Logf("%-24s %s", "other kinds", others.row())
	t.Logf("%-24s %s", "no bounces", none.row())
	t.Logf("recognised %.1f%%, recipient %.1f%% (no more and no less: %.1f%%), message-id %.1f%%, action %.1f%%",
		percent(bounces.kind, bounces.messages), percent(bounces.rcpt, bounces.rcptOf), percent(bounces.exact, bounces.rcptOf),
		percent(bounces.id, bounces.idOf), percent(bounces.action, bounces.actionOf))
	if bounces.messages < 500 {
		t.Errorf("only %d bounces in the corpus", bounces.messages)
	}
	if percent(bounces.kind, bounces.messages) < 98 || percent(bounces.rcpt, bounces.rcptOf) < 95 || percent(bounces.id, bounces.idOf) < 95 {
		t.Error("below the promise: 98% recognised, recipient and message-id right in 95%")
	}
	if none.kind != none.messages || others.kind != others.messages {
		t.Errorf("of %d messages that are no bounces, %d are taken for something else", none.messages+others.messages,
			none.messages+others.messages-none.kind-others.kind)
	}
}

func mapKeys[V any](m map[string]V) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// bundledAccuracy counts on the golden messages, whose names tell their kind.
func bundledAccuracy(t *testing.T) {
	names, err := filepath.Glob(filepath.Join("testdata", "*.eml"))
	if err != nil || len(names) == 0 {
		t.Fatalf("no bundled messages: %v", err)
	}
	bounces, known := 0, 0
	for _, name := range names {
		r := readFile(t, name)
		golden, err := os.ReadFile(strings.TrimSuffix(name, ".eml") + ".golden")
		if err != nil {
			t.Fatal(err)
		}
		var want Kind
		fmt.Sscanf(string(golden), "kind %s", &want)
		if want.IsBounce() {
			bounces++
		}
		if r.Kind == want {
			known++
		} else {
			t.Errorf("%s: kind %s, want %s", name, r.Kind, want)
		}
	}
	t.Logf("%d bundled messages, %d of them bounces: %d kinds right", len(names), bounces, known)
}
