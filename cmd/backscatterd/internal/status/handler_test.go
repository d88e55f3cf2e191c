package status

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/backscatterd/backscatterd/milter"
	"github.com/backscatterd/backscatterd/milter/ledger"
	"github.com/backscatterd/backscatterd/queuesweep"
)

var now = time.Date(2026, 11, 25, 9, 30, 0, 0, time.UTC)

// hostile is what somebody puts into a message who hopes that it is shown.
const hostile = `<script>alert(1)</script>"'><img src=x onerror=alert(1)>` + "\x1b[31m\u202e\r\nSet-Cookie: x"

func testBoard(t *testing.T) *Board {
	t.Helper()
	b := NewBoard(Options{Version: "1.2", Host: "mx.example", Sweeps: true, Filters: true, Now: func() time.Time { return now }})
	var waiting queuesweep.Count
	waiting.Total, waiting.Ages[2], waiting.Ages[9] = 3, 1, 2
	domain := waiting
	domain.Key = hostile
	status := waiting
	status.Key = "Deferred: " + hostile
	b.UseSweeper(Sources{
		Audit: func() ([]queuesweep.AuditEntry, error) {
			e := queuesweep.AuditEntry{Result: queuesweep.Result{ID: hostile, Rule: "spam", Action: "move", Result: queuesweep.Done,
				Recipients: []string{hostile, "b@c.example"}, Status: hostile}}
			e.Time = now.Add(-time.Minute)
			return []queuesweep.AuditEntry{e}, nil
		},
		AuditFailures: func() int64 { return 0 },
		Next: func(time.Time) []Next {
			return []Next{{Job: "sweep with 2 rules", Schedule: "@hourly", At: now.Add(30 * time.Minute)}}
		},
	})
	b.UseFilter(Sources{Filter: func() milter.Counts { return milter.Counts{Messages: 7} }, Ledger: func() (ledger.Status, error) { return ledger.Status{Since: now, Unbroken: now}, nil }})
	b.Surveyed(queuesweep.Survey{At: now, Took: time.Second, States: map[queuesweep.State]int{"active": 3, "held": 2}, Oldest: now.Add(-72 * time.Hour),
		Waiting: waiting, Domains: []queuesweep.Count{domain}, Statuses: []queuesweep.Count{status}})
	b.Bounce("failed", "suspect", "tag")
	return b
}

func ask(h http.Handler, method, path, host string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, nil)
	r.Host = host
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// It answers to names of this host only, and to nothing that would change
// something.
func TestHostAndMethod(t *testing.T) {
	h := testBoard(t).Handler([]string{"MX.example", "192.0.2.7"})
	for host, want := range map[string]int{
		"localhost": 200, "LOCALHOST:9780": 200, "localhost.": 200, "127.0.0.1:9780": 200, "127.8.9.1": 200, "[::1]:9780": 200, "[::1]": 200,
		"mx.example:80": 200, "192.0.2.7": 200,
		"": 403, "attacker.example": 403, "localhost.attacker.example": 403, "127.0.0.1.attacker.example:9780": 403, "192.0.2.8": 403, "0.0.0.0": 403, "[::]": 403, "2130706433": 403,
	} {
		for _, path := range []string{"/", "/metrics", "/healthz", "/queue.svg", "/queue-narrow.svg", "/bounces.svg", "/style.css"} {
			if got := ask(h, "GET", path, host); got.Code != want {
				t.Errorf("GET %s for %q: %d, want %d", path, host, got.Code, want)
			}
		}
	}
	for method, want := range map[string]int{"HEAD": 200, "POST": 405, "PUT": 405, "DELETE": 405, "OPTIONS": 405, "TRACE": 405} {
		if got := ask(h, method, "/", "localhost"); got.Code != want {
			t.Errorf("%s /: %d, want %d", method, got.Code, want)
		}
	}
	if got := ask(h, "GET", "/etc/passwd", "localhost"); got.Code != 404 {
		t.Errorf("another path: %d", got.Code)
	}
}

// Every answer, errors too, carries what keeps a browser from doing more than
// showing it.
func TestHeaders(t *testing.T) {
	h := testBoard(t).Handler(nil)
	for _, w := range []*httptest.ResponseRecorder{ask(h, "GET", "/", "localhost"), ask(h, "GET", "/queue.svg", "localhost"), ask(h, "GET", "/", "else.example"), ask(h, "GET", "/x", "localhost"), ask(h, "GET", "/metrics", "localhost")} {
		for name, want := range map[string]string{"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cache-Control": "no-store", "X-Frame-Options": "DENY"} {
			if got := w.Header().Get(name); got != want {
				t.Errorf("%s is %q", name, got)
			}
		}
		if csp := w.Header().Get("Content-Security-Policy"); !strings.HasPrefix(csp, "default-src 'none'; ") || strings.Contains(csp, "unsafe") || strings.Contains(csp, "script") {
			t.Errorf("the policy is %q", csp)
		}
	}
}

