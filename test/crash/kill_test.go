//go:build linux && amd64

package crash

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/backscatterd/backscatterd/test/crash/inject"
	"github.com/backscatterd/backscatterd/test/lab"
)

// attempt is one run with one fault, and what was found.
type attempt struct {
	*run
	fault  inject.Fault
	record *inject.Record
	at     [letters]place
	failed error
}

func (a *attempt) String() string {
	s := a.a.name
	switch a.fault.What {
	case inject.KillBefore:
		s += " killed before"
	case inject.KillAfter:
		s += " killed after"
	case inject.Fail:
		s += fmt.Sprintf(" with %q at", a.fault.Errno.Error())
	}
	s += fmt.Sprint(" call ", a.fault.N)
	if a.record != nil && a.record.Hit >= 0 {
		s += " (" + a.record.Calls[a.record.Hit].String() + ")"
	}
	return s
}

// trace runs the action with the attempt's fault.
func (a *attempt) trace() (err error) {
	files := [2]*os.File{}
	for i, name := range []string{"out", "err"} {
		if files[i], err = os.Create(filepath.Join(a.dir, name)); err != nil {
			return err
		}
		defer files[i].Close()
	}
	fault := a.fault
	if a.a.name == "purge" {
		// The daemon ends when the day's folder is gone.
		fault.Signal = func(c inject.Call) unix.Signal {
			if c.Name == "unlinkat" && filepath.Base(c.Path) == oldDay {
				return unix.SIGTERM
			}
			return 0
		}
	}
	a.record, err = inject.Run(a.g.ctx, inject.Command{
		Args: a.command(a.a.args...), Dir: a.dir, Env: a.env(), Stdout: files[0], Stderr: files[1], Roots: a.roots,
	}, fault)
	return err
}

// newAttempts makes a run for each fault. What sendmail does first is apart from
// the rest by the first letter.
func (g *ground) newAttempts(a action, faults []inject.Fault) []*attempt {
	g.t.Helper()
	all := make([]*attempt, len(faults))
	for i, f := range faults {
		lead := "r"
		if f.What == inject.KillAfter {
			lead = "s"
		}
		g.n++
		r, err := g.newRun(a, lead, g.n)
		g.must(err)
		all[i] = &attempt{run: r, fault: f}
	}
	return all
}

// recordCalls runs an action without a fault, and returns the calls that count.
func (g *ground) recordCalls(a action, counts func(inject.Call) bool) []inject.Call {
	g.t.Helper()
	at := g.newAttempts(a, []inject.Fault{{}})[0]
	defer at.remove()
	g.deferring(true)
	g.must(at.trace())
	if at.record.Status.ExitStatus() != 0 {
		errs, _ := os.ReadFile(filepath.Join(at.dir, "err"))
		g.t.Fatalf("%s without a fault: %v\n%s", a.name, at.record.Status, errs)
	}
	places, err := at.look()
	g.must(err)
	for i, p := range places {
		if p != a.goal {
			g.t.Fatalf("%s without a fault: message %d is %s", a.name, i, p)
		}
	}
	var calls []inject.Call
	for _, c := range at.record.Calls {
		if counts(c) {
			calls = append(calls, c)
		}
	}
	return calls
}

func changes(c inject.Call) bool { return c.Class != inject.Looks }

// batchSize is how many runs one sendmail looks at.
const batchSize = 40

// TestKilled kills the program at each call, before it is made and after, and
// starts it again. In the runs that are killed after a call, sendmail comes
// first and runs the queue as it finds it.
func TestKilled(t *testing.T) {
	var points, run int
	for n, a := range actions {
		t.Run(strings.ReplaceAll(a.name, " ", "-"), func(t *testing.T) {
			g := newGround(t)
			calls := g.recordCalls(a, changes)
			faults := make([]inject.Fault, 0, 2*len(calls))
			for i := range calls {
				faults = append(faults, inject.Fault{What: inject.KillBefore, N: i + 1}, inject.Fault{What: inject.KillAfter, N: i + 1})
			}
			all := len(faults)
			// The short form has all of one action, and some of the others.
			if !full() && a.name != "move" {
				faults = sample(faults, sampleOf(a), uint64(n))
			}
			began := time.Now()
			seen := make(map[place]int)
			for batch := range slices.Chunk(faults, batchSize) {
				g.killBatch(a, batch, len(calls), seen)
			}
			points, run = points+all, run+len(faults)
			t.Logf("%s%s: %d calls change files, %d kill points (before and after each), %d run in %.1f s; %s",
				form(), a.name, len(calls), all, len(faults), time.Since(began).Seconds(), placesSeen(seen))
		})
	}
	t.Logf("%sall actions: %d kill points, %d run", form(), points, run)
}

func form() string {
	if full() {
		return ""
	}
	return "SHORT FORM (BACKSCATTERD_CRASH=full runs all): "
}

// sampleOf is how many kill points of an action the short form takes; a purge
// waits for its schedule, and bounces start a sendmail.
func sampleOf(a action) int {
	switch {
	case a.name == "purge":
		return 6
	case a.sends:
		return 8
	}
	return 16
}

// sample takes n of them, the same ones each time.
func sample[T any](all []T, n int, seed uint64) []T {
	all = slices.Clone(all)
	r := rand.New(rand.NewPCG(5, seed))
	r.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all[:min(n, len(all))]
}

func placesSeen(seen map[place]int) string {
	var s []string
	for _, p := range []place{atQueue, atHeld, atStore, gone} {
		s = append(s, fmt.Sprintf("%d %s", seen[p], p))
	}
	return "messages found after the next start: " + strings.Join(s, ", ")
}

