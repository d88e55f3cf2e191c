//go:build linux && amd64

package crash

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/backscatterd/backscatterd/test/crash/inject"
)

// The same kills and errors for the tools that admins have: sendmail's qtool.pl
// and Postfix's postsuper. Nothing is asserted of them: their figures are logged.
// Only the whole form runs them.

const qtool = "/usr/share/sendmail/qtool.pl"

// score is what became of the messages of one tool's runs.
type score struct {
	points, half, twice, lost, leftOver int
	example                             string
}

func (s score) String() string {
	text := fmt.Sprintf("%d kill points; a message is half after %d, twice after %d, lost after %d; files left over after %d", s.points, s.half, s.twice, s.lost, s.leftOver)
	if s.example != "" {
		text += "; such as: " + s.example
	}
	return text
}

// count adds one run's troubles, which begin with the word that they are.
func (s *score) count(at string, err error) {
	s.points++
	if err == nil {
		return
	}
	text := err.Error()
	for word, n := range map[string]*int{"half:": &s.half, "twice:": &s.twice, "lost:": &s.lost, "left over:": &s.leftOver} {
		if strings.Contains(text, word) {
			*n++
		}
	}
	if s.example == "" {
		s.example = at + ": " + strings.ReplaceAll(text, "\n", "; ")
	}
}

// complaints are what a tool said of errors.
type complaints struct{ points, status, words int }

func (c complaints) String() string {
	return fmt.Sprintf("%d errors; exit status other than 0 after %d, the error's text printed after %d", c.points, c.status, c.words)
}

var peerErrors = []unix.Errno{unix.ENOSPC, unix.EIO, unix.EACCES, unix.EROFS}

func onlyChanges(c inject.Call) bool { return c.Class == inject.Changes }

func wholeForm(t *testing.T) {
	t.Helper()
	if !full() {
		t.Skip("other tools are no part of the short form: BACKSCATTERD_CRASH=full, or `make crash`, runs them")
	}
}

// peerRuns is one command line of qtool.pl.
type peerRuns struct {
	action
	flags []string
	// counts chooses the calls at which it is killed.
	counts func(inject.Call) bool
}

func TestQtoolInTheSameTests(t *testing.T) {
	wholeForm(t)
	for _, p := range []peerRuns{
		{action{name: "move", origin: atQueue, goal: atStore}, nil, onlyChanges},
		{action{name: "move across", across: true, origin: atQueue, goal: atStore}, nil, onlyChanges},
		{action{name: "delete", origin: atQueue, goal: gone}, []string{"-d"}, onlyChanges},
		// It has sendmail change the files.
		{action{name: "bounce", origin: atQueue, goal: gone, sends: true}, []string{"-b"}, changesOrSpawns},
	} {
		t.Run(strings.ReplaceAll(p.name, " ", "-"), func(t *testing.T) {
			g := newGround(t)
			first := p.start(g, inject.Fault{})
			calls := slices.DeleteFunc(slices.Clone(first.record.Calls), func(c inject.Call) bool { return !p.counts(c) })
			first.remove()
			t.Logf("qtool.pl %s, killed: %v", p.name, p.kill(g, len(calls)))
			var said complaints
			for _, errno := range peerErrors {
				for i, c := range calls {
					if !onlyChanges(c) {
						continue
					}
					at := p.start(g, inject.Fault{What: inject.Fail, Errno: errno, N: i + 1, Counts: p.counts})
					said.count(at)
					at.remove()
				}
			}
			t.Logf("qtool.pl %s, with errors: %v", p.name, said)
		})
	}
}

func changesOrSpawns(c inject.Call) bool {
	return c.Class == inject.Changes || c.Class == inject.Spawns
}

func (p peerRuns) argv(at *attempt) []string {
	a := append([]string{"/usr/bin/perl", qtool, "-C", at.cf}, p.flags...)
	if p.goal == atStore {
		a = append(a, at.store)
	}
	return append(a, at.queue)
}

func (p peerRuns) start(g *ground, fault inject.Fault) *attempt {
	g.t.Helper()
	at := g.newAttempts(p.action, []inject.Fault{fault})[0]
	if err := os.Mkdir(at.store, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		g.t.Fatal(err)
	}
	g.must(at.traceOther(p.argv(at)))
	return at
}

// kill kills it at each call. After half of the kills sendmail comes first, after
// the others the tool is started again first.
func (p peerRuns) kill(g *ground, calls int) (kills score) {
	g.t.Helper()
	var all []*attempt
	for i := range calls {
		for _, what := range []inject.What{inject.KillBefore, inject.KillAfter} {
			at := p.start(g, inject.Fault{What: what, N: i + 1, Counts: p.counts})
			at.failed = at.headless()
			all = append(all, at)
		}
	}
	g.deferring(false)
	_, err := g.lab.RunQueue(g.ctx, g.queues("s"))
	g.must(err)
	for _, at := range all {
		again := attempt{run: at.run}
		g.must(again.traceOther(p.argv(at)))
	}
	for range 2 { // a bounce made by the first run is sent by the second
		_, err = g.lab.RunQueue(g.ctx, g.queues(""))
		g.must(err)
	}
	tallies := g.tallies(0)
	for _, at := range all {
		kills.count(at.String(), errors.Join(at.failed, at.otherBooks(tallies[at.tag])))
		at.remove()
	}
	return kills
}

