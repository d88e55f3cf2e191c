package evidence_test

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/backscatterd/backscatterd/dsn"
	"github.com/backscatterd/backscatterd/milter/batv"
	"github.com/backscatterd/backscatterd/milter/evidence"
	"github.com/backscatterd/backscatterd/milter/ledger"
	"github.com/backscatterd/backscatterd/milter/token"
)

var now = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

const day = 24 * time.Hour

// A world is a bounce and a site that judges it. As newWorld makes it, the bounce
// is backscatter: alice@ours.example did not write to bob@there.example.
type world struct {
	header   []string // of the bounce
	note     string
	returned []string // header of the returned message, nil if none came back
	type_    string   // of the part that returns it
	envid    string   // Original-Envelope-Id
	failed   []string
	action   string
	tail     string // behind all

	envelope evidence.Envelope
	opts     evidence.Options
	ledger   *memory
	uses     uses

	signer *token.Signer
	tags   *batv.Scheme
}

// memory is a ledger that can be made to fail and to have gaps.
type memory struct {
	messages map[string]time.Time
	wrote    map[string]time.Time // "sender recipient", "sender @domain", "sender "
	cover    ledger.Coverage
	err      error // of look-ups of messages
	pairErr  error // of look-ups of pairs
	anyErr   error // of the look-up of any mail of a sender
}

func (m *memory) Sent(_ context.Context, id, _ string) (ledger.Hit, error) {
	at, ok := m.messages[strings.Trim(id, "<>")]
	return ledger.Hit{Found: ok, At: at}, m.err
}

func (m *memory) Wrote(_ context.Context, sender, recipient string) (ledger.Hit, error) {
	at, ok := m.wrote[sender+" "+recipient]
	err := m.pairErr
	if recipient == "" {
		err = m.anyErr
	}
	return ledger.Hit{Found: ok && err == nil, At: at, SameSender: true}, err
}

func (m *memory) Coverage() ledger.Coverage { return m.cover }

// send records mail as the real ledger does.
func (m *memory) send(id, sender, recipient string, at time.Time) {
	m.messages[id] = at
	_, d, _ := strings.Cut(recipient, "@")
	for _, to := range []string{recipient, "@" + d, ""} {
		m.wrote[sender+" "+to] = at
	}
}

type uses map[string]int

func (u uses) Use(_ context.Context, proof string) (int, error) {
	if u["fail"] > 0 {
		return 0, errors.New("disk full")
	}
	u[proof]++
	return u[proof], nil
}

// listing is a DNS list that counts how often it was asked.
type listing struct {
	listed bool
	err    error
	asked  int
}

func (l *listing) Listed(ctx context.Context, _ netip.Addr) (bool, error) {
	l.asked++
	if _, ok := ctx.Deadline(); !ok {
		return false, errors.New("asked without a deadline")
	}
	return l.listed, l.err
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{
		header: []string{"From: Mail Delivery System <MAILER-DAEMON@mx.there.example>", "To: alice@ours.example", "Subject: Undelivered Mail Returned to Sender",
			"Date: Tue, 24 Nov 2026 11:59:00 +0000", "Message-ID: <bounce@mx.there.example>", "MIME-Version: 1.0",
			`Content-Type: multipart/report; report-type=delivery-status; boundary="b"`},
		note: "Your message could not be delivered.", type_: "message/rfc822", action: "failed",
		returned: []string{"Received: from pc (dyn-7.isp.example [198.51.100.7]) by relay.isp.example (Postfix) with ESMTP id 4F2A9C0D11; Tue, 24 Nov 2026 10:59:30 +0000",
			"Message-ID: <spam@ours.example>", "Date: Tue, 24 Nov 2026 10:59:00 +0000", "From: Alice <alice@ours.example>", "To: bob@there.example", "Subject: buy"},
		failed: []string{"bob@there.example"},
		envelope: evidence.Envelope{SenderKnown: true, Recipients: []string{"alice@ours.example"},
			Client: netip.MustParseAddr("198.51.100.80")},
		ledger: &memory{messages: map[string]time.Time{}, wrote: map[string]time.Time{}, cover: ledger.Coverage{Since: now.Add(-60 * day), Until: now}},
		uses:   uses{},
	}
	var err error
	if w.signer, err = token.New(14, token.Key{ID: "k1", Secret: []byte("the secret of k1")}); err != nil {
		t.Fatal(err)
	}
	if w.tags, err = batv.New(batv.Options{Lifetime: 14, Keys: []batv.Key{{Number: 3, Secret: []byte("the secret of 3")}}}); err != nil {
		t.Fatal(err)
	}
	w.ledger.send("other@ours.example", "alice@ours.example", "carol@elsewhere.example", now.Add(-day))
	w.opts = evidence.Options{
		Domains: []string{"ours.example", "Partly.example"}, NotCovered: []string{"partly.example"},
		Hosts: []string{"mail.ours.example", ".inside.ours.example"}, Networks: []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24"), netip.MustParsePrefix("10.0.0.0/8")},
		NeverSends: []string{"info@ours.example", "@silent.example"},
		Token:      w.signer, BATV: w.tags, Ledger: w.ledger, Uses: w.uses, MaxUses: 3,
	}
	return w
}

