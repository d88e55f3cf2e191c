package hostile

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A control file that grows, shrinks or is replaced while it is read is read as
// what it was or as what it is, or passed over, and acted on only whole.
func TestControlFileThatMoves(t *testing.T) {
	s := newSite(t, t.TempDir(), "[[rule]]\nname = \"r\"\nwhen = 'header(\"X-Last\") == \"yes\" && header(\"X-Evil\") == \"\"'\ndo = \"log\"\n")
	long := strings.TrimSuffix(plainControl, ".\n") + "H??X-Pad: " + strings.Repeat("y", 200_000) + "\nH??X-Last: yes\n.\n"
	// A file may be away when it is to be changed, since it is moved meanwhile.
	change := map[string]func(i int){
		"GROWS": func(int) { // and is cut at once
			f, err := os.OpenFile(s.in("qfGROWS"), os.O_WRONLY|os.O_APPEND, 0)
			if err == nil {
				_, _ = f.WriteString("H??X-Evil: " + strings.Repeat("z", 50_000) + "\n.\n")
				_ = f.Truncate(int64(len(long)))
				_ = f.Close()
			}
		},
		"SHRINKS": func(i int) {
			if os.Truncate(s.in("qfSHRINKS"), int64(i*977%len(long))) == nil {
				_ = os.WriteFile(s.in("qfSHRINKS"), []byte(long), 0o600)
			}
		},
		"REPLACED": func(i int) {
			text := long
			if i%2 == 0 {
				text = plainControl
			}
			if _, err := os.Lstat(s.in("qfREPLACED")); err == nil {
				_ = os.WriteFile(s.in("tfREPLACED"), []byte(text), 0o600)
				_ = os.Rename(s.in("tfREPLACED"), s.in("qfREPLACED"))
			}
		},
		"LINKED": func(i int) {
			if i%2 == 0 {
				_ = os.Remove(s.in("qfLINKED"))
				_ = os.Symlink(filepath.Join(s.outside, "secret"), s.in("qfLINKED"))
				return
			}
			_ = os.WriteFile(s.in("tfLINKED"), []byte(long), 0o600)
			_ = os.Rename(s.in("tfLINKED"), s.in("qfLINKED"))
		},
	}
	for id := range change {
		s.message(id, long)
	}
	before := s.snapshot(s.outside)
	stop, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for i := 0; ; i++ {
			for _, f := range change {
				f(i)
			}
			select {
			case <-stop:
				return
			case <-time.After(time.Millisecond):
			}
		}
	}()
	for range 6 {
		for _, o := range s.lines(s.run("queue", "list", "--json").stdout) {
			if headers, _ := o["headers"].([]any); len(headers) > 4 {
				t.Errorf("%v has headers that it never had whole: %.200v", o["id"], headers)
			}
		}
		s.run("queue", "show", "SHRINKS")
		s.run("sweep", "--json")
		s.run("queue", "move", "GROWS", "SHRINKS", "REPLACED", "LINKED")
		moved, err := filepath.Glob(filepath.Join(s.store, "2*", "qf*"))
		s.ok(err)
		for _, path := range moved {
			// Who may write to the queue can put a link in the place of a claimed
			// message, and have the link moved; it is not followed there either.
			if st, err := os.Lstat(path); err != nil || !st.Mode().IsRegular() && !strings.HasSuffix(path, "LINKED") {
				t.Errorf("%s: %v, %v", path, st, err)
			}
			text, err := os.ReadFile(path)
			s.ok(err)
			if strings.HasSuffix(path, "REPLACED") && string(text) != long && string(text) != plainControl {
				t.Errorf("the store has a file of %d bytes that was never in the queue", len(text))
			}
		}
		if r := s.run("queue", "list", "--removed", "--json"); strings.Contains(r.all(), "not mail") {
			t.Errorf("a link in the store was followed:\n%s", r.all())
		}
		s.run("queue", "restore", "--where", "true", "--yes", "--json")
	}
	close(stop)
	<-ended
	s.untouched(before)
}

