package ledger

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"
)

// What left another host in this moment may not be here yet: its silence about
// that proves nothing. What left this host itself is here.
func TestSharedRecordsOnTheirWay(t *testing.T) {
	server := startRedis(t)
	at := Server{Addresses: []string{server.addr}}
	b := join(t, "b", at, nil)
	b.waitCovered()
	if !b.Coverage().Arrived(time.Now()) {
		t.Error("a host alone waits for others")
	}
	// One that writes once a second, so that there is something on its way.
	a := join(t, "a", at, func(o *SharedOptions) { o.Group, o.Beat = time.Second, time.Second })
	a.waitCovered()
	b.waitCovered()
	sent := time.Now()
	a.send(1)
	for {
		c := b.Coverage() // before the look-up, as the evidence is weighed
		found, err := b.knows(1)
		if err != nil {
			t.Fatal(err)
		}
		if found {
			break
		}
		if c.Covers(sent, sent) && c.Arrived(sent.Truncate(time.Second)) {
			t.Fatalf("%v after it left, it is not there and counts as never sent", time.Since(sent))
		}
		if time.Since(sent) > 10*time.Second {
			t.Fatal("it is never there")
		}
	}
	soon(t, "it counts as told", func() bool { return b.Coverage().Arrived(sent) })
}

// A server that was lost and is there again may be an older copy. The others'
// word of before does not count: each must have reported to this one.
func TestSharedAsksAnewAfterALoss(t *testing.T) {
	server := startRedis(t)
	at := Server{Addresses: []string{server.addr}}
	silent := func(o *SharedOptions) { o.Beat, o.Stale = time.Hour, time.Hour }
	a := join(t, "a", at, silent)
	b := join(t, "b", at, func(o *SharedOptions) { o.Stale = time.Hour })
	soon(t, "a reports", func() bool { a.send(1); return b.covered() })
	a.written()
	server.saveAndKill()
	soon(t, "the loss is noticed", func() bool { return strings.Contains(b.reported(), "cannot be written to") })
	server.start()
	soon(t, "a is waited for", func() bool { return strings.Contains(b.Coverage().Why, "the host a has not reported") })
	a.send(2)
	soon(t, "a has reported", b.covered)
}

// A look-up whose message has no time left, or that nobody waits for, says
// nothing of the server.
func TestSharedLookUpCutShort(t *testing.T) {
	server := startRedis(t)
	a := join(t, "a", Server{Addresses: []string{server.addr}}, func(o *SharedOptions) { o.Beat = time.Hour })
	if err := a.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	over, cancel := context.WithDeadline(t.Context(), time.Now())
	defer cancel()
	left, leave := context.WithCancel(t.Context())
	leave()
	for _, ctx := range []context.Context{over, left} {
		if _, err := a.Sent(ctx, messageID(1), "joe@example.org"); err == nil || errors.Is(err, ErrAway) {
			t.Errorf("cut short: %v", err)
		}
		if _, err := a.Use(ctx, "proof"); err == nil || errors.Is(err, ErrAway) {
			t.Errorf("a use, cut short: %v", err)
		}
		if _, err := a.knows(1); err != nil {
			t.Errorf("the next look-up: %v", err)
		}
	}
	if s, err := a.Status(t.Context()); err != nil || s.OverBudget != 2 || s.LookupErrors != 4 {
		t.Errorf("%d over budget of %d that failed, %v; want 2 of 4", s.OverBudget, s.LookupErrors, err)
	}
}

// What is on its way over a connection that is given up does not arrive later.
func TestSharedGivesConnectionsUp(t *testing.T) {
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	conn, err := Server{}.dial(t.Context(), "tcp4", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	served, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer served.Close()
	// The other end reads nothing, so that much of this stays here.
	conn.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
	sent := 0
	for piece := make([]byte, 1<<16); ; {
		n, err := conn.Write(piece)
		if sent += n; err != nil {
			break
		}
	}
	conn.Close()
	served.SetReadDeadline(time.Now().Add(10 * time.Second))
	got, err := io.Copy(io.Discard, served)
	if !errors.Is(err, syscall.ECONNRESET) || got >= int64(sent) {
		t.Errorf("%d bytes of %d arrived, %v", got, sent, err)
	}
}

// A host that is doubted writes all the same, and its end is no failure.
func TestSharedClosesInDoubt(t *testing.T) {
	server := startRedis(t)
	at := Server{Addresses: []string{server.addr}}
	a := join(t, "a", at, func(o *SharedOptions) { o.Beat = time.Hour })
	if err := a.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	a.send(1)
	a.written()
	if err := a.Forget(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	if err := a.Close(); err != nil {
		t.Error(err)
	}
	if hosts := server.do("HKEYS", "t:{hosts}").([]any); len(hosts) != 1 {
		t.Errorf("its last report is not there: %v", hosts)
	}
}
