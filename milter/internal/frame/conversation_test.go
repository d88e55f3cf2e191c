package frame

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-milter"

	"github.com/backscatterd/backscatterd/milter/internal/milterclient"
)

// Whatever an MTA offers, the handler sees the same, each command has its
// answer, and no command has one that the MTA does not wait for.
func TestEveryMTAHasItsAnswers(t *testing.T) {
	for name, offer := range map[string][3]uint32{
		"sendmail 8.17":     {6, milterclient.AllActions, milterclient.AllProtocol},
		"postfix":           {6, 0x1FF, 0x1FFFFF &^ (1 << 11)},
		"version 2":         {2, 0x3F, 0x7F},
		"version 3":         {3, 0x3F, 0xFF},
		"offers nothing":    {6, 0, 0},
		"of a year to come": {9, 0xFFFFFFFF, 0xFFFFFFFF},
	} {
		t.Run(name, func(t *testing.T) {
			b := serve(t, nil)
			c := b.raw()
			if err := c.Negotiate(offer[0], offer[1], offer[2]); err != nil {
				t.Fatal(err)
			}
			if c.Version != min(offer[0], 6) {
				t.Errorf("answered with version %d", c.Version)
			}
			b.must(c.Connect("mx.remote.example", '4', 25, "192.0.2.1", "mx.remote.example"))
			for range 3 {
				if a := b.must(c.Deliver(letter)); a.Code != 'c' || len(a.Changes) > 0 {
					t.Errorf("answered %v", a)
				}
			}
			want := []string{"connect mx.remote.example tcp4 25 192.0.2.1", "helo mx.remote.example"}
			for range 3 {
				want = append(want, letterEvents...)
			}
			wantEvents(t, b.eventsUntil("abort"), want...)
			if r := b.reported(); r != "" {
				t.Errorf("reports: %s", r)
			}
			// Nothing is left over that the MTA would take for the next answer.
			if err := c.Send('Q', ""); err != nil {
				t.Fatal(err)
			}
			if p, err := c.Read(); err != io.EOF {
				t.Errorf("left over: %v, %v", p, err)
			}
		})
	}
}

func TestNegotiationAsksForWhatIsWantedAndOffered(t *testing.T) {
	macros := map[milter.Stage][]string{
		milter.StageMailFrom: {"i", "{auth_authen}"},
		milter.StageEOM:      {"{msg_id}"},
	}
	b := serve(t, nil, func(o *Options) { o.Macros = macros })
	c := b.dial()
	if c.Actions != uint32(allActions) || c.Protocol != uint32(quietProtocol) {
		t.Errorf("asked for %x and %x; want %x and %x", c.Actions, c.Protocol, allActions, quietProtocol)
	}
	// sendmail ignores the list for the end of the message without one for the
	// end of the headers.
	want := "\x00\x00\x00\x02i {auth_authen}\x00" + "\x00\x00\x00\x05{msg_id}\x00" + "\x00\x00\x00\x06{msg_id}\x00"
	if c.Macros != want {
		t.Errorf("macro lists %q; want %q", c.Macros, want)
	}
	old := b.raw()
	if err := old.Negotiate(2, 0x3F, 0x7F); err != nil {
		t.Fatal(err)
	}
	if old.Macros != "" || old.Actions != uint32(allActions)&0x3F || old.Protocol != 0 {
		t.Errorf("an old MTA was asked for %x, %x and %q", old.Actions, old.Protocol, old.Macros)
	}
}

func TestChangesAreSentWithTheFinalAnswerIfTheMTAAgreed(t *testing.T) {
	var notAgreed, tooEarly error
	b := serve(t, func(r *recorder, event, _ string, m *milter.Modifier) (milter.Response, error) {
		switch event {
		case "rcpt":
			tooEarly = m.AddHeader("X-Early", "1")
		case "end":
			if err := m.AddHeader("X-Flag", "YES"); err != nil {
				return nil, err
			}
			if err := m.InsertHeader(0, "X-Big", strings.Repeat("x", 10_000)); err != nil {
				return nil, err
			}
			r.state.Progress()
			if notAgreed = m.ChangeFrom("<>"); r.state.May(milter.OptChangeFrom) != (notAgreed == nil) {
				t.Errorf("May(change from) = %v, and %v", r.state.May(milter.OptChangeFrom), notAgreed)
			}
			return milter.RespAccept, nil
		}
		return nil, nil
	})
	c := b.dial()
	a := b.must(c.Deliver(letter))
	if a.Code != 'a' || len(a.Changes) != 3 || a.Changes[0].String() != `h"X-Flag\x00YES\x00"` ||
		len(a.Changes[1].Data) != 4+6+10_001 || a.Changes[2].String() != `e"<>\x00"` {
		t.Errorf("answered %.200v", a)
	}
	if tooEarly == nil {
		t.Error("a change at RCPT was taken, which the MTA would end the connection for")
	}
	old := b.raw()
	if err := old.Negotiate(2, 0x3F, 0x7F); err != nil {
		t.Fatal(err)
	}
	if a := b.must(old.Deliver(letter)); a.Code != 'a' || len(a.Changes) != 2 || !errors.Is(notAgreed, ErrNotNegotiated) {
		t.Errorf("answered %.200v; change from: %v", a, notAgreed)
	}
}