func (c *complaints) count(at *attempt) {
	c.points++
	if at.record.Status.ExitStatus() != 0 {
		c.status++
	}
	if strings.Contains(strings.ToLower(at.read("out")+at.read("err")), at.fault.Errno.Error()) {
		c.words++
	}
}

// traceOther runs another tool with the attempt's fault.
func (a *attempt) traceOther(argv []string) error {
	out, err := os.Create(filepath.Join(a.dir, "out"))
	if err != nil {
		return err
	}
	defer out.Close()
	errs, err := os.Create(filepath.Join(a.dir, "err"))
	if err != nil {
		return err
	}
	defer errs.Close()
	// What it prints is no message, and is left out of the count.
	roots := []string{a.queue, a.store}
	// qtool.pl -b runs the sendmail that it finds: of two PATHs, the first.
	env := append([]string{"LC_ALL=C", "PATH=" + a.dir + ":/usr/bin:/bin"}, slices.DeleteFunc(a.env(), func(v string) bool { return strings.HasPrefix(v, "PATH=") })...)
	a.record, err = inject.Run(a.g.ctx, inject.Command{Args: argv, Dir: a.dir, Env: env, Stdout: out, Stderr: errs, Roots: roots}, a.fault)
	return err
}

// otherBooks accounts for the messages of a tool that keeps no journal, after
// sendmail has delivered what was left.
func (a *attempt) otherBooks(t *tally) error {
	if t == nil {
		t = new(tally)
	}
	err := t.err
	queue, _ := names(a.queue)
	stored, _ := names(a.store)
	for i, tm := range a.g.templates {
		copies := t.delivered[i] + len(t.bounces[i])
		for _, at := range []struct {
			dir   string
			names map[string]bool
		}{{a.queue, queue}, {a.store, stored}} {
			qf, df := at.names["qf"+tm.id], at.names["df"+tm.id]
			switch {
			case qf && df:
				copies++
				if werr := a.whole(at.dir, "qf", tm); werr != nil {
					err = errors.Join(err, fmt.Errorf("half: %w", werr))
				}
			case qf:
				err = errors.Join(err, fmt.Errorf("half: qf%s without a df in %s", tm.id, filepath.Base(filepath.Dir(at.dir))))
			case df:
				err = errors.Join(err, fmt.Errorf("left over: df%s without a qf in %s", tm.id, filepath.Base(filepath.Dir(at.dir))))
			}
		}
		if copies > 1 {
			err = errors.Join(err, fmt.Errorf("twice: message %d", i))
		}
		if copies == 0 && (a.a.goal != gone || a.a.sends) {
			err = errors.Join(err, fmt.Errorf("lost: message %d", i))
		}
	}
	return err
}

// postfixIDs are queue ids as Postfix makes them.
var postfixIDs = []string{"3F2A41C0DE", "3F2A41C0DF", "3F2A41C0E0"}