func (g *ground) killBatch(a action, faults []inject.Fault, calls int, seen map[place]int) {
	g.t.Helper()
	all := g.newAttempts(a, faults)
	g.deferring(true)
	each(all, func(at *attempt) error {
		if err := at.trace(); err != nil {
			return err
		}
		if at.record.Hit < 0 {
			return fmt.Errorf("the run ended before its call came (%d were counted without a fault): status %v", calls, at.record.Status)
		}
		if !at.record.Status.Signaled() {
			return fmt.Errorf("it was not killed: status %v", at.record.Status)
		}
		return at.headless()
	})
	g.deferring(false)
	if slices.ContainsFunc(faults, func(f inject.Fault) bool { return f.What == inject.KillAfter }) {
		_, err := g.lab.RunQueue(g.ctx, g.queues("s"))
		g.must(err)
	}
	g.restart(all)
	for _, at := range all {
		for _, p := range at.at {
			seen[p]++
		}
	}
	g.settle(all, func(at *attempt, i int) bool { return committed(at.record.Calls, g.templates[i].id) })
}

// restart starts the program again, for a sweep that matches nothing, and looks
// where the messages are.
func (g *ground) restart(all []*attempt) {
	each(all, func(at *attempt) (err error) {
		if _, _, err = at.must(sweep("nothing")...); err != nil {
			return err
		}
		if at.a.name != "purge" {
			at.at, err = at.look()
			return err
		}
		if _, err = at.purged(); err != nil {
			return err
		}
		if _, err := os.Stat(filepath.Join(at.store, oldDay)); err == nil {
			again := attempt{run: at.run}
			if err := again.trace(); err != nil {
				return err
			}
			if again.record.Status.ExitStatus() != 0 {
				return fmt.Errorf("purging again: status %v", again.record.Status)
			}
		}
		if at.at, err = at.look(); err == nil && at.at != [letters]place{gone, gone, gone} {
			err = fmt.Errorf("after a purge: %v", at.at)
		}
		return err
	})
}

// purged finds the messages of a day that is being purged. Half a purge is no
// loss, as long as control files go first. The next one ends it.
func (r *run) purged() (at [letters]place, err error) {
	for i, tm := range r.g.templates {
		at[i] = gone
		day := filepath.Join(r.store, oldDay)
		if _, none := os.Stat(filepath.Join(day, "qf"+tm.id)); none == nil {
			at[i] = atStore
			if half := r.whole(day, "qf", tm); half != nil {
				err = errors.Join(err, fmt.Errorf("half: message %d: %w", i, half))
			}
		}
	}
	return at, err
}

// settle has sendmail list and deliver what is left, and closes the books.
func (g *ground) settle(all []*attempt, done func(at *attempt, i int) bool) {
	g.t.Helper()
	listed := g.listed()
	for _, at := range all {
		if at.failed == nil {
			at.failed = at.compare(listed)
		}
	}
	for range 2 { // a bounce made by the first run is sent by the second
		_, err := g.lab.RunQueue(g.ctx, g.queues(""))
		g.must(err)
	}
	tallies := g.tallies(0)
	for _, at := range all {
		if at.failed == nil {
			var now [letters]place
			now, at.failed = at.look()
			at.failed = errors.Join(at.failed, at.accounts(now, tallies[at.tag], func(i int) bool { return done(at, i) }))
		}
		if at.failed != nil {
			g.t.Errorf("%s: %v%s", at, at.failed, at.said())
		}
		at.remove()
	}
}

// said is what the run printed, for a failure.
func (a *attempt) said() string {
	var b bytes.Buffer
	for _, name := range []string{"out", "err", "audit.jsonl"} {
		text, _ := os.ReadFile(filepath.Join(a.dir, name))
		fmt.Fprintf(&b, "\n--- %s\n%s", name, text)
	}
	if a.record != nil && a.record.Hit >= 0 {
		b.WriteString("\n--- calls before\n")
		for _, c := range a.record.Calls[max(0, a.record.Hit-5) : a.record.Hit+1] {
			fmt.Fprintln(&b, c)
		}
	}
	return b.String()
}

// listed is what sendmail -bp says of all queues.
func (g *ground) listed() map[string][]lab.Listed {
	g.t.Helper()
	byQueue := make(map[string][]lab.Listed)
	for _, more := range [][]string{nil, {"-qQ"}} {
		text, err := g.lab.Sendmail(g.ctx, append([]string{g.queues(""), "-bp", "-v"}, more...)...)
		g.must(err)
		messages, err := lab.ParseMailq(text)
		g.must(err)
		for _, m := range messages {
			byQueue[filepath.Base(m.Folder)] = append(byQueue[filepath.Base(m.Folder)], m)
		}
	}
	return byQueue
}

// compare holds what sendmail lists against what was found.
func (a *attempt) compare(listed map[string][]lab.Listed) error {
	ids := make(map[string]bool)
	for _, m := range listed[a.tag] {
		if m.Note != "" || m.State == '?' || m.Size < 0 {
			return fmt.Errorf("sendmail -bp complains: %+v", m)
		}
		if m.Sender == "MAILER-DAEMON" || m.Sender == "<>" {
			continue // a bounce
		}
		ids[m.ID] = true
	}
	for i, tm := range a.g.templates {
		if queued := a.at[i] == atQueue || a.at[i] == atHeld; queued != ids[tm.id] {
			return fmt.Errorf("sendmail -bp lists %v, and message %d (%s) is %s", listed[a.tag], i, tm.id, a.at[i])
		}
	}
	return nil
}
