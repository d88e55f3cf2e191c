package spool_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/backscatterd/backscatterd/queuesweep/spool"
)

func openStore(t *testing.T, path string) *spool.Store {
	t.Helper()
	st, err := spool.OpenStore(spool.System{}, path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	return st
}

// One process at a time makes changes: another waits for it, as long as it is
// told to.
func TestStoreLock(t *testing.T) {
	noLeak(t)
	path := filepath.Join(t.TempDir(), "store")
	release := otherProcess(t, "store", path)
	st := openStore(t, path)
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	for name, call := range map[string]func() error{
		"Begin":   func() error { _, err := st.Begin(ctx, now); return err },
		"Recover": func() error { _, err := st.Recover(ctx); return err },
		"Purge":   func() error { _, err := st.Purge(ctx, now, time.Hour); return err },
	} {
		if err := call(); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "another backscatterd") {
			t.Errorf("%s: %v", name, err)
		}
	}
	begun := make(chan error)
	go func() {
		b, err := st.Begin(context.Background(), now)
		if err == nil {
			b.End()
		}
		begun <- err
	}()
	select {
	case err := <-begun:
		t.Fatalf("did not wait for the other process: %v", err)
	case <-time.After(100 * time.Millisecond):
	}
	release()
	if err := <-begun; err != nil {
		t.Errorf("after the other process had ended: %v", err)
	}
}

// A store that others could write to, and so have files put into a queue from,
// is refused, as is what is no folder.
func TestStoreRefused(t *testing.T) {
	for _, c := range []struct {
		name, want string
		make       func(path string) error
	}{
		{"another owner", "belongs to user 8", func(p string) error { return errors.Join(os.Mkdir(p, 0o700), os.Chown(p, owner, group)) }},
		{"writable for a group", "mode 0770", func(p string) error { return errors.Join(os.Mkdir(p, 0o700), os.Chmod(p, 0o770)) }},
		{"writable for all", "mode 1777", func(p string) error { return errors.Join(os.Mkdir(p, 0o700), os.Chmod(p, 0o777|os.ModeSticky)) }},
		{"a file", "not a directory", func(p string) error { return os.WriteFile(p, nil, 0o600) }},
		{"a link", "not a directory", func(p string) error { return os.Symlink(filepath.Dir(p), p) }},
		{"no parent", "make that folder", func(p string) error { return os.Remove(filepath.Dir(p)) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			noLeak(t)
			path := filepath.Join(t.TempDir(), "parent", "store")
			if err := errors.Join(os.Mkdir(filepath.Dir(path), 0o700), c.make(path)); err != nil {
				t.Fatal(err)
			}
			if st, err := spool.OpenStore(spool.System{}, path); err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), path) {
				t.Errorf("got %v, %v; want an error that names the store and says %q", st, err, c.want)
			}
		})
	}
}