// What comes from mail is text, whatever it is.
func TestEscapes(t *testing.T) {
	h := testBoard(t).Handler(nil)
	for _, path := range []string{"/", "/queue.svg", "/queue-narrow.svg", "/bounces.svg"} {
		body := ask(h, "GET", path, "localhost").Body.String()
		for _, bad := range []string{"<script", "<img src=x", "onerror=alert(1)>", "\x1b", "\u202e", "\r"} {
			if strings.Contains(body, bad) {
				t.Errorf("%s has %q", path, bad)
			}
		}
		if path != "/bounces.svg" && !strings.Contains(body, "&lt;script&gt;") {
			t.Errorf("%s does not show it as text", path)
		}
	}
	if metrics := ask(h, "GET", "/metrics", "localhost").Body.String(); strings.Contains(metrics, "alert") || strings.Contains(metrics, "c.example") {
		t.Error("a metric has what came with mail")
	}
}

// The health check says why.
func TestHealth(t *testing.T) {
	b := testBoard(t)
	h := b.Handler(nil)
	if w := ask(h, "GET", "/healthz", "localhost"); w.Code != 200 || w.Body.String() != "ok\n" {
		t.Errorf("%d %q", w.Code, w.Body)
	}
	b.Swept(t.Context(), Run{Began: now, Err: errors.New("no queue\nfolder")})
	s := *b.sweeper.Load()
	s.AuditFailing = func() bool { return true }
	b.UseSweeper(s)
	b.UseFilter(Sources{Ledger: func() (ledger.Status, error) { return ledger.Status{Error: "disk full"}, nil }})
	want := "not well:\n- the sweep of 2026-11-25T09:30:00Z failed: no queue folder\n" +
		"- the ledger cannot be written, so that bounces of mail that leaves now will be unknown: disk full\n" +
		"- the audit log cannot be written, and nothing is changed without it: make room, or name another file in audit.file\n"
	if w := ask(h, "GET", "/healthz", "localhost"); w.Code != 503 || w.Body.String() != want {
		t.Errorf("%d %s\nwant\n%s", w.Code, w.Body, want)
	}
	if body := ask(h, "GET", "/", "localhost").Body.String(); !strings.Contains(body, "not well") || !strings.Contains(body, "disk full") {
		t.Error("the page does not say so")
	}
	b.Swept(t.Context(), Run{Began: now})
	s.AuditFailing = func() bool { return false }
	b.UseSweeper(s)
	b.UseFilter(Sources{})
	if w := ask(h, "GET", "/healthz", "localhost"); w.Code != 200 {
		t.Errorf("after it is well again: %d %s", w.Code, w.Body)
	}
}

// However often somebody looks, the queues are read once within the time of
// refresh, and never while somebody waits.
func TestLooksDoNotReadTheQueue(t *testing.T) {
	var reads atomic.Int64
	var clock atomic.Int64
	clock.Store(now.Unix())
	b := NewBoard(Options{Sweeps: true, Refresh: time.Minute, Now: func() time.Time { return time.Unix(clock.Load(), 0) }})
	read := make(chan struct{}, 100)
	b.UseSweeper(Sources{Survey: func(context.Context) (queuesweep.Survey, error) {
		reads.Add(1)
		read <- struct{}{}
		return queuesweep.Survey{At: time.Unix(clock.Load(), 0), States: map[queuesweep.State]int{}}, nil
	}})
	ctx, cancel := context.WithCancel(t.Context())
	kept := make(chan struct{})
	go func() { defer close(kept); b.Keep(ctx) }()
	<-read // at the start
	h := b.Handler(nil)
	look := func() {
		for range 50 {
			if w := ask(h, "GET", "/", "localhost"); w.Code != 200 {
				t.Fatal(w.Code)
			}
			ask(h, "GET", "/metrics", "localhost")
		}
	}
	look()
	clock.Add(61)
	for range 10_000 { // until the first survey is noted, and asked for again
		look()
		if reads.Load() == 2 {
			break
		}
		time.Sleep(time.Millisecond)
	}
	look()
	cancel()
	<-kept
	if n := reads.Load(); n != 2 {
		t.Errorf("the queues were read %d times, want 2", n)
	}
}

