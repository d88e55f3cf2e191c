//go:build linux && amd64

package crash

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/backscatterd/backscatterd/test/crash/inject"
)

// place is where a message is, as a whole.
type place string

const (
	atQueue place = "queue"
	atHeld  place = "held"
	atStore place = "store"
	gone    place = "gone"
)

// action is something that the program does to messages.
type action struct {
	name         string
	args         []string
	across       bool // queue and store on two file systems
	origin, goal place
	// sends tells that sendmail writes messages of its own to the queue.
	sends bool
}

var actions = []action{
	{name: "move", args: sweep("move"), origin: atQueue, goal: atStore},
	{name: "move across", args: sweep("move"), across: true, origin: atQueue, goal: atStore},
	{name: "delete", args: sweep("delete"), origin: atQueue, goal: gone},
	{name: "hold", args: sweep("hold"), origin: atQueue, goal: atHeld},
	{name: "release", args: sweep("release"), origin: atHeld, goal: atQueue},
	{name: "expire", args: sweep("expire"), origin: atQueue, goal: gone, sends: true},
	{name: "bounce", args: sweep("bounce"), origin: atQueue, goal: atStore, sends: true},
	{name: "restore", args: restore, origin: atStore, goal: atQueue},
	{name: "restore across", args: restore, across: true, origin: atStore, goal: atQueue},
	{name: "purge", args: []string{"serve", "--only", "sweep"}, origin: atStore, goal: gone},
}

func sweep(rule string) []string { return []string{"sweep", "--rule", rule, "--json"} }

var restore = []string{"queue", "restore", "--where", "true", "--yes", "--json"}

// committed tells whether the calls that a run has made include the one that
// decides over a message: the first rename of its control file.
func committed(calls []inject.Call, id string) bool {
	return slices.ContainsFunc(calls, func(c inject.Call) bool {
		return c.Made && c.Errno == 0 && strings.HasPrefix(c.Name, "rename") && strings.Contains(filepath.Base(c.Path), id)
	})
}

// names are those in a folder; none where it is not there.
func names(dir string) (map[string]bool, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	found := make(map[string]bool)
	for _, e := range entries {
		found[e.Name()] = true
	}
	return found, err
}

// headless finds a message that sendmail would deliver without its body, or with
// half of it. It must find none at any moment. What is held it does not deliver:
// there, and only while it is returned, a control file may stand alone.
func (r *run) headless() error {
	found, err := names(r.queue)
	for _, tm := range r.g.templates {
		if !found["qf"+tm.id] && !found["hf"+tm.id] {
			continue
		}
		if r.a.name == "expire" && !found["qf"+tm.id] && !found["df"+tm.id] {
			continue
		}
		body, rerr := os.ReadFile(filepath.Join(r.queue, "df"+tm.id))
		if rerr != nil {
			err = errors.Join(err, fmt.Errorf("half: a control file without its body: %w", rerr))
		} else if !bytes.Equal(body, r.named(tm.body)) {
			err = errors.Join(err, fmt.Errorf("half: df%s has %d bytes, not its own %d", tm.id, len(body), len(tm.body)))
		}
	}
	return err
}

// look finds each message, and fails where one is not whole, is in two places,
// or where anything is left over.
func (r *run) look() (at [letters]place, err error) {
	var errs []error
	complain := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	queue, err := names(r.queue)
	if err != nil {
		return at, err
	}
	top, err := names(r.store)
	if err != nil {
		return at, err
	}
	places := [letters][]place{}
	r.find(r.queue, queue, &places, true, complain)
	for name := range top {
		day := filepath.Join(r.store, name)
		switch {
		case strings.HasPrefix(name, "20"):
			stored, err := names(day)
			if err != nil {
				return at, err
			}
			delete(stored, "records.jsonl")
			r.find(day, stored, &places, false, complain)
		case name == "lock":
		case name == "journal":
			if st, err := os.Stat(day); err != nil || st.Size() > 0 {
				complain("the journal is not empty (%v)", err)
			}
		case name == "owed", name == "expiring":
			if notes, err := names(day); len(notes) > 0 || err != nil {
				complain("notes left in %s: %v %w", name, notes, err)
			}
		default:
			complain("left over in the store: %s", name)
		}
	}
	if tmp, err := names(filepath.Join(r.dir, "tmp")); len(tmp) > 0 || err != nil {
		complain("left over in TMPDIR: %v %w", tmp, err)
	}
	for i, p := range places {
		at[i] = gone
		if len(p) > 0 {
			at[i] = p[0]
		}
		if len(p) > 1 {
			complain("message %d is in %v: twice", i, p)
		}
	}
	return at, errors.Join(errs...)
}

