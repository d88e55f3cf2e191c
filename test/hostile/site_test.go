package hostile

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// site is a queue with a configuration of its own, and a folder outside that
// nothing has any business in.
type site struct {
	t                                         *testing.T
	dir, queue, store, audit, config, outside string
}

const allMove = "[[rule]]\nname = \"all\"\nwhen = 'true'\n"

// newSite makes an empty queue below dir, and a configuration with these rules.
func newSite(t *testing.T, dir, rules string) *site {
	t.Helper()
	s := &site{
		t: t, dir: dir, queue: filepath.Join(dir, "mqueue"), store: filepath.Join(dir, "removed"),
		audit: filepath.Join(dir, "audit.jsonl"), config: filepath.Join(dir, "b.toml"), outside: filepath.Join(dir, "outside"),
	}
	s.mkdir(s.queue, 0o700)
	s.mkdir(s.outside, 0o700)
	s.write(filepath.Join(s.outside, "secret"), "not mail\n")
	// Nothing here is ever to be handed to sendmail.
	s.write(filepath.Join(dir, "sendmail"), "#!/bin/sh\necho \"$@\" >>"+filepath.Join(dir, "called")+"\n")
	s.ok(os.Chmod(filepath.Join(dir, "sendmail"), 0o700))
	s.configure(s.queue, "", rules)
	return s
}

func (s *site) configure(queues, more, rules string) {
	s.t.Helper()
	s.write(s.config, fmt.Sprintf("[queue]\ndirectories = [%q]\nsendmail = %q\n[store]\ndirectory = %q\n[audit]\nfile = %q\n[sweep]\nmax_share = 1.0\nworkers = 2\nlock_wait = \"20s\"\n%s\n%s",
		queues, filepath.Join(s.dir, "sendmail"), s.store, s.audit, more, rules))
}

func (s *site) ok(errs ...error) {
	s.t.Helper()
	if err := errors.Join(errs...); err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) mkdir(path string, mode os.FileMode) {
	s.t.Helper()
	s.ok(os.Mkdir(path, mode), os.Chmod(path, mode))
}

func (s *site) write(path, text string) {
	s.t.Helper()
	s.ok(os.WriteFile(path, []byte(text), 0o600))
}

// in is the path of a file of the queue.
func (s *site) in(name string) string { return filepath.Join(s.queue, name) }

const plainControl = "V8\nT1795557305\nK1795557305\nN2\nP1\nMDeferred: Connection timed out with mx.example.\nS<a@b.example>\nRPFD:<c@d.example>\nH??Subject: s\n.\n"

// message puts a whole message into the queue.
func (s *site) message(id, control string) {
	s.t.Helper()
	s.write(s.in("df"+id), "body of "+id+"\n")
	s.write(s.in("qf"+id), control)
}

// said is what one run of the program came to.
type said struct {
	code   int
	stdout string
	stderr string
}

func (r said) all() string { return r.stdout + r.stderr }

// command is the program, which no test lets run without end.
func (s *site) command(args ...string) (*exec.Cmd, context.CancelFunc) {
	patience := 3 * time.Minute
	if os.Getenv("HOSTILE_MESSAGES") != "" {
		patience = time.Hour
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	cmd := exec.CommandContext(ctx, program, append(args, "-c", s.config)...)
	cmd.Dir = "/"
	cmd.Env = append(os.Environ(), "NO_COLOR=1")
	return cmd, cancel
}

// run runs the program, and checks what holds for each run: it ends by itself,
// in one of the documented ways, and what it prints can do no harm.
func (s *site) run(args ...string) said {
	s.t.Helper()
	cmd, cancel := s.command(args...)
	defer cancel()
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	return s.ended(args, cmd.Run(), &out, &errs)
}

func (s *site) ended(args []string, err error, out, errs *bytes.Buffer) said {
	s.t.Helper()
	r := said{stdout: out.String(), stderr: errs.String()}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		s.t.Fatalf("%q: %v", args, err)
	}
	if exit != nil {
		if r.code = exit.ExitCode(); r.code != 1 && r.code != 2 {
			s.t.Fatalf("%q: ended with %v\n%.3000s", args, exit, r.stderr)
		}
	}
	for name, text := range map[string]string{"stdout": r.stdout, "stderr": r.stderr} {
		if at := harmful(text); at >= 0 {
			s.t.Errorf("%q: %s has %q", args, name, text[max(at-40, 0):min(at+40, len(text))])
		}
	}
	for _, a := range args {
		if a == "--json" {
			s.lines(r.stdout)
		}
	}
	return r
}

