package hostile

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// makers put something under a path that is no regular file of one name.
func (s *site) makers() map[string]func(path string) error {
	return map[string]func(path string) error{
		"SYMLINK":  func(p string) error { return os.Symlink(filepath.Join(s.outside, "control"), p) },
		"DANGLING": func(p string) error { return os.Symlink("/nonexistent/file", p) },
		"LOOP":     func(p string) error { return os.Symlink(p, p) },
		"HARDLINK": func(p string) error { return os.Link(filepath.Join(s.outside, "control"), p) },
		"FIFO":     func(p string) error { return unix.Mkfifo(p, 0o600) },
		"ZERO":     func(p string) error { return unix.Mknod(p, unix.S_IFCHR|0o600, int(unix.Mkdev(1, 5))) },
		"TTY":      func(p string) error { return unix.Mknod(p, unix.S_IFCHR|0o600, int(unix.Mkdev(5, 0))) },
		"BLOCK":    func(p string) error { return unix.Mknod(p, unix.S_IFBLK|0o600, int(unix.Mkdev(7, 250))) },
		"FOLDER":   func(p string) error { return os.Mkdir(p, 0o700) },
		"FULL": func(p string) error {
			if err := os.Mkdir(p, 0o700); err != nil {
				return err
			}
			return os.WriteFile(filepath.Join(p, "qfX"), []byte(plainControl), 0o600)
		},
		"SOCKET": func(p string) error {
			// The path of a socket may have about 100 bytes.
			short := filepath.Join("/tmp", filepath.Base(s.dir)+filepath.Base(p))
			l, err := net.Listen("unix", short)
			if err != nil {
				return err
			}
			l.(*net.UnixListener).SetUnlinkOnClose(false)
			l.Close()
			if err := os.Rename(short, p); err != nil {
				// Another file system: a node of that type serves.
				os.Remove(short)
				return unix.Mknod(p, unix.S_IFSOCK|0o600, 0)
			}
			return nil
		},
	}
}

const judging = "[[rule]]\nname = \"body\"\nwhen = 'returned.header(\"X-Spam-Flag\") == \"YES\" || returned.status == \"5.1.1\" || size > 100000000000'\n" + allMove

// What lies under the name of a control file and is none is told of, left where
// it is, and neither waited for nor followed; the mail beside it is swept.
func TestControlFilesThatAreNone(t *testing.T) {
	for _, prefix := range []string{"qf", "hf", "Qf"} {
		t.Run(prefix, func(t *testing.T) {
			s := newSite(t, t.TempDir(), judging)
			s.write(filepath.Join(s.outside, "control"), plainControl)
			var ids []string
			for id, make := range s.makers() {
				s.ok(make(s.in(prefix + id)))
				s.write(s.in("df"+id), "body of "+id+"\n")
				ids = append(ids, id)
			}
			s.message("GOOD", plainControl)
			before := s.snapshot(s.outside)

			list := s.looking(ids...)
			for _, id := range ids {
				if !strings.Contains(list.stdout, `{"id":"`+id+`"`) {
					t.Errorf("%s is not listed", id)
				}
			}
			s.refused(ids...)
			odd := s.snapshot(s.queue)
			s.run("sweep", "--json")
			if !s.removed("GOOD") {
				t.Error("the message beside the odd files was not swept")
			}
			for path, is := range s.snapshot(s.queue) {
				if odd[path] != is && path != s.queue {
					t.Errorf("%s was %s and is %s", path, odd[path], is)
				}
			}
			s.want(0, "1 done", "queue", "restore", "GOOD")
			if !s.queued("GOOD") {
				t.Error("it was not restored")
			}
			s.untouched(before)
		})
	}
}

// A body that is no regular file is neither read, moved nor removed.
func TestBodiesThatAreNone(t *testing.T) {
	s := newSite(t, t.TempDir(), judging)
	s.write(filepath.Join(s.outside, "control"), plainControl)
	var ids []string
	bounce := strings.Replace(plainControl, "S<a@b.example>", "SMAILER-DAEMON", 1)
	for id, make := range s.makers() {
		if id == "HARDLINK" { // split envelopes share their df by links
			continue
		}
		s.ok(make(s.in("df" + id)))
		s.write(s.in("qf"+id), bounce)
		ids = append(ids, id)
	}
	s.message("GOOD", plainControl)
	before := s.snapshot(s.outside)
	s.looking(ids...)
	for _, do := range []string{"move", "delete", "release"} {
		s.want(1, fmt.Sprintf(": 0 done, 0 skipped, %d failed", len(ids)), append([]string{"queue", do}, ids...)...)
	}
	s.want(1, "is no regular file", "sweep")
	if !s.removed("GOOD") {
		t.Error("the message beside the odd files was not swept")
	}
	for _, id := range ids {
		for _, name := range []string{"qf" + id, "df" + id} {
			if _, err := os.Lstat(s.in(name)); err != nil {
				t.Error(err)
			}
		}
	}
	s.want(0, "1 done", "queue", "restore", "GOOD")
	s.untouched(before)
}

// Something odd as the xf, the tf or the lf neither stops a change of its
// message nor those of others afterwards, and only the xf goes along.
func TestOtherFilesThatAreNone(t *testing.T) {
	for _, do := range []string{"move", "delete", "hold"} {
		for _, across := range []bool{false, true} {
			s := newSite(t, t.TempDir(), allMove)
			if across {
				s.store = filepath.Join(mount(t, "size=4m,mode=0700"), "removed")
				s.configure(s.queue, "", allMove)
			}
			s.write(filepath.Join(s.outside, "control"), plainControl)
			s.message("NEXT", plainControl)
			args := []string{"queue", do}
			for kind, make := range s.makers() {
				if kind != "HARDLINK" { // a link less outside is nobody's loss
					args = append(args, kind)
					s.message(kind, plainControl)
					for _, prefix := range []string{"xf", "tf", "Tf", "lf"} {
						s.ok(make(s.in(prefix + kind)))
					}
				}
			}
			before, odd := s.snapshot(s.outside), s.snapshot(s.queue)
			s.want(0, "10 done", args...)
			s.want(0, "1 done", "queue", "move", "NEXT")
			if !s.removed("NEXT") {
				t.Errorf("after %s: the next message was not moved", do)
			}
			for _, id := range args[2:] {
				if do == "move" && !s.removed(id) || do == "hold" && !s.queued(id) {
					t.Errorf("%s: %s is not where it should be", do, id)
				}
			}
			for path, is := range s.snapshot(s.queue) {
				if base := filepath.Base(path); !strings.HasPrefix(base, "xf") && strings.ContainsRune("tTl", rune(base[0])) && odd[path] != is {
					t.Errorf("%s was %s and is %s", path, odd[path], is)
				}
			}
			s.untouched(before)
			if do == "move" {
				s.want(0, "10 done", append([]string{"queue", "restore"}, args[2:]...)...)
			}
		}
	}
}
