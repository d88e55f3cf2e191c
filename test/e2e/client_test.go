package e2e

import (
	"os"
	"strings"
	"testing"

	"github.com/backscatterd/backscatterd/queuesweep"
	"github.com/backscatterd/backscatterd/test/lab"
)

// The client queue, which programs on the host submit to and whose group may
// write to it, is looked at and swept like the others; what comes back to it
// goes out.
func TestClientQueue(t *testing.T) {
	s := newSite(t, lab.Options{})
	text := must(os.ReadFile(s.config))(t)
	named := strings.Replace(string(text), "[queue]\n", "[queue]\nsubmit_cf = \""+s.ClientCF+"\"\n", 1)
	if err := os.WriteFile(s.config, []byte(named), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx := s.context()
	// The daemon does not run: the message stays where it was submitted.
	must(s.Client(ctx, lab.Compose("hi\n", "Subject: from a program", "Message-ID: <client@x>"), "-i", "-f", "cron@customer.example", "user@dest.example"))(t)

	listed := s.list()
	if len(listed) != 1 {
		t.Fatalf("queue list: %+v", listed)
	}
	for id, m := range listed {
		if m.Queue != s.ClientQueue || m.State != queuesweep.StateActive || m.Recipients[0].Address != "user@dest.example" {
			t.Errorf("queue list: %+v", m)
		}
		found, _ := s.act(0, "queue", "move", id)
		s.one(found, queuesweep.Done)
		if left := must(os.ReadDir(s.ClientQueue))(t); len(left) != 0 {
			t.Errorf("left in the client queue: %v", left)
		}
		found, _ = s.act(0, "queue", "restore", id)
		s.one(found, queuesweep.Done)
	}
	s.start()
	must(s.Client(ctx, nil, "-qf"))(t)
	must(s.RunQueue(ctx))(t)
	if n := s.Stub.Count("<client@x>", "user@dest.example"); n != 1 {
		t.Errorf("delivered %d times", n)
	}
}
