package milter

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/backscatterd/backscatterd/milter/batv"
	"github.com/backscatterd/backscatterd/milter/evidence"
	"github.com/backscatterd/backscatterd/milter/internal/milterclient"
)

func letter(from, to, id string, more ...string) milterclient.Message {
	return milterclient.Message{From: "<" + from + ">", To: []string{"<" + to + ">"}, Header: letterHeader(from, id, more...), Body: "hello\r\n"}
}

// Mail of ours is signed and remembered, and its bounces are known for ours by
// the token alone, by the ledger alone, and by the tag of the recipient.
func TestMailOfOursAndItsBounce(t *testing.T) {
	w := newWorld(t, nil)
	ours := letter("joe@example.org", "ann@remote.example", "1@example.org")
	a := w.deliver(inside, ours)
	got := changes(a)
	value, ok := strings.CutPrefix(got, "h X-Backscatter-Token|")
	if a.Code != 'c' || !ok || strings.Contains(value, "\n") {
		t.Fatalf("answered %q: %s", a.Code, got)
	}
	for name, m := range map[string]milterclient.Message{
		"token":            bounceOf("joe@example.org", "1@example.org", 100, "X-Backscatter-Token", value),
		"ledger-message":   bounceOf("joe@example.org", "1@example.org", 100),
		"in several parts": bounceOf("joe@example.org", "1@example.org", 200_000, "X-Backscatter-Token", value),
	} {
		got := changes(w.deliver(outside, m))
		if reason := strings.TrimPrefix(name, "in several parts"); !strings.HasPrefix(got, "h X-Backscatter-Status|legit kind=failed reasons=") || !strings.Contains(got, reason) {
			t.Errorf("%s: %s", name, got)
		}
	}
	got = changes(w.deliver(outside, bounceOf("joe@example.org", "forged@example.org", 100)))
	if want := "h X-Backscatter-Flag|YES\nh X-Backscatter-Status|suspect kind=failed reasons=no-proof,not-in-ledger,first-hop-not-ours"; got != want {
		t.Errorf("a forged one: %s\nwant %s", got, want)
	}
	if c := w.filter.Counts(); c.Outgoing != 1 || c.Legit != 3 || c.Suspect != 1 || c.Messages != 5 {
		t.Errorf("%+v", c)
	}
}

// Who may send in our name, and what becomes of the rest.
func TestWhoseMailIsOurs(t *testing.T) {
	w := newWorld(t, nil)
	auth := map[byte][]string{'M': {"{auth_authen}", "joe"}}
	for _, c := range []struct {
		name, client, from string
		macros             map[byte][]string
		signed             bool
	}{
		{"from our network", inside, "joe@example.org", nil, true},
		{"authenticated from anywhere", outside, "joe@EXAMPLE.org", auth, true},
		{"from outside in our name", outside, "joe@example.org", nil, false},
		{"forwarded by our network", inside, "ann@remote.example", nil, false},
		{"of a host below ours", inside, "joe@sub.example.org", nil, false},
		{"a bounce of ours", inside, "", nil, false},
	} {
		m := letter(c.from, "ann@remote.example", "1@example.org")
		m.Macros = c.macros
		if got := changes(w.deliver(c.client, m)); strings.HasPrefix(got, "h X-Backscatter-Token|v1 ") != c.signed || !c.signed && got != "" {
			t.Errorf("%s: %q", c.name, got)
		}
	}
	// sendmail -bs has no address, and gives the sender its host's name.
	c := w.dial(outside)
	if _, err := c.Connect("localhost", 'U', 0, "", "localhost"); err != nil {
		t.Fatal(err)
	}
	m := letter("joe", "ann@remote.example", "1@example.org")
	m.Macros = map[byte][]string{'M': {"{mail_addr}", "joe@example.org"}}
	if a, err := c.Deliver(m); err != nil || !strings.Contains(changes(a), "X-Backscatter-Token") {
		t.Errorf("local submission: %v, %v", a, err)
	}
}

