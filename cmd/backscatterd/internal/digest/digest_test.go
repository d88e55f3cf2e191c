package digest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/backscatterd/backscatterd/cmd/backscatterd/internal/status"
	"github.com/backscatterd/backscatterd/queuesweep"
)

var until = time.Date(2026, 11, 25, 7, 0, 0, 0, time.UTC)

// entry is a line of the audit log.
func entry(id, rule string, do queuesweep.Verb, code queuesweep.Code, err string) queuesweep.AuditEntry {
	return queuesweep.AuditEntry{Result: queuesweep.Result{ID: id, Rule: rule, Action: do, Result: code, Error: err}}
}

func aDay() *Report {
	r := NewReport("mx.example", until.Add(-24*time.Hour), until)
	r.Filters = true
	for _, e := range []queuesweep.AuditEntry{
		entry("6AOLt5NW000012", "spam", "move", queuesweep.Done, ""), entry("6AOLt5b6000017", "spam", "move", queuesweep.Done, ""),
		entry("6AOLt67K000020", "spam", "move", queuesweep.Limit, ""), entry("6AOLt7Di000028", "late", "hold", queuesweep.Done, ""),
		entry("6AOLt8GJ000040", "late", "hold", queuesweep.Failed, "no space\x1b[31m left"),
		entry("6AOLt5b6000017", "", "restore", queuesweep.Done, ""), entry("$(reboot)", "spam", "move", queuesweep.Done, ""),
	} {
		r.Add(e)
	}
	r.Add(queuesweep.AuditEntry{Summary: queuesweep.Summary{Summary: true}})
	r.Hours = []status.Hour{{Bounces: map[string]map[string]int{"suspect": {"tag": 3, "reject": 1}}}}
	r.Near = map[string]int{"unreachable": 4}
	r.Survey = queuesweep.Survey{At: until, Oldest: until.Add(-72 * time.Hour), States: map[queuesweep.State]int{"held": 1},
		Waiting: queuesweep.Count{Total: 9}, Domains: []queuesweep.Count{{Key: "bigmail.example", Total: 9}}}
	r.Stock = queuesweep.Stock{Messages: 2, Bytes: 4300}
	return r
}

// The whole of a digest, as it is sent. BACKSCATTERD_WRITE=1 writes it anew.
func TestLetter(t *testing.T) {
	got, err := Letter{From: "Wächter <guard@mx.example>", To: "root", Host: "mx.example"}.Write(aDay())
	if err != nil {
		t.Fatal(err)
	}
	text := strings.ReplaceAll(string(got), "\r\n", "\n")
	if strings.ContainsAny(text, "\r\x1b") {
		t.Error("it has control characters")
	}
	file := filepath.Join("testdata", "letter.eml")
	if os.Getenv("BACKSCATTERD_WRITE") != "" {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), text); diff != "" {
		t.Error(diff)
	}
}

// Nobody is told twice and no time is left out, whatever fails in between; who can
// be told does not wait for who cannot.
func TestRound(t *testing.T) {
	var told []string
	fail := map[string]bool{}
	r := Round{File: filepath.Join(t.TempDir(), "state", "digest.json"), To: []string{"a", "b"}}
	r.Send = func(_ context.Context, to string, from, until time.Time) error {
		if fail[to] {
			return errors.New("no")
		}
		told = append(told, fmt.Sprintf("%s %d-%d", to, from.Hour(), until.Hour()))
		return nil
	}
	at := func(hour int) time.Time { return time.Date(2026, 11, 25, hour, 0, 0, 0, time.UTC) }
	for _, step := range []struct {
		hour  int
		again bool   // no digest is due
		fails string // who cannot be told
		to    string
		want  string
		waits bool
	}{
		{hour: 1, again: true, to: "a b"}, // the first one begins here
		{hour: 2, to: "a b", want: "a 1-2, b 1-2"},
		{hour: 2, to: "a b"}, // the same moment
		{hour: 3, fails: "a", to: "a b", want: "b 2-3", waits: true},
		{hour: 4, again: true, fails: "a", to: "a b", waits: true},
		{hour: 5, fails: "a", to: "a b", want: "b 3-5", waits: true},
		{hour: 6, again: true, to: "a b", want: "a 2-3"}, // as it was due
		{hour: 7, again: true, to: "a b"},
		{hour: 8, to: "a b", want: "a 3-8, b 5-8"},
		{hour: 9, to: "a b c", want: "a 8-9, b 8-9, c 8-9"},
		{hour: 10, fails: "c", to: "b c", want: "b 9-10", waits: true},
		{hour: 11, to: "b", want: "b 10-11"},            // c is told no more
		{hour: 12, to: "b c", want: "b 11-12, c 11-12"}, // and begins anew
		{hour: 7, to: "b c"},                            // the clock was set back
		{hour: 13, to: "b c", want: "b 12-13, c 12-13"},
	} {
		told, fail, r.To = nil, map[string]bool{step.fails: true}, strings.Fields(step.to)
		run := r.Run
		if step.again {
			run = r.Again
		}
		err := run(t.Context(), at(step.hour))
		s, read := ReadState(r.File)
		if read != nil {
			t.Fatal(read)
		}
		if got := strings.Join(told, ", "); got != step.want || (err != nil) != step.waits || s.Pending() != step.waits {
			t.Errorf("at %d: told %q, want %q; error %v, pending %v, want %v", step.hour, got, step.want, err, s.Pending(), step.waits)
		}
	}
}

// A process that ends between handing over and writing that down sends the same
// once more, of the same time, so under the same Message-ID. A broken state is no
// digest of all time.
func TestRoundCrash(t *testing.T) {
	file := filepath.Join(t.TempDir(), "digest.json")
	var told []string
	crash := errors.New("crash")
	r := Round{File: file, To: []string{"a"}, Send: func(_ context.Context, to string, from, until time.Time) error {
		told = append(told, fmt.Sprintf("%d-%d", from.Minute(), until.Minute()))
		return crash // as far as the state can tell
	}}
	at := func(minute int) time.Time { return until.Add(time.Duration(minute) * time.Minute) }
	if _, err := r.Begin(at(1)); err != nil {
		t.Fatal(err)
	}
	for _, minute := range []int{2, 3} {
		if err := r.Run(t.Context(), at(minute)); !errors.Is(err, crash) {
			t.Fatal(err)
		}
	}
	crash = nil
	if err := r.Again(t.Context(), at(4)); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(told, ", "); got != "1-2, 1-2, 1-2" {
		t.Errorf("told %s", got)
	}
	if err := os.WriteFile(file, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := r.Run(t.Context(), at(9)); err == nil || !strings.Contains(err.Error(), "remove it") {
		t.Errorf("a broken state: %v", err)
	}
}

// Two at the same time tell nobody twice.
func TestRoundLock(t *testing.T) {
	r := Round{File: filepath.Join(t.TempDir(), "digest.json"), To: []string{"a"}}
	n := 0
	r.Send = func(ctx context.Context, _ string, _, _ time.Time) error {
		n++
		if err := r.Run(ctx, until.Add(time.Hour)); err == nil || !strings.Contains(err.Error(), "another") {
			t.Errorf("a second one: %v", err)
		}
		return nil
	}
	if _, err := r.Begin(until.Add(-time.Hour)); err != nil {
		t.Fatal(err)
	}
	if err := r.Run(t.Context(), until); err != nil || n != 1 {
		t.Errorf("told %d times, %v", n, err)
	}
}
