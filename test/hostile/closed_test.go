package hostile

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The folder that holds the df is one of sendmail's queue folders or the message
// is left alone, whatever its d line says.
func TestDataOutside(t *testing.T) {
	s := newSite(t, t.TempDir(), judging)
	for _, q := range []string{"q1", "q2"} {
		s.mkdir(s.in(q), 0o700)
	}
	elsewhere := filepath.Join(s.dir, "another")
	s.mkdir(elsewhere, 0o700)
	s.configure(filepath.Join(s.queue, "q*"), "", judging)
	lines := map[string]string{
		"UP": "../../outside", "PASSWD": "../../../../../etc/passwd", "ABSOLUTE": s.outside, "ETC": "/etc", "OTHER": elsewhere, "SIBLING": "../another",
		"SLASH": "q2/", "DOT": "./q2", "UPDOWN": "../mqueue/q2", "LONG": strings.Repeat("../", 2000) + "etc", "NUL": "q2\x00", "FOLDED": "q2\n x", "MISSING": "q3", "DOTDOT": "..", "LINK": "link",
	}
	s.ok(os.Symlink(s.outside, s.in("link")))
	var ids []string
	for id, d := range lines {
		ids = append(ids, id)
		s.write(s.in("q1/qf"+id), strings.Replace(plainControl, "P1\n", "P1\nd"+d+"\n", 1))
		for _, dir := range []string{s.outside, elsewhere, s.in("q2")} {
			s.write(filepath.Join(dir, "df"+id), "somebody else's\n")
		}
	}
	s.write(s.in("q1/qfRIGHT"), strings.Replace(plainControl, "P1\n", "P1\ndq2\n", 1))
	s.write(s.in("q2/dfRIGHT"), "body of RIGHT\n")
	before := s.snapshot(s.outside)
	other := s.snapshot(elsewhere)
	s.looking(ids...)
	for _, do := range []string{"move", "delete", "release"} {
		for _, o := range s.lines(s.run(append([]string{"queue", do, "--json"}, ids...)...).stdout) {
			if o["result"] == "done" {
				t.Errorf("%s of %v is said to be done", do, o["id"])
			}
		}
	}
	s.run("sweep", "--json")
	if !s.removed("RIGHT") {
		t.Error("the message whose df lies in another queue folder was not swept")
	}
	for id := range lines {
		for _, path := range []string{"q1/qf" + id, "q2/df" + id} {
			if _, err := os.Lstat(s.in(path)); err != nil {
				t.Error(err)
			}
		}
	}
	for path, is := range s.snapshot(elsewhere) {
		if other[path] != is {
			t.Errorf("%s was %s and is %s", path, other[path], is)
		}
	}
	s.want(0, "1 done", "queue", "restore", "RIGHT")
	s.untouched(before)
}

// Where anybody can put files into a queue, or another folder in its place,
// nothing is looked at or done.
func TestQueueOpenToOthers(t *testing.T) {
	for _, open := range []string{"", "qf", "df"} {
		for _, mode := range []os.FileMode{0o777, 0o702, 0o777 | os.ModeSticky} {
			s := newSite(t, t.TempDir(), allMove)
			s.mkdir(s.in("qf"), 0o700)
			s.mkdir(s.in("df"), 0o700)
			s.write(s.in("qf/qfMAIL"), plainControl)
			s.write(s.in("df/dfMAIL"), "body of MAIL\n")
			s.ok(os.Chmod(s.in(open), mode))
			before := s.snapshot(s.queue)
			for _, args := range [][]string{{"queue", "list"}, {"queue", "show", "MAIL"}, {"queue", "summary"}, {"sweep", "--dry-run"}, {"sweep"}, {"queue", "move", "MAIL"}, {"queue", "delete", "MAIL"}} {
				if r := s.want(2, "everybody may write to ", args...); !strings.Contains(r.stderr, "chmod o-w") || strings.Contains(r.stdout, "a@b.example") {
					t.Errorf("%q %v: %s", open, mode, r.all())
				}
			}
			for path, is := range s.snapshot(s.queue) {
				if before[path] != is {
					t.Errorf("%s was %s and is %s", path, before[path], is)
				}
			}
		}
	}
}

// A control file that another user owns or can write to is none that sendmail
// would trust.
func TestControlFilesOfOthers(t *testing.T) {
	s := newSite(t, t.TempDir(), allMove)
	for _, id := range []string{"OWNER", "GROUP", "WORLD", "SETUID", "GOOD"} {
		s.message(id, plainControl)
	}
	s.ok(os.Chown(s.in("qfOWNER"), 12345, 12345), os.Chmod(s.in("qfGROUP"), 0o620), os.Chmod(s.in("qfWORLD"), 0o602), os.Chmod(s.in("qfSETUID"), 0o4602))
	before := s.snapshot(s.outside)
	s.looking("OWNER", "GROUP", "WORLD", "SETUID")
	s.refused("OWNER", "GROUP", "WORLD", "SETUID")
	s.want(1, "1 done, 0 skipped, 4 failed", "sweep")
	s.untouched(before)
}

// A store that others can write to is not used, neither to put mail in nor to
// take it from; what it is when it is a link or a file is no store either.
func TestStoreOpenToOthers(t *testing.T) {
	s := newSite(t, t.TempDir(), allMove)
	s.message("MAIL", plainControl)
	s.message("GONE", plainControl)
	s.want(0, "1 done", "queue", "move", "GONE")
	before := s.snapshot(s.outside)
	try := func(what string) {
		t.Helper()
		for _, args := range [][]string{{"queue", "move", "MAIL"}, {"sweep"}, {"queue", "restore", "GONE"}, {"queue", "delete", "MAIL"}, {"queue", "list", "--removed"}} {
			if r := s.run(args...); r.code != 2 || !strings.Contains(r.stderr, "removed store") {
				t.Errorf("%s: %q: exit status %d\n%s", what, args, r.code, r.all())
			}
		}
		if !s.queued("MAIL") || s.queued("GONE") {
			t.Errorf("%s: something was done", what)
		}
	}
	for _, mode := range []os.FileMode{0o777, 0o720, 0o702, 0o777 | os.ModeSticky} {
		s.ok(os.Chmod(s.store, mode))
		try(mode.String())
	}
	s.ok(os.Chmod(s.store, 0o700), os.Chown(s.store, 12345, 12345))
	try("another owner")
	s.ok(os.Chown(s.store, 0, 0), os.Rename(s.store, s.store+".away"), os.Symlink(s.store+".away", s.store))
	try("a link")
	s.ok(os.Remove(s.store), os.WriteFile(s.store, nil, 0o600))
	try("a file")
	s.ok(os.Remove(s.store), os.Rename(s.store+".away", s.store))
	s.want(0, "1 done", "queue", "restore", "GONE")
	s.untouched(before)
}
