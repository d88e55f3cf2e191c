package evidence_test

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/backscatterd/backscatterd/dsn"
	"github.com/backscatterd/backscatterd/milter/evidence"
	"github.com/backscatterd/backscatterd/milter/ledger"
)

// relayed is how mail of ours starts: at our own server.
const relayed = "from pc.inside.ours.example (pc [10.1.2.3]) by mail.ours.example (8.17/8.17) with ESMTPSA id 6AOB0xyz012345; Tue, 24 Nov 2026 10:59:01 +0000"

// A rule is shown by what it changes in a bounce that is otherwise plain
// backscatter (base).
type rule struct {
	name    string
	change  func(t *testing.T, w *world)
	verdict evidence.Verdict
	reasons string
}

const base = "no-proof,not-in-ledger,first-hop-not-ours"

// held is base with a brake.
func held(brake string) string { return "no-proof," + brake + ",not-in-ledger,first-hop-not-ours" }

func noLedger(w *world) { w.opts.Ledger = nil }

func check(t *testing.T, rules []rule) {
	t.Helper()
	for _, c := range rules {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			c.change(t, w)
			j := w.judge(t)
			if j.Verdict == c.verdict && words(j.Reasons) == c.reasons {
				return
			}
			t.Errorf("%s (%s) because of %s; want %s because of %s", j.Verdict, j.Kind, words(j.Reasons), c.verdict, c.reasons)
			for _, f := range j.Findings {
				t.Logf("%-8s %-20s %-14s %s", f.Role, f.Name, f.Outcome, f.Detail)
			}
		})
	}
}

func TestProofs(t *testing.T) {
	check(t, []rule{
		{"backscatter", func(t *testing.T, w *world) {}, evidence.Suspect, base},
		{"P1 tag", func(t *testing.T, w *world) { w.tag(t, "alice@ours.example", now.Add(-5*day)) }, evidence.Legit, "batv"},
		{"P1 tag, case folded", func(t *testing.T, w *world) {
			w.tag(t, "alice@ours.example", now.Add(-5*day))
			w.envelope.Recipients[0] = strings.ToUpper(w.envelope.Recipients[0])
		}, evidence.Legit, "batv"},
		{"P1 tag on the second recipient", func(t *testing.T, w *world) {
			w.tag(t, "alice@ours.example", now)
			w.envelope.Recipients = append([]string{"ann@ours.example"}, w.envelope.Recipients...)
		}, evidence.Legit, "batv"},
		{"P2 token", func(t *testing.T, w *world) { w.sign(t, "alice@ours.example", "spam@ours.example", now.Add(-5*day)) }, evidence.Legit, "token"},
		{"P2 token for another Message-ID", func(t *testing.T, w *world) { w.sign(t, "alice@ours.example", "x@ours.example", now) }, evidence.Suspect, "no-proof,forged-signature,not-in-ledger,first-hop-not-ours"},
		{"P2 token, the bounce to an alias", func(t *testing.T, w *world) {
			w.sign(t, "alice@ours.example", "spam@ours.example", now)
			w.envelope.Recipients = []string{"staff@ours.example"}
		}, evidence.Legit, "token"},
		{"P2 token, the Message-ID was replaced on the way", func(t *testing.T, w *world) {
			w.sign(t, "alice@ours.example", "first@ours.example", now)
			w.set("X-Microsoft-Original-Message-ID", "<first@ours.example>")
		}, evidence.Legit, "token"},
		{"P3 message", func(t *testing.T, w *world) { w.ledger.messages["spam@ours.example"] = now.Add(-time.Hour) }, evidence.Legit, "ledger-message"},
		{"P3 message, by In-Reply-To alone", func(t *testing.T, w *world) {
			w.ledger.messages["first@ours.example"] = now.Add(-time.Hour)
			w.returned = nil
			w.setOuter("In-Reply-To", "<first@ours.example>")
		}, evidence.Legit, "ledger-message"},
		{"P3 message, replaced on the way", func(t *testing.T, w *world) {
			w.ledger.messages["first@ours.example"] = now.Add(-time.Hour)
			w.set("X-Google-Original-Message-ID", "<first@ours.example>")
		}, evidence.Legit, "ledger-message"},
		{"P3 pair, no header came back", func(t *testing.T, w *world) {
			w.ledger.send("m", "alice@ours.example", "bob@there.example", now.Add(-13*day))
			w.returned = nil
		}, evidence.Legit, "ledger-recipient"},
		{"P3 pair, with a tag of a stranger's", func(t *testing.T, w *world) {
			w.ledger.send("m", "alice@ours.example", "bob@there.example", now.Add(-time.Hour))
			w.envelope.Recipients = []string{"btv1==0a1b2c3d4e==Alice@Ours.Example"}
		}, evidence.Legit, "ledger-recipient"},
		{"P3 pair too old", func(t *testing.T, w *world) {
			w.ledger.wrote["alice@ours.example bob@there.example"] = now.Add(-15 * day)
		}, evidence.Suspect, base},
		{"P3 pair after the bounce", func(t *testing.T, w *world) {
			w.ledger.wrote["alice@ours.example bob@there.example"] = now.Add(time.Hour)
		}, evidence.Suspect, base},
		{"P4 envelope id", func(t *testing.T, w *world) {
			w.envid, _ = w.signer.SignEnvelopeID("alice@ours.example", "m@ours.example", now.Add(-time.Hour))
			w.returned = nil
		}, evidence.Legit, "envelope-id"},
		{"P4 somebody else's envelope id", func(t *testing.T, w *world) { w.envid = "QQ314159" }, evidence.Suspect, base},
	})
}

