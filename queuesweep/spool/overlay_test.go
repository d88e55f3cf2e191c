package spool_test

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/backscatterd/backscatterd/queuesweep/spool"
)

// A queue may lie in an overlay, as in a container. There a file may be of
// another device than its folder, by its numbers: every operation does what it
// says all the same.
func TestOverlay(t *testing.T) {
	a, lower, upper := t.TempDir(), mountTmpfs(t, "size=16m,mode=755"), mountTmpfs(t, "size=64m,mode=755")
	for _, dir := range []string{"up", "work"} {
		if err := os.Mkdir(filepath.Join(upper, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	options := "xino=off,lowerdir=" + lower + ",upperdir=" + filepath.Join(upper, "up") + ",workdir=" + filepath.Join(upper, "work")
	if err := unix.Mount("overlay", a, "overlay", 0, options); err != nil {
		t.Fatalf("mount an overlay: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(a, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	g := &ground{t: t, a: a, b: a}
	for _, op := range operations {
		t.Run(op, func(t *testing.T) {
			w := g.world(layouts[0], op, 3)
			said, err := w.run(spool.System{}, op)
			w.must(err)
			for _, l := range w.letters {
				if v := said[l.id]; v.err != nil {
					t.Errorf("%s: %v", l.id, v.err)
				}
				if err := w.whole(l, w.goal(op), op); err != nil {
					t.Error(err)
				}
			}
			if err := w.tidy(); err != nil {
				t.Error(err)
			}
		})
	}
}