// find looks for the messages in one folder, whose names it takes off.
func (r *run) find(dir string, found map[string]bool, places *[letters][]place, queue bool, complain func(string, ...any)) {
	for i, tm := range r.g.templates {
		qf, hf, df := found["qf"+tm.id], found["hf"+tm.id], found["df"+tm.id]
		for _, name := range []string{"qf", "hf", "df"} {
			delete(found, name+tm.id)
		}
		switch {
		case qf && hf:
			complain("message %d has a qf and an hf in %s: twice", i, dir)
		case !qf && !hf && df:
			complain("left over: df%s in %s", tm.id, dir)
		case (qf || hf) && !df:
			complain("half: message %d has no df in %s", i, dir)
		}
		if !qf && !hf {
			continue
		}
		kind, at := "qf", atQueue
		if hf {
			kind, at = "hf", atHeld
		}
		if !queue {
			at = atStore
		}
		places[i] = append(places[i], at)
		if err := r.whole(dir, kind, tm); err != nil {
			complain("half: message %d: %w", i, err)
		}
	}
	for name := range found {
		if r.a.sends && queue && len(name) > 2 && strings.Contains("qf hf df xf tf", name[:2]) {
			continue // of sendmail's own bounce; a tf, or an empty hf, is what it had not yet taken
		}
		complain("left over in %s: %s", dir, name)
	}
}

// whole compares a message's files with what they were.
func (r *run) whole(dir, kind string, tm template) error {
	control, err := os.ReadFile(filepath.Join(dir, kind+tm.id))
	if err != nil {
		return err
	}
	body, err := os.ReadFile(filepath.Join(dir, "df"+tm.id))
	if err != nil {
		return err
	}
	if !bytes.Equal(body, r.named(tm.body)) {
		return fmt.Errorf("%s/df%s has %d bytes, not its own %d", dir, tm.id, len(body), len(tm.body))
	}
	got, quarantined := withoutQuarantine(control)
	if quarantined != (kind == "hf") {
		return fmt.Errorf("%s/%s%s has a q line: %v", dir, kind, tm.id, quarantined)
	}
	want, _ := withoutQuarantine(r.named(tm.control))
	if quarantined && r.sendmailFirst() {
		// A queue run writes a qf that has a q line anew, without delivering it.
		got, want = withoutAttempt(got), withoutAttempt(want)
	}
	if !bytes.Equal(got, want) {
		return fmt.Errorf("%s/%s%s is\n%s\nand was\n%s", dir, kind, tm.id, control, r.named(tm.control))
	}
	return nil
}

// sendmailFirst tells that sendmail ran the queue between kill and next start.
func (r *run) sendmailFirst() bool { return r.tag[0] == 's' }

// withoutAttempt leaves out what sendmail writes of an attempt: its time, their
// number, priority, inode and status.
func withoutAttempt(control []byte) (rest []byte) {
	for line := range bytes.Lines(control) {
		if !bytes.ContainsRune([]byte("KNPIM"), rune(line[0])) {
			rest = append(rest, line...)
		}
	}
	return rest
}

func withoutQuarantine(control []byte) (rest []byte, quarantined bool) {
	for line := range bytes.Lines(control) {
		if line[0] == 'q' {
			quarantined = true
			continue
		}
		rest = append(rest, line...)
	}
	return rest, quarantined
}

