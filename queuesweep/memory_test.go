package queuesweep

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/backscatterd/backscatterd/queuesweep/rule"
	"github.com/backscatterd/backscatterd/queuesweep/spool"
)

// counting counts the control files that are opened.
type counting struct {
	spool.System
	opened atomic.Int64
}

func (d *counting) Openat(dirfd int, name string, flags int, mode uint32) (int, error) {
	if strings.HasPrefix(name, "qf") && len(name) > 2 {
		d.opened.Add(1)
	}
	return d.System.Openat(dirfd, name, flags, mode)
}

// again is a queue that is swept, dry, with one memory.
type again struct {
	*world
	disk   counting
	memory *Memory
	set    *rule.Set
	survey bool
}

func newAgain(t *testing.T, limit int64, when string) *again {
	t.Helper()
	a := &again{world: newWorld(t), memory: NewMemory(limit)}
	a.sweeper.Disk = &a.disk
	a.dry = true
	a.now = time.Now().Add(time.Hour) // all that was written is settled
	var err error
	if a.set, err = rule.Compile([]rule.Rule{{Name: "r", When: when}}); err != nil {
		t.Fatal(err)
	}
	return a
}

// sweepAgain returns the ids that match and how many files were read.
func (a *again) sweepAgain(scanned int) (ids []string, read int64) {
	a.t.Helper()
	before := a.disk.opened.Load()
	o := a.options()
	o.Memory = a.memory
	if a.survey {
		o.Survey = func(s Survey) {
			if s.Waiting.Total != scanned {
				a.t.Errorf("the survey has %d messages, want %d", s.Waiting.Total, scanned)
			}
		}
	}
	sum, err := a.sweeper.Sweep(a.t.Context(), a.set, o)
	if err != nil || sum.Scanned != scanned {
		a.t.Errorf("summary %+v, error %v", sum, err)
	}
	for _, r := range a.results {
		ids = append(ids, r.ID)
	}
	slices.Sort(ids)
	return ids, a.disk.opened.Load() - before
}

func (a *again) want(ids, want []string, read, wantRead int64) {
	a.t.Helper()
	if !slices.Equal(ids, want) || read != wantRead {
		a.t.Errorf("%v match, %d files were read; want %v and %d", ids, read, want, wantRead)
	}
}

const id0, id1 = "6AOLt900000000", "6AOLt900000001"

// Nothing is read twice; what came, went or changed in any way is judged by what
// it says now.
func TestMemorySparesReading(t *testing.T) {
	for _, survey := range []bool{false, true} {
		a := newAgain(t, 1<<20, `status contains "spam"`)
		a.survey = survey
		a.fill(50)
		ids, read := a.sweepAgain(50)
		a.want(ids, nil, read, 50)
		ids, read = a.sweepAgain(50)
		a.want(ids, nil, read, 0)

		// Replaced, as sendmail does it: another inode, the size and times of the old.
		path := filepath.Join(a.queue, "qf"+id0)
		old, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		text, _ := os.ReadFile(path)
		text = bytes.Replace(text, []byte("452 4.2.2 Mailbox"), []byte("452 4.2.2 spammy!"), 1)
		if err := os.WriteFile(path+".new", text, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path+".new", old.ModTime(), old.ModTime()); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
		// Written to in its place, with size and time of before.
		path = filepath.Join(a.queue, "qf"+id1)
		old, _ = os.Stat(path)
		text, _ = os.ReadFile(path)
		text = bytes.Replace(text, []byte("452 4.2.2 Mailbox"), []byte("452 4.2.2 spammy!"), 1)
		time.Sleep(20 * time.Millisecond) // past the tick of the file system's clock
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, old.ModTime(), old.ModTime()); err != nil {
			t.Fatal(err)
		}
		if now, _ := os.Stat(path); now.Size() != old.Size() || !now.ModTime().Equal(old.ModTime()) {
			t.Fatal("the test does not test what it says")
		}
		os.Remove(filepath.Join(a.queue, "qf6AOLt900000002"))
		a.put("6AOLt900000999", message{sender: "a@b.example", status: "spam"})
		ids, read = a.sweepAgain(50)
		a.want(ids, []string{id0, id1, "6AOLt900000999"}, read, 3)
		ids, read = a.sweepAgain(50)
		a.want(ids, []string{id0, id1, "6AOLt900000999"}, read, 0)
		if n := len(a.memory.passed) + len(a.memory.kept); n != 50 {
			t.Errorf("%d messages are remembered, want the 50 in the queue", n)
		}
	}
}

// What was changed a moment ago may change again within the same tick of the
// file system's clock: it is not remembered.
func TestMemoryOfFreshFiles(t *testing.T) {
	a := newAgain(t, 1<<20, `attempts > 100`)
	a.now = time.Now()
	a.fill(5)
	a.sweepAgain(5)
	ids, read := a.sweepAgain(5)
	a.want(ids, nil, read, 5)
}

