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

	"golang.org/x/sys/unix"

	"github.com/backscatterd/backscatterd/queuesweep/spool"
)

func list(t *testing.T, f *spool.Folder) map[string]spool.Entry {
	t.Helper()
	all := map[string]spool.Entry{}
	if err := f.Entries(context.Background(), func(e spool.Entry) error {
		all[filepath.Base(e.Path())] = e
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return all
}

// Which names are control files, and which of them can be acted on.
func TestNames(t *testing.T) {
	noLeak(t)
	w := flat(t, 0)
	for name, want := range map[string]struct{ listed, odd bool }{
		"qf6AO0lZlY014480":             {true, false},
		"hf6AO0lZlY014481":             {true, false},
		"Qf6AO0lZlY014482":             {true, false},
		"qf6AO0lZlY01448234":           {true, false},
		"qf" + strings.Repeat("A", 18): {true, false},  // 20 characters
		"qf" + strings.Repeat("A", 19): {false, false}, // which sendmail passes over
		"qf" + strings.Repeat("-", 19): {true, true},
		"qf6AO0\nRP:<x>":               {true, true},
		"qf6AO0\x1b[31m":               {true, true},
		"qf../../x":                    {false, false}, // cannot be made
		"qf ":                          {true, true},
		"qf":                           {false, false},
		"df6AO0lZlY014480":             {false, false},
		"xf6AO0lZlY014480":             {false, false},
		"tf6AO0lZlY014480":             {false, false},
		"Tf6AO0lZlY014480":             {false, false},
		"qfé":                          {true, true},
		".backscatterd.6AO0.new":       {false, false},
	} {
		path := filepath.Join(w.queue, name)
		if strings.Contains(name, "/") {
			continue
		}
		w.must(os.WriteFile(path, []byte("x"), 0o600))
		e, listed := list(t, w.open(spool.System{}).Folders()[0])[name]
		if listed != want.listed || (e.Odd != "") != want.odd {
			t.Errorf("%q: listed %v, odd %q; want %+v", name, listed, e.Odd, want)
		}
		if want.odd {
			if _, err := e.Claim(); !errors.Is(err, spool.ErrUnsafe) {
				t.Errorf("%q: claimed, %v", name, err)
			}
			if _, err := e.Read(nil, 100); !errors.Is(err, spool.ErrUnsafe) {
				t.Errorf("%q: read, %v", name, err)
			}
		}
		w.must(os.Remove(path))
	}
}

// A large folder is gone through to its end, each name once, and the way can be
// left.
func TestManyEntries(t *testing.T) {
	noLeak(t)
	dir := mountTmpfs(t, "size=64m,mode=755")
	const n = 20000
	for i := range n {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("qf6AO0lZlY%06d", i)), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	sp, err := spool.Open(spool.System{}, []spool.Place{{Path: dir, Root: dir}})
	if err != nil {
		t.Fatal(err)
	}
	defer sp.Close()
	if got := len(list(t, sp.Folders()[0])); got != n {
		t.Errorf("%d of %d entries", got, n)
	}
	seen, stop := 0, errors.New("enough")
	if err := sp.Folders()[0].Entries(context.Background(), func(spool.Entry) error {
		if seen++; seen == 10 {
			return stop
		}
		return nil
	}); err != stop || seen != 10 {
		t.Errorf("left after %d entries with %v", seen, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	seen = 0
	err = sp.Folders()[0].Entries(ctx, func(spool.Entry) error { seen++; cancel(); return nil })
	if !errors.Is(err, context.Canceled) || seen == n {
		t.Errorf("cancelled after %d entries: %v", seen, err)
	}
}

// A queue folder that vanishes is an error or empty, not a crash, and its
// messages are gone.
func TestFolderVanishes(t *testing.T) {
	noLeak(t)
	w := flat(t, 1)
	sp := w.open(spool.System{})
	e, err := sp.Find(w.letters[0].id)
	w.must(err)
	w.must(os.RemoveAll(w.queue))
	n := 0
	err = sp.Folders()[0].Entries(context.Background(), func(spool.Entry) error { n++; return nil })
	if n > 0 || err != nil && !errors.Is(err, unix.ENOENT) {
		t.Errorf("%d entries, %v", n, err)
	}
	if _, err := e.Claim(); !errors.Is(err, spool.ErrGone) {
		t.Errorf("claim: %v", err)
	}
	if _, err := e.Read(nil, 100); !errors.Is(err, spool.ErrGone) {
		t.Errorf("read: %v", err)
	}
	if _, err := sp.Find(w.letters[0].id); !errors.Is(err, spool.ErrGone) {
		t.Errorf("find: %v", err)
	}
}

func TestFind(t *testing.T) {
	noLeak(t)
	w := flat(t, 1)
	sp := w.open(spool.System{})
	for _, id := range []string{"", "../x", "a b", "6AO0lZlY014480\n", "6AO0lZlY014480/", "qf.", "é", "*"} {
		if e, err := sp.Find(id); err == nil || errors.Is(err, spool.ErrGone) || !strings.Contains(err.Error(), "no queue id") {
			t.Errorf("%q: %v, %v", id, e, err)
		}
	}
	if _, err := sp.Find("6AO0lZlY014489"); !errors.Is(err, spool.ErrGone) {
		t.Errorf("not there: %v", err)
	}
	for _, kind := range []string{"qf", "hf", "Qf"} {
		e, err := sp.Find(w.letters[0].id)
		if err != nil || e.Kind != spool.Kind(kind[0]) || e.Folder.Path != w.queue {
			t.Errorf("%s: %+v, %v", kind, e, err)
		}
		next := map[string]string{"qf": "hf", "hf": "Qf", "Qf": "qf"}[kind]
		w.must(os.Rename(w.control(w.queue, kind, w.letters[0].id), w.control(w.queue, next, w.letters[0].id)))
	}
}

// A folder that cannot be opened does not keep the others from being used, and
// the error says which and what to do.
func TestOpenInPart(t *testing.T) {
	noLeak(t)
	w := flat(t, 1)
	missing := filepath.Join(filepath.Dir(w.queue), "missing")
	shared := filepath.Join(filepath.Dir(w.queue), "shared")
	w.must(errors.Join(os.Mkdir(shared, 0o700), os.Chmod(shared, 0o777)))
	file := filepath.Join(filepath.Dir(w.queue), "file")
	w.must(os.WriteFile(file, nil, 0o600))
	places := []spool.Place{{Path: missing}, {Path: w.queue, Root: w.queue}, {Path: shared}, {Path: file}}
	sp, err := spool.Open(spool.System{}, places)
	if sp == nil {
		t.Fatalf("nothing was opened: %v", err)
	}
	if len(sp.Folders()) != 1 || sp.Folder(w.queue) == nil || sp.Folder(missing) != nil {
		t.Errorf("opened %v", sp.Folders())
	}
	for _, want := range []string{missing + ":", "O QueueDirectory", "everybody may write to " + shared, "chmod o-w", file + ":"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not say %q: %v", want, err)
		}
	}
	w.must(sp.Close())
	if sp, err := spool.Open(spool.System{}, []spool.Place{{Path: missing}}); sp != nil || err == nil {
		t.Errorf("none could be opened: %v, %v", sp, err)
	}
	if sp, err := spool.Open(spool.System{}, nil); sp != nil || err == nil || !strings.Contains(err.Error(), "--queue") {
		t.Errorf("none was named: %v, %v", sp, err)
	}
}

// qf, df and xf below a queue are used each where it is a folder, or a link to
// one, as sendmail does.
func TestParts(t *testing.T) {
	for _, c := range []struct {
		name  string
		parts map[string]string // name to "folder", "file", "link" to elsewhere, "broken"
		qf    string            // where the control file is looked for, below the queue
	}{
		{"none", nil, ""},
		{"all", map[string]string{"qf": "folder", "df": "folder", "xf": "folder"}, "qf"},
		{"df alone", map[string]string{"df": "folder"}, ""},
		{"qf alone", map[string]string{"qf": "folder"}, "qf"},
		{"a file named qf", map[string]string{"qf": "file"}, ""},
		{"a link to a folder", map[string]string{"qf": "link"}, "qf"},
		{"a link to nowhere", map[string]string{"qf": "broken"}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			noLeak(t)
			dir := t.TempDir()
			q, elsewhere := filepath.Join(dir, "q"), filepath.Join(dir, "elsewhere")
			if err := errors.Join(os.Mkdir(q, 0o700), os.Mkdir(elsewhere, 0o700)); err != nil {
				t.Fatal(err)
			}
			for name, what := range c.parts {
				path := filepath.Join(q, name)
				err := map[string]func() error{
					"folder": func() error { return os.Mkdir(path, 0o700) },
					"file":   func() error { return os.WriteFile(path, nil, 0o600) },
					"link":   func() error { return os.Symlink(elsewhere, path) },
					"broken": func() error { return os.Symlink(filepath.Join(dir, "nowhere"), path) },
				}[what]()
				if err != nil {
					t.Fatal(err)
				}
			}
			if err := os.WriteFile(filepath.Join(q, c.qf, "qf6AO0lZlY014480"), []byte(minimal), 0o600); err != nil {
				t.Fatal(err)
			}
			open := func() (*spool.Spool, error) {
				return spool.Open(spool.System{}, []spool.Place{{Path: q, Root: q}})
			}
			sp, err := open()
			if err != nil {
				t.Fatal(err)
			}
			if _, err := sp.Find("6AO0lZlY014480"); err != nil {
				t.Error(err)
			}
			if err := sp.Close(); err != nil {
				t.Error(err)
			}
			if c.parts["qf"] != "link" {
				return
			}
			if err := os.Chmod(q, 0o770); err != nil {
				t.Fatal(err)
			}
			if sp, err := open(); err == nil || !strings.Contains(err.Error(), "is a link") {
				t.Errorf("a link in a folder that a group can write to: %v, %v", sp, err)
			}
		})
	}
}

func TestPlaces(t *testing.T) {
	noLeak(t)
	root := filepath.Join(t.TempDir(), "mqueue")
	for _, d := range []string{"q1", "q2", "other", "r1"} {
		if err := os.MkdirAll(filepath.Join(root, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(
		os.WriteFile(filepath.Join(root, "qfile"), nil, 0o600),
		os.Symlink(filepath.Join(root, "r1"), filepath.Join(root, "q3")),
	); err != nil {
		t.Fatal(err)
	}
	paths := func(places []spool.Place) (all []string) {
		for _, p := range places {
			rel, _ := filepath.Rel(root, p.Path)
			all = append(all, rel)
		}
		slices.Sort(all)
		return all
	}
	got, err := spool.PlacesAt([]string{root + "/q*", root + "/other/", root + "/nothing*", "/nowhere/x*"})
	if want := []string{"other", "q1", "q2", "q3"}; !slices.Equal(paths(got), want) {
		t.Errorf("got %v, want %v", paths(got), want)
	}
	for _, want := range []string{"nothing*: no folder of that name", "/nowhere/x*: "} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not say %q: %v", want, err)
		}
	}
	cf := filepath.Join(t.TempDir(), "sendmail.cf")
	if err := os.WriteFile(cf, []byte("V10/Berkeley\nO QueueDirectory="+root+"/q*\nO QueueFileMode=0660\nQother, P="+root+"/other\nQgone, P="+root+"/gone*\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err = spool.PlacesOf(cf)
	if want := []string{"other", "q1", "q2", "q3"}; !slices.Equal(paths(got), want) {
		t.Errorf("of sendmail.cf: got %v, want %v", paths(got), want)
	}
	if err == nil || !strings.Contains(err.Error(), "gone*") {
		t.Errorf("one group has no folder, and nothing is said: %v", err)
	}
	for _, p := range got {
		if p.Root != root || p.FileMode != 0o660 || p.CF != cf {
			t.Errorf("got %+v", p)
		}
	}
	if _, err := spool.PlacesOf(cf + ".not"); err == nil || !strings.Contains(err.Error(), "queue.directories") {
		t.Errorf("no sendmail.cf: %v", err)
	}
}
