// Package e2e tests the program against a real sendmail: what it says of a
// queue, what it does to it, and what becomes of the mail.
package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/backscatterd/backscatterd/queuesweep"
	"github.com/backscatterd/backscatterd/test/lab"
)

// program is the path of the program under test.
var program string

func TestMain(m *testing.M) { os.Exit(lab.Main(m, &program)) }

// site is a lab with backscatterd set up beside it.
type site struct {
	*lab.Lab
	t      *testing.T
	config string
	store  string
	audit  string
}

// newSite makes a lab, and a configuration with these lines in addition. Its
// rules are the built-in ones unless the lines have some.
func newSite(t *testing.T, o lab.Options, lines ...string) *site {
	t.Helper()
	l := lab.New(t, o)
	s := &site{Lab: l, t: t,
		config: filepath.Join(l.Dir, "backscatterd.toml"),
		// Beside the queue, so on its file system.
		store: filepath.Join(filepath.Dir(l.QueueRoot), "removed"),
		audit: filepath.Join(l.Dir, "audit.jsonl"),
	}
	text := fmt.Sprintf("[queue]\nsendmail_cf = %q\nsendmail = %q\n[store]\ndirectory = %q\n[audit]\nfile = %q\n%s\n",
		l.CF, l.SendmailCommand(), s.store, s.audit, strings.Join(lines, "\n"))
	if err := os.WriteFile(s.config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return s
}

// context bounds a test.
func (s *site) context() context.Context {
	ctx, cancel := context.WithTimeout(s.t.Context(), 2*time.Minute)
	s.t.Cleanup(cancel)
	return ctx
}

// start starts the daemon.
func (s *site) start() context.Context {
	s.t.Helper()
	ctx := s.context()
	if err := s.Start(ctx); err != nil {
		s.t.Fatal(err)
	}
	return ctx
}

// run runs the program with the site's configuration and wants this exit
// status.
func (s *site) run(status int, args ...string) (stdout string) {
	s.t.Helper()
	cmd := exec.Command(program, append([]string{"-c", s.config}, args...)...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	got := 0
	if errors.As(err, &exit) {
		got = exit.ExitCode()
	} else if err != nil {
		s.t.Fatal(err)
	}
	if got != status {
		s.t.Fatalf("backscatterd %s: exit status %d, want %d\n%s%s", strings.Join(args, " "), got, status, out.String(), errs.String())
	}
	return out.String()
}

// act runs a command that acts, and returns what it says of each message.
func (s *site) act(status int, args ...string) ([]queuesweep.Result, queuesweep.Summary) {
	s.t.Helper()
	return results(s.t, s.run(status, append(args, "--json")...))
}

func results(t *testing.T, out string) (all []queuesweep.Result, sum queuesweep.Summary) {
	t.Helper()
	for line := range strings.Lines(out) {
		if strings.Contains(line, `"summary":true`) {
			decode(t, line, &sum)
			continue
		}
		var r queuesweep.Result
		decode(t, line, &r)
		all = append(all, r)
	}
	if !sum.Summary {
		t.Fatalf("no summary at the end of:\n%s", out)
	}
	return all, sum
}

func decode(t *testing.T, line string, v any) {
	t.Helper()
	if err := json.Unmarshal([]byte(line), v); err != nil {
		t.Fatalf("%v in %s", err, line)
	}
}

// one is the only result there is, with this code.
func (s *site) one(results []queuesweep.Result, code queuesweep.Code) queuesweep.Result {
	s.t.Helper()
	if len(results) != 1 || results[0].Result != code {
		s.t.Fatalf("results %+v, want one that is %s", results, code)
	}
	return results[0]
}

// list is what queue list says, by id.
func (s *site) list(args ...string) map[string]queuesweep.Listed {
	s.t.Helper()
	listed := make(map[string]queuesweep.Listed)
	for line := range strings.Lines(s.run(0, append([]string{"queue", "list", "--json"}, args...)...)) {
		var m queuesweep.Listed
		decode(s.t, line, &m)
		listed[m.ID] = m
	}
	return listed
}

// must stops the test at an error.
func must[T any](v T, err error) func(t *testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}