// Time passes for what is remembered, too.
func TestMemoryJudgesTheTime(t *testing.T) {
	for _, when := range []string{`age > duration("1000h")`, `since_attempt > duration("1000h")`, `attempts >= 0 && (age > duration("1000h") || sender == "x")`} {
		a := newAgain(t, 1<<20, when)
		a.now = began.Add(900 * time.Hour)
		if a.now.Before(time.Now().Add(time.Minute)) {
			a.now = time.Now().Add(time.Hour)
		}
		a.put(id0, message{sender: "a@b.example"})
		ids, read := a.sweepAgain(1)
		a.want(ids, nil, read, 1)
		a.now = began.Add(1001 * time.Hour)
		ids, read = a.sweepAgain(1)
		a.want(ids, []string{id0}, read, 0)
	}
}

// The df is looked at each time.
func TestMemoryLooksAtTheBody(t *testing.T) {
	a := newAgain(t, 1<<20, `size > 100`)
	a.put(id0, message{sender: "a@b.example"})
	ids, read := a.sweepAgain(1)
	a.want(ids, nil, read, 1)
	if err := os.WriteFile(filepath.Join(a.queue, "df"+id0), make([]byte, 200), 0o600); err != nil {
		t.Fatal(err)
	}
	ids, read = a.sweepAgain(1)
	a.want(ids, []string{id0}, read, 0)
}

// What has no room is read again; what is broken always is.
func TestMemoryIsBounded(t *testing.T) {
	for _, when := range []string{`attempts > 1000`, `age > duration("99999h")`} {
		a := newAgain(t, 10*passedSize, when)
		a.fill(100)
		if err := os.WriteFile(filepath.Join(a.queue, "qf6AOLt900009999"), []byte("?\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		a.sweepAgain(101)
		_, read := a.sweepAgain(101)
		if a.memory.used > a.memory.limit || read < 91 || read == 101 && len(a.memory.passed)+len(a.memory.kept) > 0 {
			t.Errorf("%s: %d of %d bytes are used, %d were read", when, a.memory.used, a.memory.limit, read)
		}
		os.RemoveAll(a.queue)
		if err := os.Mkdir(a.queue, 0o700); err != nil {
			t.Fatal(err)
		}
		a.sweepAgain(0)
		if a.memory.used != 0 {
			t.Errorf("%d bytes are used for nothing", a.memory.used)
		}
	}
}

// A link or a fifo in the place of a file is never taken for it.
func TestMemoryAndOtherFiles(t *testing.T) {
	a := newAgain(t, 1<<20, `status contains "spam"`)
	a.put(id0, message{sender: "a@b.example"})
	a.put(id1, message{sender: "a@b.example"})
	a.sweepAgain(2)
	path := filepath.Join(a.queue, "qf"+id0)
	os.Rename(path, filepath.Join(a.dir, "elsewhere"))
	os.Remove(filepath.Join(a.queue, "qf"+id1))
	for _, err := range []error{os.Symlink(filepath.Join(a.dir, "elsewhere"), path), unix.Mkfifo(filepath.Join(a.queue, "qf"+id1), 0o600)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	a.log.Reset()
	a.sweepAgain(2)
	if n := lines(a.log.String(), "left alone"); n != 2 {
		t.Errorf("%d files were left alone, want 2:\n%s", n, a.log.String())
	}
}

// hasRings tells whether this process may use io_uring: if so, the call
// complains of its arguments.
func hasRings() bool {
	_, _, errno := unix.Syscall(unix.SYS_IO_URING_SETUP, 0, 0, 0)
	return errno != unix.ENOSYS && errno != unix.EPERM
}

// Looking at a message that no rule matches takes next to no memory: this keeps
// the garbage collector out of a sweep. It does not depend on the machine.
func TestAllocationsPerMessage(t *testing.T) {
	const few, many = 100, 2100
	for name, plain := range map[string]bool{"io_uring": false, "plain calls": true} {
		allocations := func(messages int) float64 {
			w := newWorld(t)
			w.sweeper.PlainReads, w.sweeper.Workers = plain, 1
			w.fill(messages)
			set, err := rule.Compile([]rule.Rule{
				{Name: "a", When: `status contains "spam"`}, {Name: "b", When: `line("S") == "MAILER-DAEMON" && header("Subject") contains "x"`},
				{Name: "c", When: `status startsWith "Deferred" && header("X-Spam-Flag") contains "YES"`}, {Name: "d", When: `attempts > 99999`},
			})
			if err != nil {
				t.Fatal(err)
			}
			return testing.AllocsPerRun(3, func() {
				if sum, err := w.sweeper.Sweep(t.Context(), set, SweepOptions{DryRun: true}); err != nil || sum.Scanned != messages || sum.Matched != 0 {
					t.Fatal(fmt.Sprint(sum, err))
				}
			})
		}
		// The id, and the sender's line; plain calls make the name anew for each.
		limit := 4.2
		if !plain && hasRings() {
			limit = 2.2
		}
		n := (allocations(many) - allocations(few)) / (many - few)
		if n > limit {
			t.Errorf("%s: %.2f allocations a message, want no more than %v", name, n, limit)
		}
	}
}