func TestSupport(t *testing.T) {
	check(t, []rule{
		{"expired tag", func(t *testing.T, w *world) { w.tag(t, "alice@ours.example", now.Add(-40*day)) }, evidence.Unknown, "no-proof,expired-signature,not-in-ledger,first-hop-not-ours"},
		{"expired token", func(t *testing.T, w *world) { w.sign(t, "alice@ours.example", "spam@ours.example", now.Add(-40*day)) }, evidence.Unknown, "no-proof,expired-signature,not-in-ledger,first-hop-not-ours"},
		{"expired envelope id", func(t *testing.T, w *world) {
			w.envid, _ = w.signer.SignEnvelopeID("alice@ours.example", "m@ours.example", now.Add(-40*day))
		}, evidence.Unknown, "no-proof,expired-signature,not-in-ledger,first-hop-not-ours"},
		{"our relay", func(t *testing.T, w *world) { w.received(relayed) }, evidence.Unknown, "no-proof,our-relay,not-in-ledger"},
		{"our relay by suffix", func(t *testing.T, w *world) {
			w.received(strings.ReplaceAll(relayed, "mail.ours.example", "mx2.inside.ours.example"))
		}, evidence.Unknown, "no-proof,our-relay,not-in-ledger"},
		{"our relay without a queue id", func(t *testing.T, w *world) { w.received("from pc by mail.ours.example with SMTP") }, evidence.Suspect, "no-proof,not-in-ledger"},
		{"our address", func(t *testing.T, w *world) {
			w.received("from mail (x.example [203.0.113.9]) by mx.there.example with ESMTP id 4F2A9C0D11")
		}, evidence.Unknown, "no-proof,our-address,not-in-ledger"},
		{"a private address is nobody's", func(t *testing.T, w *world) {
			w.received("from mail (x.example [10.0.0.9]) by mx.there.example with ESMTP id 4F2A9C0D11")
		}, evidence.Suspect, base},
		{"our Message-ID", func(t *testing.T, w *world) { w.set("Message-ID", "<1@mail.ours.example>") }, evidence.Unknown, "no-proof,our-message-id,not-in-ledger,first-hop-not-ours"},
		{"wrote to the recipient's domain", func(t *testing.T, w *world) {
			w.ledger.wrote["alice@ours.example @there.example"] = now.Add(-time.Hour)
		}, evidence.Unknown, "no-proof,wrote-to-domain,not-in-ledger,first-hop-not-ours"},
		{"wrote to the domain that the bounce is from", func(t *testing.T, w *world) {
			w.setOuter("From", "MAILER-DAEMON@forwarder.example")
			w.ledger.wrote["alice@ours.example @forwarder.example"] = now.Add(-time.Hour)
		}, evidence.Unknown, "no-proof,wrote-to-domain,not-in-ledger,first-hop-not-ours"},
		{"wrote to the reporting host's domain", func(t *testing.T, w *world) {
			w.failed = []string{"robert@final.example"}
			w.setOuter("From", "MAILER-DAEMON")
			w.ledger.wrote["alice@ours.example @there.example"] = now.Add(-time.Hour)
		}, evidence.Unknown, "no-proof,wrote-to-domain,not-in-ledger,first-hop-not-ours"},
		{"wrote to people here", func(t *testing.T, w *world) {
			w.failed = []string{"bob@ours.example"}
			w.ledger.wrote["alice@ours.example @ours.example"] = now.Add(-time.Hour)
		}, evidence.Suspect, base},
		{"somebody else wrote there", func(t *testing.T, w *world) {
			w.ledger.wrote["ann@ours.example @there.example"] = now.Add(-time.Hour)
		}, evidence.Suspect, base},
	})
}

