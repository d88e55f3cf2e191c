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

// Nobody is told twice and no time is left out, whatever fails in between.
func TestRound(t *testing.T) {
	file := filepath.Join(t.TempDir(), "state", "digest.json")
	var told []string
	fail := map[string]bool{}
	r := Round{File: file, To: []string{"a", "b"}, Send: func(_ context.Context, to string, from, until time.Time) error {
		if fail[to] {
			return errors.New("no")
		}
		told = append(told, fmt.Sprintf("%s %d-%d", to, from.Hour(), until.Hour()))
		return nil
	}}
	at := func(hour int) time.Time { return time.Date(2026, 11, 25, hour, 0, 0, 0, time.UTC) }
	run := func(hour int, wantErr bool) {
		t.Helper()
		if err := r.Run(t.Context(), at(hour)); (err != nil) != wantErr {
			t.Errorf("at %d: %v", hour, err)
		}
	}
	if _, err := r.Begin(at(1)); err != nil {
		t.Fatal(err)
	}
	run(2, false)
	fail["a"] = true
	run(3, true)
	run(4, true)
	fail["a"] = false
	run(5, false)
	run(5, false)
	want := "a 1-2, b 1-2, b 2-3, a 2-3, a 3-5, b 3-5"
	if got := strings.Join(told, ", "); got != want {
		t.Errorf("told %s\nwant %s", got, want)
	}
}
