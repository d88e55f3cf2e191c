package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

const (
	ownBounceID = "6AOLt5NW000012"
	heldID      = "6AOLt8GJ000040"
	mailID      = "6AOLt67K000020"
)

// A folder that is missing is an error that names it; the others are used.
func TestOneMissingFolder(t *testing.T) {
	s := newTestSite(t, t.TempDir(), "[[rule]]\nname = \"r\"\nwhen = 'null_sender'\n")
	missing := filepath.Join(s.dir, "missing")
	for _, args := range [][]string{
		{"queue", "list"}, {"queue", "summary"}, {"sweep", "--dry-run"}, {"sweep", "--json"}, {"queue", "show", mailID},
	} {
		code, out, errs := s.run(append(args, "--queue", missing, "--queue", s.queue)...)
		if code != exitFailed || !strings.Contains(errs, "queue "+missing+": ") || !strings.Contains(errs, "is the path right?") {
			t.Errorf("%v: exit status %d, stderr %s", args, code, errs)
		}
		if !strings.Contains(out, mailID) && !strings.Contains(out, ownBounceID) && !strings.Contains(out, "timeout.example") {
			t.Errorf("%v: the good folder is not looked at:\n%s", args, out)
		}
	}
	if n := s.once(8); n != 2 {
		t.Errorf("%d messages were swept from the good folder, want 2", n)
	}
}