func TestWhatTheLedgerShouldKnow(t *testing.T) {
	check(t, []rule{
		{"C1 alone", func(t *testing.T, w *world) { w.opts.Hosts = nil }, evidence.Suspect, "no-proof,not-in-ledger"},
		{"C1 a header that is not complete", func(t *testing.T, w *world) { w.set("From", "") }, evidence.Unknown, "no-proof"},
		{"C1 no Message-ID", func(t *testing.T, w *world) { w.set("Message-ID", "") }, evidence.Unknown, "no-proof,first-hop-not-ours"},
		{"C1 no date", func(t *testing.T, w *world) { w.set("Date", "yesterday") }, evidence.Unknown, "no-proof,first-hop-not-ours"},
		{"C1 a date to come", func(t *testing.T, w *world) { w.set("Date", "Sat, 28 Nov 2026 10:59:00 +0000") }, evidence.Unknown, "no-proof,first-hop-not-ours"},
		{"C1 a date without a zone", func(t *testing.T, w *world) { w.set("Date", "Tue, 24 Nov 2026 10:59:00") }, evidence.Suspect, base},
		{"C1 dated before the ledger", func(t *testing.T, w *world) { w.set("Date", "Thu, 24 Sep 2026 10:59:00 +0000") }, evidence.Unknown, "no-proof,first-hop-not-ours"},
		{"C1 dated on the ledger's first day", func(t *testing.T, w *world) { w.set("Date", "Fri, 25 Sep 2026 13:00:00 +0000") }, evidence.Unknown, "no-proof,first-hop-not-ours"},
		{"C1 the returned message is a bounce", func(t *testing.T, w *world) { w.set("Return-Path", "<>") }, evidence.Unknown, "no-proof,first-hop-not-ours"},
		{"C1 the returned message is a report", func(t *testing.T, w *world) { w.set("Content-Type", "multipart/report; boundary=c") }, evidence.Unknown, "no-proof,first-hop-not-ours"},
		{"C1 the returned message is a daemon's", func(t *testing.T, w *world) { w.set("From", "MAILER-DAEMON@ours.example") }, evidence.Unknown, "no-proof,first-hop-not-ours"},
	})
}