// harmful finds what a terminal could take for a command, or what changes the
// direction of a text: whatever is neither printable nor a newline or tab.
func harmful(text string) int {
	for i := 0; i < len(text); {
		r, n := utf8.DecodeRuneInString(text[i:])
		if r == utf8.RuneError && n == 1 || r != '\n' && r != '\t' && r != utf8.RuneError && !unicode.IsPrint(r) {
			return i
		}
		i += n
	}
	return -1
}

// lines parses JSON, an object a line.
func (s *site) lines(text string) (objects []map[string]any) {
	s.t.Helper()
	for line := range strings.Lines(text) {
		var o map[string]any
		if err := json.Unmarshal([]byte(line), &o); err != nil {
			s.t.Errorf("no JSON: %v: %.300q", err, line)
		}
		objects = append(objects, o)
	}
	return objects
}

// want runs the program and compares its exit status, and what it says.
func (s *site) want(code int, says string, args ...string) said {
	s.t.Helper()
	r := s.run(args...)
	if r.code != code || !strings.Contains(r.all(), says) {
		s.t.Errorf("%q: exit status %d, want %d, and %q in\n%.3000s", args, r.code, code, says, r.all())
	}
	return r
}

// looking runs all commands that are only to look, and fails if anything
// changes.
func (s *site) looking(ids ...string) (list said) {
	s.t.Helper()
	before := s.snapshot(s.dir)
	s.run("queue", "list")
	list = s.run("queue", "list", "--json")
	s.run("queue", "list", "--where", `status contains "x" || header("Subject") != "" || size > 0 || returned.status != "" || age > duration("1h")`)
	for _, by := range []string{"domain", "status", "sender", "rule"} {
		s.run("queue", "summary", "--by", by)
	}
	s.run("queue", "summary", "--json", "--by", "age")
	s.run("sweep", "--dry-run")
	s.run("sweep", "--dry-run", "--json")
	s.run("queue", "restore", "--where", "true", "--dry-run")
	if len(ids) > 0 {
		s.run(append([]string{"queue", "show"}, ids...)...)
		s.run(append([]string{"queue", "show", "--json"}, ids...)...)
		for _, do := range []string{"move", "bounce", "expire", "hold"} {
			s.run(append([]string{"queue", do, "--dry-run"}, ids...)...)
		}
	}
	s.run("qtool", "-e", `$msg{sender} =~ /./`, s.queue, "--dry-run")
	if d := cmp.Diff(before, s.snapshot(s.dir)); d != "" {
		s.t.Errorf("looking has changed something:\n%s", d)
	}
	return list
}

// refused tries all that can be done to messages by hand, and fails if anything
// is done.
func (s *site) refused(ids ...string) {
	s.t.Helper()
	before := s.snapshot(s.queue)
	for _, do := range []string{"move", "delete", "bounce", "expire", "hold", "release", "restore"} {
		r := s.run(append([]string{"queue", do, "--json"}, ids...)...)
		results := s.lines(r.stdout)
		if len(results) != len(ids)+1 {
			s.t.Errorf("%s of %d messages has %d results:\n%s", do, len(ids), len(results)-1, r.all())
		}
		for _, o := range results {
			if o["result"] == "done" {
				s.t.Errorf("%s of %q is said to be done:\n%s", do, o["id"], r.all())
			}
		}
	}
	if d := cmp.Diff(before, s.snapshot(s.queue)); d != "" {
		s.t.Errorf("refused, and something has changed:\n%s", d)
	}
}