// Somebody who may not read the queue is told so, and who may.
func TestNotRoot(t *testing.T) {
	nobody := &syscall.Credential{Uid: 65534, Gid: 65534}
	as := func(args ...string) (int, string) {
		t.Helper()
		dir := openProgram(t)
		if err := os.Mkdir(filepath.Join(dir, "spool"), 0o755); err != nil {
			t.Fatal(err)
		}
		queue := filepath.Join(dir, "spool", "mqueue")
		if err := unpack(queue); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(queue, 0o750); err != nil {
			t.Fatal(err)
		}
		if args[0] == "files" { // the folder may be read, the files may not
			args = args[1:]
			if err := os.Chmod(queue, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		cmd := exec.Command(filepath.Join(dir, "backscatterd"), append(args, "--queue", queue)...)
		cmd.Dir, cmd.SysProcAttr = "/", &syscall.SysProcAttr{Credential: nobody}
		out, err := cmd.CombinedOutput()
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
		return cmd.ProcessState.ExitCode(), string(out)
	}
	for _, args := range [][]string{{"queue", "list"}, {"sweep", "--dry-run"}, {"queue", "move", mailID, "--dry-run"}} {
		if code, out := as(args...); code != exitUsage || !strings.Contains(out, "permission denied (run as root, or as the user that owns the queue)") {
			t.Errorf("%v: exit status %d\n%s", args, code, out)
		}
	}
	if code, out := as("files", "queue", "list"); code != exitDone || strings.Count(out, "permission denied (run as root") != 8 {
		t.Errorf("a list of files that may not be read: exit status %d\n%s", code, out)
	}
	if code, out := as("files", "sweep", "--dry-run"); code != exitFailed || strings.Count(out, "permission denied") != 7 || !strings.Contains(out, "0 matched") {
		t.Errorf("a sweep of files that may not be read: exit status %d\n%s", code, out)
	}
	if code, out := as("files", "sweep"); code != exitUsage || !strings.Contains(out, "permission denied") {
		t.Errorf("a sweep without a place for its store: exit status %d\n%s", code, out)
	}
}

// The disk of the store is full: the message stays whole in the queue, and once
// there is room it goes.
func TestDiskFull(t *testing.T) {
	t.Run("the store on another file system", func(t *testing.T) {
		s := newTestSite(t, t.TempDir(), "")
		s.write(filepath.Join(s.queue, "df"+mailID), strings.Repeat("a body that is long\n", 20_000))
		mounted := tmpfs(t, "size=128k,mode=0700")
		if err := os.Symlink(mounted, s.dir+"/link"); err != nil {
			t.Fatal(err)
		}
		s.store = filepath.Join(mounted, "removed")
		s.write(s.config, strings.ReplaceAll(read(t, s.config), filepath.Join(s.dir, "removed"), s.store))
		before := snapshot(t, s.queue)
		s.want(exitFailed, "no space left on device (make room on that file system; nothing was lost)", "queue", "move", mailID)
		if after := snapshot(t, s.queue); after != before {
			t.Errorf("the queue was changed:\n%s\nwant\n%s", after, before)
		}
		if n := s.once(8); n != 0 {
			t.Errorf("%d messages in the store", n)
		}
		remount(t, mounted, "size=4m")
		s.want(exitDone, "1 done", "queue", "move", mailID)
		s.want(exitDone, "1 done", "queue", "restore", mailID)
		if after := snapshot(t, s.queue); after != before {
			t.Errorf("copied there and back, the queue is not as it was:\n%s\nwant\n%s", after, before)
		}
	})
	t.Run("everything on one", func(t *testing.T) {
		mounted := tmpfs(t, "size=512k,mode=0700")
		s := newTestSite(t, mounted, "")
		s.want(exitDone, "1 done", "queue", "move", ownBounceID)
		fillUp(t, filepath.Join(mounted, "ballast"))
		before := snapshot(t, s.queue)
		s.want(exitFailed, "no space left on device", "queue", "move", mailID)
		s.want(exitFailed, "no space left on device", "queue", "hold", mailID)
		if after := snapshot(t, s.queue); after != before {
			t.Errorf("the queue was changed:\n%s\nwant\n%s", after, before)
		}
		if err := os.Remove(filepath.Join(mounted, "ballast")); err != nil {
			t.Fatal(err)
		}
		s.want(exitDone, "1 done", "queue", "move", mailID)
		s.want(exitDone, "1 done", "queue", "restore", ownBounceID)
		s.once(8)
	})
}

// A store that is mounted read-only is an error before anything is done.
func TestReadOnlyStore(t *testing.T) {
	s := newTestSite(t, t.TempDir(), "")
	mounted := tmpfs(t, "size=1m,mode=0700")
	s.store = filepath.Join(mounted, "removed")
	s.write(s.config, strings.ReplaceAll(read(t, s.config), filepath.Join(s.dir, "removed"), s.store))
	s.want(exitDone, "1 done", "queue", "move", ownBounceID)
	remount(t, mounted, "ro")
	before := snapshot(t, s.queue)
	for _, args := range [][]string{{"queue", "move", mailID}, {"queue", "delete", mailID}, {"queue", "restore", ownBounceID}, {"sweep"}} {
		s.want(exitFailed, "read-only", args...)
	}
	s.want(exitDone, ownBounceID, "queue", "list", "--removed")
	if after := snapshot(t, s.queue); after != before {
		t.Errorf("the queue was changed:\n%s\nwant\n%s", after, before)
	}
}

// Without its df a message is not whole: it is told, and not moved.
func TestMissingBody(t *testing.T) {
	s := newTestSite(t, t.TempDir(), "[[rule]]\nname = \"r\"\nwhen = 'attempts > 50'\n")
	if err := os.Remove(filepath.Join(s.queue, "df"+mailID)); err != nil {
		t.Fatal(err)
	}
	s.want(exitDone, "its body (the df file) is missing", "queue", "list")
	s.want(exitFailed, "its body (the df file) is missing", "sweep")
	s.want(exitFailed, "its body (the df file) is missing", "queue", "move", mailID)
	if _, err := os.Stat(filepath.Join(s.queue, "qf"+mailID)); err != nil {
		t.Error(err)
	}
	s.want(exitDone, "1 done", "queue", "delete", mailID)
}

// What is named like a control file and is none is reported and left alone, and
// nothing waits for it.
func TestNoRegularFiles(t *testing.T) {
	s := newTestSite(t, t.TempDir(), "[[rule]]\nname = \"all\"\nwhen = 'true'\n")
	outside := filepath.Join(s.dir, "outside")
	s.write(outside, read(t, filepath.Join(s.queue, "qf"+mailID)))
	odd := map[string]error{
		"link":   os.Symlink(outside, filepath.Join(s.queue, "qflink")),
		"dfifo":  unix.Mkfifo(filepath.Join(s.queue, "qfdfifo"), 0o600),
		"folder": os.Mkdir(filepath.Join(s.queue, "qffolder"), 0o700),
		"second": os.Link(outside, filepath.Join(s.queue, "qfsecond")),
		"nobody": os.Symlink("/nonexistent", filepath.Join(s.queue, "qfnobody")),
	}
	for id, err := range odd {
		if err != nil {
			t.Fatal(err)
		}
		s.write(filepath.Join(s.queue, "df"+id), "x\n")
	}
	if out := s.want(exitDone, "symbolic link", "queue", "list", "--json"); strings.Count(out, `"state":"damaged"`) != 4 {
		t.Errorf("want four damaged files in\n%s", out)
	}
	for id := range odd {
		s.want(exitFailed, "not a safe control file", "queue", "move", id)
		s.want(exitFailed, "not a safe control file", "queue", "delete", id)
		if _, err := os.Lstat(filepath.Join(s.queue, "qf"+id)); err != nil {
			t.Error(err)
		}
	}
	code, out, errs := s.run("sweep", "--json")
	for id := range odd {
		if id != "second" && !strings.Contains(errs, "qf"+id) {
			t.Errorf("%s is not reported", id)
		}
	}
	// The one with two names looks like a message until it is claimed.
	if code != exitFailed || !strings.Contains(out, `"matched":8,"done":7,"skipped":0,"failed":1`) {
		t.Errorf("exit status %d, summary %s", code, out[strings.LastIndex(out, "{"):])
	}
	if _, err := os.Stat(outside); err != nil {
		t.Error(err)
	}
}

// Huge control files: bounded memory, and what is past the limit is left alone.
func TestHugeControlFiles(t *testing.T) {
	s := newTestSite(t, t.TempDir(), "[[rule]]\nname = \"all\"\nwhen = 'header(\"X-Big\") != \"\" || len(recipients) > 1000'\n")
	const envelope = "V8\nT1795557305\nN2\nP1\nS<a@b.example>\n"
	s.writeLines("qfBIG", envelope+"RPFD:<c@d.example>\n", 100<<20/8192, func(int) string {
		return "H??X-Big: " + strings.Repeat("y", 8192) + "\n"
	})
	s.writeLines("qfCROWD", envelope, 1_000_000, func(i int) string { return fmt.Sprintf("RPFD:<u%06d@x.example>\n", i) })
	s.write(filepath.Join(s.queue, "dfBIG"), "x\n")
	s.write(filepath.Join(s.queue, "dfCROWD"), "x\n")

	const limit = 512 * memoryFactor // MiB
	for _, args := range [][]string{{"queue", "list", "--json"}, {"sweep", "--json"}} {
		cmd := s.child(args...)
		var out, errs bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &errs
		if err := cmd.Run(); err != nil {
			t.Errorf("%v: %v\n%s", args, err, errs.String())
		}
		if !strings.Contains(out.String()+errs.String(), "bytes, the limit is 33554432 (queue.max_control_file)") {
			t.Errorf("%v: the large one is not reported", args)
		}
		if peak := peakOf(t, errs.String()); peak > limit {
			t.Errorf("%v: peak memory %d MiB, want at most %d", args, peak, limit)
		}
		if args[0] == "sweep" {
			r := s.results(out.String())
			if len(r) != 1 || r[0].ID != "CROWD" || r[0].Result != "done" || len(r[0].Recipients) != 100 {
				t.Errorf("sweep: %d results", len(r))
			}
		}
	}
	s.want(exitFailed, "queue.max_control_file", "queue", "move", "BIG")
	s.want(exitDone, "1 done", "queue", "restore", "CROWD")
	s.once(10)
}

// writeLines makes a queue file of many lines, without having it in memory.
func (s *site) writeLines(name, head string, n int, line func(int) string) {
	s.t.Helper()
	f, err := os.Create(filepath.Join(s.queue, name))
	if err != nil {
		s.t.Fatal(err)
	}
	w := bufio.NewWriter(f)
	w.WriteString(head)
	for i := range n {
		w.WriteString(line(i))
	}
	w.WriteString(".\n")
	if err := errors.Join(w.Flush(), f.Chmod(0o600), f.Close()); err != nil {
		s.t.Fatal(err)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// snapshot is all that there is to know of a folder's files.
func snapshot(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			t.Fatal(err)
		}
		data := read(t, path)
		fmt.Fprintf(&b, "%s %o %d:%d %d %q\n", e.Name(), st.Mode, st.Uid, st.Gid, st.Mtim.Nano(), data[:min(len(data), 200)])
	}
	return b.String()
}

func remount(t *testing.T, dir, options string) {
	t.Helper()
	flags := uintptr(unix.MS_REMOUNT)
	if options == "ro" {
		flags, options = flags|unix.MS_RDONLY, ""
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", flags, options); err != nil {
		t.Fatal(err)
	}
}

// fillUp writes a file until the disk is full.
func fillUp(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	block := make([]byte, 4096)
	for range 1 << 20 {
		if _, err := f.Write(block); errors.Is(err, unix.ENOSPC) {
			return
		} else if err != nil {
			t.Fatal(err)
		}
	}
	t.Fatal("the disk does not fill up")
}