func TestStateKeepsWhatGoMilterDrops(t *testing.T) {
	var seen []string
	b := serve(t, func(r *recorder, event, _ string, _ *milter.Modifier) (milter.Response, error) {
		s := r.state
		switch event {
		case "rcpt":
			notify, ok := s.Rcpt().Arg("notify")
			seen = append(seen, fmt.Sprint(s.Rcpt().Address, " ", notify, ok, " ", s.Macro("rcpt_host")))
		case "end":
			size, _ := s.Mail().Arg("SIZE")
			seen = append(seen, fmt.Sprint(s.Client().Addr, " ", s.Client().Port, " ", s.Client().Host, " ", s.Helo(), " ",
				s.Mail().Address, " ", size, " ", s.Macro("{auth_authen}"), s.Macro("i"), s.Macro("{daemon_name}"), s.Macro("msg_id"), s.Macro("none")))
			return milter.RespAccept, nil
		}
		return nil, nil
	})
	c := b.dial()
	if err := c.Send('D', "Cj\x00mx.example.org\x00{daemon_name}\x00MTA\x00"); err != nil {
		t.Fatal(err)
	}
	b.must(c.Connect("[IPv6:2001:db8::1]", '6', 2525, "IPv6:2001:db8::1", "client.example"))
	with := letter
	with.From = "<joe@example.org>\x00SIZE=100\x00BODY=8BITMIME"
	with.To = []string{"<ann@remote.example>\x00NOTIFY=NEVER", "<bob@other.example>"}
	with.Macros = map[byte][]string{'M': {"i", "ID1", "{auth_authen}", "joe"}, 'R': {"{rcpt_host}", "remote.example."}, 'E': {"{msg_id}", "<1@mx>"}}
	b.must(c.Deliver(with))
	bare := letter
	bare.To = []string{"<ann@remote.example>"}
	bare.Macros = map[byte][]string{'M': {"{i}", "ID2"}}
	b.must(c.Deliver(bare))
	wantEvents(t, seen,
		"ann@remote.example NEVERtrue remote.example.",
		"bob@other.example false remote.example.",
		"2001:db8::1 2525 [IPv6:2001:db8::1] client.example joe@example.org 100 joeID1MTA<1@mx>",
		"ann@remote.example false ",
		"2001:db8::1 2525 [IPv6:2001:db8::1] client.example joe@example.org  ID2MTA",
	)
	if got := b.events()[0]; got != "connect [IPv6:2001:db8::1] tcp6 2525 2001:db8::1" {
		t.Errorf("go-milter was shown %q", got)
	}
}

