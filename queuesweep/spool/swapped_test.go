package spool_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/backscatterd/backscatterd/queuesweep/spool"
)

// Who may write to a queue folder puts a link, or a file of his own, under the
// name of a control file after that was locked, just before it is renamed: it
// stays in the queue, and neither in the store nor anywhere else is anything
// left of the change.
func TestSwappedBeforeTheCommit(t *testing.T) {
	swaps := map[string]func(secret, path string) error{
		"a link":      os.Symlink,
		"a hard link": os.Link,
		"a file":      func(_, path string) error { return os.WriteFile(path, []byte("V8\n"), 0o600) },
		"a folder":    func(_, path string) error { return os.Mkdir(path, 0o700) },
	}
	for _, l := range []layout{layouts[0], layouts[3]} {
		g := newGround(t, l.two)
		for _, op := range []string{"move", "bounce", "moveto", "delete", "restore", "release"} {
			for what, swap := range swaps {
				t.Run(l.name+"/"+op+"/"+what, func(t *testing.T) {
					noLeak(t)
					w := g.world(l, op, 1)
					id, where := w.letters[0].id, w.origin(op)
					path := w.control(where.folder, where.kind, id)
					secret := filepath.Join(filepath.Dir(w.queue), "secret")
					if op == "restore" {
						secret = filepath.Join(filepath.Dir(w.store), "secret")
					}
					w.must(os.WriteFile(secret, []byte("nobody's mail\n"), 0o600))
					swapped := false
					disk := newFaultyDisk(func(_ int, call string, _ class) error {
						if !swapped && strings.HasPrefix(call, "rename "+where.kind) {
							swapped = true
							w.must(os.Remove(path))
							w.must(swap(secret, path))
						}
						return nil
					})
					said, err := w.run(disk, op)
					w.must(err)
					if !swapped {
						t.Fatal("there was no commit")
					}
					if v := said[id]; !errors.Is(v.err, spool.ErrChanged) || v.unfinished {
						t.Errorf("it says %v", v)
					}
					if _, err := os.Lstat(path); err != nil {
						t.Errorf("what was put there is gone: %v", err)
					}
					if at := w.find(id); len(at) != 1 || at[0] != where {
						t.Errorf("control files at %v", at)
					}
					if !exists(w.data(where.folder, id)) {
						t.Error("the df is gone")
					}
					if err := w.tidy(); err != nil {
						t.Error(err)
					}
					if data, err := os.ReadFile(secret); err != nil || string(data) != "nobody's mail\n" {
						t.Errorf("the file that is linked to is %q, %v", data, err)
					}
					g.drop(w)
				})
			}
		}
	}
}