func TestBATVSignsWhatLeavesAndIsTakenOffWhatComes(t *testing.T) {
	w := newWorld(t, nil)
	m := letter("joe@batv.example", "ann@remote.example", "1@batv.example")
	m.From += "\x00SIZE=100\x00RET=HDRS\x00BODY=8BITMIME"
	got := changes(w.deliver(inside, m))
	line := got[strings.LastIndex(got, "\n")+1:]
	if !strings.HasPrefix(line, "e <prvs=3") || !strings.Contains(line, "=joe@batv.example>|RET=HDRS BODY=8BITMIME ENVID=bsg1.k1.") {
		t.Errorf("changed %q", line)
	}
	tagged := line[len("e <"):strings.IndexByte(line, '>')]
	if got := w.policy.BATV.Check(tagged, w.clock.now()); got != batv.Valid {
		t.Errorf("%s is %v", tagged, got)
	}
	m.From = "<joe@batv.example>\x00ENVID=mine"
	if got := changes(w.deliver(inside, m)); !strings.HasSuffix(got, "=joe@batv.example>|ENVID=mine") {
		t.Errorf("with an id of the client's: %q", got)
	}
	for name, m := range map[string]milterclient.Message{
		"mail that stays here": letter("joe@batv.example", "ann@example.org", "1@batv.example"),
		"another domain":       letter("joe@example.org", "ann@remote.example", "1@batv.example"),
		"no room for a tag":    letter(strings.Repeat("j", 60)+"@batv.example", "ann@remote.example", "1@batv.example"),
		"quoted":               letter(`"joe doe"@batv.example`, "ann@remote.example", "1@batv.example"),
		"tagged already":       letter(tagged, "ann@remote.example", "1@batv.example"),
	} {
		if got := changes(w.deliver(inside, m)); strings.Contains(got, "\ne ") || !strings.HasPrefix(got, "h X-Backscatter-Token|") {
			t.Errorf("%s: %q", name, got)
		}
	}
	for _, to := range []string{tagged, strings.ToUpper(tagged)} {
		b := bounceOf("joe@batv.example", "nothing@remote.example", 100)
		b.To = []string{"<" + to + ">"}
		got := changes(w.deliver(outside, b))
		want := fmt.Sprintf("- <%s>\n+ <%s>\nh X-Backscatter-Status|legit kind=failed reasons=batv", to, to[len("prvs=3345abcdef="):])
		if !strings.HasPrefix(got, want) {
			t.Errorf("bounce to %s: %q\nwant %q", to, got, want)
		}
	}
	// Ordinary mail to a tagged address finds its mailbox too; others' tags stay.
	if got := changes(w.deliver(outside, letter("ann@remote.example", tagged, "2@remote.example"))); got != "- <"+tagged+">\n+ <joe@batv.example>" {
		t.Errorf("ordinary mail: %q", got)
	}
	if a := w.deliver(outside, letter("ann@remote.example", "prvs=3345abcdef=bob@other.example", "3@remote.example")); a.Code != 'a' || len(a.Changes) > 0 {
		t.Errorf("mail to others: %v", a)
	}
}

// Ordinary mail is let go at the end of its header.
func TestOrdinaryMailCostsNoBody(t *testing.T) {
	w := newWorld(t, nil)
	c := w.dial(outside)
	for _, f := range []string{"M<ann@remote.example>\x00", "R<joe@example.org>\x00", "LSubject\x00hello\x00"} {
		if _, err := c.Command(f[0], f[1:]); err != nil {
			t.Fatal(err)
		}
	}
	if a, err := c.Command('N', ""); err != nil || a.Code != 'a' {
		t.Errorf("at the end of the header: %v, %v", a, err)
	}
}

func TestForgedHeadersAreRemovedFromTheLastOneDown(t *testing.T) {
	w := newWorld(t, nil)
	m := letter("ann@remote.example", "joe@example.org", "1@remote.example",
		"X-Backscatter-Flag", "YES", "X-BACKSCATTER-FLAG", "", "x-backscatter-status", "legit", "X-Backscatter-Token", "v1 quoted")
	want := "m 2 X-Backscatter-Flag|\nm 1 X-Backscatter-Flag|\nm 1 X-Backscatter-Status|"
	if got := changes(w.deliver(outside, m)); strings.ReplaceAll(got, "\n", "\n") != want {
		t.Errorf("changed %q, want %q", got, want)
	}
}

// The actions: by verdict, by recipient, and the mildest of several.
func TestActions(t *testing.T) {
	w := newWorld(t, func(_ *Options, p *Policy, _ *evidence.Options) {
		p.Actions = Actions{Suspect: Reject, Unknown: Quarantine, Legit: Accept}
		p.Listed = []string{"Held@example.org", "@batv.example"}
		p.ListedActions = Actions{Suspect: Discard}
		p.RejectText = "no\r\n250 2.0.0 \x00ok 100%"
	})
	suspect := func(to ...string) milterclient.Message {
		m := bounceOf("info@example.org", "forged@example.org", 100)
		m.To = nil
		for _, a := range to {
			m.To = append(m.To, "<"+a+">")
		}
		return m
	}
	unknown := suspect("joe@notours.example")
	for _, c := range []struct {
		name    string
		client  string
		m       milterclient.Message
		code    byte
		data    string
		changes string
	}{
		{"suspect", outside, suspect("info@example.org"), 'y', "550 5.7.1 no  250 2.0.0  ok 100%%\x00", ""},
		{"suspect, listed", outside, suspect("held@example.org"), 'd', "", ""},
		{"suspect, domain listed, tagged", outside, suspect("joe@batv.example"), 'd', "", ""},
		{"suspect, one listed: the milder one", outside, suspect("held@example.org", "info@example.org"), 'y', "550 5.7.1 no  250 2.0.0  ok 100%%\x00", ""},
		{"unknown", outside, unknown, 'c', "", "h X-Backscatter-Status|unknown kind=failed reasons=no-proof,not-covered,first-hop-not-ours\nq backscatterd: unknown kind=failed reasons=no-proof,not-covered,first-hop-not-ours"},
		{"from a host of ours", inside, suspect("info@example.org"), 'c', "", "h X-Backscatter-Status|unknown"},
	} {
		a := w.deliver(c.client, c.m)
		got := changes(a)
		if a.Code != c.code || a.Data != c.data || !strings.HasPrefix(got, c.changes) || c.changes == "" && got != "" {
			t.Errorf("%s: answered %v, changed %q", c.name, a.Packet, got)
		}
	}
	if err := w.filter.Use(Policy{Evidence: w.policy.Evidence, Actions: Actions{Legit: Discard}}); err == nil {
		t.Error("legitimate bounces may be discarded")
	}
}

