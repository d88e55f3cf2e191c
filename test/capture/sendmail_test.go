package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/backscatterd/backscatterd/dsn"
	"github.com/backscatterd/backscatterd/test/lab"
)

var write = flag.String("write", "", "write sendmail's notices into its folder below this one")

// sendmail runs in test/lab, afresh with every test.
func sendmail() *system {
	return &system{
		name: "sendmail",
		status: map[string]string{
			"deferred-expired": "4.4.7", "host-down-expired": "4.4.7", // RFC 3463: delivery time expired
			"delivered": "2.1.5", // ... destination address valid
			"expanded":  "-",     // its report names no recipient, only its text does
		},
		cannot: map[string]string{
			"large":         "it has no limit to what it returns",
			"local-unknown": "it refuses such recipients to the client",
			"utf8-address":  "Debian 12 builds it without SMTPUTF8",
		},
	}
}

// A told is a lab with the stories that it was told.
type told struct {
	*lab.Lab
	stories []story
}

// tell starts a lab and submits these stories.
func tell(ctx context.Context, t *testing.T, options lab.Options, all []story) told {
	t.Helper()
	options.InMemory, options.Background = true, true
	options.MC = []string{
		"define(`confTO_QUEUEWARN', `1s')dnl",
		"define(`confTO_QUEUERETURN', `8s')dnl",
		// Local users are delivered to, by a mailer that reads the mail (else
		// sendmail may complain of a broken pipe) and throws it away.
		"undefine(`MAIL_HUB')dnl",
		"define(`LOCAL_MAILER_PATH', `/usr/bin/awk')dnl",
		"define(`LOCAL_MAILER_ARGS', `awk END{} user=$u')dnl",
		// The way of a host whose name nobody knows.
		"LOCAL_RULE_0",
		"R$+ < @ " + noDomain + " . >\t\t$#esmtp $@ " + noDomain + " $: $1 < @ " + noDomain + " >",
		"R$+ < @ " + noDomain + " >\t\t$#esmtp $@ " + noDomain + " $: $1 < @ " + noDomain + " >",
		"divert(0)dnl",
	}
	l := lab.New(t, options)
	if err := os.WriteFile(l.Aliases, []byte("team: nobody, carol@"+destDomain+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Sendmail(ctx, "-bi"); err != nil {
		t.Fatal(err)
	}
	if err := l.Start(ctx); err != nil {
		t.Fatal(err)
	}
	late := answers{}
	for _, s := range all {
		for _, r := range s.to {
			if r.atData {
				late[r.address] = r
			} else {
				l.Stub.Refuse(r.address, r.reply)
			}
		}
	}
	l.Stub.AnswerData(func(d lab.Delivery) string { return late[d.To[0]].reply })
	for _, s := range all {
		e := lab.Envelope{From: s.sender(), Mail: s.mail, Data: []byte(s.message())}
		for _, r := range s.to {
			to := lab.Recipient{Address: r.address}
			if r.notify != "" {
				to.Args = []string{r.notify}
			}
			e.To = append(e.To, to)
		}
		if _, err := l.Submit(ctx, e); err != nil {
			t.Fatalf("%s: %v", s.name, err)
		}
	}
	return told{l, all}
}

// mail is what came for an address, as a server of a mailbox keeps it.
func (l told) mail(address string) [][]byte {
	var out [][]byte
	for _, d := range l.Stub.Deliveries() {
		if strings.EqualFold(d.To[0], address) {
			head := []byte("Return-Path: <" + d.From + ">\n")
			out = append(out, append(head, bytes.ReplaceAll(d.Data, []byte("\r\n"), []byte("\n"))...))
		}
	}
	return out
}

// notices runs the queue until everything that is expected has come.
func (l told) notices(ctx context.Context, t *testing.T, s *system) []capture {
	t.Helper()
	for {
		var out []capture
		var wrong error
		for _, st := range l.stories {
			found, err := claim(s.expectations(st), st, l.mail(st.sender()), s.apart)
			if err == nil && st.absent != "" {
				err = kept(found, st)
			}
			out, wrong = append(out, found...), errors.Join(wrong, err)
		}
		if wrong == nil {
			return out
		}
		select {
		case <-ctx.Done():
			t.Fatal(wrong)
		case <-time.After(300 * time.Millisecond):
		}
		if _, err := l.RunQueue(ctx); err != nil {
			t.Fatal(errors.Join(err, wrong))
		}
	}
}

// What this machine's sendmail makes of the stories reads as the stories say.
func TestSendmailsNotices(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), storyTime)
	defer cancel()
	s := sendmail()
	withDSN, without := []story{}, []story{}
	for _, st := range s.stories("nobody") {
		if st.name == "relayed" {
			without = append(without, st)
		} else {
			withDSN = append(withDSN, st)
		}
	}
	modern := tell(ctx, t, lab.Options{}, withDSN)
	old := tell(ctx, t, lab.Options{NoDSN: true}, without)
	all := append(modern.notices(ctx, t, s), old.notices(ctx, t, s)...)
	for _, c := range all {
		report, err := dsn.Read(bytes.NewReader(c.data), dsn.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		if wrong := c.expect.Differences(report); len(wrong) > 0 {
			t.Errorf("%s: %s in\n%s", c.name, strings.Join(wrong, "; "), c.data)
		}
	}
	for name, why := range s.cannot {
		t.Logf("no %s: %s", name, why)
	}
	if *write == "" || t.Failed() {
		return
	}
	folder := filepath.Join(*write, s.name)
	machine, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(discard(folder), save(folder, all, []string{machine, modern.Dir, old.Dir})); err != nil {
		t.Fatal(err)
	}
}