func TestTwoContras(t *testing.T) {
	check(t, []rule{
		{"C2 our host greeted, whose own line was taken out", func(t *testing.T, w *world) {
			w.received("from mail.ours.example (unknown [198.51.100.9]) by mx.there.example with ESMTP id 4F2A9C0D11")
		}, evidence.Suspect, "no-proof,not-in-ledger"},
		{"C2 our host by its address's name", func(t *testing.T, w *world) {
			w.received("from mail.ours.example (HELO x) (198.51.100.9) by mx.there.example with SMTP")
		}, evidence.Suspect, "no-proof,not-in-ledger"},
		{"C2 HELO by a host that has the domain's name", func(t *testing.T, w *world) {
			noLedger(w)
			w.opts.Hosts = []string{"ours.example"}
			w.received("from ours.example (x [198.51.100.9]) by mx.there.example with SMTP")
		}, evidence.Unknown, "no-proof,our-message-id"},
		{"C2 HELO to a host of ours", func(t *testing.T, w *world) {
			noLedger(w)
			w.received("from ours.example (x [198.51.100.9]) by mail.ours.example with SMTP")
		}, evidence.Unknown, "no-proof"},
		{"C2 HELO from a private address", func(t *testing.T, w *world) {
			noLedger(w)
			w.received("from ours.example (x [192.168.1.9]) by mx.there.example with SMTP")
		}, evidence.Unknown, "no-proof,first-hop-not-ours"},
		{"C2 HELO from an address of ours", func(t *testing.T, w *world) {
			noLedger(w)
			w.received("from ours.example (x [203.0.113.9]) by mx.there.example with SMTP")
		}, evidence.Unknown, "no-proof,our-address"},
		{"C4 where the envelope is a guess", func(t *testing.T, w *world) {
			noLedger(w)
			w.envelope.Recipients = append(w.envelope.Recipients, "ann@ours.example")
			w.envelope.Offline = true
			w.header = append([]string{"Return-Path: <>"}, w.header...)
		}, evidence.Unknown, "no-proof,first-hop-not-ours"},
		{"C2 alone", func(t *testing.T, w *world) { noLedger(w) }, evidence.Unknown, "no-proof,first-hop-not-ours"},
		{"C2 HELO and first hop are one", func(t *testing.T, w *world) {
			noLedger(w)
			w.received("from ours.example (dyn-7.isp.example [198.51.100.7]) by relay.isp.example with ESMTP id 4F2A9C0D11")
		}, evidence.Unknown, "no-proof,first-hop-not-ours,helo-our-domain"},
		{"C2 HELO and C4", func(t *testing.T, w *world) {
			noLedger(w)
			w.received("from dyn-7.isp.example ([198.51.100.7] helo=OURS.example) by relay.isp.example with esmtp (Exim 4.96) id 1pXa-0001-AB")
			w.set("From", "") // not complete: the first hop is not looked at
			w.envelope.Recipients = append(w.envelope.Recipients, "ann@ours.example")
		}, evidence.Suspect, "no-proof,helo-our-domain,many-recipients"},
		{"C2 HELO without an address", func(t *testing.T, w *world) {
			noLedger(w)
			w.received("from ours.example by relay.isp.example with ESMTP id 4F2A9C0D11")
		}, evidence.Unknown, "no-proof,first-hop-not-ours"},
		{"C2 and C4", func(t *testing.T, w *world) {
			noLedger(w)
			w.envelope.Recipients = append(w.envelope.Recipients, "ann@ours.example")
		}, evidence.Suspect, "no-proof,first-hop-not-ours,many-recipients"},
		{"C2 and C4, with a sender", func(t *testing.T, w *world) {
			noLedger(w)
			w.envelope.Recipients = append(w.envelope.Recipients, "ann@ours.example")
			w.envelope.Sender = "MAILER-DAEMON@mx.there.example"
		}, evidence.Unknown, "no-proof,first-hop-not-ours"},
		{"C2 and C3", func(t *testing.T, w *world) {
			delete(w.ledger.wrote, "alice@ours.example ")
			w.set("Message-ID", "")
		}, evidence.Suspect, "no-proof,first-hop-not-ours,not-seen-sending"},
		{"C3 learned alone", func(t *testing.T, w *world) {
			delete(w.ledger.wrote, "alice@ours.example ")
			w.returned = nil
		}, evidence.Unknown, "no-proof,not-seen-sending"},
		{"C3 configured", func(t *testing.T, w *world) {
			noLedger(w)
			w.envelope.Recipients = []string{"Info@Ours.Example"}
			w.returned = nil
		}, evidence.Suspect, "no-proof,never-sends"},
		{"C3 configured for a domain", func(t *testing.T, w *world) {
			noLedger(w)
			w.envelope.Recipients, w.returned = []string{"anybody@silent.example"}, nil
		}, evidence.Suspect, "no-proof,never-sends"},
		{"C3 configured for one of two", func(t *testing.T, w *world) {
			noLedger(w)
			w.envelope.Recipients, w.returned = []string{"info@ours.example", "ann@ours.example"}, nil
		}, evidence.Unknown, "no-proof,many-recipients"},
		{"C6 token and C2", func(t *testing.T, w *world) {
			noLedger(w)
			w.sign(t, "alice@ours.example", "x@ours.example", now)
		}, evidence.Suspect, "no-proof,forged-signature,first-hop-not-ours"},
		{"C6 tag and C4", func(t *testing.T, w *world) {
			noLedger(w)
			w.returned = nil
			w.envelope.Recipients = []string{"prvs=3999abcdef=alice@ours.example", "ann@ours.example"}
		}, evidence.Suspect, "no-proof,forged-signature,many-recipients"},
		{"C6 envelope id and C2", func(t *testing.T, w *world) {
			noLedger(w)
			w.envid, _ = w.signer.SignEnvelopeID("mallory@elsewhere.example", "m@ours.example", now)
		}, evidence.Suspect, "no-proof,forged-signature,first-hop-not-ours"},
		{"C6 alone, tag and token", func(t *testing.T, w *world) {
			noLedger(w)
			w.opts.Hosts = nil
			w.sign(t, "alice@ours.example", "x@ours.example", now)
			w.envelope.Recipients = []string{"prvs=3999abcdef=alice@ours.example"}
		}, evidence.Unknown, "no-proof,forged-signature"},
		{"a tag of a key that we do not have", func(t *testing.T, w *world) {
			noLedger(w)
			w.envelope.Recipients = []string{"prvs=4999abcdef=alice@ours.example"}
		}, evidence.Unknown, "no-proof,first-hop-not-ours"},
		{"a token of a key that we do not have", func(t *testing.T, w *world) {
			noLedger(w)
			w.sign(t, "alice@ours.example", "x@ours.example", now)
			w.returned = strings.Split(strings.Replace(strings.Join(w.returned, "\n"), "k=k1", "k=k2", 1), "\n")
		}, evidence.Unknown, "no-proof,first-hop-not-ours"},
		{"a token cut short", func(t *testing.T, w *world) {
			noLedger(w)
			w.set("X-Backscatter-Token", "v1 k=k1 t=20000")
		}, evidence.Unknown, "no-proof,first-hop-not-ours"},
	})
}

