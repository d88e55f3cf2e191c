//go:build linux && amd64

package crash

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/backscatterd/backscatterd/test/crash/inject"
)

// failures are the errors that calls are made to report, and which calls.
var failures = []struct {
	errno unix.Errno
	// looks: calls that change nothing report it as well.
	looks func(c inject.Call) bool
}{
	{unix.ENOSPC, nil},
	{unix.EIO, anyCall},
	{unix.EACCES, opens},
	{unix.EROFS, nil},
	{unix.EMFILE, opens},
	{unix.EINTR, anyCall},
}

func anyCall(inject.Call) bool { return true }

func opens(c inject.Call) bool { return strings.HasPrefix(c.Name, "open") }

// canFail chooses the calls for an error: all that change files, and those that
// look at them where they can report it. A process that cannot be started is
// none of these errors.
func canFail(looks func(inject.Call) bool) func(inject.Call) bool {
	return func(c inject.Call) bool {
		switch c.Class {
		case inject.Spawns:
			return false
		case inject.Looks:
			return looks != nil && looks(c)
		}
		return true
	}
}

// TestErrors has each call fail, with each error. The run says so, does the rest,
// and loses nothing; run again, it does what it has not done.
func TestErrors(t *testing.T) {
	var points, run int
	for n, a := range actions {
		t.Run(strings.ReplaceAll(a.name, " ", "-"), func(t *testing.T) {
			g := newGround(t)
			calls := g.recordCalls(a, anyCall)
			var faults []inject.Fault
			var each []string
			for _, f := range failures {
				counts, n := canFail(f.looks), 0
				for _, c := range calls {
					if counts(c) {
						n++
						faults = append(faults, inject.Fault{What: inject.Fail, Errno: f.errno, N: n, Counts: counts})
					}
				}
				each = append(each, fmt.Sprintf("%s at %d calls", unix.ErrnoName(f.errno), n))
			}
			all := len(faults)
			if !full() {
				faults = sample(faults, sampleOf(a), uint64(n))
			}
			began := time.Now()
			for batch := range slices.Chunk(faults, batchSize) {
				g.failBatch(a, batch)
			}
			points, run = points+all, run+len(faults)
			t.Logf("%s%s: %s: %d runs there are, %d run in %.1f s", form(), a.name, strings.Join(each, ", "), all, len(faults), time.Since(began).Seconds())
		})
	}
	t.Logf("%sall actions and errors: %d runs there are, %d run", form(), points, run)
}

func (g *ground) failBatch(a action, faults []inject.Fault) {
	g.t.Helper()
	all := g.newAttempts(a, faults)
	g.deferring(true)
	each(all, func(at *attempt) error {
		if err := at.trace(); err != nil {
			return err
		}
		if at.record.Hit < 0 {
			return errors.New("the run ended before its call came")
		}
		return errors.Join(at.headless(), at.told())
	})
	each(all, func(at *attempt) (err error) {
		if a.name == "purge" {
			at.at, err = at.look()
			return err
		}
		if _, _, err = at.must(a.args...); err != nil {
			return fmt.Errorf("run again: %w", err)
		}
		if at.at, err = at.look(); err != nil {
			return fmt.Errorf("run again: %w", err)
		}
		for i, p := range at.at {
			if p != a.goal {
				err = errors.Join(err, fmt.Errorf("run again, message %d is %s, not %s", i, p, a.goal))
			}
		}
		return err
	})
	g.deferring(false)
	g.settle(all, func(*attempt, int) bool { return true })
}

