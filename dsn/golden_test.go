package dsn

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files anew")

// render writes a report as lines, for people to read and tools to compare.
func render(r *Report) string {
	var b strings.Builder
	line := func(name string, value any) {
		if s := fmt.Sprint(value); s != "" && s != "false" {
			fmt.Fprintf(&b, "%s %s\n", name, s)
		}
	}
	date := func(t time.Time) string {
		if t.IsZero() {
			return ""
		}
		return t.Format(time.RFC3339)
	}
	line("kind", r.Kind)
	line("form", r.Form)
	line("status", r.Status)
	line("message-id", r.MessageID)
	line("envelope-id", r.EnvelopeID)
	line("reporting-mta", r.ReportingMTA)
	line("received-from", r.ReceivedFrom)
	line("arrival-date", date(r.ArrivalDate))
	line("cut", r.Cut)
	for _, x := range r.Recipients {
		line("recipient", x.Final)
		line("  original", x.Original)
		line("  action", x.Action)
		line("  status", x.Status)
		line("  diagnostic", x.Diagnostic)
		line("  remote-mta", x.RemoteMTA)
		line("  last-attempt", date(x.LastAttempt))
		line("  retry-until", date(x.RetryUntil))
	}
	line("complete", r.Returned.Complete)
	for _, f := range r.Returned.Fields {
		line("returned", f.Name+": "+f.Value)
	}
	return b.String()
}

// Each message of testdata reads as its golden file says. After a change that
// is meant: go test ./dsn -run TestGolden -update, and read the difference.
func TestGolden(t *testing.T) {
	names, err := filepath.Glob(filepath.Join("testdata", "*.eml"))
	if err != nil || len(names) < 40 {
		t.Fatalf("%d messages: %v", len(names), err)
	}
	seen := map[string]bool{}
	for _, name := range names {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".eml"), func(t *testing.T) {
			r := readFile(t, name)
			seen[r.Form] = true
			golden := strings.TrimSuffix(name, ".eml") + ".golden"
			if *update {
				if err := os.WriteFile(golden, []byte(render(&r)), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), render(&r)); diff != "" {
				t.Errorf("read otherwise than written down (-want +got):\n%s", diff)
			}
		})
	}
	for _, f := range forms {
		if !seen[f.name] {
			t.Errorf("no message of testdata is understood as form %q", f.name)
		}
	}
}

// The header may come from elsewhere, as it does in a mail queue: the report is
// the same.
func TestReadBodyAsRead(t *testing.T) {
	names, _ := filepath.Glob(filepath.Join("testdata", "*.eml"))
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		whole, _ := Read(bytes.NewReader(data), Limits{})
		var b block
		s := newSource(bytes.NewReader(data), 1<<20)
		b.scan(s, 1<<20)
		parts, err := ReadBody(b.fields(), s, Limits{})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(render(&whole), render(&parts)); diff != "" {
			t.Errorf("%s: header and body apart read otherwise (-whole +apart):\n%s", name, diff)
		}
	}
}
