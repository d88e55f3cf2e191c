package docs

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// Every block says what it is, and is that.
func TestBlocks(t *testing.T) {
	used := make(map[string]bool)
	all := true // blocks have been looked at, and not those of -run alone
	kinds := make(map[string]int)
	for _, p := range pages(t) {
		for _, b := range p.blocks {
			kinds[b.kind]++
			ran := false
			t.Run(b.place(), func(t *testing.T) {
				ran = true
				checkBlock(t, b, used)
			})
			all = all && ran
		}
	}
	for _, e := range texts {
		if all && !used[e.begins] {
			t.Errorf("the text that begins with %q is listed, but no page has it any more: take it out of lists_test.go", e.begins)
		}
	}
	for _, kind := range []string{"sh", "console", "toml", "m4", "json", "ini", "yaml"} {
		if kinds[kind] == 0 {
			t.Errorf("no page has a block of %s: this test does not look where it should", kind)
		}
	}
}

func checkBlock(t *testing.T, b block, used map[string]bool) {
	switch b.kind {
	case "sh", "console":
		// TestCommands runs them.
		if _, err := commands(b); err != nil {
			t.Error(err)
		}
	case "toml":
		checkConfiguration(t, b)
	case "m4":
		checkSendmail(t, b)
	case "json":
		checkAudit(t, b)
	case "ini":
		checkDropIn(t, b)
	case "yaml":
		checkScrape(t, b)
	case "text":
		for _, e := range texts {
			if e.page == b.page.path && strings.HasPrefix(strings.TrimSpace(b.text()), e.begins) {
				used[e.begins] = true
				return
			}
		}
		t.Errorf("nothing says why this text cannot be run or read: list it in lists_test.go\n%s", b.text())
	case "":
		t.Errorf("this block does not say what it is:\n%s", b.text())
	default:
		t.Errorf("nothing checks blocks of %q: doc.go has those that are\n%s", b.kind, b.text())
	}
}

// checkConfiguration has the program read a configuration.
func checkConfiguration(t *testing.T, b block) {
	file := filepath.Join(t.TempDir(), "backscatterd.toml")
	if err := os.WriteFile(file, []byte(b.text()), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := runProgram(build(t), "-c", file, "config", "check"); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func runProgram(program string, args ...string) (string, error) {
	cmd := exec.Command(program, args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	timer := time.AfterFunc(time.Minute, func() { cmd.Process.Kill() })
	defer timer.Stop()
	err := cmd.Run()
	return out.String(), err
}

// checkSendmail makes a sendmail.cf with the lines, and has sendmail read it.
func checkSendmail(t *testing.T, b block) {
	before, after := "OSTYPE(`debian')dnl\nDOMAIN(`debian-mta')dnl\n", "MAILER(`local')dnl\nMAILER(`smtp')dnl\n"
	mc := before + b.text() + after
	if strings.Contains(b.text(), "LOCAL_") {
		mc = before + after + b.text()
	}
	m := newMachine(t, siteFiles(t))
	if err := put(filepath.Join(m.dir, "own/tmp/x.mc"), 0o644, []byte(mc)); err != nil {
		t.Fatal(err)
	}
	got := m.run("m4 /usr/share/sendmail/cf/m4/cf.m4 /tmp/x.mc >/tmp/x.cf\ngrep -F -e backscatterd -e prvs -e DoubleBounce /tmp/x.cf\n/usr/libexec/sendmail/sendmail -C /tmp/x.cf -bt </dev/null", "")
	if got.status != 0 || got.stderr != "" {
		t.Errorf("status %d\n%s%s", got.status, got.stdout, got.stderr)
	}
	for _, filter := range regexp.MustCompile(`(?m)^Xbackscatterd, .*$`).FindAllString(got.stdout, -1) {
		if !strings.Contains(filter, "S=unix:/run/backscatterd/milter.sock,") && !strings.Contains(filter, "S=inet:") {
			t.Errorf("another socket than milter.listen has: %s", filter)
		}
	}
}

// checkAudit compares the fields of a line with those that a sweep writes.
func checkAudit(t *testing.T, b block) {
	m := newMachine(t, siteFiles(t))
	if got := m.run("backscatterd sweep", ""); got.status != 0 {
		t.Fatalf("%+v", got)
	}
	data, err := os.ReadFile(filepath.Join(m.dir, "own/var/log/backscatterd/audit.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(b.text()) {
		want := fields(t, line)
		real, _, _ := strings.Cut(string(data), "\n")
		if got := fields(t, real); !slices.Equal(got, want) {
			t.Errorf("a line of the audit log has the fields\n%s\nand not\n%s\nas in\n%s", got, want, real)
		}
	}
}

func fields(t *testing.T, line string) []string {
	t.Helper()
	var o map[string]any
	if err := json.Unmarshal([]byte(line), &o); err != nil {
		t.Fatalf("%v in %s", err, line)
	}
	return slices.Sorted(maps.Keys(o))
}

// checkDropIn looks for each section and key in the units.
func checkDropIn(t *testing.T, b block) {
	edit := regexp.MustCompile(`(?m)^# systemctl edit (\S+)$`).FindStringSubmatch(b.text())
	if edit == nil {
		t.Fatal("the first line does not say of which unit: # systemctl edit UNIT")
	}
	unit, err := os.ReadFile(filepath.Join(root, "config/dist/systemd", edit[1]+".service"))
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range b.lines {
		key, _, assigned := strings.Cut(line, "=")
		switch {
		case line == "" || strings.HasPrefix(line, "#"):
		case strings.HasPrefix(line, "["):
			if !strings.Contains(string(unit), "\n"+line+"\n") {
				t.Errorf("the unit has no %s", line)
			}
		case !assigned || !strings.Contains(string(unit), "\n"+key+"="):
			t.Errorf("the unit has no %s: is that its name?", key)
		}
	}
}

// checkScrape looks whether Prometheus is sent where the page says that we listen.
func checkScrape(t *testing.T, b block) {
	targets := regexp.MustCompile(`targets: \["([^"]+)"\]`).FindStringSubmatch(b.text())
	if targets == nil {
		t.Fatal("it has no targets")
	}
	for _, other := range b.page.blocks {
		if other.kind == "toml" && strings.Contains(other.text(), fmt.Sprintf("listen = %q", targets[1])) {
			return
		}
	}
	t.Errorf("the page configures no endpoint at %s", targets[1])
}
