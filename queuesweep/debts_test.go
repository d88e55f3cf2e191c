package queuesweep

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/backscatterd/backscatterd/queuesweep/rule"
	"github.com/backscatterd/backscatterd/queuesweep/spool"
)

const owedID = "6AOLt9000001"

// owing is a world in which a bounce is owed, since the office was closed.
func owing(t *testing.T) (*world, *office) {
	t.Helper()
	w := newWorld(t)
	o := newOffice(w)
	o.closed = errors.New("the office is closed")
	w.put(owedID, message{sender: "ann@example.org"})
	w.bounce(owedID)
	if r := w.results[0]; r.Result != Done || !strings.Contains(r.Note, "still owed") || !strings.Contains(r.Note, "the office is closed") {
		t.Fatalf("result %+v", r)
	}
	if len(w.queued()) != 0 || len(w.removed()) != 1 || !w.owed() {
		t.Fatal("the message is not in the store, its bounce owed")
	}
	return w, o
}

// owed tells whether the store lists a message whose bounce is owed.
func (w *world) owed() bool {
	w.t.Helper()
	owed := false
	err := w.sweeper.ListRemoved(w.t.Context(), ListOptions{Emit: func(m Listed) { owed = owed || m.BounceOwed }})
	if err != nil && !errors.Is(err, spool.ErrNoStore) {
		w.t.Fatal(err)
	}
	return owed
}

func (w *world) settle() {
	w.t.Helper()
	w.sweeper = New(w.sweeper.Options) // as another process
	if err := w.sweeper.Settle(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
}

// A bounce that was not taken is logged, stays owed, and is sent by the next run,
// whichever that is; the audit log says so.
func TestOwedIsSentByTheNextRun(t *testing.T) {
	w, o := owing(t)
	if lines(w.log.String(), "stays owed") != 1 {
		t.Errorf("log:\n%s", w.log.String())
	}
	if _, err := w.sweep(rule.Rule{When: "false", Do: rule.Move}); err != nil || !w.owed() {
		t.Fatalf("error %v, owed %v after a sweep while the office is closed", err, w.owed())
	}
	o.closed = nil
	w.now = w.now.Add(24 * time.Hour)
	if _, err := w.sweep(rule.Rule{When: "false", Do: rule.Move}); err != nil || w.owed() {
		t.Fatalf("error %v, owed %v", err, w.owed())
	}
	if len(o.sent) != 1 || !strings.Contains(o.sent[0], "body of "+owedID) {
		t.Errorf("sent %q", o.sent)
	}
	// It says what was so when the message left the queue.
	if left := began.Add(time.Hour); !strings.Contains(o.sent[0], "Date: "+left.Format(time.RFC1123Z)) || !strings.Contains(o.sent[0], "tried for 60 minutes") {
		t.Errorf("not of the time when the message left the queue:\n%s", o.sent[0])
	}
	if n := lines(w.audit(), "has been handed over"); n != 1 {
		t.Errorf("%d lines about it in the audit log:\n%s", n, w.audit())
	}
	w.settle()
	if len(o.sent) != 1 {
		t.Errorf("sent %d times", len(o.sent))
	}
}

// A message that was restored has no bounce sent, even where it is removed again
// before the note of it is cleared.
func TestRestoredIsNotSent(t *testing.T) {
	for _, again := range []rule.Action{"", rule.Move, rule.Delete} {
		w, o := owing(t)
		if _, err := w.sweeper.Restore(t.Context(), []string{owedID}, nil, w.options()); err != nil {
			t.Fatal(err)
		}
		if notes, _ := filepath.Glob(filepath.Join(w.store, "owed", "*")); len(notes) != 0 || len(w.queued()) != 1 {
			t.Errorf("restored: notes %v, in the queue %v", notes, w.queued())
		}
		o.closed = nil
		if again != "" {
			if _, err := w.sweeper.Act(t.Context(), []string{owedID}, rule.Rule{Do: again}, w.options()); err != nil {
				t.Fatal(err)
			}
		}
		w.settle()
		if len(o.sent) != 0 {
			t.Errorf("then %q: sent %q", again, o.sent)
		}
	}
}

// So it is where the restore was killed before it cleared the note, and a rule
// then moved the message.
func TestNoteOfRestoredMessage(t *testing.T) {
	w, o := owing(t)
	path := filepath.Join(w.store, "owed", owedID)
	note, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.sweeper.Restore(t.Context(), []string{owedID}, nil, w.options()); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, note, 0o600); err != nil {
		t.Fatal(err)
	}
	o.closed = nil
	if _, err := w.sweeper.Act(t.Context(), []string{owedID}, rule.Rule{Do: rule.Move}, w.options()); err != nil {
		t.Fatal(err)
	}
	if len(o.sent) != 0 || w.owed() || len(w.removed()) != 1 {
		t.Errorf("sent %q, owed %v", o.sent, w.owed())
	}
}

