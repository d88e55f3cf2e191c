package ledger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if file := os.Getenv("LEDGER_TEST_CRASH"); file != "" {
		crashChild(file)
	}
	goleak.VerifyTestMain(m)
}

var secret = []byte("a secret for tests, 32 bytes....")

// clock is a clock that stands still until it is told otherwise.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// bench is a ledger with a clock, and what it reported. Groups and heartbeats
// are the tests' own business: they call flush and beat.
type bench struct {
	*Embedded
	*clock
	t       *testing.T
	opts    Options
	mu      sync.Mutex
	reports []error
}

func newBench(t *testing.T, change ...func(*Options)) *bench {
	b := &bench{t: t, clock: &clock{now: noon}}
	b.opts = Options{
		File: filepath.Join(t.TempDir(), "lib", "ledger.db"), Secret: secret, Keep: 20, Now: b.clock.Now,
		Group: time.Hour, Heartbeat: time.Hour,
		Report: func(err error) {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.reports = append(b.reports, err)
		},
	}
	for _, f := range change {
		f(&b.opts)
	}
	b.open()
	t.Cleanup(func() { b.Close() })
	return b
}

func (b *bench) open() {
	b.t.Helper()
	l, err := Open(b.opts)
	if err != nil {
		b.t.Fatal(err)
	}
	b.Embedded = l
}

func (b *bench) restart(down time.Duration) {
	b.t.Helper()
	if err := b.Close(); err != nil {
		b.t.Fatal(err)
	}
	b.add(down)
	b.open()
}

func (b *bench) reported() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return errors.Join(b.reports...).Error()
}

func (b *bench) record(id, sender string, recipients ...string) {
	b.Record(Message{MessageID: id, Sender: sender, Recipients: recipients})
}

func (b *bench) sent(id string) bool {
	b.t.Helper()
	hit, err := b.Sent(context.Background(), id, "")
	if err != nil {
		b.t.Fatal(err)
	}
	return hit.Found
}

func TestWhatWasSentIsFoundAndWhatWasNotIsNot(t *testing.T) {
	b := newBench(t)
	b.record("<1@mx.example.org>", "Joe@Example.org", "ann@remote.example", "Bob@Other.Example")
	b.add(time.Hour)
	b.record("<2@mx.example.org>", "joe@example.org", "ann@remote.example")
	b.record("", "eve@example.org", "postmaster")
	check := func(when string) {
		t.Helper()
		for _, c := range []struct {
			id, sender string
			want       Hit
		}{
			{"<1@mx.example.org>", "joe@example.org", Hit{true, noon, true}},
			{"1@mx.example.org", "<JOE@example.org>", Hit{true, noon, true}},
			{" <1@mx.\r\n example.org>", "eve@example.org", Hit{true, noon, false}},
			{"<2@mx.example.org>", "joe@example.org", Hit{true, noon.Add(time.Hour), true}},
			{"<3@mx.example.org>", "joe@example.org", Hit{}},
			{"<1@MX.example.org>", "joe@example.org", Hit{}},
			{"", "eve@example.org", Hit{}},
		} {
			if got, err := b.Sent(t.Context(), c.id, c.sender); err != nil || got != c.want {
				t.Errorf("%s: Sent(%q, %q) = %v, %v; want %v", when, c.id, c.sender, got, err, c.want)
			}
		}
		for _, c := range []struct {
			sender, recipient string
			found             bool
		}{
			{"joe@example.org", "ann@remote.example", true},
			{"JOE@example.org", "bob@other.example", true},
			{"joe@example.org", "@remote.example", true},
			{"joe@example.org", "", true},
			{"", "@other.example", true},
			{"eve@example.org", "postmaster", true},
			{"eve@example.org", "ann@remote.example", false},
			{"eve@example.org", "@remote.example", false},
			{"joe@example.org", "eve@remote.example", false},
			{"ann@remote.example", "joe@example.org", false},
			{"dan@example.org", "", false},
			{"", "@nowhere.example", false},
			{"", "@example.org", false},
		} {
			if got, err := b.Wrote(t.Context(), c.sender, c.recipient); err != nil || got.Found != c.found {
				t.Errorf("%s: Wrote(%q, %q) = %v, %v; want %v", when, c.sender, c.recipient, got, err, c.found)
			}
		}
		if got, err := b.Wrote(t.Context(), "joe@example.org", "ann@remote.example"); err != nil || !got.At.Equal(noon.Add(time.Hour)) {
			t.Errorf("%s: newest mail to ann: %v, %v", when, got, err)
		}
	}
	check("in memory")
	if err := b.flush(); err != nil {
		t.Fatal(err)
	}
	if n := b.pendingLen(); n != 0 {
		t.Errorf("%d entries wait after they were written", n)
	}
	check("on disk")
	b.restart(time.Minute)
	check("after a restart")
	if _, err := b.Wrote(t.Context(), "", "ann@remote.example"); err == nil {
		t.Error("mail from anybody to one address was looked up")
	}
}