func TestStoreIsMade(t *testing.T) {
	noLeak(t)
	path := filepath.Join(t.TempDir(), "store")
	st := openStore(t, path+"/") // as people write it
	if st.Path != path {
		t.Errorf("path %q", st.Path)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode() != os.ModeDir|0o700 {
		t.Errorf("made with %v, %v", info, err)
	}
	if ended, err := st.Recover(context.Background()); ended != 0 || err != nil {
		t.Errorf("nothing to recover: %d, %v", ended, err)
	}
	if b, err := st.Begin(context.Background(), now); err != nil {
		t.Error(err)
	} else {
		if out := b.Commit(); len(out) > 0 {
			t.Errorf("outcomes of nothing: %v", out)
		}
		if err := b.Forget(); err != nil {
			t.Error(err)
		}
		b.End()
	}
}

// put puts a message into a day of the store, with a record.
func (w *world) stored(day, id string) {
	w.t.Helper()
	dir := filepath.Join(w.store, day)
	w.must(os.MkdirAll(dir, 0o700))
	w.put(filepath.Join(dir, "qf"+id), []byte(minimal), now)
	w.put(filepath.Join(dir, "df"+id), []byte("x"), now)
	f, err := os.OpenFile(filepath.Join(dir, "records.jsonl"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	w.must(err)
	_, err = fmt.Fprintf(f, "{\"id\":%q,\"queue\":%q}\n", id, w.queue)
	w.must(errors.Join(err, f.Close()))
}

const minimal = "V8\nS<a@b.example>\nRPFD:<c@d.example>\n.\n"

// Purge removes the days whose last moment is longer ago than keep, and only
// what is the store's own.
func TestPurge(t *testing.T) {
	noLeak(t)
	w := flat(t, 0)
	st := openStore(t, w.store)
	for _, d := range []string{"2026-10-01", "2026-10-24", "2026-10-25", "2026-11-23", "2026-12-31"} {
		w.stored(d, "6AO0lZlY014480")
		w.stored(d, "6AO0lZlY014481")
	}
	old := filepath.Join(w.store, "2026-10-01")
	w.must(os.Rename(filepath.Join(old, "qf6AO0lZlY014481"), filepath.Join(old, "hf6AO0lZlY014481")))
	w.put(filepath.Join(old, "xf6AO0lZlY014481"), nil, now)
	foreign := []string{"2026-10-24/notes.txt", "2026-10-24/qf with blanks", "2026-10-24/qfolder/", "2025-01-01x/", "2020-02-30/", "2020-01-01"}
	for _, f := range foreign {
		path := filepath.Join(w.store, f)
		if strings.HasSuffix(f, "/") {
			w.must(os.Mkdir(path, 0o700))
		} else {
			w.must(os.WriteFile(path, nil, 0o600))
		}
	}
	// 2026-10-25 ends at 2026-10-26 00:00, which is 29.5 days before now.
	keep := 29*24*time.Hour + 12*time.Hour
	got, err := st.Purge(context.Background(), now, keep)
	w.must(err)
	if want := []string{"2026-10-01", "2026-10-24"}; !slices.Equal(got.Days, want) || got.Messages != 4 {
		t.Errorf("purged %+v, want days %v and 4 messages", got, want)
	}
	for _, f := range foreign {
		if !exists(filepath.Join(w.store, f)) {
			t.Errorf("%s is not the store's, and is gone", f)
		}
	}
	names, err := os.ReadDir(filepath.Join(w.store, "2026-10-24"))
	w.must(err)
	if len(names) != 3 {
		t.Errorf("beside what is foreign, %v were left", names)
	}
	if exists(old) {
		t.Error("an old day is still there")
	}
	for _, d := range []string{"2026-10-25", "2026-11-23", "2026-12-31"} {
		if names, err := os.ReadDir(filepath.Join(w.store, d)); err != nil || len(names) != 5 {
			t.Errorf("young day %s: %v, %v", d, names, err)
		}
	}
	again, err := st.Purge(context.Background(), now, keep)
	if w.must(err); again.Messages != 0 || len(again.Days) != 0 {
		t.Errorf("a second purge says it has removed %+v", again)
	}
	if got, err = st.Purge(context.Background(), now, keep-time.Nanosecond); err != nil || !slices.Equal(got.Days, []string{"2026-10-25"}) {
		t.Errorf("just past its time: %+v, %v", got, err)
	}
}

// A purge that is killed at any call leaves whole messages or none, and the
// next one does the rest.
func TestPurgeKilledAtEveryCall(t *testing.T) {
	g := newGround(t, false)
	noLeak(t)
	points := 0
	for ; ; points++ {
		w := g.world(layout{}, "delete", 0)
		w.stored("2026-10-01", "6AO0lZlY014480")
		w.stored("2026-10-01", "6AO0lZlY014481")
		w.stored(day, "6AO0lZlY014482")
		old := filepath.Join(w.store, "2026-10-01")
		check := func() {
			for _, id := range []string{"6AO0lZlY014480", "6AO0lZlY014481"} {
				if exists(filepath.Join(old, "qf"+id)) && !exists(filepath.Join(old, "df"+id)) {
					t.Errorf("%s is there without its df", id)
				}
			}
		}
		var reached string
		disk := newFaultyDisk(killAt(points+1, &reached))
		disk.after = func(string) { check() }
		purge := func(disk spool.Disk) {
			st, err := spool.OpenStore(disk, w.store)
			w.must(err)
			defer st.Close()
			_, err = st.Purge(context.Background(), now, 30*24*time.Hour)
			w.must(err)
		}
		dead := survive(disk, func() { purge(disk) })
		check()
		purge(spool.System{})
		if exists(old) || !exists(filepath.Join(w.day(), "qf6AO0lZlY014482")) {
			t.Errorf("killed at %s: not all of the old day is gone, or something of the young one", reached)
		}
		g.drop(w)
		if !dead {
			break
		}
	}
	if points < 6 {
		t.Errorf("only %d kill points", points)
	}
}

// A restore was killed, and the day that it restores from is purged before
// anything else is done: the message must not fall between the two.
func TestPurgeAfterKilledRestore(t *testing.T) {
	for _, two := range []bool{false, true} {
		g := newGround(t, two)
		noLeak(t)
		killEverywhere(t, g, layout{two: two}, "restore", 1, func(w *world) {
			st, err := spool.OpenStore(spool.System{}, w.store)
			w.must(err)
			defer st.Close()
			purged, err := st.Purge(context.Background(), now.AddDate(0, 2, 0), 24*time.Hour)
			w.must(err)
			l := w.letters[0]
			gone := purged.Messages == 1 && len(w.find(l.id)) == 0
			if err := w.whole(l, at{w.queue, "qf"}, ""); err != nil && !gone {
				t.Errorf("neither restored nor purged from the store: %v", err)
			}
		})
	}
}

// Damaged lines of the records are passed over; of several about one message
// the last counts.
func TestDamagedRecords(t *testing.T) {
	noLeak(t)
	w := flat(t, 0)
	st := openStore(t, w.store)
	w.stored(day, "6AO0lZlY014480")
	w.stored(day, "6AO0lZlY014481")
	w.must(os.WriteFile(filepath.Join(w.day(), "records.jsonl"), []byte(
		`{"id":"6AO0lZlY014480","queue":"/first"}`+"\n\x00\x00garbage\n\n"+`{"id":"6AO0lZlY014480","queue":"/last"}`+"\n"+`{"id":"6AO0lZlY014481","qu`), 0o600))
	got := map[string]*spool.Record{}
	w.must(st.Messages(context.Background(), func(m spool.Stored) error { got[m.ID] = m.Record; return nil }))
	if len(got) != 2 || got["6AO0lZlY014480"] == nil || got["6AO0lZlY014480"].Queue != "/last" || got["6AO0lZlY014481"] != nil {
		t.Errorf("got %v", got)
	}
}

func TestMessagesNewestFirst(t *testing.T) {
	noLeak(t)
	w := flat(t, 0)
	st := openStore(t, w.store)
	for i, d := range []string{"2026-11-23", "2026-10-01", day} {
		w.stored(d, fmt.Sprintf("6AO0lZlY01448%d", i))
	}
	var days []string
	stop := errors.New("enough")
	w.must(st.Messages(context.Background(), func(m spool.Stored) error { days = append(days, m.Day); return nil }))
	if !slices.Equal(days, []string{day, "2026-11-23", "2026-10-01"}) {
		t.Errorf("got %v", days)
	}
	if err := st.Messages(context.Background(), func(spool.Stored) error { return stop }); err != stop {
		t.Errorf("an error of the callback ends it: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := st.Messages(ctx, func(spool.Stored) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("the context ends it: %v", err)
	}
}

func TestDefaultStorePath(t *testing.T) {
	dir := t.TempDir()
	root := filepath.Join(dir, "mqueue")
	if err := os.Mkdir(root, 0o700); err != nil {
		t.Fatal(err)
	}
	if got := spool.DefaultStorePath(root + "/"); got != filepath.Join(dir, "backscatterd") {
		t.Errorf("beside the queue: got %s", got)
	}
	mount := mountTmpfs(t, "size=1m")
	if got := spool.DefaultStorePath(mount); got != filepath.Join(mount, ".backscatterd") {
		t.Errorf("below the mount point: got %s", got)
	}
}
