package queuesweep

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/backscatterd/backscatterd/queuesweep/qf"
	"github.com/backscatterd/backscatterd/queuesweep/rule"
	"github.com/backscatterd/backscatterd/queuesweep/spool"
)

// returner stands in for the sendmail that returns messages, and notes which.
type returner struct{ asked []string }

func (w *world) returner(do func(ctx context.Context, id string) (string, error)) *returner {
	o := new(returner)
	w.sweeper.RunExpired = func(ctx context.Context, _, id string) ([]byte, error) {
		o.asked = append(o.asked, id)
		if names := w.names(id); !slices.Equal(names, []string{"df" + id, "hf" + id}) {
			w.t.Errorf("sendmail is asked to return %s, and in the queue there is %v", id, names)
		}
		said, err := do(ctx, id)
		return []byte(said), err
	}
	return o
}

// names are those of a message's files.
func (w *world) names(id string) (names []string) {
	found, _ := filepath.Glob(filepath.Join(w.queue, "*"+id+"*"))
	for _, path := range found {
		names = append(names, filepath.Base(path))
	}
	return names
}

func (w *world) take(names ...string) {
	for _, name := range names {
		if err := os.Remove(filepath.Join(w.queue, name)); err != nil {
			w.t.Error(err)
		}
	}
}

// toReturn are the messages that there is a note of.
func (w *world) toReturn() []string {
	names, _ := filepath.Glob(filepath.Join(w.store, "expiring", "*"))
	return names
}

var expire = rule.Rule{When: "true", Do: rule.Expire}

// While sendmail returns a message it is held, so that nobody delivers what a loss
// of power leaves of it; and what becomes of it is told as it is.
func TestExpireHoldsTheMessageMeanwhile(t *testing.T) {
	const id = "6AOLt900000000"
	for _, tc := range []struct {
		name string
		do   func(w *world) (string, error)
		want Code
		says string
		left []string
	}{
		{"returned", func(w *world) (string, error) { w.take("df"+id, "hf"+id); return "", nil }, Done, "", nil},
		{"stopped before the control file is removed", func(w *world) (string, error) { w.take("df" + id); return "", errors.New("signal: killed") }, Done, "", nil},
		{"left", func(*world) (string, error) { return "Skipping it: too young\nmore", nil }, Failed,
			"message " + id + ": sendmail has left it in the queue: Skipping it: too young", []string{"df" + id, "qf" + id}},
		{"left without a word", func(*world) (string, error) { return "", nil }, Failed, "MinQueueAge", []string{"df" + id, "qf" + id}},
		{"failed", func(*world) (string, error) { return "", errors.New("exec: no such file") }, Failed, "no such file", []string{"df" + id, "qf" + id}},
		{"set aside", func(w *world) (string, error) {
			return "", os.Rename(filepath.Join(w.queue, "hf"+id), filepath.Join(w.queue, "Qf"+id))
		}, Failed, "mailq -qL", []string{"Qf" + id, "df" + id}},
		{"released by somebody", func(w *world) (string, error) {
			return "", os.Rename(filepath.Join(w.queue, "hf"+id), filepath.Join(w.queue, "qf"+id))
		}, Changed, "in the queue again", []string{"df" + id, "qf" + id}},
		{"given back by another process", func(w *world) (string, error) {
			return "", errors.Join(os.Remove(w.toReturn()[0]), os.Rename(filepath.Join(w.queue, "hf"+id), filepath.Join(w.queue, "qf"+id)))
		}, Changed, "another process has seen to it", []string{"df" + id, "qf" + id}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t)
			w.fill(1)
			before, err := os.ReadFile(filepath.Join(w.queue, "qf"+id))
			if err != nil {
				t.Fatal(err)
			}
			o := w.returner(func(context.Context, string) (string, error) { return tc.do(w) })
			if _, err := w.sweep(expire); err != nil {
				t.Fatal(err)
			}
			if len(w.results) != 1 || w.results[0].Result != tc.want || !strings.Contains(w.results[0].Error, tc.says) || len(o.asked) != 1 {
				t.Errorf("%+v; sendmail was asked about %v", w.results, o.asked)
			}
			if got := w.names(id); !slices.Equal(got, tc.left) {
				t.Errorf("left of the message: %v, want %v", got, tc.left)
			}
			after, err := os.ReadFile(filepath.Join(w.queue, "qf"+id))
			if err == nil && tc.want != Changed && string(after) != string(before) {
				t.Errorf("its control file was %q, and is %q", before, after)
			}
			if n := w.toReturn(); len(n) > 0 {
				t.Errorf("notes are left: %v", n)
			}
		})
	}
}

