package ledger

import (
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"
)

func TestCoverageHasAGapForEachTimeThatMailMayHavePassed(t *testing.T) {
	b := newBench(t)
	at := func(minutes int) time.Time { return noon.Add(time.Duration(minutes) * time.Minute) }
	b.add(10 * time.Minute)
	if c := b.Coverage(); !c.Since.Equal(noon) || !c.Until.Equal(at(10)) || len(c.Gaps) != 0 {
		t.Errorf("at first: %+v", c)
	}
	b.restart(5 * time.Minute) // 10 to 15
	b.add(15 * time.Minute)    // 30
	b.Missed()                 // 30
	b.add(30 * time.Second)    //
	b.Missed()                 // still the same gap
	b.add(time.Hour)           // 90:30
	b.add(-20 * time.Minute)   // the clock is set back to 70:30
	c := b.Coverage()          //
	b.add(time.Hour)           // 130:30
	b.restart(0 * time.Minute) // so quick that no second passed
	again := b.Coverage().Gaps //
	want := []Gap{
		{From: at(10), To: at(15), Reason: "not running"},
		{From: at(30), To: at(30).Add(30 * time.Second), Reason: "message not recorded"},
	}
	if len(c.Gaps) < 2 || c.Gaps[0] != want[0] || c.Gaps[1] != want[1] {
		t.Errorf("gaps %v; want %v", c.Gaps, want)
	}
	if len(again) < 2 || again[0] != want[0] || again[1] != want[1] {
		t.Errorf("gaps after a restart %v; want %v", again, want)
	}
	for _, q := range []struct {
		from, to int
		want     bool
	}{
		{0, 9, true}, {0, 10, false}, {-1, 5, false}, {10, 10, false}, {12, 13, false}, {15, 15, false},
		{16, 29, true}, {16, 31, false}, {31, 60, true}, {5, 60, false}, {60, 59, false}, {60, 100000, false},
	} {
		if got := c.Covers(at(q.from), at(q.to)); got != q.want {
			t.Errorf("Covers(%d, %d) = %v; want %v", q.from, q.to, got, q.want)
		}
	}
	if (Coverage{}).Covers(noon, noon) {
		t.Error("a ledger that never ran covers something")
	}
}

func TestAClockSetBackLeavesAGap(t *testing.T) {
	b := newBench(t)
	b.add(time.Hour)
	b.record("<1@mx>", "joe@example.org", "ann@remote.example")
	b.Coverage()
	b.add(-time.Second) // a time daemon at work
	if c := b.Coverage(); len(c.Gaps) != 0 {
		t.Errorf("a step of a second: %v", c.Gaps)
	}
	b.add(-30 * time.Minute)
	c := b.Coverage()
	if len(c.Gaps) != 1 || c.Gaps[0].Reason != "clock set back" || c.Covers(noon.Add(40*time.Minute), noon.Add(45*time.Minute)) {
		t.Errorf("%+v", c)
	}
	if !b.sent("<1@mx>") {
		t.Error("mail recorded before the step is lost")
	}
}

func TestAClockFarAheadCostsTheWarmUpAndNothingElse(t *testing.T) {
	b := newBench(t)
	b.record("<1@mx>", "joe@example.org", "ann@remote.example")
	b.beat()
	b.add(10 * 365 * 24 * time.Hour)
	b.beat()
	b.record("<2@mx>", "joe@example.org", "ann@remote.example")
	b.beat()
	b.add(-10*365*24*time.Hour + time.Minute)
	b.beat()
	if c := b.Coverage(); c.Covers(noon, noon) || c.Covers(noon.Add(-time.Hour), noon) {
		t.Errorf("claims to cover a time whose mail it dropped: %+v", c)
	}
	b.record("<3@mx>", "joe@example.org", "ann@remote.example")
	b.beat()
	b.add(24 * time.Hour)
	if c := b.Coverage(); !b.sent("<3@mx>") || !c.Covers(noon.Add(time.Hour), noon.Add(23*time.Hour)) {
		t.Errorf("does not recover: found %v, coverage %+v", b.sent("<3@mx>"), c)
	}
	if !b.sent("<2@mx>") {
		t.Error("mail recorded under the wrong clock is lost")
	}
}

func TestGapsAreNotKeptWithoutLimit(t *testing.T) {
	b := newBench(t)
	for range 3 * maxGaps {
		b.add(time.Hour / 4)
		b.Missed()
	}
	c := b.Coverage()
	if len(c.Gaps) > maxGaps {
		t.Errorf("%d gaps", len(c.Gaps))
	}
	if c.Covers(c.Until.Add(-20*time.Minute), c.Until.Add(-10*time.Minute)) {
		t.Error("where gaps are not told apart, the time between them counts as covered")
	}
}