func TestSpamLosesItsSender(t *testing.T) {
	w := newWorld(t, func(_ *Options, p *Policy, _ *evidence.Options) { p.NullSpamSenders = true })
	for _, c := range []struct{ name, client, from, flag, want string }{
		{"spam", outside, "victim@forged.example", "YES", "e <>"},
		{"spam with the null sender", outside, "", "Yes, score=12", ""},
		{"no spam", outside, "ann@remote.example", "NO", ""},
		{"of a host of ours", inside, "ann@remote.example", "YES", ""},
	} {
		if got := changes(w.deliver(c.client, letter(c.from, "joe@example.org", "1@remote.example", "X-Spam-Flag", c.flag))); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

// A proof is counted once a message, at its end, and not for what is aborted.
func TestProofsAreCountedOnce(t *testing.T) {
	w := newWorld(t, func(_ *Options, _ *Policy, e *evidence.Options) { e.MaxUses = 2 })
	w.deliver(inside, letter("joe@example.org", "ann@remote.example", "1@example.org"))
	c := w.dial(outside)
	m := bounceOf("joe@example.org", "1@example.org", 100)
	for _, f := range []string{"M<>\x00", "R" + m.To[0] + "\x00"} {
		c.Send(f[0], f[1:])
	}
	for _, h := range m.Header {
		c.Send('L', h[0]+"\x00"+h[1]+"\x00")
	}
	if a, err := c.Command('N', ""); err != nil || a.Code != 'c' {
		t.Fatal(a, err)
	}
	c.Send('B', m.Body)
	c.Send('A', "")
	for i := range 3 {
		got := changes(w.deliver(outside, m))
		if strings.Contains(got, "replayed") != (i == 2) || !strings.Contains(got, "|legit ") {
			t.Errorf("bounce %d: %q", i, got)
		}
	}
}

// A policy that is put in place while a message is in hand is that of the next.
func TestPolicyOfAMessageStays(t *testing.T) {
	w := newWorld(t, nil)
	c := w.dial(inside)
	c.Send('M', "<joe@example.org>\x00")
	c.Send('R', "<ann@remote.example>\x00")
	c.Send('L', "Message-ID\x00<1@example.org>\x00")
	if a, err := c.Command('N', ""); err != nil || a.Code != 'c' {
		t.Fatal(a, err)
	}
	next := w.policy
	next.Token = nil
	if err := w.filter.Use(next); err != nil {
		t.Fatal(err)
	}
	if a, err := c.Command('E', ""); err != nil || !strings.Contains(changes(a), "X-Backscatter-Token") {
		t.Errorf("the message in hand: %v, %v", a, err)
	}
	if a, err := c.Deliver(letter("joe@example.org", "ann@remote.example", "2@example.org")); err != nil || len(a.Changes) != 0 {
		t.Errorf("the next: %v, %v", a, err)
	}
}

// Stopping waits for the message in hand.
func TestStopFinishesTheMessageInHand(t *testing.T) {
	w := newWorld(t, nil)
	c := w.dial(inside)
	c.Send('M', "<joe@example.org>\x00")
	if a, err := c.Command('N', ""); err != nil || a.Code != 'c' {
		t.Fatal(a, err)
	}
	stopped := make(chan error, 1)
	go func() { stopped <- w.stop() }()
	time.Sleep(50 * time.Millisecond)
	if a, err := c.Command('E', ""); err != nil || a.Code != 'c' {
		t.Errorf("%v, %v", a, err)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

// A ledger that fails makes unknown of what it might have known, never suspect.
func TestALedgerThatFails(t *testing.T) {
	w := newWorld(t, nil)
	w.ledger.(*memoryLedger).fail = errors.New("no space left on device")
	got := changes(w.deliver(outside, bounceOf("info@example.org", "forged@example.org", 100)))
	if !strings.HasPrefix(got, "h X-Backscatter-Status|unknown kind=failed") || !strings.Contains(got, "lookup-failed") {
		t.Errorf("%q", got)
	}
}
