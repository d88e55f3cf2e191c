package spool_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/backscatterd/backscatterd/queuesweep/spool"
	"github.com/backscatterd/backscatterd/queuesweep/spool/internal/powerloss"
)

// A loss of power at any call of an action, at any call of the recovery after
// it, or of the one after that, and of a process that starts after another one
// was killed: whatever subset of what was not fsynced has reached the disk, the
// message is whole in one place, and what was said to be done is done.
//
// After a loss or a kill at any call everything is looked at in the same way
// once more, and then a last recovery runs. The short form does that in three of
// the layouts; in the others, the recovery after the first loss is the last.
// BACKSCATTERD_POWERLOSS=long does it in all, and adds batches of three.

// lossOperations are those of the other tests, and what goes on in the store.
var lossOperations = append(slices.Clone(operations), "bounce", "pay", "purge")

// outage goes through one operation in one layout.
type outage struct {
	*world
	op string
	// ways is up to how many ways a loss at one moment is gone through in full.
	ways int
	// generations is how many times in a row the power may go, or a process be
	// killed, with everything looked at after each; then a last one follows.
	generations int

	seen  map[string]bool // moments and losses that were looked at
	queue []moment
	paid  bool // the bounce was handed over: its note may go
	quiet bool // look at the end only
	tally struct {
		calls, tried, states, starts int
		allowed                      float64
	}
}

// moment is a file system from which a process starts: after a loss of power,
// or after a kill.
type moment struct {
	fs         *powerloss.FS
	generation int
	paid       bool
	path       string
}

func TestPowerLoss(t *testing.T) {
	long := os.Getenv("BACKSCATTERD_POWERLOSS") == "long"
	letters, ways := []int{1}, 128
	if long {
		letters, ways = []int{1, 3}, 1024
	}
	var calls, tried, states, starts int
	var allowed float64
	for _, l := range layouts {
		for _, op := range lossOperations {
			for _, n := range letters {
				t.Run(fmt.Sprintf("%s/%s/%d", l.name, op, n), func(t *testing.T) {
					o := newOutage(t, l, op, n)
					o.ways, o.generations = ways, 0
					if n == 1 && (long || l == layouts[0] || l == layouts[2] || l == layouts[3] && op != "bounce") {
						o.generations = 1
					}
					o.run()
					t.Logf("%d calls, %d of %.0f losses, %d states of the disk, %d starts", o.tally.calls, o.tally.tried, o.tally.allowed, o.tally.states, o.tally.starts)
					calls, tried, states, starts = calls+o.tally.calls, tried+o.tally.tried, states+o.tally.states, starts+o.tally.starts
					allowed += o.tally.allowed
				})
			}
		}
	}
	t.Logf("in all: %d calls after which the power can go, %d of %.0f ways to lose it, %d different states of the disk, %d starts from them", calls, tried, allowed, states, starts)
}

// newOutage makes a world on the model in which the operation can begin.
func newOutage(t *testing.T, l layout, op string, n int) *outage {
	fs := powerloss.New()
	b := "/a"
	fs.Mkdir("/a", 0o755, 0, 0, 1)
	if l.two {
		b = "/b"
		fs.Mkdir("/b", 0o755, 0, 0, 2)
	}
	o := &outage{op: op, seen: make(map[string]bool), world: &world{
		t: t, layout: l, queue: "/a/q1", queue2: "/a/q2", target: b + "/t1", store: b + "/store",
	}}
	for _, q := range []string{o.world.queue, o.queue2, o.target} {
		for _, part := range []string{"", "qf", "df", "xf"} {
			if part == "" || l.split {
				fs.Mkdir(path.Join(q, part), 0o700, owner, group, 0)
			}
		}
	}
	for i := range n {
		o.letters = append(o.letters, o.letter(fmt.Sprintf("6AO0lZlY01448%d", i), op == "release"))
		m := o.letters[i]
		fs.Put(o.control(o.world.queue, o.beganAs().kind, m.id), powerloss.File{Data: m.control, Mode: 0o640, UID: owner, GID: group, Mtime: unix.NsecToTimespec(now.UnixNano())})
		fs.Put(o.data(o.world.queue, m.id), powerloss.File{Data: m.body, Mode: 0o640, UID: owner, GID: group, Mtime: unix.NsecToTimespec(sent.UnixNano())})
		fs.Put(path.Join(o.part(o.world.queue, "xf"), "xf"+m.id), powerloss.File{Data: []byte("transcript\n"), Mode: 0o640, UID: owner, GID: group})
	}
	if before := map[string]string{"restore": "move", "pay": "bounce", "purge": "move"}[op]; before != "" {
		said, err := o.world.run(fs, before)
		o.must(err)
		for _, m := range o.letters {
			o.must(said[m.id].err)
		}
		fs.Kill()
		fs.Sync()
	}
	o.queue = []moment{{fs: fs, path: "begin"}}
	return o
}