func TestWhatDoesNotFitTheQueueLeavesAGap(t *testing.T) {
	b := newBench(t, func(o *Options) { o.Queue = 20 })
	b.record("<1@mx>", "joe@example.org", "ann@remote.example")
	recipients := make([]string, 30)
	for i := range recipients {
		recipients[i] = fmt.Sprintf("r%d@remote.example", i)
	}
	b.record("<2@mx>", "joe@example.org", recipients...)
	if !b.sent("<1@mx>") || b.sent("<2@mx>") {
		t.Error("want the first message only")
	}
	if c := b.Coverage(); len(c.Gaps) != 1 || c.Covers(noon, noon) {
		t.Errorf("%+v", c)
	}
	if err := b.flush(); err != nil {
		t.Fatal(err)
	}
	b.record("<3@mx>", "joe@example.org", "ann@remote.example")
	if !b.sent("<3@mx>") {
		t.Error("the queue stays full after it was written")
	}
}

// crashChild records one message after another, saying each that must be safe,
// until it is killed.
func crashChild(file string) {
	l, err := Open(Options{File: file, Secret: secret, Keep: 20, Group: time.Millisecond})
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	for i := range 100_000 {
		l.Record(Message{MessageID: fmt.Sprintf("<%d@mx>", i), Sender: "joe@example.org", Recipients: []string{"ann@remote.example"}})
		for l.pendingLen() > 0 {
			time.Sleep(time.Millisecond)
		}
		fmt.Println(i)
	}
	os.Exit(0)
}

// A process that is killed while it writes loses what it had not yet written, and
// knows it; its file is sound.
func TestAKilledProcessLosesTheLastGroupAtWorst(t *testing.T) {
	for round := range 3 {
		b := newBench(t, func(o *Options) { o.Now = time.Now })
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
		child := exec.Command(os.Args[0])
		child.Env = append(os.Environ(), "LEDGER_TEST_CRASH="+b.opts.File)
		out, err := child.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		last := -1
		for last < 20+7*round {
			if _, err := fmt.Fscanln(out, &last); err != nil {
				child.Process.Kill()
				t.Fatalf("child: %v", err)
			}
		}
		if err := child.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		child.Wait()
		b.open()
		if len(b.reports) > 0 {
			t.Fatalf("after the crash: %v", b.reports)
		}
		for i := range last + 1 {
			if !b.sent(fmt.Sprintf("<%d@mx>", i)) {
				t.Errorf("message %d of %d was written and is lost", i, last)
			}
		}
		gaps := b.Coverage().Gaps
		if len(gaps) == 0 || gaps[len(gaps)-1].Reason != "not running" {
			t.Errorf("no gap for the crash: %v", gaps)
		}
	}
}

// What waits is written in several groups where it is much. Of a crash between
// two of them a gap is left for all the time since the last that is whole.
func TestACrashBetweenTwoGroupsLeavesAGap(t *testing.T) {
	b := newBench(t)
	soon(t, "its first heartbeat, which writes too, is over", func() bool {
		b.Embedded.mu.Lock()
		defer b.Embedded.mu.Unlock()
		return b.expired != ""
	})
	b.record("<1@mx>", "joe@example.org", "ann@remote.example")
	b.add(time.Hour)
	if err := b.flush(); err != nil {
		t.Fatal(err)
	}
	b.add(time.Hour)
	b.record("<2@mx>", "joe@example.org", "ann@remote.example")
	b.record("<3@mx>", "joe@example.org", "ann@remote.example")
	if err := b.flushGroup([]key{b.hash.key(kindMessage, "2@mx")}, b.Now(), false); err != nil {
		t.Fatal(err)
	}
	if !b.sent("<1@mx>") || !b.sent("<2@mx>") || !b.sent("<3@mx>") {
		t.Error("what is written and what waits are not both found")
	}

	crashed := newBench(t)
	if err := crashed.Close(); err != nil {
		t.Fatal(err)
	}
	file, err := os.ReadFile(b.opts.File)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(crashed.opts.File, file, 0o600); err != nil {
		t.Fatal(err)
	}
	crashed.add(2 * time.Hour)
	crashed.open()
	if !crashed.sent("<1@mx>") || !crashed.sent("<2@mx>") || crashed.sent("<3@mx>") {
		t.Error("want the first message, and that of the group")
	}
	if c := crashed.Coverage(); c.Covers(noon.Add(90*time.Minute), noon.Add(90*time.Minute)) || !c.Covers(noon, noon.Add(30*time.Minute)) {
		t.Errorf("want a gap since the last whole flush, and nothing before: %+v", c)
	}
}

// However much waits, a transaction has no more than groupLen entries.
func TestAFlushIsWrittenInGroups(t *testing.T) {
	b := newBench(t)
	for i := range 2 * groupLen {
		b.record(fmt.Sprintf("<%d@mx>", i), "joe@example.org", "ann@remote.example")
	}
	before, waiting := b.group, b.pendingLen()
	if err := b.flush(); err != nil {
		t.Fatal(err)
	}
	if groups := int(b.group - before); groups < waiting/groupLen || b.pendingLen() > 0 {
		t.Errorf("%d entries went in %d groups, %d are left", waiting, groups, b.pendingLen())
	}
	if !b.sent("<0@mx>") || !b.sent(fmt.Sprintf("<%d@mx>", 2*groupLen-1)) {
		t.Error("something was not written")
	}
}
