package main

import (
	"fmt"
	"strings"
	"time"
)

// load is mail of one kind.
type load struct {
	name     string
	client   string // the address it comes from
	messages []message
	want     float64 // how many times the C filter's messages a second
	// fresh makes a message like these with another Message-ID and recipient,
	// where the filter remembers them; else nil.
	fresh func(id string) message
}

// send delivers the n-th message of a load.
func (l load) send(c *client, n int) error {
	answer, err := c.deliver(l.messages[n%len(l.messages)])
	if err == nil && answer != 'a' && answer != 'c' {
		err = fmt.Errorf("answered %q", answer)
	}
	return err
}

const outside, inside = "198.51.100.7", "192.0.2.7"

// makeLoads makes the mail. Our filter signs a message first, as the legitimate
// bounces are about mail that it saw.
func makeLoads(ours *filter) ([]load, error) {
	letter := func(id string) message {
		to := "ann." + id + "@remote.example"
		return newMessage("joe@example.org", to, letterHeader("joe@example.org", to, id+"@example.org"), text(7000))
	}
	outgoing := letter("1")
	c, err := dial(ours.socket, inside)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	if _, err := c.deliver(outgoing); err != nil {
		return nil, err
	}
	token := ""
	for _, h := range c.added {
		if name, value, _ := strings.Cut(h, "\x00"); name == "X-Backscatter-Token" {
			token = strings.TrimSuffix(value, "\x00")
		}
	}
	if token == "" {
		return nil, fmt.Errorf("our filter did not sign a message; it added %q", c.added)
	}
	legit := bounce("joe@example.org", "1@example.org", "X-Backscatter-Token: "+token)
	forged := bounce("info@example.org", "2@example.org", "X-Mailer: none")
	for name, m := range map[string]message{"legit ": legit, "suspect ": forged} {
		out, err := dial(ours.socket, outside)
		if err != nil {
			return nil, err
		}
		_, err = out.deliver(m)
		added := strings.Join(out.added, "\n")
		out.Close()
		if err != nil || !strings.Contains(added, name+"kind=failed") {
			return nil, fmt.Errorf("a bounce that should be %s got %q, %v", name, added, err)
		}
	}
	ordinary := newMessage("ann@remote.example", "joe@example.org", letterHeader("ann@remote.example", "joe@example.org", "3@remote.example"), text(7000))
	return []load{
		{"bounces of 8 kB, half of them legitimate, half suspect", outside, []message{legit, forged}, 1.3, nil},
		{"ordinary mail of 8 kB", outside, []message{ordinary}, 3, nil},
		{"outgoing mail of 8 kB, signed and recorded", inside, []message{outgoing}, 1, letter},
	}, nil
}

// letterHeader has 20 fields, as mail has after some hops.
func letterHeader(from, to, id string) [][2]string {
	h := [][2]string{}
	for i := range 6 {
		h = append(h, [2]string{"Received", fmt.Sprintf("from h%d.remote.example (h%d.remote.example [198.51.100.%d])\n\tby h%d.remote.example (8.17.1/8.17.1) with ESMTPS id 6AOMSHAk00001%d;\n\t%s", i, i, i+10, i+1, i, time.Now().Format(time.RFC1123Z))})
	}
	h = append(h, [2]string{"DKIM-Signature", "v=1; a=rsa-sha256; c=relaxed/relaxed; d=remote.example; s=2026;\n\th=from:to:subject:date; bh=" + strings.Repeat("A", 43) + "=;\n\tb=" + strings.Repeat("B", 340)})
	for i := range 5 {
		h = append(h, [2]string{fmt.Sprintf("X-Field-%d", i), strings.Repeat("x", 60)})
	}
	return append(h, [2]string{"From", "<" + from + ">"}, [2]string{"To", "<" + to + ">"}, [2]string{"Subject", "how do you do"},
		[2]string{"Date", time.Now().Format(time.RFC1123Z)}, [2]string{"Message-ID", "<" + id + ">"}, [2]string{"MIME-Version", "1.0"},
		[2]string{"Content-Type", "text/plain; charset=utf-8"}, [2]string{"Content-Transfer-Encoding", "8bit"})
}

func text(n int) string {
	return strings.Repeat("All work and no play makes Jack a dull boy, they say in the hills.\r\n", n/68+1)[:n]
}

// bounce is a report of sendmail's with the whole message in it, 8 kB in all.
func bounce(user, id, extra string) message {
	header := [][2]string{
		{"Received", "from localhost (localhost)\n\tby mx.remote.example (8.17.1/8.17.1) id 6AOMSHAk000015;\n\t" + time.Now().Format(time.RFC1123Z)},
		{"Date", time.Now().Format(time.RFC1123Z)}, {"From", "Mail Delivery Subsystem <MAILER-DAEMON@mx.remote.example>"},
		{"Message-Id", "<202611242228.6AOMSHAk000015@mx.remote.example>"}, {"To", "<" + user + ">"}, {"MIME-Version", "1.0"},
		{"Content-Type", "multipart/report; report-type=delivery-status;\n\tboundary=\"6AOMSHAk000015.1764023281/mx.remote.example\""},
		{"Subject", "Returned mail: see transcript for details"}, {"Auto-Submitted", "auto-generated (failure)"},
	}
	var returned strings.Builder
	for _, h := range letterHeader(user, "nobody@remote.example", id) {
		returned.WriteString(h[0] + ": " + strings.ReplaceAll(h[1], "\n", "\r\n") + "\r\n")
	}
	const mark = "--6AOMSHAk000015.1764023281/mx.remote.example"
	body := strings.Join([]string{
		"This is a MIME-encapsulated message", "", mark, "",
		"The original message was received at Tue, 24 Nov 2026 22:28:01 GMT", "from client.example [198.51.100.20]", "",
		"   ----- The following addresses had permanent fatal errors -----", "<nobody@remote.example>", "    (reason: 550 5.1.1 User unknown)", "",
		mark, "Content-Type: message/delivery-status", "",
		"Reporting-MTA: dns; mx.remote.example", "Received-From-MTA: DNS; client.example", "Arrival-Date: Tue, 24 Nov 2026 22:28:01 GMT", "",
		"Final-Recipient: RFC822; nobody@remote.example", "Action: failed", "Status: 5.1.1", "Diagnostic-Code: SMTP; 550 5.1.1 User unknown", "",
		mark, "Content-Type: message/rfc822", "", returned.String() + extra, "",
	}, "\r\n")
	end := "\r\n\r\n" + mark + "--\r\n"
	return newMessage("", user, header, body+"\r\n"+text(max(0, 8000-len(body)-len(end)))+end)
}
