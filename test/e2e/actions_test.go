package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/backscatterd/backscatterd/queuesweep"
	"github.com/backscatterd/backscatterd/test/lab"
)

// onlyBounces is a rule that takes stuck bounces, whatever the queue's size.
const onlyBounces = `
[sweep]
max_share = 1.0
[[rule]]
name = "bounces"
when = 'null_sender && status startsWith "Deferred"'
do = "move"
`

// A message that sendmail is delivering is left alone and reported; its
// delivery goes on.
func TestLockedInMidDelivery(t *testing.T) {
	s := newSite(t, lab.Options{InMemory: true}, "[sweep]\nmax_share = 1.0\n[[rule]]\nname = \"all\"\nwhen = 'true'\n")
	ctx := s.start()
	m := must(s.Deferred(ctx, "450 4.7.1 Relay access denied", 1))(t)
	s.Stub.Refuse(m.Recipient, "")
	gate := s.Stub.Hold(func(d lab.Delivery) bool { return d.MessageID == m.MessageID })
	delivered := make(chan error, 1)
	go func() {
		_, err := s.RunQueue(ctx)
		delivered <- err
	}()
	if err := gate.Reached(ctx); err != nil {
		t.Fatal(err)
	}

	found, sum := s.act(0, "sweep")
	r := s.one(found, queuesweep.Locked)
	if r.ID != m.ID || sum.Skipped != 1 {
		t.Errorf("locked message %s, summary %+v", r.ID, sum)
	}
	if got := s.list()[m.ID].State; got != queuesweep.StateLocked {
		t.Errorf("queue list says %q", got)
	}
	byHand, _ := s.act(1, "queue", "delete", m.ID)
	s.one(byHand, queuesweep.Locked)

	gate.Open()
	if err := <-delivered; err != nil {
		t.Fatal(err)
	}
	if n := s.Stub.Count(m.MessageID, m.Recipient); n != 1 {
		t.Errorf("delivered %d times", n)
	}
	if audit, _ := os.ReadFile(s.audit); strings.Count(string(audit), `"result":"locked"`) != 2 {
		t.Errorf("audit log:\n%s", audit)
	}
}

// A message that was moved comes back as it was, and sendmail delivers it.
func TestMoveAndRestore(t *testing.T) {
	for _, layout := range []lab.Layout{lab.Flat, lab.Split, lab.Groups} {
		t.Run(layout.String(), func(t *testing.T) {
			s := newSite(t, lab.Options{Layout: layout, InMemory: true}, onlyBounces)
			ctx := s.start()
			m := must(s.StuckBounce(ctx, "X-Spam-Flag: YES"))(t)
			control := must(os.ReadFile(must(s.ControlFile(m.ID))(t)))(t)
			data := must(os.ReadFile(must(s.DataFile(m.ID))(t)))(t)

			s.act(0, "sweep", "--dry-run")
			if len(s.list()) != 1 {
				t.Fatal("a dry run has changed the queue")
			}
			found, _ := s.act(0, "sweep")
			s.one(found, queuesweep.Done)
			if len(s.list()) != 0 || len(must(s.Mailq(ctx, false))(t)) != 0 {
				t.Fatal("the message is still in the queue")
			}
			if removed := s.list("--removed")[m.ID]; removed.Removed == nil || removed.Removed.Rule != "bounces" {
				t.Errorf("the store says %+v", removed)
			}

			found, _ = s.act(0, "queue", "restore", m.ID)
			s.one(found, queuesweep.Done)
			if got := must(os.ReadFile(must(s.ControlFile(m.ID))(t)))(t); string(got) != string(control) {
				t.Errorf("control file:\n%s\nwas:\n%s", got, control)
			}
			if got := must(os.ReadFile(must(s.DataFile(m.ID))(t)))(t); string(got) != string(data) {
				t.Error("the df is not what it was")
			}
			s.Stub.Refuse(m.Recipient, "")
			if _, err := s.RunQueue(ctx); err != nil {
				t.Fatal(err)
			}
			if len(s.Stub.Deliveries()) != 1 {
				t.Errorf("deliveries %+v, want the bounce", s.Stub.Deliveries())
			}
		})
	}
}