// Of a message that never had a body nothing can be told by its df. One that
// sendmail leaves stays held: released, it would be delivered so.
func TestExpireWithoutABody(t *testing.T) {
	const id = "6AOLt900000000"
	w := newWorld(t)
	w.fill(1)
	w.take("df" + id)
	asked := 0
	w.sweeper.RunExpired = func(context.Context, string, string) ([]byte, error) {
		if asked++; asked > 1 {
			w.take("hf" + id)
		}
		return nil, nil
	}
	if _, err := w.sweep(expire); err != nil || w.codes()[Failed] != 1 || !slices.Equal(w.names(id), []string{"hf" + id}) {
		t.Fatalf("%+v, error %v; left %v", w.results, err, w.names(id))
	}
	if err := w.sweeper.Settle(t.Context()); err != nil || asked != 2 || len(w.names(id))+len(w.toReturn()) > 0 {
		t.Errorf("error %v, sendmail was asked %d times; left %v, notes %v", err, asked, w.names(id), w.toReturn())
	}
}

// A run that is cancelled gives back what it does not come to. What sendmail was
// at is held until the next run has it returned.
func TestExpireCancelled(t *testing.T) {
	w := newWorld(t)
	w.fill(3)
	set, err := rule.Compile([]rule.Rule{{Name: "all", When: "true", Do: rule.Expire}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	o := w.returner(func(ctx context.Context, _ string) (string, error) { cancel(); return "", ctx.Err() })
	if _, err := w.sweeper.Sweep(ctx, set, w.options()); !errors.Is(err, context.Canceled) {
		t.Fatalf("error %v", err)
	}
	if len(o.asked) != 1 || len(w.results) != 3 || w.codes()[Failed] != 3 || !strings.Contains(w.results[0].Error, "held until the next run") {
		t.Fatalf("sendmail was asked about %v; said %+v", o.asked, w.results)
	}
	again := o.asked[0]
	for _, m := range w.results {
		kind := "qf"
		if m.ID == again {
			kind = "hf"
		}
		if got := w.names(m.ID); !slices.Equal(got, []string{min("df", kind) + m.ID, max("df", kind) + m.ID}) {
			t.Errorf("in the queue: %v, want the %s", got, kind)
		}
	}
	if n := w.toReturn(); len(n) != 1 || filepath.Base(n[0]) != again {
		t.Errorf("notes %v", n)
	}
	w.returner(func(_ context.Context, id string) (string, error) { w.take("df"+id, "hf"+id); return "", nil })
	if sum, err := w.sweep(rule.Rule{When: "false"}); err != nil || sum.Matched != 0 {
		t.Fatalf("%+v, error %v", sum, err)
	}
	if names := w.names(again); len(names) > 0 || len(w.toReturn()) > 0 {
		t.Errorf("left: %v, notes %v", names, w.toReturn())
	}
}

// A bounce that sendmail could not deliver at once is held with the message's own
// reason, in whatever queue it chose. It is released; what others hold is not.
func TestExpireReleasesTheBounce(t *testing.T) {
	const id, bounce, delivered, others = "6AOLt900000000", "6AOLt900000007", "6AOLt900000006", "6AOLt900000008"
	for _, killed := range []bool{false, true} {
		w := newWorld(t)
		w.fill(1)
		second := filepath.Join(w.dir, "second")
		if err := os.Mkdir(second, 0o700); err != nil {
			t.Fatal(err)
		}
		w.extraFolders = []string{second}
		returned := func() {
			w.hold(second, bounce, returnReason(id))
			w.hold(second, others, returnReason("6AOLt900000009"))
			w.hold(w.queue, delivered, returnReason(id))
			w.take("df" + delivered) // and then the power failed
			w.take("df"+id, "hf"+id)
		}
		w.returner(func(context.Context, string) (string, error) { returned(); return "", nil })
		rl := expire
		if killed {
			w.holdToReturn(id)
			returned()
			rl = rule.Rule{When: "false"}
		}
		if _, err := w.sweep(rl); err != nil {
			t.Fatal(err)
		}
		control, err := os.ReadFile(filepath.Join(second, "qf"+bounce))
		if err != nil || strings.Contains(string(control), "\nq") {
			t.Errorf("killed %v: the bounce is %q, error %v", killed, control, err)
		}
		if _, err := os.Stat(filepath.Join(second, "hf"+others)); err != nil {
			t.Errorf("killed %v: what is held for another reason: %v", killed, err)
		}
		if left := w.names(delivered); len(left) > 0 {
			t.Errorf("killed %v: of a bounce that was delivered there is left %v", killed, left)
		}
		if n := w.toReturn(); len(n) > 0 {
			t.Errorf("killed %v: notes %v", killed, n)
		}
	}
}

// sendmail may put the bounce into a queue that the configuration leaves out.
func TestExpireReleasesTheBounceInAnotherQueue(t *testing.T) {
	const id, bounce = "6AOLt900000000", "6AOLt900000007"
	w := newWorld(t)
	w.fill(1)
	second, cf := filepath.Join(w.dir, "second"), filepath.Join(w.dir, "sendmail.cf")
	text := "O QueueDirectory=" + w.dir + "\nQmqueue, P=" + w.queue + "\nQother, P=" + second + "\n"
	if err := errors.Join(os.Mkdir(second, 0o700), os.WriteFile(cf, []byte(text), 0o600)); err != nil {
		t.Fatal(err)
	}
	w.sweeper.Places = func() ([]spool.Place, error) {
		places, err := spool.PlacesAt([]string{w.queue})
		places[0].CF = cf
		return places, err
	}
	w.returner(func(context.Context, string) (string, error) {
		w.hold(second, bounce, returnReason(id))
		w.take("df"+id, "hf"+id)
		return "", nil
	})
	if _, err := w.sweep(expire); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(second, "qf"+bounce)); err != nil {
		t.Error(err)
	}
	if strings.Contains(w.log.String(), "WARN") {
		t.Errorf("log:\n%s", w.log.String())
	}
}

// hold puts a held bounce into a folder.
func (w *world) hold(folder, id, reason string) {
	w.t.Helper()
	text := "V8\nT1795557305\nK0\nN0\nP1\nq" + reason + "\nFr\nSMAILER-DAEMON\nRPF:<a@b.example>\nH??Subject: Returned mail\n.\n"
	for name, text := range map[string]string{"hf" + id: text, "df" + id: "a bounce\n"} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600); err != nil {
			w.t.Fatal(err)
		}
	}
}