func TestClientAddressesAsMTAsWriteThem(t *testing.T) {
	port := string(binary.BigEndian.AppendUint16(nil, 25))
	for data, want := range map[string]Client{
		"a.example\x004" + port + "192.0.2.1\x00":             {"a.example", milter.FamilyInet, netip.MustParseAddr("192.0.2.1"), 25, ""},
		"a.example\x006" + port + "IPv6:2001:DB8::1\x00":      {"a.example", milter.FamilyInet6, netip.MustParseAddr("2001:db8::1"), 25, ""},
		"a.example\x006" + port + "2001:db8::1\x00":           {"a.example", milter.FamilyInet6, netip.MustParseAddr("2001:db8::1"), 25, ""},
		"a.example\x006" + port + "IPv6:::ffff:192.0.2.1\x00": {"a.example", milter.FamilyInet6, netip.MustParseAddr("192.0.2.1"), 25, ""},
		"localhost\x00L" + port + "/run/x\x00":                {Host: "localhost", Family: milter.FamilyUnix, Port: 25, Path: "/run/x"},
		"localhost\x00U":                                      {Host: "localhost", Family: milter.FamilyUnknown},
		"localhost\x00U\x00":                                  {Host: "localhost", Family: milter.FamilyUnknown},
	} {
		if got, ok := parseClient([]byte(data)); !ok || got != want {
			t.Errorf("%q: %+v, %v; want %+v", data, got, ok, want)
		}
	}
	for _, data := range []string{"", "x", "x\x00", "x\x004", "x\x004" + port, "x\x004" + port + "nonsense\x00", "x\x009" + port + "a\x00"} {
		if got, ok := parseClient([]byte(data)); ok || got.Addr.IsValid() || got.Family != milter.FamilyUnknown {
			t.Errorf("%q was understood as %+v", data, got)
		}
		b := serve(t, nil)
		c := b.dial()
		if err := c.Send('C', data); err != nil {
			t.Fatal(err)
		}
		if a := b.must(c.Deliver(letter)); a.Code != 'c' {
			t.Errorf("%q: message answered %v", data, a)
		}
	}
}

func TestWhereTheConversationEnds(t *testing.T) {
	reject := milter.NewResponseStr('y', "550 5.7.1 no")
	for name, c := range map[string]struct {
		answer answerFunc
		quiet  bool // the MTA takes no answer where it need not
		code   byte
		events string
	}{
		"accept at MAIL":               {at("mail", milter.RespAccept), false, 'a', "mail, abort"},
		"reject at MAIL":               {at("mail", reject), false, 'y', "mail, abort"},
		"reject both recipients":       {at("rcpt", reject), false, 'c', "all"},
		"accept at RCPT":               {at("rcpt", milter.RespAccept), false, 'a', "mail, rcpt, abort"},
		"tempfail at a header":         {at("header", milter.RespTempFail), false, 't', "mail, rcpt, rcpt, header, abort"},
		"discard at end of headers":    {at("headers", milter.RespDiscard), false, 'd', "mail, rcpt, rcpt, header, header, header, headers, abort"},
		"accept in the body":           {at("body", milter.RespAccept), false, 'a', "mail, rcpt, rcpt, header, header, header, headers, body, abort"},
		"reject at the end":            {at("end", reject), false, 'y', "all"},
		"continue at the end":          {at("end", milter.RespContinue), false, 'c', "all"},
		"skip":                         {at("body", Skip), false, 'c', "all"},
		"accept at MAIL, unheard":      {at("mail", milter.RespAccept), true, 'a', "mail, abort"},
		"reject at a header, unheard":  {at("header", reject), true, 'y', "mail, rcpt, rcpt, header, abort"},
		"tempfail at headers, unheard": {at("headers", milter.RespTempFail), true, 't', "mail, rcpt, rcpt, header, header, header, headers, abort"},
		"continue everywhere, unheard": {at("mail", milter.RespContinue), true, 'c', "all"},
	} {
		t.Run(name, func(t *testing.T) {
			b := serve(t, c.answer)
			client := b.raw()
			protocol := uint32(0)
			if c.quiet {
				protocol = milterclient.AllProtocol
			}
			if err := client.Negotiate(6, milterclient.AllActions, protocol); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				if a := b.must(client.Deliver(letter)); a.Code != c.code {
					t.Errorf("answered %v; want %c", a, c.code)
				}
				var names []string
				for _, e := range b.eventsUntil("abort") {
					names = append(names, strings.Fields(e)[0])
				}
				want := c.events
				if want == "all" {
					want = "mail, rcpt, rcpt, header, header, header, headers, body, end, abort"
				}
				if got := strings.Join(names, ", "); got != want {
					t.Errorf("the handler saw %s; want %s", got, want)
				}
			}
		})
	}
}

func TestSkipEndsTheBody(t *testing.T) {
	long := letter
	long.Body = strings.Repeat("x", 300_000)
	for name, protocol := range map[string]uint32{"MTA skips": milterclient.AllProtocol, "MTA cannot skip": 0} {
		b := serve(t, at("body", Skip))
		c := b.raw()
		if err := c.Negotiate(6, milterclient.AllActions, protocol); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if a := b.must(c.Deliver(long)); a.Code != 'c' {
				t.Errorf("%s: answered %v", name, a)
			}
			events := b.eventsUntil("abort")
			b.must(c.Command('M', "<a@b>\x00"))
			b.must(c.Command('B', "first"))
			b.must(c.Command('E', "the rest"))
			wantEvents(t, b.eventsUntil("abort"), "mail a@b", "body 5", "end", "abort")
			if n := strings.Count(strings.Join(events, "\n"), "body"); n != 1 || !slices.Contains(events, "end") {
				t.Errorf("%s: the handler saw %d chunks: %v", name, n, events)
			}
		}
	}
}

