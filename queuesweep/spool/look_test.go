package spool_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/backscatterd/backscatterd/queuesweep/qf"
)

// at is where a control file stands.
type at struct{ folder, kind string }

// origin and goal are where an operation finds and leaves a message.
func (w *world) origin(op string) at {
	switch op {
	case "restore":
		return at{w.day(), "qf"}
	case "release":
		return at{w.queue, "hf"}
	}
	return at{w.queue, "qf"}
}

func (w *world) goal(op string) at {
	switch op {
	case "move", "bounce":
		return at{w.day(), "qf"}
	case "moveto":
		return at{w.target, "qf"}
	case "hold", "expire": // sendmail is still to return it
		return at{w.queue, "hf"}
	case "delete":
		return at{}
	}
	return at{w.queue, "qf"}
}

// find looks where a message's control files stand.
func (w *world) find(id string) []at {
	var all []at
	for _, folder := range w.folders() {
		for _, kind := range []string{"qf", "hf", "Qf"} {
			if exists(w.control(folder, kind, id)) {
				all = append(all, at{folder, kind})
			}
		}
	}
	return all
}

func exists(path string) bool {
	var st unix.Stat_t
	return unix.Lstat(path, &st) == nil
}

// headless finds a control file that stands without its df: what must not be at
// any moment.
func (w *world) headless() error {
	for _, l := range w.letters {
		for _, where := range w.find(l.id) {
			if !exists(w.data(where.folder, l.id)) {
				return fmt.Errorf("%s stands without its df %s", w.control(where.folder, where.kind, l.id), w.data(where.folder, l.id))
			}
		}
	}
	return nil
}

// whole checks that a message stands there and nowhere else, as it was but for
// what the operation is about.
func (w *world) whole(l letter, where at, op string) error {
	found := w.find(l.id)
	if where == (at{}) {
		if len(found) > 0 || exists(w.data(w.queue, l.id)) {
			return fmt.Errorf("%s should be gone and is at %v", l.id, found)
		}
		return nil
	}
	if len(found) != 1 || found[0] != where {
		return fmt.Errorf("%s is at %v, should be at %v alone", l.id, found, where)
	}
	want := l.control
	if where == w.goal(op) && op == "expire" && !exists(filepath.Join(w.store, "expiring", l.id)) {
		return fmt.Errorf("%s is held for sendmail to return it, and there is no note of that", l.id)
	}
	if where == w.goal(op) && (op == "hold" || op == "release" || op == "expire") {
		f, err := qf.Parse(l.control)
		if err != nil {
			return err
		}
		if want = f.WithQuarantine(reason); op == "release" {
			want = f.WithoutQuarantine()
		}
	}
	return errors.Join(
		same(w.control(where.folder, where.kind, l.id), want, time.Time{}),
		same(w.data(where.folder, l.id), l.body, sent),
	)
}

// same checks a file's bytes, owner, group, mode and, if at is set, its time.
func same(path string, want []byte, at time.Time) error {
	got, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	st := info.Sys().(*syscall.Stat_t)
	switch {
	case !bytes.Equal(got, want):
		return fmt.Errorf("%s holds %q, want %q", path, got, want)
	case st.Uid != owner || st.Gid != group || info.Mode() != 0o640:
		return fmt.Errorf("%s belongs to %d:%d with mode %v, want %d:%d and 0640", path, st.Uid, st.Gid, info.Mode(), owner, group)
	case !at.IsZero() && !info.ModTime().Equal(at):
		return fmt.Errorf("%s has the time %v, want %v", path, info.ModTime(), at)
	}
	return nil
}

// tidy checks that nothing is left over: no name of ours in a folder, no df
// without its control file, and nothing in the journal.
func (w *world) tidy() error {
	for _, folder := range w.folders() {
		for _, part := range []string{"", "qf", "df", "xf"} {
			names, err := os.ReadDir(filepath.Join(folder, part))
			if err != nil {
				continue
			}
			for _, n := range names {
				name := n.Name()
				if strings.HasPrefix(name, ".") {
					return fmt.Errorf("%s/%s was left over", filepath.Join(folder, part), name)
				}
				if !strings.HasPrefix(name, "df") || name == "df" {
					continue
				}
				id, mine := name[2:], false
				for _, where := range w.find(id) {
					mine = mine || w.data(where.folder, id) == filepath.Join(folder, part, name)
				}
				if !mine {
					return fmt.Errorf("%s/%s was left over: no control file belongs to it", filepath.Join(folder, part), name)
				}
			}
		}
	}
	if data, err := os.ReadFile(filepath.Join(w.store, "journal")); err == nil && len(data) > 0 {
		return fmt.Errorf("the journal is not empty: %s", data)
	}
	return nil
}