// A reading that fails is told, keeps what was read before with its time, and is
// not tried again at once, however long it has taken.
func TestAReadingFails(t *testing.T) {
	clock := now
	b := NewBoard(Options{Sweeps: true, Refresh: time.Minute, Now: func() time.Time { return clock }})
	b.most = 50 * time.Millisecond
	survey := func(context.Context) (queuesweep.Survey, error) {
		return queuesweep.Survey{At: now, States: map[queuesweep.State]int{queuesweep.StateActive: 7}}, nil
	}
	read := func() {
		b.UseSweeper(Sources{Survey: survey})
		b.readQueues(t.Context())
	}
	read()
	for _, c := range []struct {
		survey func(context.Context) (queuesweep.Survey, error)
		says   string
	}{
		{func(context.Context) (queuesweep.Survey, error) {
			clock = clock.Add(10 * time.Minute)
			return queuesweep.Survey{}, errors.New("no queue folder")
		}, "not all queues can be read: no queue folder"},
		{func(ctx context.Context) (queuesweep.Survey, error) {
			<-ctx.Done()
			clock = clock.Add(10 * time.Minute)
			return queuesweep.Survey{}, ctx.Err()
		}, "not all queues can be read: it took longer than 50ms"},
	} {
		survey = c.survey
		read()
		if got := strings.Join(b.Problems(), "\n"); !strings.Contains(got, c.says) {
			t.Errorf("%q is told, want %q", got, c.says)
		}
		if kept, _, _ := b.snapshot(); !kept.At.Equal(now) || kept.States[queuesweep.StateActive] != 7 {
			t.Errorf("%s: the page shows %+v", c.says, kept)
		}
		clock = clock.Add(3 * time.Hour)
		if b.stale() {
			t.Errorf("%s: ten minutes of reading begin again after three hours", c.says)
		}
		if clock = clock.Add(time.Hour); !b.stale() {
			t.Errorf("%s: it is not tried again", c.says)
		}
	}
}

// Numbers in pictures keep the steps of an axis apart.
func TestCompact(t *testing.T) {
	for n, want := range map[int]string{0: "0", 999: "999", 1000: "1k", 1500: "1.5k", 2000: "2k", 9949: "9.9k", 9950: "10k", 99_900: "100k",
		150_000: "150k", 999_499: "999k", 999_500: "1M", 1_500_000: "1.5M", 12_000_000: "12M"} {
		if got := compact(n); got != want {
			t.Errorf("%d is written %s, want %s", n, got, want)
		}
	}
}

// The half that sweeps says when it may not see what the milter has counted.
func TestHistoryThatCannotBeRead(t *testing.T) {
	file := filepath.Join(t.TempDir(), "h")
	if err := os.WriteFile(file, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	b := NewBoard(Options{Sweeps: true, History: file})
	for path, want := range map[string]string{"/": "What the milter has counted cannot be shown: counts of bounces by the hour, " + file, "/bounces.svg": "</svg>"} {
		if w := ask(b.Handler(nil), "GET", path, "localhost"); w.Code != 200 || !strings.Contains(w.Body.String(), want) {
			t.Errorf("%s: %d, no %q in\n%s", path, w.Code, want, w.Body)
		}
	}
}

// The history outlives the process, stays bounded, and is not harmed by a file
// that is damaged.
func TestHistory(t *testing.T) {
	file := filepath.Join(t.TempDir(), "h")
	h := NewHistory()
	for i := range 1000 {
		h.Add(now.Add(time.Duration(i)*time.Hour), "suspect", "tag")
	}
	h.Add(now.Add(999*time.Hour), "legit", "accept")
	if err := h.Save(file); err != nil {
		t.Fatal(err)
	}
	again, err := ReadHistory(file)
	if err != nil {
		t.Fatal(err)
	}
	hours := again.Between(now, now.Add(2000*time.Hour))
	if len(hours) > 2*historyHours || len(hours) < historyHours {
		t.Errorf("%d hours are kept", len(hours))
	}
	last := hours[len(hours)-1]
	if got := fmt.Sprint(last.Start, last.Bounces, last.Of("suspect")); got != "2027-01-06 00:00:00 +0000 UTC map[legit:map[accept:1] suspect:map[tag:1]] 1" {
		t.Error(got)
	}
	if err := os.WriteFile(file, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if h, err := ReadHistory(file); err == nil || len(h.Between(time.Time{}, now.AddDate(9, 0, 0))) != 0 {
		t.Error("a damaged file is no error")
	}
}

func resultOf(rule string) queuesweep.Result {
	return queuesweep.Result{ID: "x", Rule: rule, Action: "move", Result: queuesweep.Done}
}
