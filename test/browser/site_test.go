//go:build browser

package browser

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/backscatterd/backscatterd/test/lab"
)

// waiting are the messages of the queue: where they go to, why they are still
// here, and how old they are, in minutes.
var waiting = []struct {
	domain, status string
	ages           []int
}{
	{"bigmail.example", "Deferred: 421 4.7.28 Our system has detected an unusual rate of unsolicited mail", []int{3, 4, 6, 8, 9, 12, 15, 18, 25, 33, 45, 50, 61, 70, 75, 90, 100, 130, 150, 170, 200, 260, 300, 400, 500, 600, 800, 1000, 1300, 1500, 2000, 2600}},
	{"slow-university.example", "Deferred: Connection timed out with mx.slow-university.example.", []int{100, 350, 400, 700, 900, 1400, 2000, 3000, 4000, 4300}},
	{"mailbox-full.example", "Deferred: 452 4.2.2 Mailbox full", []int{7, 30, 50, 90, 200, 500, 900, 1500, 2500}},
	{"grey.example", "Deferred: 451 4.7.1 Greylisted, please try again in 300 seconds", []int{1, 2, 2, 3, 4, 4, 6, 7, 9, 11}},
	{"gone.example", "Deferred: Connection refused by gone.example.", []int{1500, 3000, 5000, 6000}},
	{"a-name-that-is-as-long-as-names-of-hosts-sometimes-are.department.institute.example", "Deferred: Name server: a-name-that-is-long.example.: host name lookup failure", []int{20, 300, 1200}},
	{"relay.example", "Deferred: 450 4.1.8 <x@forged.example>: Sender address rejected: Domain not found", []int{35, 80, 160, 640, 2000}},
	{"hostile.example", "Deferred: 450 4.7.1 <script>alert(1)</script><img src=x onerror=alert(2)> \"quoted\" & 'more'", []int{15, 500}},
}

const config = `[queue]
directories = [%[2]q]
[store]
directory = %[3]q
[audit]
file = %[4]q
[sweep]
schedule = "@every 1s"
max_share = 1.0
[milter]
our_domains = ["example.com"]
listen = "inet:%[5]d@127.0.0.1"
keys = %[6]q
ledger = %[7]q
[status]
listen = "127.0.0.1:%[1]d"
refresh = "1s"
[[rule]]
name = "sender-domain-not-found"
when = 'status matches "Sender address rejected: Domain not found"'
[[rule]]
name = "hold-hostile"
when = 'status contains "script" && age < duration("1h")'
do = "hold"
[[rule]]
name = "unanswered-for-long"
when = 'attempts > 50 && status contains "Connection refused"'
`

// site is a daemon with its page.
type site struct {
	dir, url string
}

// serve starts the program on a queue, and ends it with the test.
func serve(t *testing.T) site {
	t.Helper()
	dir := t.TempDir()
	program := filepath.Join(dir, "backscatterd")
	if err := lab.Build(program); err != nil {
		t.Fatal(err)
	}
	s := site{dir: dir}
	queue := filepath.Join(dir, "mqueue")
	if err := os.Mkdir(queue, 0o700); err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	n := 0
	for _, w := range waiting {
		for _, age := range w.ages {
			s.put(t, queue, n, w.domain, w.status, now.Add(-time.Duration(age)*time.Minute))
			n++
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "ledger.db.bounces"), past(t, now), 0o600); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "b.toml")
	port, milter := freePort(t), freePort(t)
	text := fmt.Sprintf(config, port, queue, filepath.Join(dir, "removed"), filepath.Join(dir, "audit.jsonl"), milter, filepath.Join(dir, "keys"), filepath.Join(dir, "ledger.db"))
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s.start(t, exec.Command(program, "-c", file, "serve"))
	s.url = fmt.Sprintf("http://127.0.0.1:%d/", port)
	return s
}

func (s site) put(t *testing.T, queue string, n int, domain, status string, came time.Time) {
	t.Helper()
	id := fmt.Sprintf("6AP9u%06d", n) + "000000"
	text := fmt.Sprintf("V8\nT%d\nK%d\nN%d\nP30000\nM%s\nFs\nS<news@example.com>\nRPFD:<user%d@%s>\nH??Subject: news\n.\n",
		came.Unix(), came.Unix(), 1+int(time.Since(came)/(20*time.Minute)), status, n, domain)
	for name, data := range map[string]string{"qf" + id: text, "df" + id: "The news.\n"} {
		if err := os.WriteFile(filepath.Join(queue, name), []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// past is what the milter has counted in the last days, with a wave of
// backscatter in it.
func past(t *testing.T, now time.Time) []byte {
	t.Helper()
	type hour struct {
		Start   time.Time                 `json:"start"`
		Bounces map[string]map[string]int `json:"bounces"`
	}
	var hours []hour
	for i := range 100 {
		start := now.Truncate(time.Hour).Add(-time.Duration(i) * time.Hour)
		suspect := 3 + (i*7)%11
		if i > 18 && i < 27 {
			suspect += 160 - 35*max(i-22, 22-i)
		}
		hours = append(hours, hour{start, map[string]map[string]int{
			"suspect": {"tag": suspect}, "unknown": {"tag": (i * 5) % 7}, "legit": {"tag": 4 + (i*3)%9},
		}})
	}
	data, err := json.Marshal(hours)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// start runs the daemon until the test ends, and waits for its first sweep.
func (s site) start(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	swept := make(chan bool, 1)
	go func() {
		said := false
		for lines := bufio.NewScanner(stderr); lines.Scan(); {
			if !said && strings.Contains(lines.Text(), `msg="run ended"`) {
				said = true
				swept <- true
			}
		}
		if !said {
			swept <- false
		}
	}()
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		cmd.Wait()
	})
	select {
	case ok := <-swept:
		if !ok {
			t.Fatal("the daemon ended at once")
		}
	case <-time.After(time.Minute):
		t.Fatal("no sweep within a minute")
	}
}

// settled waits until the page shows what the sweep has left.
func (s site) settled(t *testing.T) string {
	t.Helper()
	var body string
	for range 600 {
		resp, err := http.Get(s.url)
		if err == nil {
			data, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			if body = string(data); strings.Contains(body, "hold-hostile") && regexp.MustCompile(`held</dt><dd class="value">1<`).MatchString(body) {
				return body
			}
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Fatalf("the page does not show the sweep:\n%s", body)
	return ""
}

// run runs a browser that must end by itself.
func run(t *testing.T, name string, args ...string) (stdout, stderr string) {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("%v: install it, on Debian: apt-get install chromium w3m", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, args...)
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	cmd.WaitDelay = 5 * time.Second
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s: %v\n%s", name, err, errs.String())
	}
	return out.String(), errs.String()
}
