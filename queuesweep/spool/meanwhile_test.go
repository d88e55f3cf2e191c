package spool_test

import (
	"bytes"
	"context"
	"os"
	"testing"

	"github.com/backscatterd/backscatterd/queuesweep/qf"
	"github.com/backscatterd/backscatterd/queuesweep/spool"
)

func recoverWith(disk spool.Disk, w *world) {
	st, err := spool.OpenStore(disk, w.store)
	if err != nil {
		return
	}
	defer st.Close()
	_, _ = st.Recover(context.Background())
}

// deliverable finds a control file that sendmail would deliver: in a queue,
// named qf, without a q line.
func (w *world) deliverable(id string) (path, data string, ok bool) {
	for _, q := range []string{w.queue, w.target} {
		path := w.control(q, "qf", id)
		content, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		if f, err := qf.Parse(content); err == nil && !f.Quarantined() {
			return path, w.data(q, id), true
		}
	}
	return "", "", false
}

// Between the kill and the next start sendmail delivers the message, df first:
// then it is gone, and nothing of it is left or comes back.
func TestKilledThenDelivered(t *testing.T) {
	for _, l := range layouts {
		g := newGround(t, l.two)
		for _, op := range operations {
			t.Run(l.name+"/"+op, func(t *testing.T) {
				noLeak(t)
				delivered := 0
				killEverywhere(t, g, l, op, 1, func(w *world) {
					l := w.letters[0]
					control, data, ok := w.deliverable(l.id)
					if !ok { // parked, held or in the store: not sendmail's to deliver
						w.recover()
						if err := w.whereItEnded(op); err != nil {
							t.Error(err)
						}
						return
					}
					w.must(os.Remove(data))
					w.must(os.Remove(control))
					delivered++
					w.recover()
					if found := w.find(l.id); len(found) > 0 {
						t.Errorf("delivered, and again at %v", found)
					}
				})
				if delivered == 0 && op != "release" {
					t.Error("the message was never there to be delivered: this test tests nothing")
				}
			})
		}
	}
}

// Between the kill and the next start sendmail tries the message and writes its
// control file anew, with a recipient less: that is the one that counts.
func TestKilledThenDeliveredInPart(t *testing.T) {
	for _, l := range layouts {
		g := newGround(t, l.two)
		for _, op := range operations {
			t.Run(l.name+"/"+op, func(t *testing.T) {
				noLeak(t)
				killEverywhere(t, g, l, op, 1, func(w *world) {
					id := w.letters[0].id
					control, _, ok := w.deliverable(id)
					if ok {
						before, err := os.ReadFile(control)
						w.must(err)
						newer := bytes.Replace(before, []byte("\nN1\n"), []byte("\nN2\n"), 1)
						w.put(control+".tmp", newer, now)
						w.must(os.Rename(control+".tmp", control))
						w.letters[0].control = bytes.Replace(w.letters[0].control, []byte("\nN1\n"), []byte("\nN2\n"), 1)
					}
					w.recover()
					if err := w.whereItEnded(op); err != nil {
						t.Error(err)
					}
				})
			})
		}
	}
}

// Between the kill and the next start somebody renames the control file, as
// sendmail does when it quarantines a message (hf) or finds it bad (Qf): the
// message stays whole, under that name.
func TestKilledThenRenamed(t *testing.T) {
	for _, kind := range []string{"hf", "Qf"} {
		for _, l := range layouts {
			g := newGround(t, l.two)
			for _, op := range operations {
				t.Run(kind+"/"+l.name+"/"+op, func(t *testing.T) {
					noLeak(t)
					killEverywhere(t, g, l, op, 1, func(w *world) {
						l := w.letters[0]
						where := at{w.queue, kind}
						control, _, ok := w.deliverable(l.id)
						if !ok {
							w.recover()
							return
						}
						if control == w.control(w.target, "qf", l.id) {
							where.folder = w.target
						}
						w.must(os.Rename(control, w.control(where.folder, kind, l.id)))
						content, err := os.ReadFile(w.control(where.folder, kind, l.id))
						w.must(err)
						w.recover()
						l.control = content
						if err := w.whole(l, where, ""); err != nil {
							t.Error(err)
						}
					})
				})
			}
		}
	}
}

// A release was killed, and then sendmail itself has released the message and
// tried it, or delivered it: what waits to take the control file's name is old.
func TestKilledReleaseThenReleasedBySendmail(t *testing.T) {
	for _, delivered := range []bool{false, true} {
		for _, l := range layouts {
			g := newGround(t, l.two)
			t.Run(l.name, func(t *testing.T) {
				noLeak(t)
				killEverywhere(t, g, l, "release", 1, func(w *world) {
					l := &w.letters[0]
					newer := bytes.Replace(l.control, []byte("\nN1\n"), []byte("\nN2\n"), 1)
					l.control = bytes.Replace(newer, []byte("qheld before\n"), nil, 1)
					qf, hf := w.control(w.queue, "qf", l.id), w.control(w.queue, "hf", l.id)
					w.put(qf+".tmp", l.control, now)
					w.must(os.Rename(qf+".tmp", qf))
					if exists(hf) {
						w.must(os.Remove(hf))
					}
					where := at{w.queue, "qf"}
					if delivered {
						w.must(os.Remove(w.data(w.queue, l.id)))
						w.must(os.Remove(qf))
						where = at{}
					}
					w.recover()
					if err := w.whole(*l, where, ""); err != nil {
						t.Error(err)
					}
				})
			})
		}
	}
}
