package queuesweep

import (
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/backscatterd/backscatterd/queuesweep/rule"
	"github.com/backscatterd/backscatterd/queuesweep/spool"
)

// stubborn is a disk that unlinks no df.
type stubborn struct{ spool.System }

func (d stubborn) Unlinkat(dirfd int, name string, flags int) error {
	if strings.HasPrefix(name, "df") {
		return unix.EIO
	}
	return d.System.Unlinkat(dirfd, name, flags)
}

// A change that was made, but of which something is left to do, is done; the run
// ends with an error, and the next one does the rest.
func TestUnfinishedIsTold(t *testing.T) {
	w := newWorld(t)
	w.fill(2)
	w.sweeper.Disk = stubborn{}
	sum, err := w.sweep(rule.Rule{When: "true", Do: rule.Delete})
	if err == nil || !strings.Contains(err.Error(), "2 of the changes") || sum.Done != 2 {
		t.Errorf("error %v, summary %+v", err, sum)
	}
	if n := lines(w.log.String(), "level=ERROR"); n != 2 || !strings.Contains(w.log.String(), unix.EIO.Error()) {
		t.Errorf("the log has %d errors:\n%s", n, &w.log)
	}
	if n := lines(w.audit(), unix.EIO.Error()); n != 2 {
		t.Errorf("the audit log tells of %d:\n%s", n, w.audit())
	}
	w.sweeper.Disk = spool.System{}
	if _, err := w.sweep(rule.Rule{When: "true", Do: rule.Log}); err != nil {
		t.Error(err)
	}
	if n := len(w.queued()); n != 0 {
		t.Errorf("%d messages in the queue", n)
	}
}

// A message that was restored is told as restored, even where something is left.
func TestUnfinishedRestore(t *testing.T) {
	w := newWorld(t)
	w.fill(1)
	if _, err := w.sweep(rule.Rule{When: "true", Do: rule.Move}); err != nil {
		t.Fatal(err)
	}
	w.sweeper.Disk = stubborn{}
	_, err := w.sweeper.Restore(t.Context(), []string{"6AOLt900000000"}, nil, w.options())
	if err == nil || w.codes()[Done] != 1 || len(w.queued()) != 1 {
		t.Errorf("error %v, results %+v, in the queue %v", err, w.results, w.queued())
	}
}