// set replaces the first field of this name in a header; "" takes it out.
func set(header []string, name, value string) []string {
	var out []string
	done := value == ""
	for _, line := range header {
		if !strings.HasPrefix(strings.ToLower(line), strings.ToLower(name)+":") {
			out = append(out, line)
		} else if !done {
			out, done = append(out, name+": "+value), true
		}
	}
	if !done {
		out = append(out, name+": "+value)
	}
	return out
}

func (w *world) set(name, value string)      { w.returned = set(w.returned, name, value) }
func (w *world) setOuter(name, value string) { w.header = set(w.header, name, value) }
func (w *world) received(lines ...string) {
	w.set("Received", "")
	for i := range lines {
		lines[i] = "Received: " + lines[i]
	}
	w.returned = append(lines, w.returned...)
}

// sign puts a token into the returned header.
func (w *world) sign(t testing.TB, sender, id string, at time.Time) {
	t.Helper()
	v, err := w.signer.Sign(sender, id, at)
	if err != nil {
		t.Fatal(err)
	}
	w.set(token.Header, v)
}

func (w *world) tag(t testing.TB, address string, at time.Time) {
	t.Helper()
	tagged, err := w.tags.Sign(address, at)
	if err != nil {
		t.Fatal(err)
	}
	w.envelope.Recipients = []string{tagged}
}

func (w *world) body() string {
	var b strings.Builder
	b.WriteString("--b\r\nContent-Type: text/plain\r\n\r\n" + w.note + "\r\n--b\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx.there.example\r\n")
	if w.envid != "" {
		b.WriteString("Original-Envelope-Id: " + w.envid + "\r\n")
	}
	for _, f := range w.failed {
		b.WriteString("\r\nFinal-Recipient: rfc822; " + f + "\r\nAction: " + w.action + "\r\nStatus: 5.1.1\r\n")
	}
	if w.returned != nil {
		b.WriteString("\r\n--b\r\nContent-Type: " + w.type_ + "\r\n\r\n" + strings.Join(w.returned, "\r\n") + "\r\n\r\nthe text\r\n")
	}
	b.WriteString("--b--\r\n" + w.tail)
	return b.String()
}

func (w *world) fields() []dsn.Field {
	var out []dsn.Field
	for _, line := range w.header {
		name, value, _ := strings.Cut(line, ":")
		out = append(out, dsn.Field{Name: name, Value: strings.TrimSpace(value)})
	}
	return out
}

func (w *world) judge(t testing.TB) evidence.Judgement {
	t.Helper()
	e, err := evidence.New(w.opts)
	if err != nil {
		t.Fatal(err)
	}
	j, err := e.Judge(context.Background(), evidence.Message{Header: w.fields(), Body: strings.NewReader(w.body()), Envelope: w.envelope, Now: now})
	if err != nil {
		t.Fatal(err)
	}
	return j
}

func words(names []evidence.Name) string {
	var out []string
	for _, n := range names {
		out = append(out, string(n))
	}
	return strings.Join(out, ",")
}