func TestPostsuperInTheSameTests(t *testing.T) {
	wholeForm(t)
	sbin, lib := unpackPostsuper(t)
	base := mountTmpfs(t)
	n := 0
	// newQueue makes a configuration and a queue with three messages. postsuper
	// looks at names, owners and modes alone.
	newQueue := func(from string) (root string) {
		n++
		root = filepath.Join(base, fmt.Sprint(n))
		must := func(err error) {
			if err != nil {
				t.Fatal(err)
			}
		}
		must(os.MkdirAll(filepath.Join(root, "etc"), 0o755))
		must(os.Mkdir(filepath.Join(root, "queue"), 0o755)) // entered by the user that it becomes
		must(os.WriteFile(filepath.Join(root, "etc", "main.cf"), fmt.Appendf(nil, "compatibility_level = 3.6\nqueue_directory = %s/queue\ndata_directory = %s/data\ndaemon_directory = %s\ncommand_directory = %s\n"+
			"mail_owner = daemon\nsetgid_group = mail\nhash_queue_names = flush\nshlib_directory = %s\nmyhostname = mx.lab.example\nimport_environment = MAIL_CONFIG LD_LIBRARY_PATH\n",
			root, root, lib, sbin, lib), 0o644))
		for _, name := range strings.Fields("active bounce corrupt defer deferred flush hold incoming maildrop private public saved trace pid") {
			must(os.MkdirAll(filepath.Join(root, "queue", name), 0o700))
			must(os.Chown(filepath.Join(root, "queue", name), 1, 0))
		}
		must(os.Mkdir(filepath.Join(root, "data"), 0o700))
		must(os.Chown(filepath.Join(root, "data"), 1, 0))
		for _, id := range postfixIDs {
			path := filepath.Join(root, "queue", from, id)
			must(os.WriteFile(path, []byte("message "+id), 0o700))
			must(os.Chown(path, 1, 1))
		}
		return root
	}
	ctx := t.Context()
	run := func(root string, args []string, fault inject.Fault) (*inject.Record, string) {
		out, err := os.Create(filepath.Join(root, "said"))
		if err != nil {
			t.Fatal(err)
		}
		defer out.Close()
		r, err := inject.Run(ctx, inject.Command{
			Args: append([]string{filepath.Join(sbin, "postsuper"), "-c", filepath.Join(root, "etc")}, args...), Dir: root,
			Env: []string{"LD_LIBRARY_PATH=" + lib, "PATH=/usr/bin:/bin", "LC_ALL=C"}, Stdout: out, Stderr: out, Roots: []string{filepath.Join(root, "queue")},
		}, fault)
		if err != nil {
			t.Fatal(err)
		}
		said, _ := os.ReadFile(out.Name())
		return r, string(said)
	}
	for _, p := range []struct {
		name, from, to string
		args           []string
	}{
		{"hold", "deferred", "hold", []string{"-h", "ALL", "deferred"}},
		{"release", "hold", "deferred", []string{"-H", "ALL"}},
		{"delete", "deferred", "", []string{"-d", "ALL", "deferred"}},
		{"requeue", "deferred", "maildrop", []string{"-r", "ALL", "deferred"}},
	} {
		t.Run(p.name, func(t *testing.T) {
			root := newQueue(p.from)
			first, said := run(root, p.args, inject.Fault{})
			if first.Status.ExitStatus() != 0 || postsuperBooks(root, p.to == "") != nil {
				t.Fatalf("postsuper without a fault: %v: %s", first.Status, said)
			}
			calls := slices.DeleteFunc(slices.Clone(first.Calls), func(c inject.Call) bool { return !onlyChanges(c) })
			var kills score
			for i := range calls {
				for _, what := range []inject.What{inject.KillBefore, inject.KillAfter} {
					root := newQueue(p.from)
					run(root, p.args, inject.Fault{What: what, N: i + 1, Counts: onlyChanges})
					kills.count(calls[i].String(), postsuperBooks(root, p.to == ""))
					os.RemoveAll(root)
				}
			}
			t.Logf("postsuper %s, killed: %v", p.name, kills)
			var c complaints
			for _, errno := range peerErrors {
				for i := range calls {
					root := newQueue(p.from)
					r, said := run(root, p.args, inject.Fault{What: inject.Fail, Errno: errno, N: i + 1, Counts: onlyChanges})
					c.points++
					if r.Status.ExitStatus() != 0 {
						c.status++
					}
					if strings.Contains(strings.ToLower(said), errno.Error()) {
						c.words++
					}
					os.RemoveAll(root)
				}
			}
			t.Logf("postsuper %s, with errors: %v", p.name, c)
		})
	}
}

// postsuperBooks looks for each message in all of a queue's folders.
func postsuperBooks(root string, deleting bool) (err error) {
	for _, id := range postfixIDs {
		found, _ := filepath.Glob(filepath.Join(root, "queue", "*", id))
		for _, path := range found {
			if text, _ := os.ReadFile(path); !bytes.Equal(text, []byte("message "+id)) {
				err = errors.Join(err, fmt.Errorf("half: %s", path))
			}
		}
		if len(found) > 1 {
			err = errors.Join(err, fmt.Errorf("twice: %v", found))
		}
		if len(found) == 0 && !deleting {
			err = errors.Join(err, fmt.Errorf("lost: %s", id))
		}
	}
	return err
}

// unpackPostsuper unpacks the package that test/deps.sh keeps.
func unpackPostsuper(t *testing.T) (sbin, lib string) {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	packages, err := filepath.Glob(filepath.Join(cache, "backscatterd-test", "postfix_*.deb"))
	if err != nil || len(packages) == 0 {
		t.Fatalf("this test runs a real postsuper, and there is no postfix_*.deb in %s/backscatterd-test; run test/deps.sh, which downloads it", cache)
	}
	root, err := os.MkdirTemp("", "postsuper-") // open to the user that it becomes
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(root) })
	if err := os.Chmod(root, 0o755); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("dpkg", "-x", packages[len(packages)-1], root).CombinedOutput(); err != nil {
		t.Fatalf("unpacking %s: %v\n%s", packages[len(packages)-1], err, out)
	}
	return filepath.Join(root, "usr/sbin"), filepath.Join(root, "usr/lib/postfix")
}