func TestNoAddressIsKeptInClear(t *testing.T) {
	b := newBench(t)
	b.record("<unmistakable-1@mx.example.org>", "josephine@example.org", "annabella@remote-domain.example")
	if _, err := b.Use(t.Context(), "unmistakable-proof"); err != nil {
		t.Fatal(err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(b.opts.File + "*")
	if err != nil || len(files) != 2 {
		t.Fatalf("want the ledger and its status: %v, %v", files, err)
	}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, word := range []string{"unmistakable", "josephine", "annabella", "remote-domain", "example.org", string(secret)} {
			if bytes.Contains(content, []byte(word)) {
				t.Errorf("%s holds %q", filepath.Base(file), word)
			}
		}
	}
	if info, err := os.Stat(b.opts.File); err != nil || info.Mode() != 0o600 {
		t.Errorf("mode %v, %v; want 0600", info.Mode(), err)
	}
}

// The loop writes by itself: nobody calls flush here.
func TestRecordsAreWrittenBehindTheMailFlow(t *testing.T) {
	b := newBench(t, func(o *Options) { o.Group = time.Millisecond })
	for i := range 50 {
		b.record(fmt.Sprintf("<%d@mx>", i), "joe@example.org", "ann@remote.example")
	}
	for range 6000 {
		if b.pendingLen() == 0 {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Fatalf("%d entries still wait", b.pendingLen())
}

func TestDaysExpireWhole(t *testing.T) {
	b := newBench(t, func(o *Options) { o.Keep = 3 })
	for day := range 8 {
		b.record(fmt.Sprintf("<%d@mx>", day), "joe@example.org", "ann@remote.example")
		b.beat()
		for old := range day + 1 {
			if got, want := b.sent(fmt.Sprintf("<%d@mx>", old)), day-old <= 3; got != want {
				t.Errorf("on day %d, mail of day %d found: %v; want %v", day, old, got, want)
			}
		}
		b.add(24 * time.Hour)
	}
	b.beat()
	cover := b.Coverage()
	if want := noon.AddDate(0, 0, 5).Truncate(24 * time.Hour); !cover.Since.Equal(want) {
		t.Errorf("covers since %v; want %v, the oldest day that is kept", cover.Since, want)
	}
	s, err := b.Status()
	if err != nil || len(s.Days) != 3 || s.Days[0] != (Day{"2026-03-08", 1}) {
		t.Errorf("days %v, %v", s.Days, err)
	}
}

func TestUsesOfAProofAreCounted(t *testing.T) {
	b := newBench(t)
	use := func(proof string, want int) {
		t.Helper()
		if got, err := b.Use(t.Context(), proof); err != nil || got != want {
			t.Errorf("Use(%s) = %d, %v; want %d", proof, got, err, want)
		}
	}
	use("a", 1)
	use("a", 2)
	use("b", 1)
	if err := b.flush(); err != nil {
		t.Fatal(err)
	}
	use("a", 3)
	b.add(24 * time.Hour)
	use("a", 4)
	b.restart(time.Minute)
	use("a", 5)
	use("b", 2)
	b.add(30 * 24 * time.Hour)
	b.beat()
	use("b", 1)
}

func TestUsesAreCountedExactlyWhileGroupsAreWritten(t *testing.T) {
	b := newBench(t)
	const callers, each = 4, 50
	counts := make(chan int, callers*each)
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			for range each {
				n, err := b.Use(t.Context(), "proof")
				if err != nil {
					t.Error(err)
				}
				counts <- n
			}
		})
	}
	stop := make(chan struct{})
	flushed := make(chan struct{})
	go func() {
		defer close(flushed)
		for {
			select {
			case <-stop:
				return
			default:
				for i := range groupLen { // so that it takes more than one group
					b.record(fmt.Sprintf("<%d@mx>", i), "joe@example.org", "ann@remote.example")
				}
				if err := b.flush(); err != nil {
					t.Error(err)
				}
			}
		}
	}()
	wg.Wait()
	close(stop)
	<-flushed
	close(counts)
	largest := 0
	for n := range counts {
		largest = max(largest, n)
	}
	if largest != callers*each {
		t.Errorf("the last of %d uses was counted as %d", callers*each, largest)
	}
}