// beganAs is how the message lies in the queue when the world is made.
func (o *outage) beganAs() at {
	if o.op == "release" {
		return at{o.world.queue, "hf"}
	}
	return at{o.world.queue, "qf"}
}

// start and end are where the operation takes a message from and to.
func (o *outage) start() at {
	if o.op == "pay" || o.op == "purge" {
		return at{o.day(), "qf"}
	}
	return o.origin(o.op)
}

func (o *outage) end() at {
	switch o.op {
	case "pay":
		return at{o.day(), "qf"}
	case "purge", "expire":
		return at{}
	}
	return o.goal(o.op)
}

// run goes on until no moment is left.
func (o *outage) run() {
	first := true
	for len(o.queue) > 0 && !o.t.Failed() {
		m := o.queue[0]
		o.queue = o.queue[1:]
		o.begin(m, "again", o.act)
		// To do it again begins with the recovery: its calls were seen then.
		if !first {
			o.quiet = true
			o.begin(m, "recover", o.recoverOn)
			o.quiet = false
		}
		first = false
	}
	if o.tally.calls < 4 {
		o.t.Errorf("only %d calls were seen: the losses do not reach the operation", o.tally.calls)
	}
}

// act does the operation to all messages that are still to be done, as the next
// start of a program does, and says of which it is done.
func (o *outage) act(fs *powerloss.FS) (done []string) {
	if o.op == "restore" || o.op == "pay" { // the others begin with it by themselves
		o.recoverOn(fs)
	}
	switch o.op {
	case "pay", "purge":
		st, err := spool.OpenStore(fs, o.store)
		if err != nil {
			o.t.Errorf("open the store: %v", err)
			return nil
		}
		defer st.Close()
		if o.op == "pay" {
			err = st.EachOwed(context.Background(), func(string) bool { return true }, func(context.Context, spool.Owed) bool {
				o.paid = true
				return true
			})
		} else {
			_, err = st.Purge(context.Background(), now.AddDate(1, 0, 0), 24*time.Hour)
		}
		if err != nil {
			o.t.Errorf("%s: %v", o.op, err)
		}
		return nil
	}
	said, err := o.world.run(fs, o.op)
	if err != nil {
		o.t.Errorf("%s: %v", o.op, err)
	}
	if o.op == "expire" {
		o.returnOn(fs)
	}
	for id, v := range said {
		switch {
		case v.err == nil:
			done = append(done, id)
		case v.unfinished:
			o.t.Errorf("%s: unfinished without a fault: %v", id, v.err)
		}
	}
	return done
}

func (o *outage) recoverOn(fs *powerloss.FS) (done []string) {
	st, err := spool.OpenStore(fs, o.store)
	if err != nil {
		o.t.Errorf("open the store: %v", err)
		return nil
	}
	defer st.Close()
	if _, err := st.Recover(context.Background()); err != nil {
		o.t.Errorf("recover: %v", err)
	}
	if o.op == "expire" {
		o.returnOn(fs)
	}
	return nil
}

// returnOn has sendmail return what is held for that, as a run does at its end.
func (o *outage) returnOn(fs *powerloss.FS) {
	st, err := spool.OpenStore(fs, o.store)
	if err != nil {
		o.t.Errorf("open the store: %v", err)
		return
	}
	defer st.Close()
	all, err := st.Expiring(context.Background())
	for _, e := range all {
		what, looked := st.Expired(context.Background(), e.ID)
		if looked == nil && what == spool.StillHeld {
			o.sendmailReturns(fs, e.ID)
			if what, looked = st.Expired(context.Background(), e.ID); what != spool.Returned {
				o.t.Errorf("%s: sendmail has returned it, and it is said to be %v", e.ID, what)
			}
		}
		err = errors.Join(err, looked)
	}
	if err := errors.Join(err, st.ForgetExpiring(context.Background(), all)); err != nil {
		o.t.Errorf("return: %v", err)
	}
}

// sendmailReturns does to the files of a message what sendmail does when it has
// returned it, in its order and without an fsync. The bounce is not looked at.
func (o *outage) sendmailReturns(fs *powerloss.FS, id string) {
	for _, file := range []string{
		o.data(o.world.queue, id), o.control(o.world.queue, "hf", id), path.Join(o.part(o.world.queue, "xf"), "xf"+id),
	} {
		dir, err := fs.Openat(unix.AT_FDCWD, path.Dir(file), unix.O_RDONLY|unix.O_DIRECTORY, 0)
		o.must(err)
		if err := fs.Unlinkat(dir, path.Base(file), 0); err != nil && err != unix.ENOENT {
			o.t.Error(err)
		}
		o.must(fs.Close(dir))
	}
}