// The purge of the removed store waits until the bounce is sent.
func TestPurgeKeepsWhatIsOwed(t *testing.T) {
	w, o := owing(t)
	w.now = w.now.AddDate(0, 2, 0)
	purge := func() {
		t.Helper()
		if err := w.sweeper.Purge(t.Context(), 30*24*time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	if purge(); len(w.removed()) != 1 || !w.owed() {
		t.Fatal("a message was purged whose bounce is owed")
	}
	o.closed = nil
	w.settle()
	if purge(); len(w.removed()) != 0 || len(o.sent) != 1 {
		t.Errorf("in the store %v, sent %d", w.removed(), len(o.sent))
	}
}

// An administrator can end what is owed by naming the sender in never_bounce.
func TestNeverBounceSettles(t *testing.T) {
	w, o := owing(t)
	o.closed = nil
	w.sweeper.Bounce.Never = append(w.sweeper.Bounce.Never, regexp.MustCompile(`^ann@`))
	w.settle()
	if w.owed() || len(o.sent) != 0 || lines(w.audit(), "is not sent any more: the sender matches bounce.never_bounce") != 1 {
		t.Errorf("owed %v, sent %q, audit log:\n%s", w.owed(), o.sent, w.audit())
	}
}

// While one process hands a bounce over, another does not, and nobody restores
// the message.
func TestHandedOverOnce(t *testing.T) {
	w, o := owing(t)
	other := New(w.sweeper.Options)
	calls := 0
	o.closed = nil
	o.meanwhile = func() {
		if calls++; calls > 1 {
			return
		}
		if err := other.Settle(t.Context()); err != nil {
			t.Error(err)
		}
		sum, err := other.Restore(t.Context(), []string{owedID}, nil, SweepOptions{})
		if err != nil || sum.Skipped != 1 {
			t.Errorf("restore in the midst of it: %+v, %v", sum, err)
		}
	}
	if err := w.sweeper.Settle(t.Context()); err != nil {
		t.Fatal(err)
	}
	if calls != 1 || len(o.sent) != 1 || w.owed() || strings.Contains(w.log.String(), "not all bounces") {
		t.Errorf("handed over %d times, sent %d, owed %v", calls, len(o.sent), w.owed())
	}
}

// A bounce that is stuck keeps neither the others nor the run from ending.
func TestOneBounceFails(t *testing.T) {
	w := newWorld(t)
	o := newOffice(w)
	w.sweeper.Bounce.Submit = func(ctx context.Context, to string, utf8 bool, m io.Reader) error {
		if to == "bad@example.org" {
			return errors.New("refused for good") // without reading it
		}
		return o.submit(ctx, to, utf8, m)
	}
	for i, sender := range []string{"a@example.org", "bad@example.org", "c@example.org"} {
		w.put("6AOLt900000"+string(rune('1'+i)), message{sender: sender})
	}
	sum, err := w.sweep(rule.Rule{When: "true", Do: rule.Bounce})
	if err != nil || sum.Done != 3 || len(o.sent) != 2 || lines(w.audit(), "refused for good") != 1 {
		t.Errorf("summary %+v, %v; sent %d; audit log:\n%s", sum, err, len(o.sent), w.audit())
	}
	// Cancelled in the midst, the rest stays owed and the results say so.
	w.put("6AOLt9000007", message{sender: "a@example.org"})
	w.put("6AOLt9000008", message{sender: "a@example.org"})
	ctx, cancel := context.WithCancel(t.Context())
	o.meanwhile = cancel
	_, err = w.sweeper.Act(ctx, []string{"6AOLt9000007", "6AOLt9000008"}, rule.Rule{Do: rule.Bounce}, w.options())
	if err != nil || w.codes()[Done] != 2 || len(o.sent) != 3 || !w.owed() {
		t.Errorf("%v, results %+v, sent %d, owed %v", err, w.results, len(o.sent), w.owed())
	}
}

// death is what the process dies of.
type death struct{}

// mortal is a disk whose process dies at the nth call that changes something.
// What runs after that changes nothing more.
type mortal struct {
	spool.System
	left int
	dead bool
	open map[int]bool
}

func (m *mortal) die() error {
	if m.dead {
		return unix.EIO
	}
	if m.left--; m.left == 0 {
		m.dead = true
		panic(death{})
	}
	return nil
}

func (m *mortal) Openat(dirfd int, name string, flags int, mode uint32) (int, error) {
	if flags&unix.O_CREAT != 0 || m.dead {
		if err := m.die(); err != nil {
			return -1, err
		}
	}
	fd, err := m.System.Openat(dirfd, name, flags, mode)
	if err == nil {
		m.open[fd] = true
	}
	return fd, err
}

func (m *mortal) Close(fd int) error {
	if m.dead {
		return nil
	}
	delete(m.open, fd)
	return m.System.Close(fd)
}

func (m *mortal) Write(fd int, p []byte) (int, error) {
	if err := m.die(); err != nil {
		return 0, err
	}
	return m.System.Write(fd, p)
}

func (m *mortal) Fsync(fd int) error {
	if err := m.die(); err != nil {
		return err
	}
	return m.System.Fsync(fd)
}

func (m *mortal) Renameat(a int, from string, b int, to string, replace bool) error {
	if err := m.die(); err != nil {
		return err
	}
	return m.System.Renameat(a, from, b, to, replace)
}

func (m *mortal) Linkat(a int, from string, b int, to string) error {
	if err := m.die(); err != nil {
		return err
	}
	return m.System.Linkat(a, from, b, to)
}

func (m *mortal) Unlinkat(dirfd int, name string, flags int) error {
	if err := m.die(); err != nil {
		return err
	}
	return m.System.Unlinkat(dirfd, name, flags)
}

func (m *mortal) Mkdirat(dirfd int, name string, mode uint32) error {
	if err := m.die(); err != nil {
		return err
	}
	return m.System.Mkdirat(dirfd, name, mode)
}

// survived does something and tells whether the process has lived through it.
func (m *mortal) survived(do func()) (alive bool) {
	defer func() {
		for fd := range m.open {
			_ = unix.Close(fd) // as the kernel does
		}
		if p := recover(); p != nil {
			if _, ok := p.(death); !ok {
				panic(p)
			}
		}
	}()
	do()
	return !m.dead
}

// Wherever the process dies, the message is in the queue and nobody was told, or
// it is in the store and the next start tells the sender, at worst once more in
// the same words.
func TestDeathLosesNoBounce(t *testing.T) {
	const submitting = 2 // before it is taken, and after
	died := 0
	for point := 1 - submitting; ; point++ {
		w := newWorld(t)
		o := newOffice(w)
		w.put(owedID, message{sender: "ann@example.org"})
		disk := &mortal{left: point, open: make(map[int]bool)}
		submit := o.submit
		if point <= 0 {
			w.sweeper.Bounce.Submit = func(ctx context.Context, to string, utf8 bool, m io.Reader) error {
				if point == 0 {
					_ = submit(ctx, to, utf8, m)
				} else {
					_, _ = io.Copy(io.Discard, m)
				}
				disk.dead = true
				panic(death{})
			}
		}
		w.sweeper.Disk = disk
		alive := disk.survived(func() { w.bounce(owedID) })
		w.sweeper.Disk, w.sweeper.Bounce.Submit = spool.System{}, submit
		if point > 0 && alive {
			break
		}
		died++
		early := len(o.sent)
		w.now = w.now.Add(time.Minute)
		w.settle()
		inQueue, inStore := len(w.queued()), len(w.removed())
		if inQueue+inStore != 1 {
			t.Errorf("point %d: %d in the queue, %d in the store", point, inQueue, inStore)
		}
		if inQueue == 1 {
			if len(o.sent) != 0 {
				t.Errorf("point %d: told, and the message is in the queue", point)
			}
			w.bounce(owedID)
		}
		if w.owed() || len(o.sent) < 1 || len(o.sent) > early+1 {
			t.Errorf("point %d: sent %d times, %d before the death; owed %v", point, len(o.sent), early, w.owed())
		}
		for _, s := range o.sent {
			if s != o.sent[0] {
				t.Errorf("point %d: told in other words:\n%s\nfirst:\n%s", point, s, o.sent[0])
			}
		}
	}
	if died < 12 {
		t.Errorf("died at %d points only", died)
	}
	t.Logf("died at %d points", died)
}