// sendmail understands what hold and release make: it lists the message as
// quarantined with our reason, does not deliver it, and then does.
func TestHoldAndRelease(t *testing.T) {
	s := newSite(t, lab.Options{Layout: lab.Split, InMemory: true})
	ctx := s.start()
	m := must(s.Deferred(ctx, "450 4.7.1 Relay access denied", 1))(t)
	s.Stub.Refuse(m.Recipient, "")

	found, _ := s.act(0, "queue", "hold", m.ID, "--reason", "looks odd: ask <postmaster>")
	s.one(found, queuesweep.Done)
	if _, err := s.RunQueue(ctx); err != nil {
		t.Fatal(err)
	}
	held := must(s.Mailq(ctx, true))(t)
	if len(held) != 1 || held[0].Quarantine != "looks odd: ask <postmaster>" || len(must(s.Mailq(ctx, false))(t)) != 0 {
		t.Fatalf("mailq of what is held: %+v", held)
	}
	if len(s.Stub.Deliveries()) != 0 {
		t.Fatal("a held message was delivered")
	}
	if m := s.list()[m.ID]; m.State != queuesweep.StateHeld || m.Quarantine == "" {
		t.Errorf("queue list: %+v", m)
	}

	found, _ = s.act(0, "queue", "release", m.ID)
	s.one(found, queuesweep.Done)
	if _, err := s.RunQueue(ctx); err != nil {
		t.Fatal(err)
	}
	if n := s.Stub.Count(m.MessageID, m.Recipient); n != 1 {
		t.Errorf("delivered %d times after the release", n)
	}
	if len(s.list()) != 0 {
		t.Error("the queue is not empty")
	}
}

// What is deleted is gone, df and all.
func TestDelete(t *testing.T) {
	s := newSite(t, lab.Options{InMemory: true})
	ctx := s.start()
	m := must(s.Deferred(ctx, "450 4.7.1 Relay access denied", 1))(t)
	found, _ := s.act(0, "queue", "delete", "--where", `status contains "Relay access denied"`, "--yes")
	s.one(found, queuesweep.Done)
	left := must(filepath.Glob(filepath.Join(s.Queues[0], "*"+m.ID)))(t)
	if len(left) != 0 {
		t.Errorf("left in the queue: %v", left)
	}
}

// expire has sendmail bounce the message, and the bounce survives a 4xx of the
// sender's host: it stays in the queue, and is not timed out at once.
func TestExpire(t *testing.T) {
	s := newSite(t, lab.Options{InMemory: true})
	ctx := s.start()
	m := must(s.Deferred(ctx, "450 4.2.1 come back later", 20))(t)
	sender := strings.Trim(m.Sender, "<>")
	s.Stub.Refuse(sender, "451 4.3.0 not now")

	found, _ := s.act(0, "queue", "expire", m.ID)
	s.one(found, queuesweep.Done)
	left := must(s.Mailq(ctx, false))(t)
	if len(left) != 1 || left[0].Sender != "MAILER-DAEMON" || len(left[0].Recipients) != 1 || left[0].Recipients[0].Address != m.Sender {
		t.Fatalf("in the queue: %+v, want a bounce to %s", left, sender)
	}
	s.Stub.Refuse(sender, "")
	if _, err := s.RunQueue(ctx); err != nil {
		t.Fatal(err)
	}
	got := s.Stub.Deliveries()
	if len(got) != 1 || got[0].To[0] != sender || !strings.Contains(string(got[0].Data), m.Recipient) {
		t.Errorf("the sender was told: %+v", got)
	}

	// A bounce is never expired, but moved.
	b := must(s.StuckBounce(ctx))(t)
	found, _ = s.act(0, "queue", "expire", b.ID)
	if r := s.one(found, queuesweep.Done); r.Action != "move" || !strings.Contains(r.Note, "null sender") {
		t.Errorf("expire of a bounce: %+v", r)
	}
}