// begin starts a process, looks at what a loss of power after each of its calls
// leaves, and at what the process has made when it is through.
func (o *outage) begin(m moment, what string, do func(*powerloss.FS) []string) {
	o.tally.starts++
	fs := m.fs.Clone()
	o.paid = m.paid
	follow := func(n int, call string) {
		o.tally.calls++
		at := fmt.Sprintf("%s; %s, call %d (%s)", m.path, what, n, call)
		if m.generation < o.generations {
			o.later(moment{fs.Clone(), m.generation + 1, o.paid, at + ", killed"})
		}
		o.lose(fs, m.generation, at, nil)
	}
	if !o.quiet {
		follow(0, "none yet")
		fs.Called = follow
	}
	done := do(fs)
	fs.Kill()
	where := m.path + "; " + what + ", done"
	if err := o.ended(fs, what); err != nil {
		o.fail(fs, where, err)
		return
	}
	for _, l := range o.letters {
		if found := o.findOn(fs, l.id); slices.Contains(done, l.id) && !at1(found, o.end()) {
			o.fail(fs, where, fmt.Errorf("%s was said to be done and is at %v", l.id, found))
		}
	}
	o.lose(fs, m.generation, where, fs)
}

// at1 tells whether this is the one place, or none where it is to be gone.
func at1(found []at, want at) bool {
	if want == (at{}) {
		return len(found) == 0
	}
	return len(found) == 1 && found[0] == want
}

// later keeps a moment for a start of its own, unless one like it was kept.
func (o *outage) later(m moment) {
	key := fmt.Sprint(m.paid, m.fs.Key())
	if o.seen[key] {
		return
	}
	o.seen[key] = true
	o.queue = append(o.queue, m)
}

// lose goes through what a loss of power leaves now. Where a process was
// through, each message must be found where that one has left it.
func (o *outage) lose(fs *powerloss.FS, generation int, where string, settled *powerloss.FS) {
	count := fs.Survivors(o.ways, uint64(o.tally.calls), func(after *powerloss.FS) {
		key := fmt.Sprint("lost", o.paid, settled != nil, after.Key())
		if o.seen[key] || o.t.Failed() {
			return
		}
		o.seen[key] = true
		o.tally.states++
		err := o.safe(after)
		for _, l := range o.letters {
			if settled == nil || err != nil {
				break
			}
			if was, is := o.findOn(settled, l.id), o.findOn(after, l.id); !slices.Equal(was, is) {
				err = fmt.Errorf("%s was at %v when all was done, and is at %v", l.id, was, is)
			}
		}
		if err != nil {
			o.fail(after, where+", power lost", err)
			return
		}
		m := moment{after, generation + 1, o.paid, where + ", power lost"}
		switch {
		case generation < o.generations:
			o.later(m)
		case settled == nil:
			o.last(m)
		}
	})
	o.tally.tried += count.Tried
	o.tally.allowed += count.Allowed
}

// last lets the recovery run from a moment that nothing further is looked at
// from.
func (o *outage) last(m moment) {
	paid := o.paid
	fs := m.fs.Clone()
	o.recoverOn(fs)
	fs.Kill()
	o.tally.starts++
	if err := o.ended(fs, "recover"); err != nil {
		o.fail(fs, m.path+"; recover, done", err)
	}
	o.paid = paid
}

func (o *outage) fail(fs *powerloss.FS, where string, err error) {
	o.t.Helper()
	o.t.Errorf("%s: %v\nthe disk:\n%s", where, err, fs.Dump())
}

// A journal of which a later part reached the disk before an earlier one was
// never acted on; what stands before the hole is ended.
func TestJournalWithAHole(t *testing.T) {
	g := newGround(t, false)
	noLeak(t)
	w := killedMove(t, g, layout{}, "move", "rename qf")
	data, err := os.ReadFile(w.journal())
	w.must(err)
	hole := append(make([]byte, 100), []byte("\"xf\":\"/nowhere\"}}\n")...)
	w.must(os.WriteFile(w.journal(), append(data, hole...), 0o600))
	w.recover()
	if err := errors.Join(w.whole(w.letters[0], at{w.queue, "qf"}, ""), w.tidy()); err != nil {
		t.Error(err)
	}
}

// A record that was cut short takes no other along.
func TestRecordBehindOneCutShort(t *testing.T) {
	w := flat(t, 1)
	w.must(os.MkdirAll(w.day(), 0o700))
	w.must(os.Chmod(w.store, 0o700))
	w.must(os.WriteFile(path.Join(w.day(), "records.jsonl"), []byte(`{"time":"2026-11-24T1`), 0o600))
	said, err := w.run(spool.System{}, "move")
	w.must(errors.Join(err, said[w.letters[0].id].err))
	st, err := spool.OpenStore(spool.System{}, w.store)
	w.must(err)
	defer st.Close()
	w.must(st.Messages(t.Context(), func(m spool.Stored) error {
		if m.Record == nil || m.Record.Queue != w.queue {
			t.Errorf("%s is without its record: %+v", m.ID, m.Record)
		}
		return nil
	}))
}
