package e2e

import (
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/backscatterd/backscatterd/test/lab"
)

var capture = flag.String("capture", "", "write the queue of the demonstration to this folder")

// The queue of `backscatterd demo` is one that this sendmail writes: the same
// rules take as many messages of a fresh one as of the bundled one.
func TestDemoQueueIsReal(t *testing.T) {
	s := newSite(t, lab.Options{InMemory: true}, "[sweep]\nmax_share = 1.0")
	ctx := s.start()
	must(stuckBounce(ctx, s, "452 4.2.2 Mailbox size limit exceeded", "Subject: Win a prize", "X-Spam-Flag: YES", "X-Spam-Score: 12.3"))(t)
	must(stuckBounce(ctx, s, "450 4.2.0 Greylisted, try again later", "Subject: Re: your offer"))(t)
	must(s.Deferred(ctx, lab.ConnectionTimedOut, 61, "Subject: the minutes of Monday"))(t)
	must(s.Deferred(ctx, lab.NetworkUnreachable, 14, "Subject: an order"))(t)
	must(s.Deferred(ctx, "450 4.7.1 Relay access denied", 7, "Subject: ADP Payroll Invoice"))(t)
	must(s.Deferred(ctx, "452 4.2.2 Mailbox size limit exceeded", 3, "Subject: You have won", "X-Spam-Flag: YES", "X-Spam-Status: Yes, score=9.1"))(t)
	must(s.Deferred(ctx, "450 4.2.0 Greylisted, try again in 300 seconds", 1, "Subject: lunch?"))(t)
	held := must(s.Deferred(ctx, "451 4.3.0 Try again", 1, "Subject: to be looked at"))(t)
	must(s.Sendmail(ctx, "-qI"+held.ID, "-Qheld by the filter"))(t)

	if *capture != "" {
		for _, path := range must(filepath.Glob(filepath.Join(s.Queues[0], "[qhd]f*")))(t) {
			data := must(os.ReadFile(path))(t)
			if err := os.WriteFile(filepath.Join(*capture, filepath.Base(path)), data, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	_, fresh := s.act(0, "sweep", "--dry-run")
	bundled := filepath.Join("..", "..", "cmd", "backscatterd", "demo")
	_, old := results(t, s.run(0, "sweep", "--dry-run", "--json", "--queue", bundled))
	if fresh.Scanned != 7 || fresh.Scanned != old.Scanned || fresh.Matched != old.Matched {
		t.Errorf("fresh queue: %+v\nbundled queue: %+v", fresh, old)
	}
}