func TestTheEndOfAMessageMayCarryItsLastChunk(t *testing.T) {
	for _, protocol := range []uint32{0, milterclient.AllProtocol} {
		b := serve(t, nil)
		c := b.raw()
		if err := c.Negotiate(6, milterclient.AllActions, protocol); err != nil {
			t.Fatal(err)
		}
		b.must(c.Command('M', "<a@b>\x00"))
		b.must(c.Command('R', "<c@d>\x00"))
		b.must(c.Command('N', ""))
		if a := b.must(c.Command('E', "the rest")); a.Code != 'c' {
			t.Errorf("answered %v", a)
		}
		wantEvents(t, b.eventsUntil("abort"), "mail a@b", "rcpt c@d", "headers 0", "body 8", "end", "abort")
		if a := b.must(c.Deliver(letter)); a.Code != 'c' {
			t.Errorf("next message answered %v", a)
		}
	}
}

func TestTheEndOfAConnectionEndsTheMessage(t *testing.T) {
	for name, end := range map[string]func(*milterclient.Client) error{
		"abort":           func(c *milterclient.Client) error { return c.Send('A', "") },
		"quit":            func(c *milterclient.Client) error { return c.Send('Q', "") },
		"MTA dies":        func(c *milterclient.Client) error { return c.Close() },
		"HELO":            func(c *milterclient.Client) error { return c.Send('H', "x\x00") },
		"another session": func(c *milterclient.Client) error { return c.Send('K', "") },
		"another MAIL":    func(c *milterclient.Client) error { return c.Send('M', "<x@y>\x00") },
		"new negotiation": func(c *milterclient.Client) error { return c.Negotiate(6, 0, 0) },
	} {
		b := serve(t, nil)
		c := b.dial()
		b.must(c.Command('M', "<a@b>\x00"))
		if err := end(c); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for range 6000 {
			b.mu.Lock()
			n := len(b.log)
			b.mu.Unlock()
			if n > 1 {
				break
			}
			time.Sleep(5 * time.Millisecond)
		}
		if events := b.events(); len(events) < 2 || events[1] != "abort" {
			t.Errorf("%s: the handler saw %v", name, events)
		}
	}
}

// After QUIT_NC a new SMTP session comes on the same connection; nothing of the
// old one may be left.
func TestAnotherSessionOnTheSameConnection(t *testing.T) {
	var client string
	b := serve(t, func(r *recorder, event, _ string, _ *milter.Modifier) (milter.Response, error) {
		if event == "end" {
			client = fmt.Sprint(r.state.Client(), r.state.Helo(), r.state.Macro("j"))
		}
		return nil, nil
	})
	c := b.dial()
	if err := c.Send('D', "Cj\x00mx\x00"); err != nil {
		t.Fatal(err)
	}
	b.must(c.Connect("a.example", '4', 25, "192.0.2.1", "helo1"))
	b.must(c.Deliver(letter))
	if client != "192.0.2.1helo1mx" {
		t.Errorf("first session: %s", client)
	}
	if err := c.Send('K', ""); err != nil {
		t.Fatal(err)
	}
	b.must(c.Deliver(letter))
	if client != "unknown" {
		t.Errorf("second session: %s", client)
	}
}

func TestUnknownCommandsAreAnswered(t *testing.T) {
	b := serve(t, nil, func(o *Options) { o.Protocol &^= milter.OptNoUnknown })
	c := b.dial()
	if a := b.must(c.Command('U', "XYZZY\x00")); a.Code != 'c' {
		t.Errorf("unknown SMTP command answered %v", a)
	}
	if a := b.must(c.Command('Z', "of a version to come")); a.Code != 'c' {
		t.Errorf("unknown milter command answered %v", a)
	}
	if a := b.must(c.Deliver(letter)); a.Code != 'c' {
		t.Errorf("message answered %v", a)
	}
	wantEvents(t, b.eventsUntil("abort"), letterEvents...)
}
