package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/backscatterd/backscatterd/queuesweep"
)

// site is a queue of its own with a configuration, for tests that need more than
// a script can do.
type site struct {
	t                         *testing.T
	dir, queue, store, config string
}

// newTestSite has the bundled queue, unless one is there already; more is added
// to its configuration.
func newTestSite(t *testing.T, dir, more string) *site {
	t.Helper()
	s := &site{t, dir, filepath.Join(dir, "mqueue"), filepath.Join(dir, "removed"), filepath.Join(dir, "b.toml")}
	if more != "" {
		s.write(s.config, more)
	}
	if err := newSite(dir); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *site) write(path, text string) {
	s.t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// fill replaces the queue by n messages, each with its number in the df.
func (s *site) fill(n int) {
	s.t.Helper()
	if err := os.RemoveAll(s.queue); err != nil {
		s.t.Fatal(err)
	}
	if err := os.Mkdir(s.queue, 0o700); err != nil {
		s.t.Fatal(err)
	}
	for i := range n {
		id := fmt.Sprintf("6AOLt9%08d", i)
		s.write(filepath.Join(s.queue, "qf"+id), "V8\nT1795557305\nK1795557305\nN2\nP1\nMDeferred: x\nS<>\nRPFD:<a@b.example>\nH??Subject: s\n.\n")
		s.write(filepath.Join(s.queue, "df"+id), fmt.Sprintln(i))
	}
}

// run runs the program in this process.
func (s *site) run(args ...string) (code int, stdout, stderr string) {
	s.t.Helper()
	var out, errs bytes.Buffer
	code = run(context.Background(), append(args, "-c", s.config), strings.NewReader(""), &out, &errs)
	return code, out.String(), errs.String()
}

// want runs the program and compares its exit status, and what it says.
func (s *site) want(code int, says string, args ...string) (stdout string) {
	s.t.Helper()
	got, out, errs := s.run(args...)
	if got != code || !strings.Contains(out+errs, says) {
		s.t.Errorf("%v: exit status %d, want %d; it says\n%s%s\nwant %q", args, got, code, out, errs, says)
	}
	return out
}

// whole fails where a control file stands anywhere without its df, and returns
// the ids in a folder.
func (s *site) whole(dir string) map[string]bool {
	s.t.Helper()
	ids := make(map[string]bool)
	for _, kind := range []string{"qf", "hf"} {
		found, err := filepath.Glob(filepath.Join(dir, kind+"*"))
		if err != nil {
			s.t.Fatal(err)
		}
		for _, path := range found {
			id := filepath.Base(path)[2:]
			if _, err := os.Stat(filepath.Join(dir, "df"+id)); err != nil {
				s.t.Errorf("a message without its body: %v", err)
			}
			ids[id] = true
		}
	}
	return ids
}

// removed are the ids in the store.
func (s *site) removed() map[string]bool {
	s.t.Helper()
	ids := make(map[string]bool)
	days, _ := filepath.Glob(filepath.Join(s.store, "2*"))
	for _, day := range days {
		for id := range s.whole(day) {
			ids[id] = true
		}
	}
	return ids
}

// once fails unless all of n messages are in one place, and returns how many
// are in the store.
func (s *site) once(n int) int {
	s.t.Helper()
	queued, removed := s.whole(s.queue), s.removed()
	for id := range queued {
		if removed[id] {
			s.t.Errorf("message %s is in the queue and in the store", id)
		}
	}
	if len(queued)+len(removed) != n {
		s.t.Errorf("%d messages in the queue and %d in the store, want %d in all", len(queued), len(removed), n)
	}
	return len(removed)
}

func (s *site) results(out string) (results []queuesweep.Result) {
	s.t.Helper()
	for line := range strings.Lines(out) {
		var r queuesweep.Result
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			s.t.Fatalf("%v: %s", err, line)
		}
		if r.ID != "" {
			results = append(results, r)
		}
	}
	return results
}

// child is the program as a process of its own.
func (s *site) child(args ...string) *exec.Cmd {
	s.t.Helper()
	dir := openProgram(s.t)
	cmd := exec.Command(filepath.Join(dir, "backscatterd"), append(args, "-c", s.config)...)
	cmd.Env = append(os.Environ(), "TMPDIR="+dir+"/tmp", tellPeak+"=1")
	return cmd
}

// peakOf is the most memory that a child had, in MiB, as it said at its end.
func peakOf(t *testing.T, stderr string) (mib int) {
	t.Helper()
	_, text, found := strings.Cut(stderr, "VmHWM:")
	if _, err := fmt.Sscanf(text, "%d kB", &mib); !found || err != nil {
		t.Fatalf("no peak of memory in %q", stderr)
	}
	mib >>= 10
	t.Logf("peak memory %d MiB", mib)
	return mib
}

// tmpfs mounts a small file system. It needs root, as the machine that runs
// these tests has to give it.
func tmpfs(t *testing.T, options string) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, options); err != nil {
		t.Fatalf("mount a tmpfs: %v (this test needs root)", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	return dir
}
