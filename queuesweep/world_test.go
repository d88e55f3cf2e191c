package queuesweep

import (
	"bytes"
	"cmp"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/backscatterd/backscatterd/queuesweep/rule"
	"github.com/backscatterd/backscatterd/queuesweep/spool"
)

// began is when the messages of these tests came.
var began = time.Unix(1795557305, 0)

// world is a queue in a temporary folder and a sweeper for it.
type world struct {
	t                *testing.T
	dir, queue       string
	sweeper          *Sweeper
	log              bytes.Buffer
	results          []Result
	during           func(Result) // called for each
	now              time.Time
	limited, dry     bool
	extraFolders     []string
	maxShare         float64
	maxMessages      int
	auditPath, store string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	dir := t.TempDir()
	w := &world{t: t, dir: dir, queue: filepath.Join(dir, "mqueue"), now: began.Add(time.Hour),
		auditPath: filepath.Join(dir, "audit.jsonl"), store: filepath.Join(dir, "removed")}
	if err := os.Mkdir(w.queue, 0o700); err != nil {
		t.Fatal(err)
	}
	audit, err := OpenAudit(w.auditPath)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { audit.Close() })
	w.sweeper = New(Options{
		Places: func() ([]spool.Place, error) { return spool.PlacesAt(append([]string{w.queue}, w.extraFolders...)) },
		Disk:   spool.System{}, Store: w.store, Workers: 2, MaxControlFile: 1 << 20, LockWait: time.Minute,
		Audit: audit, Log: slog.New(slog.NewTextHandler(&w.log, nil)), Now: func() time.Time { return w.now },
	})
	return w
}

// message is what a control file of these tests says.
type message struct {
	sender, status string // "Deferred: 452 4.2.2 Mailbox full" if empty
	attempts       int
	more           string // lines, instead of one recipient
}

func (w *world) put(id string, m message) {
	w.t.Helper()
	sender := "<" + m.sender + ">"
	if m.sender == "MAILER-DAEMON" { // a DSN of this sendmail
		sender = m.sender
	}
	lines := cmp.Or(m.more, "RPFD:<c@d.example>\n")
	text := fmt.Sprintf("V8\nT%d\nK%d\nN%d\nP1\nM%s\nFs\nS%s\n%sH??Subject: s\n.\n",
		began.Unix(), began.Unix(), m.attempts, cmp.Or(m.status, "Deferred: 452 4.2.2 Mailbox full"), sender, lines)
	for name, text := range map[string]string{"qf" + id: text, "df" + id: "body of " + id + "\n"} {
		if err := os.WriteFile(filepath.Join(w.queue, name), []byte(text), 0o600); err != nil {
			w.t.Fatal(err)
		}
	}
}

// fill puts n messages into the queue.
func (w *world) fill(n int) {
	w.t.Helper()
	for i := range n {
		w.put(fmt.Sprintf("6AOLt9%08d", i), message{sender: "a@b.example", attempts: i})
	}
}

func (w *world) options() SweepOptions {
	w.results = nil
	return SweepOptions{DryRun: w.dry, Unlimited: !w.limited, Emit: func(r Result) {
		w.results = append(w.results, r)
		if w.during != nil {
			w.during(r)
		}
	}}
}

func (w *world) sweep(rules ...rule.Rule) (Summary, error) {
	w.t.Helper()
	for i := range rules {
		rules[i].Name = cmp.Or(rules[i].Name, fmt.Sprintf("rule%d", i))
	}
	set, err := rule.Compile(rules)
	if err != nil {
		w.t.Fatal(err)
	}
	w.sweeper.MaxShare, w.sweeper.MaxMessages = w.maxShare, w.maxMessages
	return w.sweeper.Sweep(w.t.Context(), set, w.options())
}

// codes counts results by what became of them.
func (w *world) codes() map[Code]int {
	n := make(map[Code]int)
	for _, r := range w.results {
		n[r.Result]++
	}
	return n
}

// whole lists the ids in a folder, and fails where one has no body.
func (w *world) whole(dir string) []string {
	w.t.Helper()
	var ids []string
	found, _ := filepath.Glob(filepath.Join(dir, "[qh]f*"))
	for _, path := range found {
		id := filepath.Base(path)[2:]
		if data, err := os.ReadFile(filepath.Join(dir, "df"+id)); err != nil || string(data) != "body of "+id+"\n" {
			w.t.Errorf("message %s has the body %q, %v", id, data, err)
		}
		ids = append(ids, id)
	}
	return ids
}

func (w *world) queued() []string { return w.whole(w.queue) }

func (w *world) removed() []string {
	var ids []string
	days, _ := filepath.Glob(filepath.Join(w.store, "2*"))
	for _, day := range days {
		ids = append(ids, w.whole(day)...)
	}
	return ids
}

// once fails unless each of n messages is in just one place, and returns how
// many were removed.
func (w *world) once(n int) int {
	w.t.Helper()
	removed := w.removed()
	all := slices.Sorted(slices.Values(append(w.queued(), removed...)))
	if len(slices.Compact(slices.Clone(all))) != len(all) || len(all) != n {
		w.t.Errorf("%d messages, want each of %d once", len(all), n)
	}
	return len(removed)
}

func (w *world) audit() string {
	w.t.Helper()
	data, err := os.ReadFile(w.auditPath)
	if err != nil {
		w.t.Fatal(err)
	}
	return string(data)
}

func lines(text, with string) (n int) {
	for line := range strings.Lines(text) {
		if strings.Contains(line, with) {
			n++
		}
	}
	return n
}
