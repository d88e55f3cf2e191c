package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/backscatterd/backscatterd/test/lab"
)

// bounced has a remote sendmail bounce a message, and returns the bounce as the
// remote sends it.
func bounced(t *testing.T, ctx context.Context, remote *lab.Lab, d lab.Delivery) lab.Delivery {
	t.Helper()
	before := len(remote.Stub.Deliveries())
	remote.Stub.Refuse(d.To[0], "550 5.1.1 User unknown")
	carry(t, d, remote)
	b := deliver(t, ctx, remote, before)
	if b.From != "" {
		t.Fatalf("the remote's message is from %q, no bounce:\n%s", b.From, b.Data)
	}
	return b
}

func newRemote(t *testing.T) *lab.Lab {
	t.Helper()
	remote := lab.New(t, lab.Options{InMemory: true, MC: []string{relayAll, "define(`confDOMAIN_NAME', `mx.remote.example')dnl"}})
	if err := remote.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	return remote
}

// The whole story: mail of ours goes out, a remote sendmail bounces it, and its
// bounce is known for ours; the bounce of a message that somebody else sent in
// our name is not, and says so.
func TestMilterStory(t *testing.T) {
	for _, c := range []struct {
		name      string
		tcp, batv bool
	}{{"unix", false, false}, {"tcp with BATV", true, true}} {
		t.Run(c.name, func(t *testing.T) {
			o := mailOptions{tcp: c.tcp}
			if c.batv {
				o.milter = fmt.Sprintf("batv_domains = [%q]", ourDomain)
			}
			s, ctx := newMailSite(t, o)
			remote := newRemote(t)

			out := s.sent(ctx, lab.Envelope{
				From: "joe@" + ourDomain, To: lab.To("ann@remote.example"), Mail: []string{"RET=HDRS"},
				Data: letter("joe@"+ourDomain, "ann@remote.example", "1@"+ourDomain, "X-Backscatter-Token: v1 of somebody else's"),
			})
			h := header(t, out)
			if tokens := h["X-Backscatter-Token"]; len(tokens) != 1 || !strings.HasPrefix(tokens[0], "v1 k=") {
				t.Errorf("tokens %q", tokens)
			}
			if tagged := strings.HasPrefix(out.From, "prvs="); tagged != c.batv || !strings.HasSuffix(out.From, "joe@"+ourDomain) {
				t.Errorf("it left with the sender %q", out.From)
			}
			if signed := strings.HasPrefix(out.Mail.EnvelopeID, "bsg1."); signed != c.batv || out.Mail.Return != "HDRS" {
				t.Errorf("it left with %+v", out.Mail)
			}

			back := bounced(t, ctx, remote, out)
			in := s.received(ctx, lab.Envelope{To: lab.To(back.To[0]), Data: back.Data})
			status := header(t, in).Get("X-Backscatter-Status")
			reason := map[bool]string{false: "token", true: "batv"}[c.batv]
			if !strings.HasPrefix(status, "legit kind=failed reasons=") || !strings.Contains(status, reason) || header(t, in).Get("X-Backscatter-Flag") != "" {
				t.Errorf("our bounce is %q", status)
			}
			if in.To[0] != "joe@"+ourDomain {
				t.Errorf("our bounce went to %q", in.To)
			}

			time.Sleep(time.Second) // the warm-up
			forged := bounced(t, ctx, remote, lab.Delivery{From: "info@" + ourDomain, To: []string{"nobody@remote.example"},
				Data: letter("info@"+ourDomain, "nobody@remote.example", "forged@"+ourDomain)})
			in = s.received(ctx, lab.Envelope{To: lab.To(forged.To[0]), Data: forged.Data})
			h = header(t, in)
			if !strings.HasPrefix(h.Get("X-Backscatter-Status"), "suspect kind=failed reasons=no-proof") || h.Get("X-Backscatter-Flag") != "YES" {
				t.Errorf("the forged one's bounce is %q, flag %q", h.Get("X-Backscatter-Status"), h.Get("X-Backscatter-Flag"))
			}
			s.says("verdict=suspect")
		})
	}
}

// Mail that comes without a Message-ID gets one from sendmail, after the filter
// has seen the header: it is that one which is signed and remembered.
func TestMilterSignsTheIDThatSendmailGives(t *testing.T) {
	s, ctx := newMailSite(t, mailOptions{only: "milter"})
	out := s.sent(ctx, lab.Envelope{From: "joe@" + ourDomain, To: lab.To("ann@remote.example"),
		Data: lab.Compose("How do you do?\n", "From: <joe@"+ourDomain+">", "To: <ann@remote.example>", "Subject: hello")})
	if h := header(t, out); h.Get("Message-ID") == "" || h.Get("X-Backscatter-Token") == "" {
		t.Fatalf("it left as\n%s", out.Data)
	}
	back := bounced(t, ctx, newRemote(t), out)
	status := header(t, s.received(ctx, lab.Envelope{To: lab.To(back.To[0]), Data: back.Data})).Get("X-Backscatter-Status")
	if !strings.HasPrefix(status, "legit kind=failed reasons=token,ledger-message") {
		t.Errorf("its bounce is %q", status)
	}
}