func TestBrakes(t *testing.T) {
	check(t, []rule{
		{"warm-up", func(t *testing.T, w *world) { w.ledger.cover.Since = now.Add(-11 * day) }, evidence.Unknown, "no-proof,warm-up,first-hop-not-ours"},
		{"a ledger that never ran", func(t *testing.T, w *world) { w.ledger.cover = ledger.Coverage{} }, evidence.Unknown, "no-proof,warm-up,gap,first-hop-not-ours"},
		{"gap", func(t *testing.T, w *world) {
			w.ledger.cover.Gaps = []ledger.Gap{{From: now.Add(-3 * time.Hour), To: now.Add(-2 * time.Hour)}}
		}, evidence.Unknown, "no-proof,gap,first-hop-not-ours"},
		{"gap before the message", func(t *testing.T, w *world) {
			w.ledger.cover.Gaps = []ledger.Gap{{From: now.Add(-40 * time.Hour), To: now.Add(-39 * time.Hour)}}
		}, evidence.Suspect, base},
		{"gap, and two contras", func(t *testing.T, w *world) {
			w.ledger.cover.Gaps = []ledger.Gap{{From: now.Add(-3 * time.Hour), To: now.Add(-2 * time.Hour)}}
			w.envelope.Recipients = append(w.envelope.Recipients, "ann@ours.example")
		}, evidence.Unknown, "no-proof,gap,first-hop-not-ours,many-recipients"},
		{"gap, but said never to send", func(t *testing.T, w *world) {
			w.ledger.cover.Gaps = []ledger.Gap{{From: now.Add(-3 * time.Hour), To: now.Add(-2 * time.Hour)}}
			w.envelope.Recipients = []string{"info@ours.example"}
		}, evidence.Suspect, "no-proof,first-hop-not-ours,never-sends"},
		{"gap, for what the ledger has not seen", func(t *testing.T, w *world) {
			w.ledger.cover.Gaps = []ledger.Gap{{From: now.Add(-5 * day), To: now.Add(-4 * day)}}
			delete(w.ledger.wrote, "alice@ours.example ")
			w.set("Message-ID", "")
		}, evidence.Unknown, "no-proof,first-hop-not-ours"},
		{"so new that another host may not have recorded it yet", func(t *testing.T, w *world) {
			w.ledger.cover.Late = time.Date(2026, 11, 24, 10, 59, 1, 0, time.UTC)
		}, evidence.Unknown, "no-proof,first-hop-not-ours"},
		{"of a time that all hosts have recorded", func(t *testing.T, w *world) {
			w.ledger.cover.Late = time.Date(2026, 11, 24, 10, 59, 2, 0, time.UTC)
		}, evidence.Suspect, base},
		{"the ledger ends before", func(t *testing.T, w *world) { w.ledger.cover.Until = now.Add(-time.Second) }, evidence.Unknown, "no-proof,gap,first-hop-not-ours"},
		{"cut short", func(t *testing.T, w *world) { w.opts.Limits = dsn.Limits{Parts: 2} }, evidence.Unknown, "no-proof,cut"},
		{"more recipients than are looked up", func(t *testing.T, w *world) {
			w.failed = nil
			for i := range 60 {
				w.failed = append(w.failed, fmt.Sprintf("bob%d@there.example", i))
			}
		}, evidence.Unknown, held("cut")},
		{"not covered", func(t *testing.T, w *world) { w.envelope.Recipients = []string{"dave@partly.example"} }, evidence.Unknown, "no-proof,not-covered,first-hop-not-ours"},
		{"not covered, and two contras", func(t *testing.T, w *world) {
			w.envelope.Recipients = []string{"dave@partly.example", "dora@partly.example"}
		}, evidence.Unknown, "no-proof,not-covered,first-hop-not-ours,many-recipients"},
		{"not covered, by From", func(t *testing.T, w *world) { w.set("From", "News <news@partly.example>") }, evidence.Unknown, "no-proof,not-covered,first-hop-not-ours"},
		{"not our domain", func(t *testing.T, w *world) { w.envelope.Recipients = []string{"alice@sub.ours.example"} }, evidence.Unknown, "no-proof,not-covered,first-hop-not-ours"},
		{"not our domain, but a tag of ours", func(t *testing.T, w *world) { w.tag(t, "alice@forwarded.example", now) }, evidence.Legit, "batv"},
		{"nobody knows the recipient", func(t *testing.T, w *world) { w.envelope.Recipients = nil }, evidence.Unknown, "no-proof,not-covered,first-hop-not-ours"},
		{"from a relay of ours", func(t *testing.T, w *world) { w.envelope.Client = netip.MustParseAddr("::ffff:203.0.113.5") }, evidence.Unknown, held("exempt")},
		{"from an authenticated client", func(t *testing.T, w *world) { w.envelope.Auth = "alice" }, evidence.Unknown, held("exempt")},
		{"from this host", func(t *testing.T, w *world) { w.envelope.Client = netip.Addr{} }, evidence.Unknown, held("exempt")},
	})
}

