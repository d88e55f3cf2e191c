package soak

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
	"sync"
	"testing"
	"time"

	"github.com/backscatterd/backscatterd/queuesweep"
	"github.com/backscatterd/backscatterd/test/lab"
)

// binary is the path of the program under test.
var binary string

func TestMain(m *testing.M) { os.Exit(lab.Main(m, &binary)) }

// site is a lab with the program's configuration beside it.
type site struct {
	*lab.Lab
	config, store, audit string

	mu      sync.Mutex
	running map[*os.Process]time.Time
	took    time.Duration // the last sweep that was not killed
	counts  map[string]int
}

func newSite(t *testing.T) *site {
	l := lab.New(t, lab.Options{Layout: lab.Split, InMemory: true})
	s := &site{Lab: l, config: filepath.Join(l.Dir, "backscatterd.toml"), store: filepath.Join(filepath.Dir(l.QueueRoot), "removed"),
		audit: filepath.Join(l.Dir, "audit.jsonl"), running: make(map[*os.Process]time.Time), took: 50 * time.Millisecond, counts: make(map[string]int)}
	text := fmt.Sprintf("[queue]\nsendmail_cf = %q\nsendmail = %q\n[store]\ndirectory = %q\n[audit]\nfile = %q\n%s", l.CF, l.SendmailCommand(), s.store, s.audit, rules)
	if err := os.WriteFile(s.config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *site) count(what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts[what]++
}

// errKilled: the process was killed, as the plan wants it.
var errKilled = errors.New("killed")

// run runs the program. Exit status 1 is no error: some of the messages could
// not be acted on, which is the way of things while sendmail works on them.
func (s *site) run(ctx context.Context, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, binary, append([]string{"-c", s.config}, args...)...)
	cmd.WaitDelay = 10 * time.Second // a sendmail that it has started may still hold its stderr
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	began := time.Now()
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	s.running[cmd.Process] = began
	s.mu.Unlock()
	err := cmd.Wait()
	s.mu.Lock()
	delete(s.running, cmd.Process)
	if err == nil && args[0] == "sweep" {
		s.took = time.Since(began)
	}
	s.mu.Unlock()
	var exit *exec.ExitError
	if errors.As(err, &exit) && !exit.Exited() || errors.Is(err, exec.ErrWaitDelay) {
		return out.Bytes(), errKilled
	}
	if strings.Contains(errs.String(), "panic:") || exit != nil && exit.ExitCode() > 1 || err != nil && exit == nil {
		return nil, fmt.Errorf("backscatterd %s: %w\n%s", strings.Join(args, " "), err, errs.String())
	}
	return out.Bytes(), nil
}

// kill kills one of the running processes as soon as it has run for this share
// of what the last sweep took, and says after how long; false if none was. The
// machine may be slow one moment and fast the next, so the last sweep is looked
// up each time.
func (s *site) kill(ctx context.Context, share float64) (time.Duration, bool) {
	for ctx.Err() == nil {
		s.mu.Lock()
		after := time.Duration(share * float64(s.took))
		for p, began := range s.running {
			if time.Since(began) >= after {
				err := p.Kill()
				delete(s.running, p)
				s.mu.Unlock()
				return after, err == nil
			}
		}
		s.mu.Unlock()
		time.Sleep(500 * time.Microsecond)
	}
	return 0, false
}

// unfinished tells whether the journal of the store has something in it.
func (s *site) unfinished() bool {
	info, err := os.Stat(filepath.Join(s.store, "journal"))
	return err == nil && info.Size() > 0
}

// list is what queue list says, by id.
func (s *site) list(ctx context.Context, args ...string) (map[string]queuesweep.Listed, error) {
	out, err := s.run(ctx, append([]string{"queue", "list", "--json"}, args...)...)
	if err != nil {
		return nil, err
	}
	all := make(map[string]queuesweep.Listed)
	for line := range bytes.Lines(out) {
		var m queuesweep.Listed
		if err := json.Unmarshal(line, &m); err != nil {
			return nil, fmt.Errorf("%w in %s", err, line)
		}
		if _, twice := all[m.ID]; twice {
			return nil, fmt.Errorf("message %s is listed twice", m.ID)
		}
		all[m.ID] = m
	}
	return all, nil
}
