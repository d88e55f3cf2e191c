package queuesweep

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/backscatterd/backscatterd/queuesweep/rule"
	"github.com/backscatterd/backscatterd/queuesweep/spool"
)

// A change of a killed process that cannot be ended, since its folder is not
// there, keeps that message from being changed, and no other. Each run tells of
// it, in log and audit log and by its error, until the folder is back.
func TestStuckChange(t *testing.T) {
	w := newWorld(t)
	w.fill(3)
	const stuck = "6AOLt900000001"
	away := filepath.Join(w.dir, "away")
	journal := filepath.Join(w.store, "journal")
	folder := func(path string, inode uint64) string {
		return fmt.Sprintf(`{"qf":%q,"df":%q,"xf":%q,"inodes":[%d,%d,%d]}`, path, path, path, inode, inode, inode)
	}
	var err error
	if err = os.Mkdir(w.store, 0o700); err == nil {
		err = os.WriteFile(journal, fmt.Appendf(nil, "{\"op\":\"move\",\"id\":%q,\"control\":\"qf%s\",\"from\":%s,\"to\":%s}\n", stuck, stuck, folder(away, 7), folder(w.queue, 8)), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		before := lines(w.audit(), `"result":"failed"`)
		sum, err := w.sweep(rule.Rule{When: "attempts == 1", Do: rule.Move}, rule.Rule{When: "attempts == 0", Do: rule.Move})
		if err == nil || !strings.Contains(err.Error(), "1 interrupted changes cannot be ended yet") {
			t.Errorf("error %v", err)
		}
		if sum.Failed != 1 {
			t.Errorf("summary %+v", sum)
		}
		for _, r := range w.results {
			if (r.Result == Failed) != (r.ID == stuck) {
				t.Errorf("%+v", r)
			}
		}
		// One line of the change that is stuck, one of the message that the rule
		// would have had moved.
		if n := lines(w.audit(), `"result":"failed"`) - before; n != 2 {
			t.Errorf("the audit log tells of %d:\n%s", n, w.audit())
		}
	}
	if !strings.Contains(w.log.String(), journal) || !strings.Contains(w.log.String(), "by hand") {
		t.Errorf("the log does not say what can be done:\n%s", &w.log)
	}
	if n := len(w.queued()); n != 2 {
		t.Errorf("%d messages in the queue, want the one that is stuck and the one that no rule matches", n)
	}
	err = w.sweeper.Settle(t.Context())
	if err == nil {
		t.Error("at start nothing is said of it")
	}
	// Its line is taken out.
	if err := os.WriteFile(journal, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if sum, err := w.sweep(rule.Rule{When: "true", Do: rule.Move}); err != nil || sum.Done != 2 {
		t.Errorf("%+v, %v", sum, err)
	}
}

// blind is a disk on which one control file cannot be read.
type blind struct {
	spool.System
	name string
	err  error
}

func (d blind) Openat(dirfd int, name string, flags int, mode uint32) (int, error) {
	if name == d.name {
		return -1, d.err
	}
	return d.System.Openat(dirfd, name, flags, mode)
}

// A control file that the disk does not give is told as failed, since nobody knows
// whether a rule matches it; the other messages are dealt with. With and without a
// memory, limits and a dry run.
func TestUnreadableIsTold(t *testing.T) {
	for _, errno := range []unix.Errno{unix.EIO, unix.EACCES, unix.EMFILE} {
		for _, c := range []struct {
			name         string
			dry, limited bool
			memory       *Memory
		}{
			{name: "plain"},
			{name: "dry", dry: true},
			{name: "limited", limited: true},
			{name: "memory", memory: NewMemory(1 << 20)},
		} {
			t.Run(unix.ErrnoName(errno)+"/"+c.name, func(t *testing.T) {
				w := newWorld(t)
				w.fill(3)
				w.dry, w.limited = c.dry, c.limited
				w.sweeper.Disk = blind{name: "qf6AOLt900000001", err: errno}
				set, err := rule.Compile([]rule.Rule{{Name: "all", When: "true", Do: rule.Move}})
				if err != nil {
					t.Fatal(err)
				}
				for range 2 { // it is not remembered either
					o := w.options()
					o.Memory = c.memory
					sum, err := w.sweeper.Sweep(t.Context(), set, o)
					if err != nil || sum.Failed != 1 {
						t.Errorf("%+v, %v", sum, err)
					}
					var told []Result
					for _, r := range w.results {
						if r.Result == Failed {
							told = append(told, r)
						}
					}
					if len(told) != 1 || told[0].ID != "6AOLt900000001" || told[0].Action != Read || !strings.Contains(told[0].Error, errno.Error()) {
						t.Errorf("told: %+v", told)
					}
				}
				if c.dry {
					return
				}
				if n := lines(w.audit(), errno.Error()); n != 2 {
					t.Errorf("the audit log has %d lines of it:\n%s", n, w.audit())
				}
				if w.once(3) != 2 {
					t.Errorf("in the queue: %v", w.queued())
				}
			})
		}
	}
}

// What is no message is left alone with a warning, and fails no run: it would fail
// every one.
func TestDamagedFailsNoRun(t *testing.T) {
	w := newWorld(t)
	w.fill(1)
	for name, text := range map[string]string{"qf6AOLt900000008": "no control file\n", "qf6AOLt900000009": "V8\n"} {
		if err := os.WriteFile(filepath.Join(w.queue, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("qf6AOLt900000000", filepath.Join(w.queue, "qf6AOLt900000007")); err != nil {
		t.Fatal(err)
	}
	sum, err := w.sweep(rule.Rule{When: "attempts == 7", Do: rule.Move})
	if err != nil || sum.Failed != 0 || sum.Matched != 0 {
		t.Errorf("%+v, %v", sum, err)
	}
	if n := lines(w.log.String(), "left alone"); n < 2 {
		t.Errorf("%d warnings:\n%s", n, &w.log)
	}
}