// A queue folder that is swapped for a link, between its opening and the act,
// leads nobody elsewhere: what was opened is what is changed.
func TestFolderSwapped(t *testing.T) {
	for _, part := range []string{"", "qf", "df"} {
		t.Run("the folder "+part, func(t *testing.T) {
			s := newSite(t, t.TempDir(), allMove)
			victim := filepath.Join(s.outside, "victim")
			for _, dir := range []string{victim, filepath.Join(victim, "qf"), filepath.Join(victim, "df")} {
				s.mkdir(dir, 0o700)
			}
			qf, df := s.queue, s.queue
			if part != "" {
				qf, df = s.in("qf"), s.in("df")
				s.mkdir(qf, 0o700)
				s.mkdir(df, 0o700)
				s.write(filepath.Join(victim, "qf", "qfMAIL"), plainControl)
				s.write(filepath.Join(victim, "df", "dfMAIL"), "somebody else's\n")
			}
			s.write(filepath.Join(victim, "qfMAIL"), plainControl)
			s.write(filepath.Join(victim, "dfMAIL"), "somebody else's\n")
			s.write(filepath.Join(qf, "qfMAIL"), plainControl)
			s.write(filepath.Join(df, "dfMAIL"), "body of MAIL\n")
			before := s.snapshot(s.outside)

			release := s.holdStore()
			cmd, wait := s.start("sweep", "--json")
			s.waitsFor(cmd.Process.Pid, "removed/lock")
			path := filepath.Join(s.queue, part)
			s.ok(os.Rename(path, path+".away"), os.Symlink(filepath.Join(victim, part), path))
			release()
			r := wait()
			if !s.removed("MAIL") {
				t.Errorf("the message that was in the folder is not in the store:\n%s", r.all())
			}
			s.untouched(before)
		})
	}
}

// A queue folder that is gone in the middle of a sweep ends the sweep of that
// folder, loudly or with nothing done, and no other's.
func TestFolderVanishes(t *testing.T) {
	s := newSite(t, t.TempDir(), allMove)
	for _, q := range []string{"q1", "q2"} {
		s.mkdir(s.in(q), 0o700)
		s.write(s.in(q+"/qfIN"+q), plainControl)
		s.write(s.in(q+"/dfIN"+q), "body of IN"+q+"\n")
	}
	s.configure(filepath.Join(s.queue, "q*"), "", allMove)
	before := s.snapshot(s.outside)
	release := s.holdStore()
	cmd, wait := s.start("sweep", "--json")
	s.waitsFor(cmd.Process.Pid, "removed/lock")
	s.ok(os.RemoveAll(s.in("q1")))
	release()
	if r := wait(); !s.removed("INq2") || s.removed("INq1") {
		t.Errorf("exit status %d\n%s", r.code, r.all())
	}
	// Nothing is left that would keep the next one from its work.
	s.mkdir(s.in("q1"), 0o700)
	s.want(0, "1 done", "queue", "restore", "INq2")
	s.want(0, "1 done", "sweep")
	s.untouched(before)
}

// The file system of a queue that is mounted read-only: it can be looked at, and
// what is to be changed is refused with the reason.
func TestReadOnlyQueue(t *testing.T) {
	mounted := mount(t, "size=4m,mode=0700")
	s := newSite(t, t.TempDir(), allMove)
	s.queue = filepath.Join(mounted, "mqueue")
	s.mkdir(s.queue, 0o700)
	s.configure(s.queue, "", allMove)
	s.message("MAIL", plainControl)
	s.want(0, "1 done", "queue", "move", "MAIL")
	s.message("MORE", plainControl)
	s.ok(unix.Mount("tmpfs", mounted, "tmpfs", unix.MS_REMOUNT|unix.MS_RDONLY, ""))
	before := s.snapshot(s.queue)
	s.looking("MORE")
	s.refused("MORE")
	for _, args := range [][]string{{"sweep"}, {"queue", "delete", "MORE"}, {"queue", "hold", "MORE"}, {"queue", "restore", "MAIL"}} {
		s.want(1, "read-only", args...)
	}
	if after := s.snapshot(s.queue); len(after) != len(before) || !s.removed("MAIL") || !s.queued("MORE") {
		t.Error("something was changed")
	}
	s.ok(unix.Mount("tmpfs", mounted, "tmpfs", unix.MS_REMOUNT, ""))
	s.want(0, "1 done", "queue", "restore", "MAIL")
	s.want(0, "2 done", "sweep")
}
