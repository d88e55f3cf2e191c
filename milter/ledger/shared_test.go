package ledger

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// What leaves through one host is known to the others, to which no host is told
// apart, and nothing of it stands on the server in clear.
func TestSharedIsOneLedger(t *testing.T) {
	server := startRedis(t)
	at := Server{Addresses: []string{server.addr}}
	a, b := join(t, "a.example", at, nil), join(t, "b.example", at, nil)
	a.send(1)
	a.Record(Message{MessageID: "<x@y>", Sender: "Ann@Example.org", Recipients: []string{"Bob@Remote.example"}})
	a.written()
	b.waitCovered()
	for _, c := range []struct {
		name  string
		found bool
		look  func(context.Context) (Hit, error)
	}{
		{"its Message-ID", true, func(ctx context.Context) (Hit, error) { return b.Sent(ctx, "<1@mail.example.org>", "joe@example.org") }},
		{"another Message-ID", false, func(ctx context.Context) (Hit, error) { return b.Sent(ctx, "<2@mail.example.org>", "joe@example.org") }},
		{"sender and recipient, in another case", true, func(ctx context.Context) (Hit, error) { return b.Wrote(ctx, "ann@example.org", "bob@remote.example") }},
		{"sender and another recipient", false, func(ctx context.Context) (Hit, error) { return b.Wrote(ctx, "joe@example.org", "bob@remote.example") }},
		{"sender and domain", true, func(ctx context.Context) (Hit, error) { return b.Wrote(ctx, "joe@example.org", "@remote.example") }},
		{"anybody and domain", true, func(ctx context.Context) (Hit, error) { return b.Wrote(ctx, "", "@remote.example") }},
		{"sender", true, func(ctx context.Context) (Hit, error) { return b.Wrote(ctx, "joe@example.org", "") }},
	} {
		hit, err := c.look(t.Context())
		if err != nil || hit.Found != c.found {
			t.Errorf("%s: found %v, %v; want %v", c.name, hit.Found, err, c.found)
		}
		if hit.Found && time.Since(hit.At).Abs() > 5*time.Second {
			t.Errorf("%s: left at %v", c.name, hit.At)
		}
	}
	if hit, err := b.Sent(t.Context(), "<1@mail.example.org>", "ann@example.org"); err != nil || !hit.Found || hit.SameSender {
		t.Errorf("of another sender: %+v, %v", hit, err)
	}
	for want := 1; want <= 4; want += 2 {
		for i, h := range []*sharedHost{a, b} {
			if n, err := h.Use(t.Context(), "proof"); err != nil || n != want+i {
				t.Errorf("use %d, %v; want %d", n, err, want+i)
			}
		}
	}
	server.do("SAVE")
	dump, err := os.ReadFile(filepath.Join(server.dir, "dump.rdb"))
	if err != nil || len(dump) < 500 {
		t.Fatalf("dump of %d bytes: %v", len(dump), err)
	}
	for _, word := range []string{"joe", "ann", "remote", "proof", "mail.example"} {
		if strings.Contains(strings.ToLower(string(dump)), word) {
			t.Errorf("%q stands on the server in clear", word)
		}
	}
}

// Entries go when they have been kept for as long as they are to be.
func TestSharedEntriesExpire(t *testing.T) {
	server := startRedis(t)
	a := join(t, "a", Server{Addresses: []string{server.addr}}, func(o *SharedOptions) { o.Keep = 2 })
	a.send(1)
	a.written()
	if err := a.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Use(t.Context(), "proof"); err != nil {
		t.Fatal(err)
	}
	keys := server.do("KEYS", "t:*").([]any)
	expiring := 0
	for _, k := range keys {
		name := k.(string)
		ttl := server.do("TTL", name).(int64)
		if strings.HasPrefix(name, "t:{hosts}") {
			continue
		}
		expiring++
		if ttl <= 2*86400-60 || ttl > 2*86400 {
			t.Errorf("%q is kept for another %d s", name, ttl)
		}
	}
	if expiring < 6 {
		t.Errorf("only %d entries and marks among %q", expiring, keys)
	}
}

