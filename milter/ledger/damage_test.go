package ledger

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// soundFile returns a ledger of several days and pages, closed, and when each
// message was recorded.
func soundFile(t testing.TB, messages int) ([]byte, []time.Time) {
	t.Helper()
	c := &clock{now: noon}
	file := filepath.Join(t.TempDir(), "sound.db")
	l, err := Open(Options{File: file, Secret: secret, Keep: 20, Now: c.Now, Group: time.Hour, Heartbeat: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	var times []time.Time
	for i := range messages {
		times = append(times, c.Now())
		l.Record(Message{fmt.Sprintf("<%d@mx>", i), "joe@example.org", []string{fmt.Sprintf("r%d@remote.example", i)}})
		if i%(messages/3+1) == 0 {
			if err := l.flush(); err != nil {
				t.Fatal(err)
			}
			c.add(24 * time.Hour)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return content, times
}

// Whatever happened to the file: it opens, and either all is found, or it says
// so and does not claim to cover the time before.
func TestADamagedFileIsSetAsideAndNeverBelieved(t *testing.T) {
	const messages = 300
	sound, times := soundFile(t, messages)
	meta, err := newestMeta(bytes.NewReader(sound), int64(len(sound)))
	if err != nil {
		t.Fatal(err)
	}
	pages := int(native.Uint64(meta[40:])) // in use; the rest is reserve
	rng := rand.New(rand.NewPCG(1, 2))
	damage := map[string]func([]byte) []byte{
		"no damage":         func(b []byte) []byte { return b },
		"half of it":        func(b []byte) []byte { return b[:pages*4096/2] },
		"one page short":    func(b []byte) []byte { return b[:(pages-1)*4096] },
		"a few bytes":       func(b []byte) []byte { return b[:100] },
		"text":              func([]byte) []byte { return []byte("not a ledger at all\n") },
		"zeros":             func(b []byte) []byte { return make([]byte, len(b)) },
		"both metas zeroed": func(b []byte) []byte { clear(b[:8192]); return b },
		"second half noise": func(b []byte) []byte {
			for i := pages * 4096 / 2; i < pages*4096; i++ {
				b[i] = byte(rng.Uint32())
			}
			return b
		},
	}
	for i := range 60 {
		damage[fmt.Sprintf("bit flip %d", i)] = func(b []byte) []byte {
			b[rng.IntN(pages*4096)] ^= 1 << rng.IntN(8)
			return b
		}
		damage[fmt.Sprintf("page overwritten %d", i)] = func(b []byte) []byte {
			from, to := rng.IntN(pages), rng.IntN(pages)
			copy(b[to*4096:(to+1)*4096], bytes.Clone(b[from*4096:(from+1)*4096]))
			return b
		}
	}
	setAside := 0
	for name, change := range damage {
		b := newBench(t)
		b.Close()
		content := change(bytes.Clone(sound))
		if err := os.WriteFile(b.opts.File, content, 0o600); err != nil {
			t.Fatal(err)
		}
		b.reports = nil
		b.add(10 * 24 * time.Hour)
		b.open()
		cover := b.Coverage()
		all, honest := true, true
		for i, at := range times {
			found := b.sent(fmt.Sprintf("<%d@mx>", i))
			all = all && found
			honest = honest && (found || !cover.Covers(at, at))
		}
		var reported *Damaged
		told := errors.As(errors.Join(b.reports...), &reported)
		switch {
		case name == "no damage" && (!all || told):
			t.Errorf("%s: all found %v, reports %v", name, all, b.reports)
		case !honest:
			t.Errorf("%s: messages are missing from a time that it claims to cover: %+v", name, cover)
		case told && (cover.Since.Before(b.Now()) || !strings.Contains(reported.Error(), reported.File)):
			t.Errorf("%s: %v, coverage %+v", name, reported, cover)
		}
		if told {
			setAside++
			kept, err := os.ReadFile(reported.File)
			if err != nil || !bytes.Equal(kept, content) {
				t.Errorf("%s: the damaged file was not kept as it was: %v", name, err)
			}
		}
		b.record("<new@mx>", "joe@example.org", "ann@remote.example")
		b.restart(time.Minute)
		if !b.sent("<new@mx>") {
			t.Errorf("%s: does not work afterwards", name)
		}
		b.Close()
	}
	if setAside < 60 {
		t.Errorf("only %d of %d damages were noticed; the test has lost its teeth", setAside, len(damage))
	}
}

// The file is cut short under the running daemon: its memory map ends in a fault.
func TestAFileDamagedWhileInUseIsReplaced(t *testing.T) {
	b := newBench(t)
	for i := range 300 {
		b.record(fmt.Sprintf("<%d@mx>", i), "joe@example.org", fmt.Sprintf("r%d@remote.example", i))
	}
	if err := b.flush(); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(b.opts.File, 0); err != nil {
		t.Fatal(err)
	}
	b.add(time.Hour)
	// The writer may have found it first; then the look-up is in the new file.
	if _, err := b.Sent(t.Context(), "<1@mx>", ""); err == nil && !strings.Contains(b.reported(), "started anew") {
		t.Error("a look-up in a file that is gone said nothing")
	}
	if !strings.Contains(b.reported(), "started anew") {
		t.Errorf("reports: %v", b.reported())
	}
	b.record("<new@mx>", "joe@example.org", "ann@remote.example")
	if err := b.flush(); err != nil {
		t.Fatal(err)
	}
	b.restart(time.Minute)
	if !b.sent("<new@mx>") || b.sent("<1@mx>") {
		t.Error("want the new message only")
	}
	if c := b.Coverage(); c.Since.Before(noon.Add(time.Hour)) {
		t.Errorf("claims to cover the time before: %+v", c)
	}
}

func TestAFileDamagedWhileInUseIsReplacedByTheWriterToo(t *testing.T) {
	b := newBench(t)
	for i := range 300 {
		b.record(fmt.Sprintf("<%d@mx>", i), "joe@example.org", fmt.Sprintf("r%d@remote.example", i))
	}
	if err := b.flush(); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(b.opts.File, 8192); err != nil {
		t.Fatal(err)
	}
	b.add(time.Hour)
	b.record("<new@mx>", "joe@example.org", "ann@remote.example")
	b.flush() // finds the damage
	if err := b.flush(); err != nil {
		t.Fatal(err)
	}
	if c := b.Coverage(); !b.sent("<new@mx>") || c.Since.Before(noon.Add(time.Hour)) {
		t.Errorf("new message found %v, coverage %+v", b.sent("<new@mx>"), c)
	}
}

func TestAnotherSecretMakesTheFileWorthlessAndSaysSo(t *testing.T) {
	b := newBench(t)
	b.record("<1@mx>", "joe@example.org", "ann@remote.example")
	b.Close()
	b.opts.Secret = []byte("another secret, of 32 bytes too.")
	b.add(time.Hour)
	b.open()
	if !strings.Contains(b.reported(), "another secret") {
		t.Errorf("reports: %v", b.reported())
	}
	if c := b.Coverage(); c.Since.Before(noon.Add(time.Hour)) {
		t.Errorf("claims to cover the time before: %+v", c)
	}
}

// The kernel refuses to let the file grow, as on a full disk. The limit is one
// of the whole process, so the test runs in one of its own.
func TestAFullDiskIsSurvived(t *testing.T) {
	if os.Getenv("LEDGER_TEST_FULL_DISK") == "" {
		child := exec.Command(os.Args[0], "-test.run=^TestAFullDiskIsSurvived$", "-test.v")
		child.Env = append(os.Environ(), "LEDGER_TEST_FULL_DISK=1")
		out, err := child.CombinedOutput()
		if err != nil || !bytes.Contains(out, []byte("--- PASS: TestAFullDiskIsSurvived")) {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	b := newBench(t, func(o *Options) { o.Queue = 2000 })
	b.record("<before@mx>", "joe@example.org", "ann@remote.example")
	if err := b.flush(); err != nil {
		t.Fatal(err)
	}
	signal.Ignore(syscall.SIGXFSZ)
	defer signal.Reset(syscall.SIGXFSZ)
	var old syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &old); err != nil {
		t.Fatal(err)
	}
	restore := func() {
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &old); err != nil {
			t.Fatal(err)
		}
	}
	defer restore()
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: 36 << 10, Max: old.Max}); err != nil {
		t.Fatal(err)
	}
	fill := func(prefix string) {
		for i := range 200 {
			b.record(fmt.Sprintf("<%s%d@mx>", prefix, i), "joe@example.org", fmt.Sprintf("%s%d@remote.example", prefix, i))
		}
	}
	fill("full")
	for range 3 {
		if err := b.flush(); err == nil {
			t.Fatal("wrote 600 entries into a file that may not grow; the limit does not work here")
		}
		b.add(time.Minute)
	}
	if !b.sent("<before@mx>") || !b.sent("<full199@mx>") {
		t.Error("what is known is not found while the disk is full")
	}
	if s, _ := b.Status(); s.Error == "" || s.Pending == 0 {
		t.Errorf("status does not tell: %+v", s)
	}
	if strings.Count(b.reported(), "cannot write") != 1 {
		t.Errorf("want one report, not one for each try: %v", b.reported())
	}
	for i := range 5 {
		fill(fmt.Sprint("overflow", i))
	}
	overflow := b.Now()
	if b.Coverage().Covers(overflow, overflow) {
		t.Error("messages were dropped and there is no gap")
	}
	restore()
	b.add(time.Hour)
	if err := b.flush(); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(b.reported(), "writes again") {
		t.Errorf("reports: %v", b.reported())
	}
	b.restart(time.Minute)
	if !b.sent("<before@mx>") || !b.sent("<full199@mx>") {
		t.Error("lost what had waited")
	}
	if c := b.Coverage(); c.Covers(overflow, overflow) || !c.Covers(overflow.Add(10*time.Minute), overflow.Add(20*time.Minute)) {
		t.Errorf("the gap was not kept, or is too wide: %+v", c)
	}
}

func FuzzVerify(f *testing.F) {
	sound, _ := soundFile(f, 30)
	if err := verify(bytes.NewReader(sound), int64(len(sound))); err != nil {
		f.Fatal(err)
	}
	f.Add(sound, 0, byte(0))
	f.Add(sound[:len(sound)/2], 9000, byte(7))
	f.Add([]byte{}, 0, byte(0))
	f.Fuzz(func(t *testing.T, content []byte, at int, flip byte) {
		if len(content) > 1<<20 {
			return
		}
		content = bytes.Clone(content)
		if at >= 0 && at < len(content) {
			content[at] ^= flip
		}
		verify(bytes.NewReader(content), int64(len(content)))
	})
}
