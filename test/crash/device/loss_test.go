//go:build linux

package device

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// What was flushed is there after every loss; what was not may be missing, also
// where something that was written later is there.
func TestLosses(t *testing.T) {
	write := func(device int, offset int64, data string) Event {
		return Event{Device: device, Offset: offset, Data: []byte(data)}
	}
	events := []Event{write(0, 0, "a"), write(1, 0, "x"), write(0, 1, "b"), {Device: 0, Flush: true}, write(0, 2, "c"), write(0, 0, "d")}
	found := make(map[string]bool)
	for _, l := range Losses(events, 4, 1) {
		found[string(l.Image([]byte("..."), 0, events))+string(l.Image([]byte("."), 1, events))] = true
		if l.After >= 4 && (!slices.Contains(l.Kept, 0) || !slices.Contains(l.Kept, 2)) {
			t.Errorf("%v lost what was flushed: %v", l, l.Kept)
		}
	}
	for _, want := range []string{"....", "a...", "a..x", ".b..", "ab.x", "ab..", "abcx", "db.x", "dbcx", "ab.x", "dbc.", "db.."} {
		if !found[want] {
			t.Errorf("there is no way to find %q; there are %v", want, found)
		}
	}
	for _, never := range []string{"...c", "a.c.", "d.cx", ".bc."} {
		if found[never] {
			t.Errorf("%q cannot be", never)
		}
	}
}

func TestSplit(t *testing.T) {
	var whole []byte
	for i, e := range Split([]Event{{Offset: 10, Data: []byte("0123456789")}, {Flush: true}}, 4) {
		if i == 3 {
			if !e.Flush {
				t.Errorf("%+v", e)
			}
			continue
		}
		if e.Offset != int64(10+len(whole)) || len(e.Data) > 4 || e.Flush {
			t.Errorf("%+v", e)
		}
		whole = append(whole, e.Data...)
	}
	if string(whole) != "0123456789" {
		t.Errorf("%q", whole)
	}
}

// A file that was fsynced is there after every loss of power from then on; one that
// was not is not, after some.
func TestDevice(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("this test mounts file systems: run it as root")
	}
	dir := t.TempDir()
	file, at := filepath.Join(dir, "image"), filepath.Join(dir, "at")
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.Mkdir(at, 0o700))
	must(os.WriteFile(file, make([]byte, 16<<20), 0o600))
	if out, err := exec.Command("mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0,nodiscard", file).CombinedOutput(); err != nil {
		t.Fatalf("mkfs.ext4 (of e2fsprogs): %v\n%s", err, out)
	}
	image, err := os.ReadFile(file)
	must(err)
	r := NewRecorder(t, image)
	must(Mount(r.Path(0), at))
	before := r.Begin()
	synced := 0
	err = func() error {
		for _, name := range []string{"first", "second"} {
			f, err := os.Create(filepath.Join(at, name))
			if err != nil {
				return err
			}
			_, err = f.Write(bytes.Repeat([]byte(name), 3000))
			if name == "first" {
				err = errors.Join(err, f.Sync())
				synced = len(r.Events())
			}
			if err = errors.Join(err, f.Close()); err != nil {
				return err
			}
		}
		return nil
	}()
	events := r.Events()
	must(errors.Join(err, unix.Unmount(at, 0)))
	if synced == 0 || !events[synced-1].Flush {
		t.Fatalf("%d events, and after the fsync there is no flush", synced)
	}
	without := 0
	for _, l := range Losses(events, 4, 1) {
		must(os.Remove(file)) // a loop device may still be on the old one
		must(os.WriteFile(file, l.Image(before[0], 0, events), 0o600))
		must(Mount(file, at))
		first, ferr := os.ReadFile(filepath.Join(at, "first"))
		second, _ := os.ReadFile(filepath.Join(at, "second"))
		must(unix.Unmount(at, 0))
		if l.After >= synced && !bytes.Equal(first, bytes.Repeat([]byte("first"), 3000)) {
			t.Errorf("%v: the file that was fsynced has %d bytes, %v", l, len(first), ferr)
		}
		if len(second) == 0 {
			without++
		}
	}
	if without == 0 {
		t.Error("the file that was not fsynced is always there: nothing was lost")
	}
	t.Logf("%d events, %d of them before the fsync's end; the file that was not fsynced was lost %d times", len(events), synced, without)
}