func TestFailedLookUps(t *testing.T) {
	check(t, []rule{
		{"ledger error on the message", func(t *testing.T, w *world) { w.ledger.err = errors.New("broken") }, evidence.Unknown, "no-proof,first-hop-not-ours,lookup-failed"},
		{"ledger error on pairs", func(t *testing.T, w *world) { w.ledger.pairErr = errors.New("broken") }, evidence.Unknown, base + ",lookup-failed"},
		{"ledger error on the sender", func(t *testing.T, w *world) { w.ledger.anyErr = errors.New("broken") }, evidence.Unknown, base + ",lookup-failed"},
		{"ledger error, but a token", func(t *testing.T, w *world) {
			w.ledger.err, w.ledger.pairErr = errors.New("broken"), errors.New("broken")
			w.sign(t, "alice@ours.example", "spam@ours.example", now)
		}, evidence.Legit, "token"},
		{"keys that cannot be read", func(t *testing.T, w *world) { w.opts.Token, w.opts.KeysError = nil, errors.New("mode 0644") }, evidence.Unknown, base + ",lookup-failed"},
	})
}

func TestUsesOfAProof(t *testing.T) {
	check(t, []rule{
		{"replayed", func(t *testing.T, w *world) {
			w.sign(t, "alice@ours.example", "spam@ours.example", now)
			w.uses["message spam@ours.example"] = 3
		}, evidence.Legit, "token,replayed"},
		{"uses cannot be counted", func(t *testing.T, w *world) {
			w.sign(t, "alice@ours.example", "spam@ours.example", now)
			w.uses["fail"] = 1
		}, evidence.Legit, "token"},
	})
}

