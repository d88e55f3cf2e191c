package docs

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// scrape is a daemon of both halves, of which metrics are asked as Prometheus
// does, once it has swept.
const scrape = `backscatterd key new >&2
cat >/etc/backscatterd/backscatterd.toml <<'END'
[sweep]
schedule = "@every 1s"
[milter]
our_domains = ["example.com"]
listen = "inet:8890@127.0.0.1"
[status]
listen = "127.0.0.1:9780"
END
backscatterd serve >&2 &
daemon=$!
perl -MIO::Socket::INET -e '
	for (1 .. 300) {
		select undef, undef, undef, 0.1;
		my $s = IO::Socket::INET->new("127.0.0.1:9780") or next;
		print $s "GET /metrics HTTP/1.0\r\nHost: localhost\r\n\r\n";
		my $all = join "", <$s>;
		next unless $all =~ /^backscatterd_sweep_last_success_timestamp_seconds/m;
		print $all;
		exit 0;
	}
	exit 1'
kill $daemon
wait
`

var metricName = regexp.MustCompile(`\b(?:backscatterd|go|process)_[a-z0-9_]+`)

// The dashboard asks for what a running daemon has. What has labels is served
// once it has happened; docs/metrics.md, which the code writes, has its name.
func TestDashboard(t *testing.T) {
	got := newMachine(t, siteFiles(t)).run(scrape, "")
	if got.status != 0 {
		t.Fatalf("%+v", got)
	}
	served := make(map[string]bool)
	for _, line := range regexp.MustCompile(`(?m)^[a-z]\w*`).FindAllString(got.stdout, -1) {
		served[line] = true
	}
	labels := labelled(t)
	data, err := os.ReadFile(filepath.Join(root, "docs/grafana.json"))
	if err != nil {
		t.Fatal(err)
	}
	var dashboard struct {
		Panels []struct {
			ID          int
			Title, Type string
			GridPos     struct{ X, Y, W, H int }
			Targets     []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(data, &dashboard); err != nil {
		t.Fatal(err)
	}
	ids, queries := make(map[int]bool), 0
	for i, p := range dashboard.Panels {
		if ids[p.ID] {
			t.Errorf("the panel %q has the id of another", p.Title)
		}
		ids[p.ID] = true
		g := p.GridPos
		for _, other := range dashboard.Panels[:i] {
			o := other.GridPos
			if g.X < o.X+o.W && o.X < g.X+g.W && g.Y < o.Y+o.H && o.Y < g.Y+g.H {
				t.Errorf("the panels %q and %q lie over each other", p.Title, other.Title)
			}
		}
		if g.W == 0 || g.X+g.W > 24 {
			t.Errorf("the panel %q is not within the 24 columns", p.Title)
		}
		for _, q := range p.Targets {
			queries++
			names := metricName.FindAllString(q.Expr, -1)
			if len(names) == 0 {
				t.Errorf("the panel %q asks for no metric: %s", p.Title, q.Expr)
			}
			var known []string
			for _, n := range names {
				known = append(known, labels[n]...)
				if !served[n] && len(labels[n]) == 0 {
					t.Errorf("the panel %q asks for %s, which a running daemon does not have", p.Title, n)
				}
			}
			for _, l := range askedLabels(q.Expr) {
				if !slices.Contains(append(known, "le", "job", "instance"), l) {
					t.Errorf("the panel %q asks for the label %s, which %v do not have", p.Title, l, names)
				}
			}
		}
	}
	if queries < 20 {
		t.Errorf("only %d queries were found", queries)
	}
}

// labelled are the metrics with labels, as docs/metrics.md has them.
func labelled(t *testing.T) map[string][]string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(root, "docs/metrics.md"))
	if err != nil {
		t.Fatal(err)
	}
	out := make(map[string][]string)
	for _, row := range regexp.MustCompile("(?m)^\\| `(\\w+)` \\| \\w+ \\| ([^|]*) \\|").FindAllStringSubmatch(string(data), -1) {
		if list := strings.Fields(strings.ReplaceAll(row[2], "`", "")); len(list) > 0 {
			out[row[1]] = list
		}
	}
	if len(out) < 4 {
		t.Fatalf("docs/metrics.md has %d metrics with labels", len(out))
	}
	return out
}

// askedLabels are the labels that a query names.
func askedLabels(expr string) (out []string) {
	for _, m := range regexp.MustCompile(`\b(?:by|without) ?\(([^)]*)\)`).FindAllStringSubmatch(expr, -1) {
		for _, l := range strings.Split(m[1], ",") {
			out = append(out, strings.TrimSpace(l))
		}
	}
	for _, m := range regexp.MustCompile(`[{,] ?([a-z_]+) ?(?:=|!=|=~|!~)"`).FindAllStringSubmatch(expr, -1) {
		out = append(out, m[1])
	}
	return out
}