// Where a killed process was at it, the next run goes on, whatever it left.
func TestExpireAfterAKill(t *testing.T) {
	const id = "6AOLt900000000"
	for _, tc := range []struct {
		name  string
		held  func(w *world)
		asked int
		left  int
		code  string
	}{
		{"before sendmail", func(*world) {}, 1, 0, `"result":"done"`},
		{"between df and control file", func(w *world) { w.take("df" + id) }, 0, 0, `"result":"done"`},
		{"after sendmail", func(w *world) { w.take("df"+id, "hf"+id) }, 0, 0, `"result":"done"`},
		{"after it was given back", func(w *world) {
			if err := os.Rename(filepath.Join(w.queue, "hf"+id), filepath.Join(w.queue, "qf"+id)); err != nil {
				t.Fatal(err)
			}
		}, 0, 2, `"result":"changed"`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t)
			w.fill(1)
			w.holdToReturn(id)
			tc.held(w)
			o := w.returner(func(_ context.Context, id string) (string, error) { w.take("df"+id, "hf"+id); return "", nil })
			if err := w.sweeper.Settle(t.Context()); err != nil {
				t.Fatal(err)
			}
			if names := w.names(id); len(o.asked) != tc.asked || len(names) != tc.left || len(w.toReturn()) > 0 {
				t.Errorf("sendmail was asked about %v; left %v, notes %v", o.asked, names, w.toReturn())
			}
			if lines(w.audit(), `"id":"`+id+`"`) != 1 || lines(w.audit(), tc.code) != 1 {
				t.Errorf("audit:\n%s", w.audit())
			}
		})
	}
}

// holdToReturn is what a process had done that was killed before it ran sendmail.
func (w *world) holdToReturn(id string) {
	w.t.Helper()
	places, err := w.sweeper.Places()
	if err != nil {
		w.t.Fatal(err)
	}
	sp, err := spool.Open(spool.System{}, places)
	if err != nil {
		w.t.Fatal(err)
	}
	defer sp.Close()
	store, err := spool.OpenStore(spool.System{}, w.store)
	if err != nil {
		w.t.Fatal(err)
	}
	defer store.Close()
	b, err := store.Begin(w.t.Context(), w.now)
	if err != nil {
		w.t.Fatal(err)
	}
	defer b.End()
	claim, err := spool.Entry{Folder: sp.Folders()[0], Kind: spool.Active, ID: id}.Claim()
	if err != nil {
		w.t.Fatal(err)
	}
	control, err := claim.Read(1 << 20)
	if err != nil {
		w.t.Fatal(err)
	}
	f, err := qf.Parse(control)
	if err != nil {
		w.t.Fatal(err)
	}
	if err := b.Expire(claim, f, returnReason(id)); err != nil {
		w.t.Fatal(err)
	}
	if err := errors.Join(b.Commit()[0].Err, b.Forget()); err != nil {
		w.t.Fatal(err)
	}
}
