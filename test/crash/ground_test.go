//go:build linux && amd64

package crash

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/backscatterd/backscatterd/test/lab"
)

// program is the path of the program under test.
var program string

// full asks for every kill point and every error, not a sample.
func full() bool { return os.Getenv("BACKSCATTERD_CRASH") == "full" }

func TestMain(m *testing.M) {
	os.Exit(func() int {
		switch os.Getenv("BACKSCATTERD_CRASH") {
		case "", "full":
		default:
			fmt.Fprintln(os.Stderr, `BACKSCATTERD_CRASH: want "full", or nothing for a sample`)
			return 2
		}
		return lab.Main(m, &program)
	}())
}

// token stands in the template messages for the name of the run.
const token = "zzrunz"

// letters is how many messages each run has.
const letters = 3

// template is a message as sendmail has written it, token in it.
type template struct {
	id            string
	control, body []byte
}

// ground is a sendmail, two file systems, and messages to be copied.
type ground struct {
	t         testing.TB
	ctx       context.Context
	lab       *lab.Lab
	cf        string
	near, far string // two file systems; the queues are on near
	templates [letters]template
	n         int
}

func newGround(t testing.TB) *ground {
	t.Helper()
	// Before the lab, so that its namespace has the mounts too.
	g := groundOn(t, mountTmpfs(t), mountTmpfs(t))
	g.makeFolders()
	return g
}

func (g *ground) makeFolders() {
	g.t.Helper()
	for _, dir := range []string{"q", "w"} {
		g.must(os.Mkdir(filepath.Join(g.near, dir), 0o700))
	}
}

// groundOn is a ground on file systems that are there, or are going to be.
func groundOn(t testing.TB, near, far string) *ground {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	t.Cleanup(cancel)
	g := &ground{t: t, ctx: ctx, near: near, far: far}
	g.lab = lab.New(t, lab.Options{InMemory: true})
	cf, err := os.ReadFile(g.lab.CF)
	g.must(err)
	g.cf = string(cf)
	g.makeTemplates()
	return g
}

func (g *ground) must(err error) {
	g.t.Helper()
	if err != nil {
		g.t.Fatal(err)
	}
}

// mountTmpfs mounts a file system of its own for one test.
func mountTmpfs(t testing.TB) string {
	t.Helper()
	path, err := os.MkdirTemp("", "backscatterd-crash-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Remove(path) })
	if err := unix.Mount("tmpfs", path, "tmpfs", 0, "size=1g,mode=755"); err != nil {
		t.Fatalf("this test needs file systems of its own and cannot mount a tmpfs on %s: %v (run it as root; in a container, start that privileged)", path, err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(path, 0); err != nil {
			t.Errorf("unmount %s: %v", path, err)
			_ = unix.Unmount(path, unix.MNT_DETACH)
		}
	})
	return path
}

func user(tag string, i int) string   { return fmt.Sprintf("user-%s-%d@dest.example", tag, i) }
func sender(tag string, i int) string { return fmt.Sprintf("sender-%s-%d@customer.example", tag, i) }

// makeTemplates has sendmail take, try and keep the messages. The body of the
// last one is larger than what the program copies at a time.
func (g *ground) makeTemplates() {
	g.t.Helper()
	g.must(g.lab.Start(g.ctx))
	g.deferring(true)
	for i := range letters {
		body := fmt.Sprintf("the body of %s, %d\n", token, i)
		if i == letters-1 {
			body = strings.Repeat(strings.Repeat("0123456789", 7)+"\n", 4<<10) + body
		}
		ids, err := g.lab.Submit(g.ctx, lab.Envelope{
			From: sender(token, i), To: lab.To(user(token, i)),
			Data: lab.Compose(body, "From: "+sender(token, i), "To: "+user(token, i), "Subject: "+token, fmt.Sprintf("Message-ID: <%s.%d@customer.example>", token, i)),
		})
		g.must(err)
		g.templates[i].id = ids[0]
	}
	_, err := g.lab.RunQueue(g.ctx)
	g.must(err)
	g.must(g.lab.Stop(g.ctx))
	for i := range g.templates {
		tm := &g.templates[i]
		for _, f := range []struct {
			find func(string) (string, error)
			data *[]byte
		}{{g.lab.ControlFile, &tm.control}, {g.lab.DataFile, &tm.body}} {
			path, err := f.find(tm.id)
			g.must(err)
			*f.data, err = os.ReadFile(path)
			g.must(err)
		}
		if !bytes.Contains(tm.control, []byte("MDeferred")) || bytes.Count(tm.control, []byte(token)) < 4 {
			g.t.Fatalf("sendmail wrote this control file, not one of a deferred message:\n%s", tm.control)
		}
	}
}

// deferring has the stub put off all mail to the users, or take it.
func (g *ground) deferring(on bool) {
	if on {
		g.putOff("user-")
	} else {
		g.putOff()
	}
}

// putOff has the stub put off all mail to those whose addresses begin so.
func (g *ground) putOff(who ...string) {
	g.lab.Stub.AnswerRcpt(func(_, to string) string {
		if slices.ContainsFunc(who, func(prefix string) bool { return strings.HasPrefix(to, prefix) }) {
			return "452 4.2.2 Mailbox full"
		}
		return ""
	})
}

// run is one run of the program: a queue, a store and a configuration.
type run struct {
	g                                       *ground
	a                                       action
	tag                                     string
	queue, dir, store, cf, config, auditLog string
	roots                                   []string
}

// newRun makes the place of a run, and what must be before it. lead is the
// first letter of its name.
func (g *ground) newRun(a action, lead string, n int) (*run, error) {
	tag := fmt.Sprintf("%s%05d", lead, n)
	r := &run{g: g, a: a, tag: tag, queue: filepath.Join(g.near, "q", tag), dir: filepath.Join(g.near, "w", tag)}
	r.store = filepath.Join(r.dir, "store")
	r.roots = []string{r.queue, r.dir}
	if a.across {
		far := filepath.Join(g.far, tag)
		r.store = filepath.Join(far, "store")
		r.roots = append(r.roots, far)
	}
	for _, dir := range []string{r.queue, r.dir, filepath.Dir(r.store), filepath.Join(r.dir, "tmp")} {
		if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
			return nil, err
		}
	}
	return r, errors.Join(r.write(), r.begin())
}