// tally is what came to the stub of one run's messages.
type tally struct {
	delivered [letters]int
	bounces   [letters][][]byte // as they came
	err       error             // one was delivered in part
}

// tallies are those of all runs, by tag, from this delivery on.
func (g *ground) tallies(from int) map[string]*tally {
	all := make(map[string]*tally)
	for _, d := range g.lab.Stub.Deliveries()[from:] {
		kind, rest, _ := strings.Cut(d.To[0], "-")
		tag, rest, _ := strings.Cut(rest, "-")
		i := int(rest[0] - '0')
		t := all[tag]
		if t == nil {
			t = new(tally)
			all[tag] = t
		}
		if kind == "sender" {
			t.bounces[i] = append(t.bounces[i], d.Data)
			continue
		}
		t.delivered[i]++
		body := bytes.ReplaceAll(g.templates[i].body, []byte(token), []byte(tag))
		if !bytes.HasSuffix(bytes.ReplaceAll(d.Data, []byte("\r\n"), []byte("\n")), append([]byte("\n\n"), body...)) {
			t.err = errors.Join(t.err, fmt.Errorf("half: message %d was delivered with %d bytes, and its body has %d", i, len(d.Data), len(body)))
		}
	}
	return all
}

// accounts tells whether each message is accounted for exactly once, given
// whether the change was committed.
func (r *run) accounts(at [letters]place, t *tally, done func(i int) bool) error {
	if t == nil {
		t = new(tally)
	}
	err := t.err
	for i := range letters {
		want, delivered, bounces := r.a.goal, 0, 0
		if !done(i) {
			want = r.a.origin
		}
		if want == atQueue {
			want, delivered = gone, 1 // sendmail has delivered what was left
		}
		got := fmt.Sprintf("it is %s, was delivered %d times, its sender was told %d times", at[i], t.delivered[i], len(t.bounces[i]))
		switch {
		case r.a.name == "expire" && done(i):
			// At least once, as below; sendmail's bounces have each an id of its own.
			bounces = max(1, len(t.bounces[i]))
			for _, b := range t.bounces[i] {
				err = errors.Join(err, r.returns(b, i))
			}
		case r.a.name == "bounce" && done(i):
			// At least once: sendmail may have taken it when the program was
			// killed. Then it is the same bounce.
			bounces = max(1, len(t.bounces[i]))
			for _, b := range t.bounces[i] {
				if !bytes.Equal(afterTrace(b), afterTrace(t.bounces[i][0])) {
					err = errors.Join(err, fmt.Errorf("message %d: its bounces differ:\n%s\n%s", i, b, t.bounces[i][0]))
				}
			}
		case r.a.name == "purge":
			want = at[i]
		case r.a.name == "release" && strings.HasPrefix(r.tag, "s") && at[i] == atHeld:
			// sendmail came upon it while its reason was still in it, and put it
			// back among those that are held: a message that somebody else changed
			// meanwhile is left to him.
			want, delivered = atHeld, 0
		}
		if at[i] != want || t.delivered[i] != delivered || len(t.bounces[i]) != bounces {
			err = errors.Join(err, fmt.Errorf("message %d: %s; want it %s, delivered %d times, told %d times (committed: %v)", i, got, want, delivered, bounces, done(i)))
		}
	}
	return err
}

// returns tells whether a bounce has all of a message's text in it.
func (r *run) returns(bounce []byte, i int) error {
	body := r.named(r.g.templates[i].body)
	if !bytes.Contains(bytes.ReplaceAll(bounce, []byte("\r\n"), []byte("\n")), append([]byte("\n\n"), body...)) {
		return fmt.Errorf("half: the bounce of message %d has %d bytes, and not its body of %d", i, len(bounce), len(body))
	}
	return nil
}

// afterTrace is a message from the first field on that its composer wrote:
// sendmail puts Received in front.
func afterTrace(message []byte) []byte {
	if i := bytes.Index(message, []byte("\nFrom: ")); i >= 0 {
		return message[i:]
	}
	return message
}