func TestKindsOfReport(t *testing.T) {
	check(t, []rule{
		{"delayed", func(t *testing.T, w *world) { w.action = "delayed" }, evidence.Suspect, base},
		{"delayed, with a token", func(t *testing.T, w *world) {
			w.action = "delayed"
			w.sign(t, "alice@ours.example", "spam@ours.example", now)
		}, evidence.Legit, "token"},
		{"delivered", func(t *testing.T, w *world) { w.action = "delivered" }, evidence.Suspect, base},
		{"disposition", func(t *testing.T, w *world) {
			w.setOuter("Content-Type", `multipart/report; report-type=disposition-notification; boundary="b"`)
		}, evidence.Unknown, held("kind-never-suspect")},
		{"disposition, with a token", func(t *testing.T, w *world) {
			w.setOuter("Content-Type", `multipart/report; report-type=disposition-notification; boundary="b"`)
			w.sign(t, "alice@ours.example", "spam@ours.example", now)
		}, evidence.Legit, "token"},
		{"feedback", func(t *testing.T, w *world) {
			w.setOuter("Content-Type", `multipart/report; report-type=feedback-report; boundary="b"`)
		}, evidence.Unknown, held("kind-never-suspect")},
		{"list with null sender", func(t *testing.T, w *world) {
			w.header = []string{"From: list@there.example", "Subject: hello", "List-Id: <x.there.example>", "Content-Type: text/plain"}
		}, evidence.Unknown, "no-proof,kind-never-suspect"},
		{"automatic reply", func(t *testing.T, w *world) {
			w.header = []string{"From: bob@there.example", "Subject: Out of office", "Auto-Submitted: auto-replied", "Content-Type: text/plain"}
			w.note = ""
		}, evidence.Unknown, "no-proof,kind-never-suspect"},
		{"ordinary mail", func(t *testing.T, w *world) {
			w.header = []string{"From: bob@there.example", "Subject: hello", "Date: Tue, 24 Nov 2026 10:59:00 +0000"}
			w.envelope.Sender = "bob@there.example"
		}, "", ""},
	})
}