var queueOption = regexp.MustCompile(`(?m)^O QueueDirectory=.*$`)

func (r *run) write() error {
	r.cf, r.config, r.auditLog = filepath.Join(r.dir, "sendmail.cf"), filepath.Join(r.dir, "b.toml"), filepath.Join(r.dir, "audit.jsonl")
	sendmail := filepath.Join(r.dir, "sendmail")
	config := fmt.Sprintf("[queue]\nsendmail_cf = %q\nsendmail = %q\n[store]\ndirectory = %q\npurge = \"@every 1s\"\n[audit]\nfile = %q\n"+
		"[sweep]\nmax_share = 1.0\nschedule = \"0 0 1 1 *\"\n[bounce]\nhost = %q\n[serve]\nconfine = \"off\"\n", r.cf, sendmail, r.store, r.auditLog, lab.Host)
	for _, do := range []string{"move", "delete", "hold", "bounce", "expire"} {
		config += fmt.Sprintf("[[rule]]\nname = %q\nwhen = 'status startsWith \"Deferred\"'\ndo = %q\n", do, do)
	}
	config += "[[rule]]\nname = \"release\"\nwhen = 'state == \"held\"'\ndo = \"release\"\n"
	config += "[[rule]]\nname = \"nothing\"\nwhen = 'attempts < 0'\n"
	err := errors.Join(
		os.WriteFile(r.cf, []byte(queueOption.ReplaceAllLiteralString(r.g.cf, "O QueueDirectory="+r.queue)), 0o644),
		os.WriteFile(r.config, []byte(config), 0o600),
		os.WriteFile(sendmail+".new", []byte("#!/bin/sh\nexec "+r.g.lab.SendmailCommand()+" -C "+r.cf+" \"$@\"\n"), 0o755),
		os.Rename(sendmail+".new", sendmail),
	)
	for _, tm := range r.g.templates {
		err = errors.Join(err,
			os.WriteFile(filepath.Join(r.queue, "qf"+tm.id), r.named(tm.control), 0o600),
			os.WriteFile(filepath.Join(r.queue, "df"+tm.id), r.named(tm.body), 0o600))
	}
	return err
}

func (r *run) named(text []byte) []byte {
	return bytes.ReplaceAll(text, []byte(token), []byte(r.tag))
}

// begin brings the messages where the action finds them.
func (r *run) begin() error {
	before := map[place]string{atStore: "move", atHeld: "hold"}[r.a.origin]
	if before == "" {
		return nil
	}
	if _, _, err := r.must("sweep", "--rule", before); err != nil {
		return err
	}
	// What it takes to begin is no part of the run's own log.
	if err := os.Remove(r.auditLog); err != nil || r.a.name != "purge" {
		return err
	}
	days, err := filepath.Glob(filepath.Join(r.store, "2*"))
	if err != nil || len(days) != 1 {
		return fmt.Errorf("days in the store: %v %w", days, err)
	}
	return os.Rename(days[0], filepath.Join(r.store, oldDay))
}

// oldDay is one that is to be purged.
const oldDay = "2020-02-02"

// command is the program with the configuration of the run.
func (r *run) command(args ...string) []string {
	return append([]string{program, "-c", r.config}, args...)
}

func (r *run) env() []string {
	return append(os.Environ(), "TMPDIR="+filepath.Join(r.dir, "tmp"))
}

// must runs the program without a fault and wants it to succeed.
func (r *run) must(args ...string) (stdout, stderr string, err error) {
	argv := r.command(args...)
	cmd := exec.CommandContext(r.g.ctx, argv[0], argv[1:]...)
	cmd.Env = r.env()
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err = cmd.Run(); err != nil {
		err = fmt.Errorf("backscatterd %s: %w\n%s%s", strings.Join(args, " "), err, &out, &errs)
	}
	return out.String(), errs.String(), err
}

func (r *run) remove() {
	for _, root := range r.roots {
		r.g.must(os.RemoveAll(root))
	}
}

// parallel is how many runs are under way at once. Most of the time they wait.
const parallel = 8

// each does something for all runs, some at a time.
func each(runs []*attempt, do func(*attempt) error) {
	var g errgroup.Group
	g.SetLimit(parallel)
	for _, a := range runs {
		g.Go(func() error {
			if a.failed == nil {
				a.failed = do(a)
			}
			return nil
		})
	}
	_ = g.Wait()
}

// queues has sendmail take all queues whose names begin so for its own.
func (g *ground) queues(lead string) string {
	return "-OQueueDirectory=" + filepath.Join(g.near, "q", lead+"*")
}
