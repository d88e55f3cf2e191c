package spool

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Of a message the last line counts; lines that are damaged, cut short or far too
// long are passed over, wherever they meet what is read at once.
func TestRecords(t *testing.T) {
	path := t.TempDir()
	d, err := openPath(System{}, path)
	if err != nil {
		t.Fatal(err)
	}
	defer d.close()
	var text strings.Builder
	line := func(id, status string) { fmt.Fprintf(&text, "{\"id\":%q,\"status\":%q}\n", id, status) }
	for i := range 3000 {
		line(fmt.Sprint("old", i), "first")
	}
	line("long", strings.Repeat("x", 3*recordsStep))
	text.WriteString("no record\n\n{}\n")
	line("absurd", strings.Repeat("x", maxRecord+recordsStep))
	for i := range 3000 {
		line(fmt.Sprint("old", i), "second")
	}
	text.WriteString(`{"id":"whole","status":"last"}`)
	if err := os.WriteFile(filepath.Join(path, recordsName), []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := openRecords(context.Background(), d)
	if err != nil {
		t.Fatal(err)
	}
	defer r.close()
	for id, want := range map[string]int{"old0": 6, "old1777": 6, "old2999": 6, "long": 3 * recordsStep, "whole": 4} {
		if got, err := r.of(id); err != nil || got == nil || got.ID != id || len(got.Status) != want {
			t.Errorf("%s: %.100v, %v", id, got, err)
		}
	}
	for _, id := range []string{"absurd", "none"} {
		if got, err := r.of(id); err != nil || got != nil {
			t.Errorf("%s: %.100v, %v", id, got, err)
		}
	}
	seen := make(map[string]int)
	if err := r.each(context.Background(), func(r *Record) { seen[r.ID]++ }); err != nil {
		t.Fatal(err)
	}
	if len(seen) != 3003 { // and one without an id
		t.Errorf("%d records", len(seen))
	}
	for id, n := range seen {
		if n != 1 {
			t.Errorf("%s came %d times", id, n)
		}
	}
	if cap(r.line) > 2*(maxRecord+recordsStep) {
		t.Errorf("a line too long to be made sense of was kept in %d bytes", cap(r.line))
	}
	ended, cancel := context.WithDeadline(context.Background(), time.Unix(0, 0))
	defer cancel()
	if _, err := openRecords(ended, d); err == nil {
		t.Error("it reads on after the end")
	}
}

// A day of which there are no records has messages without one.
func TestNoRecords(t *testing.T) {
	d, err := openPath(System{}, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer d.close()
	r, err := openRecords(context.Background(), d)
	if err != nil {
		t.Fatal(err)
	}
	defer r.close()
	if got, err := r.of("any"); got != nil || err != nil {
		t.Errorf("%v, %v", got, err)
	}
}
