package status

import (
	"bytes"
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
)

const docs = "../../../../docs/"

// docs/metrics.md is what the program says. BACKSCATTERD_WRITE=1 writes it anew.
func TestReferenceIsUpToDate(t *testing.T) {
	var want bytes.Buffer
	if err := WriteReference(&want); err != nil {
		t.Fatal(err)
	}
	if os.Getenv("BACKSCATTERD_WRITE") != "" {
		if err := os.WriteFile(docs+"metrics.md", want.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(docs + "metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want.Bytes()) {
		t.Error("docs/metrics.md is stale: write it with backscatterd metrics > docs/metrics.md")
	}
}

// served are the names that /metrics has once a sweep has run and a bounce has
// come in.
func served(t *testing.T) map[string]bool {
	t.Helper()
	b := testBoard(t)
	b.Acted(resultOf("spam"))
	b.Swept(t.Context(), Run{Began: now, Took: time.Second})
	b.Answered(time.Millisecond)
	b.stock.At = now
	names := make(map[string]bool)
	for line := range strings.Lines(ask(b.Handler(nil), "GET", "/metrics", "localhost").Body.String()) {
		if name := regexp.MustCompile(`^[a-z][a-z0-9_]*`).FindString(line); name != "" {
			names[name] = true
		}
	}
	return names
}

// Every metric of the dashboard and of the reference is served, and all of ours
// that are served stand in the reference.
func TestDashboardAndReferenceNameWhatIsServed(t *testing.T) {
	served := served(t)
	data, err := os.ReadFile(docs + "grafana.json")
	if err != nil {
		t.Fatal(err)
	}
	var dashboard struct {
		Panels []struct {
			Title, Type, Description string
			Targets                  []struct{ Expr string }
			FieldConfig              struct{ Defaults struct{ Unit string } }
		}
	}
	if err := json.Unmarshal(data, &dashboard); err != nil {
		t.Fatal(err)
	}
	name := regexp.MustCompile(`\b(backscatterd|go|process)_[a-z0-9_]+`)
	shown := make(map[string]bool)
	for _, p := range dashboard.Panels {
		if p.Type == "row" {
			continue
		}
		if p.Description == "" || p.FieldConfig.Defaults.Unit == "" || len(p.Targets) == 0 {
			t.Errorf("the panel %q lacks a description, a unit or a query", p.Title)
		}
		for _, target := range p.Targets {
			for _, n := range name.FindAllString(target.Expr, -1) {
				shown[n] = true
				if !served[n] {
					t.Errorf("the panel %q asks for %s, which is not served", p.Title, n)
				}
			}
		}
	}
	for _, f := range families {
		n := prefix + f.name
		if f.kind == histogram {
			n += "_bucket"
		}
		if !served[n] {
			t.Errorf("%s is not served", n)
		}
		if !shown[n] && f.name != "sweep_last_run_timestamp_seconds" {
			t.Errorf("%s is in no panel", n)
		}
	}
}

// Names, help and units follow Prometheus's conventions.
func TestConventions(t *testing.T) {
	problems, err := testutil.GatherAndLint(testBoard(t).metrics.registry)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		if strings.HasPrefix(p.Metric, prefix) {
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
	}
}

// A half of the daemon exposes its own metrics only.
func TestHalves(t *testing.T) {
	for _, o := range []Options{{Sweeps: true}, {Filters: true}} {
		b := NewBoard(o)
		b.Bounce("failed", "legit", "tag")
		b.Swept(t.Context(), Run{Began: now})
		body := ask(b.Handler(nil), "GET", "/metrics", "localhost").Body.String()
		if strings.Contains(body, prefix+"sweep_") != o.Sweeps || strings.Contains(body, prefix+"milter_") != o.Filters {
			t.Errorf("%+v exposes\n%s", o, body)
		}
	}
}