// untouched fails where anything outside the queue has changed, or sendmail was
// called.
func (s *site) untouched(before map[string]string) {
	s.t.Helper()
	if d := cmp.Diff(before, s.snapshot(s.outside)); d != "" {
		s.t.Errorf("something outside of the queue was touched:\n%s", d)
	}
	if calls, err := os.ReadFile(filepath.Join(s.dir, "called")); err == nil {
		s.t.Errorf("sendmail was called: %s", calls)
	}
	if log, err := os.ReadFile(s.audit); err == nil {
		if at := harmful(string(log)); at >= 0 {
			s.t.Errorf("the audit log has %q", log[max(at-40, 0):min(at+40, len(log))])
		}
		s.lines(string(log))
	}
}

// snapshot is all that there is to know of what lies below a folder, links not
// followed.
func (s *site) snapshot(dir string) map[string]string {
	s.t.Helper()
	all := make(map[string]string)
	s.ok(filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return err
		}
		text := fmt.Sprintf("%o %d:%d inode %d links %d device %d", st.Mode, st.Uid, st.Gid, st.Ino, st.Nlink, st.Rdev)
		if d.Type().IsRegular() {
			text += fmt.Sprintf(" changed %d size %d", st.Mtim.Nano(), st.Size)
			if st.Size < 100_000 {
				data, err := os.ReadFile(path)
				if err != nil {
					return err
				}
				text += fmt.Sprintf(" %q", data)
			}
		}
		all[path] = text
		return nil
	}))
	return all
}

// queued and removed tell where a message is, and that it is whole there.
func (s *site) queued(id string) bool { return s.whole(s.queue, id) }

func (s *site) removed(id string) bool {
	days, err := filepath.Glob(filepath.Join(s.store, "2*"))
	s.ok(err)
	for _, day := range days {
		if s.whole(day, id) {
			return true
		}
	}
	return false
}

func (s *site) whole(dir, id string) bool {
	s.t.Helper()
	for _, kind := range []string{"qf", "hf"} {
		if _, err := os.Lstat(filepath.Join(dir, kind+id)); err == nil {
			body, err := os.ReadFile(filepath.Join(dir, "df"+id))
			if err != nil || string(body) != "body of "+id+"\n" {
				s.t.Errorf("%s in %s has the body %q, %v", id, dir, body, err)
			}
			return true
		}
	}
	return false
}

// start starts the program and returns a function that waits for its end.
func (s *site) start(args ...string) (*exec.Cmd, func() said) {
	s.t.Helper()
	cmd, cancel := s.command(args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	s.ok(cmd.Start())
	return cmd, func() said {
		s.t.Helper()
		defer cancel()
		return s.ended(args, cmd.Wait(), &out, &errs)
	}
}

// holdStore takes the lock of the store, at which every command that changes
// something waits, its folders open.
func (s *site) holdStore() (release func()) {
	s.t.Helper()
	if err := os.Mkdir(s.store, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		s.t.Fatal(err)
	}
	f, err := os.OpenFile(filepath.Join(s.store, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	s.ok(err)
	s.ok(syscall.Flock(int(f.Fd()), syscall.LOCK_EX))
	return func() { f.Close() }
}

// waitsFor waits until a process has a file open, whose name ends so.
func (s *site) waitsFor(pid int, suffix string) {
	s.t.Helper()
	for range 1000 {
		fds, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
		for _, fd := range fds {
			if to, err := os.Readlink(fd); err == nil && strings.HasSuffix(to, suffix) {
				return
			}
		}
		time.Sleep(10 * time.Millisecond)
	}
	s.t.Fatalf("process %d never opens %s", pid, suffix)
}

// mount mounts a file system for the time of a test.
func mount(t *testing.T, options string) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, options); err != nil {
		t.Fatalf("mount a tmpfs: %v (this test needs root and the right to mount)", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	return dir
}