func TestOptionsThatCannotBeUsed(t *testing.T) {
	dir := t.TempDir()
	pipe := filepath.Join(dir, "folder.db")
	if err := os.Mkdir(pipe, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, opts := range map[string]Options{
		"short secret": {File: filepath.Join(dir, "a.db"), Secret: []byte("short"), Keep: 20},
		"keeps no day": {File: filepath.Join(dir, "a.db"), Secret: secret},
		"a folder":     {File: pipe, Secret: secret, Keep: 20},
		"under a file": {File: "/dev/null/ledger.db", Secret: secret, Keep: 20},
	} {
		if l, err := Open(opts); err == nil {
			l.Close()
			t.Errorf("%s: opened", name)
		}
	}
}

func TestALedgerInUseIsLeftAlone(t *testing.T) {
	b := newBench(t)
	b.record("<1@mx>", "joe@example.org", "ann@remote.example")
	if _, err := Open(b.opts); !errors.Is(err, ErrInUse) {
		t.Fatalf("second Open: %v; want %v", err, ErrInUse)
	}
	if !b.sent("<1@mx>") || len(b.reports) > 0 {
		t.Errorf("the first one suffered: %v", b.reports)
	}
}

func TestStatusCanBeReadByAnotherProcess(t *testing.T) {
	b := newBench(t)
	if _, err := ReadStatus(filepath.Join(t.TempDir(), "none.db")); err == nil || !strings.Contains(err.Error(), "backscatterd serve") {
		t.Errorf("without a status: %v", err)
	}
	b.record("<1@mx>", "joe@example.org", "ann@remote.example")
	b.record("<2@mx>", "joe@example.org", "ann@remote.example")
	b.beat()
	b.add(time.Minute)
	b.Missed()
	s, err := ReadStatus(b.opts.File)
	if err != nil {
		t.Fatal(err)
	}
	if !s.Running || !s.At.Equal(noon) || s.Size < 8192 || !s.Since.Equal(noon) || s.Pending != 0 ||
		len(s.Days) != 1 || s.Days[0] != (Day{"2026-03-01", 2}) || !s.Written.Equal(noon) {
		t.Errorf("status %+v", s)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	s, err = ReadStatus(b.opts.File)
	if err != nil || s.Running || len(s.Gaps) != 1 || !s.Unbroken.Equal(noon.Add(time.Minute)) {
		t.Errorf("after Close: %+v, %v", s, err)
	}
	if err := os.WriteFile(statusFile(b.opts.File), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadStatus(b.opts.File); err == nil {
		t.Error("half a status was read")
	}
}
