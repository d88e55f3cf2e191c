package lab

import (
	"errors"
	"net/textproto"
	"slices"
	"strings"
	"testing"

	"github.com/emersion/go-smtp"
)

func TestSubmitCarriesEveryParameterIntoTheQueueFile(t *testing.T) {
	l, ctx := began(t, Options{})
	sent := must[[]string](t)(l.Submit(ctx,
		Envelope{From: "", To: To("victim@dest.example"), Data: Compose("x\n", "Subject: from nobody")},
		Envelope{
			From: "o'brien+tag@lab.example",
			Mail: []string{"RET=HDRS", "ENVID=our+2Bid", "BODY=8BITMIME"},
			To: []Recipient{
				{`"quoted local"@dest.example`, []string{"NOTIFY=SUCCESS,FAILURE", "ORCPT=rfc822;orig+2Buser@dest.example"}},
				{"never@dest.example", []string{"NOTIFY=NEVER"}},
			},
			Data: Compose("Gr\xc3\xbc\xc3\x9fe\n.dot\n", "Subject: \xc3\x89t\xc3\xa9"),
		},
	))
	for i, want := range [][]string{
		{"S<>", "RPFD:<victim@dest.example>"},
		{
			"S<o'brien+tag@lab.example>", "Zour+2Bid", "B8BITMIME",
			"Qrfc822;orig+2Buser@dest.example", `RPNSF:<"quoted local"@dest.example>`, "RPN:<never@dest.example>",
			"H??Subject: \xc3\xff\x89t\xc3\xa9",
		},
	} {
		lines := controlLines(t, l, sent[i])
		for _, line := range want {
			if !slices.Contains(lines, line) {
				t.Errorf("message %d: no line %q in\n%s", i, line, strings.Join(lines, "\n"))
			}
		}
	}
	must[string](t)(l.RunQueue(ctx))
	deliveries := l.Stub.Deliveries()
	i := slices.IndexFunc(deliveries, func(d Delivery) bool { return slices.Contains(d.To, `quoted local@dest.example`) })
	if len(deliveries) < 2 || i < 0 {
		t.Fatalf("delivered: %+v", deliveries)
	}
	d := deliveries[i]
	if d.Mail.Return != smtp.DSNReturnHeaders || d.Mail.EnvelopeID != "our+id" || len(d.Rcpt) != len(d.To) {
		t.Errorf("MAIL and RCPT parameters at the stub: %+v %+v", d.Mail, d.Rcpt)
	}
	if !strings.HasSuffix(string(d.Data), "Gr\xc3\xbc\xc3\x9fe\r\n.dot\r\n") {
		t.Errorf("data at the stub: %q", d.Data)
	}
	null := slices.IndexFunc(deliveries, func(d Delivery) bool { return slices.Contains(d.To, "victim@dest.example") })
	if null < 0 || deliveries[null].From != "" {
		t.Errorf("the message from the null sender came as %+v", deliveries)
	}
}

func TestSubmitOfSMTPUTF8(t *testing.T) {
	l, ctx := began(t, Options{})
	e := Envelope{From: "jos\xc3\xa9@lab.example", Mail: []string{"SMTPUTF8"}, To: To("b@dest.example"), Data: Compose("x\n", "Subject: s")}
	// Debian's sendmail is built without USE_EAI and refuses the parameter.
	ids, err := l.Submit(ctx, e)
	if refused := (*textproto.Error)(nil); !errors.As(err, &refused) || refused.Code != 555 || len(ids) != 0 {
		t.Errorf("sendmail on SMTPUTF8: %v, %v", ids, err)
	}
	// The stub announces it.
	direct := &Lab{Addr: l.Stub.Addr()}
	must[[]string](t)(direct.Submit(ctx, e))
	if d := l.Stub.Deliveries(); len(d) != 1 || !d[0].Mail.UTF8 || d[0].From != e.From {
		t.Errorf("the stub on SMTPUTF8: %+v", d)
	}
}

func TestSubmitStopsAtTheFirstRefusal(t *testing.T) {
	l, ctx := began(t, Options{})
	good := Envelope{From: "a@customer.example", To: To("b@dest.example"), Data: Compose("x\n", "Subject: s")}
	bad := Envelope{From: "a@customer.example", To: []Recipient{{"b@dest.example", []string{"NOTIFY=WHENEVER"}}}, Data: good.Data}
	ids, err := l.Submit(ctx, good, bad, good)
	if refused := (*textproto.Error)(nil); len(ids) != 1 || !errors.As(err, &refused) ||
		!strings.Contains(err.Error(), "message 2 of 3") || !strings.Contains(err.Error(), "RCPT TO:<b@dest.example> NOTIFY=WHENEVER") {
		t.Errorf("ids %v, error %v", ids, err)
	}
}
