package lab

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-smtp"
)

// serving makes a stub and a client that talks to it without sendmail.
func serving(t *testing.T) (*Stub, *Lab, context.Context) {
	t.Helper()
	s := must[*Stub](t)(newStub(true))
	t.Cleanup(s.close)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return s, &Lab{Addr: s.Addr()}, ctx
}

func TestStubAnswersByItsRules(t *testing.T) {
	s, client, ctx := serving(t)
	e := Envelope{From: "a@b.example", To: To("c@d.example"), Data: Compose("x\n", "Message-ID: <rules@lab.example>")}
	refused := func(what, want string) {
		t.Helper()
		if _, err := client.Submit(ctx, e); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", what, err, want)
		}
	}
	s.AnswerMail(func(from string) string { return "450 4.1.8 no " + from })
	refused("MAIL", `450 "4.1.8 no a@b.example"`)
	s.AnswerMail(nil)
	s.AnswerRcpt(func(from, to string) string { return "550 " + from + " to " + to })
	refused("RCPT", `550 "a@b.example to c@d.example"`)
	s.Refuse("C@D.example", "452 4.2.2 full")
	refused("the rule of an address goes first", `452 "4.2.2 full"`)
	s.Refuse("c@d.example", "")
	s.AnswerRcpt(nil)
	s.AnswerData(func(d Delivery) string { return "554 5.6.0 not " + d.MessageID })
	refused("data", `554 "5.6.0 not <rules@lab.example>"`)
	s.AnswerData(func(Delivery) string { return "250 fine" })
	refused("a rule that is none", `\"250 fine\", which is no 4xx or 5xx reply`)
	if n := len(s.Deliveries()); n != 0 {
		t.Errorf("%d refused messages were counted as delivered", n)
	}
	s.AnswerData(nil)
	must[[]string](t)(client.Submit(ctx, e, e))
	if n := s.Count("<rules@lab.example>", "c@d.example"); n != 2 {
		t.Errorf("counted %d, sent 2", n)
	}
}

func TestStubAwaitEndsWithItsContext(t *testing.T) {
	s, _, ctx := serving(t)
	short, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
	defer cancel()
	if err := s.Await(short, 1); err == nil || !strings.Contains(err.Error(), "waiting for 1 deliveries, 0 came") {
		t.Errorf("Await: %v", err)
	}
	if err := s.Hold(nil).Reached(short); err == nil {
		t.Error("Reached returned though nothing came")
	}
}

func TestClosingTheStubOpensItsGates(t *testing.T) {
	s, client, ctx := serving(t)
	gate := s.Hold(nil)
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		_, _ = client.Submit(ctx, Envelope{From: "a@b.example", To: To("c@d.example"), Data: Compose("x\n", "Subject: s")})
	}()
	if err := gate.Reached(ctx); err != nil {
		t.Fatal(err)
	}
	s.close()
	<-sent
	late := s.Hold(nil)
	late.Open()
	gate.Open()
}

func TestDSNParametersGoOnOnlyWhereTheStubAnnouncesDSN(t *testing.T) {
	for _, noDSN := range []bool{false, true} {
		l, ctx := began(t, Options{NoDSN: noDSN})
		must[[]string](t)(l.Submit(ctx, Envelope{
			From: "a@customer.example", Data: Compose("x\n", "Message-ID: <dsn@lab.example>"),
			To: []Recipient{{"b@dest.example", []string{"NOTIFY=SUCCESS"}}},
		}))
		must[string](t)(l.RunQueue(ctx))
		must[string](t)(l.RunQueue(ctx))
		var notify []smtp.DSNNotify
		relayed := false
		for _, d := range l.Stub.Deliveries() {
			if d.MessageID == "<dsn@lab.example>" {
				notify = d.Rcpt[0].Notify
			}
			// RFC 3461 5.2.2: the last host that knows DSN says so.
			relayed = relayed || d.From == "" && slices.Contains(d.To, "a@customer.example") &&
				strings.Contains(string(d.Data), "Action: relayed")
		}
		if passed := slices.Contains(notify, smtp.DSNNotifySuccess); passed == noDSN || relayed != noDSN {
			t.Errorf("DSN announced: %v; NOTIFY at the stub: %v; relayed DSN: %v", !noDSN, notify, relayed)
		}
	}
}
