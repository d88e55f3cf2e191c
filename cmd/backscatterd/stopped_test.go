package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/backscatterd/backscatterd/queuesweep/spool"
)

// all is a rule that takes every message of a queue.
const all = "[sweep]\nmax_share = 1.0\nlock_wait = \"200ms\"\n[[rule]]\nname = \"all\"\nwhen = 'true'\n"

// A sweep is stopped in the middle, in three ways. The test stops it by reading
// one line of its results and no more: a pipe holds some hundred lines, then the
// sweep stands. Whatever ends it, every message is whole, in one place, and the
// next one goes on from there.
func TestSweepIsStopped(t *testing.T) {
	const n = 6 * spool.MaxBatch
	for name, c := range map[string]struct {
		stop   func(p *os.Process, results io.Closer) error
		status int
		says   string
	}{
		"by SIGTERM": {
			func(p *os.Process, _ io.Closer) error { return p.Signal(unix.SIGTERM) },
			exitFailed, "interrupted: what was under way has been ended, the rest has not been begun",
		},
		"by a reader that goes away": {
			func(_ *os.Process, r io.Closer) error { return r.Close() },
			exitFailed, "standard output: write /dev/stdout: broken pipe (stopped after the batch in hand; the audit log has all that was done)",
		},
		"by SIGKILL": {
			func(p *os.Process, _ io.Closer) error { return p.Kill() },
			-1, "",
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newTestSite(t, t.TempDir(), all)
			s.fill(n)
			status, errs := s.stopped(c.stop)
			if status != c.status || !strings.Contains(errs, c.says) {
				t.Errorf("exit status %d, want %d; it says\n%s", status, c.status, errs)
			}
			if c.status < 0 { // the change in hand is ended by the next one
				s.want(exitDone, "", "queue", "move", "--where", "false", "--yes")
			}
			removed := s.once(n)
			if removed == 0 || removed == n {
				t.Errorf("%d messages were removed: it was not stopped in the middle", removed)
			}
			if told := strings.Count(read(t, filepath.Join(s.dir, "audit.jsonl")), `"result":"done"`); c.status >= 0 && told != removed {
				t.Errorf("%d messages were removed, the audit log tells of %d", removed, told)
			}
			s.want(exitDone, "", "sweep")
			if removed := s.once(n); removed != n {
				t.Errorf("the next sweep has removed %d", removed)
			}
		})
	}
}

// stopped begins a sweep, reads one result, stops it, and tells how it ended.
func (s *site) stopped(stop func(*os.Process, io.Closer) error) (status int, stderr string) {
	s.t.Helper()
	cmd := s.child("sweep", "--json")
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.StdoutPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	results := bufio.NewReaderSize(out, 16)
	if _, err := results.ReadString('\n'); err != nil {
		s.t.Errorf("the first result: %v", err)
	}
	if err := stop(cmd.Process, out); err != nil {
		s.t.Error(err)
	}
	io.Copy(io.Discard, results)
	cmd.Wait()
	return cmd.ProcessState.ExitCode(), errs.String()
}

// The first signal waits for what is under way, here for a reader that does not
// read. The second does not.
func TestSecondSignalEndsAtOnce(t *testing.T) {
	s := newTestSite(t, t.TempDir(), all)
	s.fill(2000) // a list that no pipe holds
	cmd := s.child("queue", "list")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for i, patience := range []time.Duration{time.Second, time.Minute} {
		if err := cmd.Process.Signal(unix.SIGINT); err != nil {
			t.Fatal(err)
		}
		select {
		case <-ended:
			if i == 0 {
				t.Fatal("the list was cut short before its reader went away")
			}
			if status := cmd.ProcessState.Sys().(syscall.WaitStatus); !status.Signaled() || status.Signal() != unix.SIGINT {
				t.Errorf("it ended with %v", cmd.ProcessState)
			}
			return
		case <-time.After(patience):
		}
	}
	cmd.Process.Kill()
	<-ended
	t.Error("it did not end at the second signal")
}

// Where a process may open few files, a batch takes no more than there are.
func TestFewOpenFiles(t *testing.T) {
	s := newTestSite(t, t.TempDir(), all)
	s.fill(spool.MaxBatch)
	for _, do := range []string{"hold", "release", "move", "restore"} {
		cmd := s.child("queue", do, "--where", "true", "--yes")
		cmd.Args = append([]string{"sh", "-c", `ulimit -Sn 200 && ulimit -Hn 200 && exec "$0" "$@"`, cmd.Path}, cmd.Args[1:]...)
		cmd.Path = "/bin/sh"
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), fmt.Sprintf("%d matched: %[1]d done", spool.MaxBatch)) {
			t.Errorf("%s: %v: %.1000s", do, err, out)
		}
	}
}

// Without an audit log nothing is done.
func TestAuditLogCannotBeWritten(t *testing.T) {
	for name, c := range map[string]struct {
		path   string
		status int
		says   string
	}{
		"no folder for it": {"/nonexistent/folder/audit.jsonl", exitUsage, "no such file or directory (name another file in audit.file)"},
		"it is a folder":   {"/proc/self", exitUsage, "is a directory (name another file in audit.file)"},
		"its disk is full": {"/dev/full", exitFailed, "no space left on device (nothing more is done before it can be written)"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newTestSite(t, t.TempDir(), all)
			s.fill(600)
			s.write(s.config, strings.ReplaceAll(read(t, s.config), filepath.Join(s.dir, "audit.jsonl"), c.path))
			s.want(exitDone, "600 would be done", "sweep", "--dry-run")
			s.want(c.status, c.says, "sweep")
			s.want(c.status, c.says, "queue", "delete", "6AOLt900000599")
			if removed := s.once(len(s.whole(s.queue)) + len(s.removed())); c.status == exitUsage && removed != 0 || removed > spool.MaxBatch {
				t.Errorf("%d messages were removed", removed)
			}
		})
	}
}

// A second one waits for the first as long as lock_wait says, and then says why
// it did nothing. Looking waits for nobody.
func TestTwoAtOnce(t *testing.T) {
	s := newTestSite(t, t.TempDir(), all)
	s.want(exitDone, "1 done", "queue", "move", ownBounceID)
	lock, err := os.OpenFile(filepath.Join(s.store, "lock"), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"sweep"}, {"queue", "move", mailID}, {"queue", "hold", mailID}, {"queue", "restore", ownBounceID}} {
		s.want(exitFailed, "another backscatterd is changing queues with this store", args...)
	}
	s.want(exitDone, "7 messages", "queue", "list")
	s.want(exitDone, ownBounceID, "queue", "list", "--removed")
	s.want(exitDone, "would be done", "sweep", "--dry-run")
	lock.Close()
	s.want(exitDone, "1 done", "queue", "restore", ownBounceID)
	s.once(8)
}
