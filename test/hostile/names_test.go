package hostile

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// names that are no queue id's, or none that sendmail would look at.
var names = []string{
	"qf..", "qf.", "qf", "qf-", "qfA B", "qfA\nB", "qf\n", "qf\x1b[2J\x1b]0;title\x07", "qf\x7f", "qf\u202egnp.exe", "qf\u009b31m", "qf\xff\xfe", "qf\xc3",
	"qf*", "qf?", "qf$(reboot)", "qf;reboot", "qf`reboot`", "qf'", "qf\"", "qf\\", "qf--help", "qf%s%n", "qf,", "qf<a@b>", "qfÄÖ", "qf\u0661\u0662",
	"qf" + strings.Repeat("A", 253), "qf" + strings.Repeat("\n", 253), "qf" + strings.Repeat("\xf0\x9f\x92\xa3", 63), "qfABCDEFGHIJKLMNOPQRS",
	"hf\r", "hf..", "Qf\t", "Qf ", "QFA", "Hf\n", ".qf", ".backscatterd.\n.old", ".backscatterd...new", "tf\n", "df\n", "xf\n", "df..", "-qf", "--json",
}

// Names that hold no queue id are told of as far as they look like control
// files, never acted on, and never printed as they stand.
func TestNames(t *testing.T) {
	s := newSite(t, t.TempDir(), allMove)
	s.message("GOOD", plainControl)
	for _, name := range names {
		s.write(s.in(name), plainControl)
	}
	s.ok(os.Mkdir(s.in("qf\nfolder"), 0o700))
	before := s.snapshot(s.outside)
	list := s.looking("..", "../../outside/secret", "/etc/passwd", "GOOD/", "\x1b[2J", "A\nB", "")
	// GOOD, the folder, and what looks like a control file; sendmail passes over
	// ids of more than 18 letters, and so do we.
	if n := len(s.lines(list.stdout)); n != 34 {
		t.Errorf("%d messages are listed, want 34:\n%s", n, list.stdout)
	}
	odd := s.snapshot(s.queue)
	// An id is looked for as what it is; what has other characters is none.
	s.refused("..", ".", "../../outside/secret", "/etc/passwd", "GOOD/", "./GOOD", "\x1b[2J", "A\nB", "A B", "*", "?OOD", "$(reboot)", "\xff\xfe", strings.Repeat("A", 5000))
	s.want(0, "1 done", "sweep")
	if !s.removed("GOOD") {
		t.Error("the message beside them was not swept")
	}
	after := s.snapshot(s.queue)
	for _, name := range names {
		if odd[s.in(name)] != after[s.in(name)] {
			t.Errorf("%q was touched", name)
		}
	}
	s.want(0, "1 done", "queue", "restore", "GOOD")
	s.untouched(before)
}

// Queue folders may have odd names too.
func TestFolderNames(t *testing.T) {
	s := newSite(t, t.TempDir(), allMove)
	for _, name := range []string{"q\n1", "q\x1b[31m", "q\u202e", "q\xff", "q ", "q" + strings.Repeat("x", 250)} {
		dir := filepath.Join(s.dir, "mqueue", name)
		s.mkdir(dir, 0o700)
		s.write(filepath.Join(dir, "dfM"), "body of M\n")
		s.write(filepath.Join(dir, "qfM"), plainControl)
	}
	s.configure(filepath.Join(s.queue, "q*"), "", allMove)
	s.ok(os.Symlink(s.outside, s.in("qlink")), os.Symlink("/nonexistent", s.in("qdangling")))
	s.write(s.in("qfile"), "x")
	before := s.snapshot(s.outside)
	s.looking("M")
	// Of one id there is one message at a time in the store.
	s.run("sweep", "--json")
	s.run("queue", "list", "--removed", "--json")
	s.run("queue", "restore", "--where", "true", "--yes")
	s.untouched(before)
}