// A host that has not reported, or no longer does, may have sent: nothing is
// covered after its last report.
func TestSharedCoverageIsThatOfAllHosts(t *testing.T) {
	server := startRedis(t)
	at := Server{Addresses: []string{server.addr}}
	expecting := func(o *SharedOptions) { o.Hosts = []string{"a", "b"} }
	a := join(t, "a", at, expecting)
	soon(t, "b is missed", func() bool { return strings.Contains(a.Coverage().Why, "the host b has never reported") })
	b := join(t, "b", at, expecting)
	a.waitCovered()
	if c := a.Coverage(); c.Since.Before(b.opts.Now().Add(-time.Minute)) {
		t.Errorf("covered since %v, when b was not there", c.Since)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	stopped := time.Now()
	soon(t, "b's silence is noticed", func() bool {
		c := a.Coverage()
		return c.Until.Before(time.Now().Add(-500*time.Millisecond)) && strings.Contains(c.Why, "the host b has not reported since")
	})
	again := join(t, "b", at, expecting)
	a.waitNow(t)
	c := a.Coverage()
	if c.Covers(stopped.Add(-time.Second), c.Until) || len(c.Gaps) != 1 || c.Gaps[0].Reason != "not running" {
		t.Errorf("the time when b was away: %+v", c)
	}
	again.Close()
	if err := a.Forget(t.Context(), "b"); err != nil {
		t.Fatal(err)
	}
	if err := a.Forget(t.Context(), "nobody"); err == nil {
		t.Error("a host that never was is forgotten")
	}
	soon(t, "b is expected by the configuration", func() bool { return strings.Contains(a.Coverage().Why, "never reported") })
}

// waitNow waits until coverage reaches to now, with gaps or without.
func (h *sharedHost) waitNow(t *testing.T) {
	t.Helper()
	soon(t, "all hosts report", func() bool { c := h.Coverage(); return c.Why == "" && time.Since(c.Until) < 500*time.Millisecond })
}

// A host of which an administrator says that it is new does not make the others
// warm up again; one that then loses its records does.
func TestSharedTrustsANewHost(t *testing.T) {
	server := startRedis(t)
	at := Server{Addresses: []string{server.addr}}
	a := join(t, "a", at, nil)
	a.waitCovered()
	since := a.Coverage().Since
	time.Sleep(50 * time.Millisecond)
	b := join(t, "b", at, nil)
	b.waitCovered()
	soon(t, "the new host counts", func() bool { return a.Coverage().Since.After(since) })
	if err := a.Trust(t.Context(), "b"); err != nil {
		t.Fatal(err)
	}
	soon(t, "the old beginning holds", func() bool { return a.Coverage().Since.Equal(since) })
	server.do("FLUSHALL")
	soon(t, "the trust is gone", func() bool { c := a.Coverage(); return !c.Since.IsZero() && c.Since.After(since) })
}

// A server that is away holds up no mail and proves nothing. What left meanwhile
// is written later, and the gap is shown.
func TestSharedServerAway(t *testing.T) {
	for _, c := range []struct {
		name       string
		down, back func(*redisServer)
	}{
		{"stopped", (*redisServer).saveAndKill, (*redisServer).start},
		{"frozen", func(s *redisServer) { s.signal(syscall.SIGSTOP) }, func(s *redisServer) { s.signal(syscall.SIGCONT) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			server := startRedis(t)
			at := Server{Addresses: []string{server.addr}}
			a, b := join(t, "a", at, nil), join(t, "b", at, nil)
			a.send(1)
			a.written()
			b.waitCovered()
			c.down(server)
			slowest := time.Duration(0)
			for range 200 {
				began := time.Now()
				found, err := b.knowsWithin(2, 50*time.Millisecond)
				slowest = max(slowest, time.Since(began))
				if err == nil && found {
					t.Fatal("found what was never sent")
				}
				a.send(3)
			}
			t.Logf("the slowest of 200 look-ups took %v", slowest)
			if slowest > 1500*time.Millisecond { // less than the connection's own limit, which would hold up mail
				t.Errorf("a look-up took %v", slowest)
			}
			soon(t, "look-ups fail", func() bool { _, err := b.knowsWithin(2, 50*time.Millisecond); return errors.Is(err, ErrAway) })
			soon(t, "it is told", func() bool { return strings.Contains(a.reported(), "cannot be written to") })
			soon(t, "coverage ends", func() bool { return time.Since(b.Coverage().Until) > time.Second })
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer cancel()
			if s, err := b.Status(ctx); err == nil || s.LookupErrors == 0 || s.Error == "" {
				t.Errorf("while it is away: %+v, %v", s, err)
			}
			if s, _ := a.Status(ctx); s.Failures == 0 || s.Pending == 0 {
				t.Errorf("while it is away, of the host that records: %+v", s)
			}
			c.back(server)
			a.written()
			b.waitNow(t)
			if found, err := b.knows(3); !found {
				t.Errorf("what left meanwhile is not known: %v", err)
			}
			gaps := a.Coverage().Gaps
			if len(gaps) == 0 || !gaps[0].Filled {
				t.Errorf("gaps %+v; want one that was filled", gaps)
			}
			if said := a.reported(); !strings.Contains(said, "cannot be written to") || !strings.Contains(said, "all is well again") {
				t.Errorf("reported: %s", said)
			}
		})
	}
}

// saveAndKill ends the server with its memory on disk, as a restart does.
func (s *redisServer) saveAndKill() {
	s.tb.Helper()
	s.do("SAVE")
	s.kill()
}

// More than may wait is dropped, and that is a gap that is never filled.
func TestSharedQueueIsBounded(t *testing.T) {
	server := startRedis(t)
	a := join(t, "a", Server{Addresses: []string{server.addr}}, func(o *SharedOptions) { o.Queue = 30 })
	a.waitCovered()
	server.saveAndKill()
	for n := range 50 {
		a.send(n)
	}
	server.start()
	a.written()
	a.waitNow(t)
	if s, err := a.Status(t.Context()); err != nil || s.Dropped == 0 || s.Dropped >= 50 {
		t.Errorf("%d messages dropped, %v", s.Dropped, err)
	}
	c := a.Coverage()
	dropped := func(g Gap) bool { return g.Reason == "queue full" && !g.Filled }
	if len(c.Gaps) == 0 || !dropped(c.Gaps[0]) && !dropped(c.Gaps[len(c.Gaps)-1]) || c.Covers(c.Since, c.Until) {
		t.Errorf("gaps %+v", c.Gaps)
	}
}

// A server that lost what it was given is not believed, from the first look-up
// on: not when it was emptied, not when it fell back to an older copy.
func TestSharedServerThatForgets(t *testing.T) {
	for _, c := range []struct {
		name   string
		forget func(*redisServer)
	}{
		{"emptied", func(s *redisServer) { s.do("FLUSHALL") }},
		{"an older copy", func(s *redisServer) { s.kill(); s.start() }},
	} {
		t.Run(c.name, func(t *testing.T) {
			server := startRedis(t)
			// It reports once an hour, so that it is a look-up that notices.
			a := join(t, "a", Server{Addresses: []string{server.addr}}, func(o *SharedOptions) { o.Beat, o.Stale = time.Hour, time.Hour })
			soon(t, "the server answers", func() bool { return a.Coverage().Why == "" })
			server.do("SAVE")
			for n := range 200 { // all parts are touched
				a.send(n)
			}
			a.written()
			before := a.Coverage()
			c.forget(server)
			for n := range 200 {
				found, err := a.knows(n)
				if found {
					continue // still in memory would be right; the server has none
				}
				if err == nil && a.Coverage().Since.Equal(before.Since) {
					t.Fatalf("message %d is not found, without an error, and counts as not sent", n)
				}
			}
			defer func() {
				if t.Failed() {
					t.Logf("%s; %+v; since before %v", a.reported(), a.Coverage(), before.Since)
				}
			}()
			soon(t, "it begins anew", func() bool { c := a.Coverage(); return c.Why == "" && c.Since.After(before.Since) })
			if !strings.Contains(a.reported(), "lost what was written to it") {
				t.Errorf("reported: %s", a.reported())
			}
			a.send(1000)
			a.written()
			if found, err := a.knows(1000); !found {
				t.Errorf("it does not go on: %v", err)
			}
		})
	}
}

// A full server says so, and leaves a gap rather than throwing entries away; one
// that would throw them away is not believed.
func TestSharedServerFull(t *testing.T) {
	server := startRedis(t, "--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru")
	at := Server{Addresses: []string{server.addr}}
	a := join(t, "a", at, func(o *SharedOptions) { o.Queue = 200 })
	soon(t, "its policy is noticed", func() bool { return strings.Contains(a.Coverage().Why, "maxmemory-policy noeviction") })
	server.do("CONFIG", "SET", "maxmemory-policy", "noeviction")
	a.waitCovered()
	a.send(-1)
	a.written()
	server.do("CONFIG", "SET", "maxmemory", "1")
	for n := range 100 {
		a.send(n)
	}
	soon(t, "the full server is noticed", func() bool { return strings.Contains(a.reported(), "OOM") })
	if s, err := a.Status(t.Context()); err != nil || !strings.Contains(s.Error, "OOM") || s.Failures == 0 {
		t.Errorf("status %+v, %v", s, err)
	}
	if found, err := a.knows(-1); !found {
		t.Errorf("a full server is not asked for what it has: %v", err)
	}
	server.do("CONFIG", "SET", "maxmemory", "0")
	a.written()
	a.waitNow(t)
	if c := a.Coverage(); c.Covers(c.Since, c.Until) {
		t.Errorf("what was dropped left no gap: %+v", c)
	}
}

// Two ledgers are not mixed up, and two hosts of one name are told of.
func TestSharedMistakes(t *testing.T) {
	server := startRedis(t)
	at := Server{Addresses: []string{server.addr}}
	a := join(t, "a", at, nil)
	a.waitCovered()
	other := join(t, "b", at, func(o *SharedOptions) { o.Secret = []byte("quite another secret") })
	soon(t, "another secret is refused", func() bool { return strings.Contains(other.reported(), "another secret") })
	if other.covered() {
		t.Error("covered all the same")
	}
	twin := join(t, "a", at, nil)
	soon(t, "a second host of this name is noticed", func() bool {
		return strings.Contains(a.reported()+twin.reported(), "another process reports as the host a")
	})
	if _, err := OpenShared(SharedOptions{Secret: sharedSecret, Keep: 1}); err == nil {
		t.Error("no address is taken")
	}
	nowhere := join(t, "c", Server{Addresses: []string{freeAddress(t)}}, nil)
	if _, err := nowhere.knows(1); !errors.Is(err, ErrAway) || nowhere.Coverage().Why == "" {
		t.Errorf("no server: %v, %+v", err, nowhere.Coverage())
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if err := nowhere.Ready(ctx); err == nil {
		t.Error("no server is ready")
	}
}

// Status shows every host; one that only looks is none.
func TestSharedStatus(t *testing.T) {
	server := startRedis(t)
	at := Server{Addresses: []string{server.addr}}
	a := join(t, "a", at, nil)
	for n := range 7 {
		a.send(n)
	}
	a.written()
	a.waitCovered()
	looker := join(t, "", at, func(o *SharedOptions) { o.Hosts = []string{"a", "z"} })
	if err := looker.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	var s Status
	soon(t, "the count has got there", func() bool {
		var err error
		s, err = looker.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return len(s.Days) == 1 && s.Days[0].Messages == 7
	})
	if len(s.Hosts) != 2 || s.Hosts[0].Name != "a" || s.Hosts[0].Since.IsZero() || s.Hosts[1].Name != "z" || !s.Hosts[1].Since.IsZero() {
		t.Errorf("hosts %+v", s.Hosts)
	}
	if found, err := looker.knows(3); !found {
		t.Errorf("looked up: %v", err)
	}
	if hosts := fmt.Sprint(server.do("HKEYS", "t:{hosts}")); hosts != "[a]" {
		t.Errorf("hosts %s", hosts)
	}
}