// told checks what the run with the failure said, and that it did the rest.
func (a *attempt) told() error {
	said := a.read("out") + a.read("err")
	audit := a.read("audit.jsonl")
	call := a.record.Calls[a.record.Hit]
	text := a.fault.Errno.Error()
	status := a.record.Status.ExitStatus()
	if a.fault.Errno == unix.EINTR {
		return a.undisturbed(status, said)
	}
	if status == 0 && (a.a.name != "purge" || harmless(call)) { // the daemon goes on, and ends with 0
		return a.content(call, said, audit)
	}
	if status == 2 && strings.Contains(audit, `"result"`) {
		return errors.New("exit status 2 says that nothing was done, and the audit log that something was")
	}
	if status > 2 {
		return fmt.Errorf("exit status %d", status)
	}
	var errs []error
	// Where it is the saying that failed, nothing can be said of it.
	saying := call.At(filepath.Join(a.dir, "out")) || call.At(filepath.Join(a.dir, "err"))
	if !saying && !a.heldByOthers(call, audit) && !strings.Contains(said, text) {
		errs = append(errs, fmt.Errorf("neither stdout nor stderr says %q", text))
	}
	// The audit log is of messages: where none has failed, it has nothing to say.
	if strings.Contains(audit, `"result":"failed"`) && !strings.Contains(audit, text) {
		errs = append(errs, fmt.Errorf("the audit log does not say %q", text))
	}
	return errors.Join(append(errs, a.othersWentOn(call))...)
}

// content checks a run that ended with 0 in spite of the failure. It may if all
// was done, or if what was not done is no failure: a bounce that cannot be sent
// stays owed; a lock that is refused with EACCES is somebody else's (POSIX on
// fcntl).
func (a *attempt) content(call inject.Call, said, audit string) error {
	text := a.fault.Errno.Error()
	errs := a.read("err")
	switch {
	case a.heldByOthers(call, audit),
		call.At(filepath.Join(a.store, "owed")) && strings.Contains(errs, text),
		a.a.name == "bounce" && strings.Contains(audit, "still owed") && strings.Contains(errs, text):
		return a.othersWentOn(call)
	}
	at, err := a.look()
	if err == nil && at != [letters]place{a.a.goal, a.a.goal, a.a.goal} {
		err = fmt.Errorf("exit status 0, and the messages are %v; it says\n%s", at, said)
	}
	return err
}

// harmless: that it fails keeps nothing from being done. Nothing is written to the
// file that is the lock, and the size of a file that is read to its end is a hint.
func harmless(call inject.Call) bool {
	return call.Class == inject.Closes && filepath.Base(call.Path) == "lock" || call.Name == "fstat" && filepath.Base(call.Path) == "sendmail.cf"
}

// heldByOthers: the call was for a lock, and was refused as one that somebody else
// holds; so it was told.
func (a *attempt) heldByOthers(call inject.Call, audit string) bool {
	return call.Class == inject.Locks && a.fault.Errno == unix.EACCES && strings.Contains(audit, `"result":"locked"`)
}

// undisturbed: a call that a signal has interrupted is made again.
func (a *attempt) undisturbed(status int, said string) error {
	if status != 0 {
		return fmt.Errorf("exit status %d, after a call that was interrupted", status)
	}
	if text := a.fault.Errno.Error(); strings.Contains(said, text) {
		return fmt.Errorf("it says %q", text)
	}
	at, err := a.look()
	if err == nil && at != [letters]place{a.a.goal, a.a.goal, a.a.goal} {
		err = fmt.Errorf("the messages are %v", at)
	}
	return err
}

// othersWentOn: where the call was about one message, the others were changed.
func (a *attempt) othersWentOn(call inject.Call) error {
	var errs []error
	for i, tm := range a.g.templates {
		if strings.Contains(call.Path, tm.id) || strings.Contains(call.Path2, tm.id) {
			for j, other := range a.g.templates {
				if j != i && a.a.name != "expire" && a.a.name != "purge" && !committed(a.record.Calls, other.id) {
					errs = append(errs, fmt.Errorf("the call was about message %d, and nothing was done about %d", i, j))
				}
			}
		}
	}
	return errors.Join(errs...)
}

func (a *attempt) read(name string) string {
	text, _ := os.ReadFile(filepath.Join(a.dir, name))
	return string(text)
}
