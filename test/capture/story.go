package main

import (
	"fmt"
	"strings"

	"github.com/backscatterd/backscatterd/dsn"
)

// The domains of the stories. names.go says where their mail goes to.
const (
	hostName   = "mx.lab.example"
	homeDomain = "lab.example"      // the mail system's own
	destDomain = "dest.example"     // a server that understands DSN
	oldDomain  = "plain.example"    // a server that does not
	fromDomain = "customer.example" // where the senders are, and the notices go
	downDomain = "refused.example"  // nobody listens there; test/lab has it too
	noDomain   = "nowhere.example"  // does not exist
)

// A story is one message, what becomes of each of its recipients, and the
// notices that its sender gets.
type story struct {
	name    string
	mail    []string // parameters of MAIL
	to      []recipient
	subject string
	body    string
	notices []notice
	absent  string // text of the body that must not come back
}

// A recipient and his fate.
type recipient struct {
	address string
	notify  string // parameter of RCPT, or ""
	reply   string // of his server, or of the mail system itself; "" for a success
	atData  bool   // the reply comes after the data, not to RCPT
	silent  bool   // nothing is reported of him
	status  string // where it is not that of the reply
}

// A notice is one message to the sender. Its name is that of the file.
type notice struct {
	name string
	kind dsn.Kind
}

func (s story) sender() string    { return s.name + "@" + fromDomain }
func (s story) messageID() string { return "20240229." + s.name + "@" + fromDomain }

// envelopeID is what ENVID among the parameters of MAIL says.
func (s story) envelopeID() string {
	for _, p := range s.mail {
		if id, ok := strings.CutPrefix(p, "ENVID="); ok {
			return id
		}
	}
	return ""
}

// header are the lines that the sender's program wrote. The To field names
// nobody of the envelope: what names a recipient is the notice itself.
func (s story) header() []string {
	subject := s.subject
	if subject == "" {
		subject = "The minutes of Monday"
	}
	return []string{
		"From: " + s.sender(),
		"To: friends: ;",
		"Date: Thu, 29 Feb 2024 12:00:00 +0000",
		"Message-ID: <" + s.messageID() + ">",
		"Subject: " + subject,
		"X-Token: a value that has to come back whole",
	}
}

func (s story) message() string {
	body := s.body
	if body == "" {
		body = plainBody
	}
	return strings.Join(s.header(), "\n") + "\n\n" + body
}

const plainBody = "Please find the minutes below.\n\nYours\n"

// largeBody is longer than what any system here is told to return.
func largeBody() string {
	var b strings.Builder
	for i := range 400 {
		fmt.Fprintf(&b, "%03d. Item that was talked about at length, and then put off till next week.\n", i+1)
	}
	return b.String()
}

const (
	unknown = "550 5.1.1 Recipient address rejected: User unknown"
	full    = "552 5.2.2 Mailbox is full"
	spam    = "550 5.7.1 Message content rejected"
	later   = "452 4.2.2 Mailbox is full, try again later"
)

// failed is a recipient at dest.example whom his server refuses so.
func failed(local, reply string) recipient {
	return recipient{address: local + "@" + destDomain, reply: reply}
}

func (r recipient) after() recipient      { r.atData = true; return r }
func (r recipient) quietly() recipient    { r.silent = true; return r }
func (s story) named(kind dsn.Kind) story { s.notices = []notice{{name: s.name, kind: kind}}; return s }
func here(local string) string            { return local + "@" + hostName }

// stories are told to every system. The numbers of the files follow their order.
// The local user has a mailbox there.
func stories(user string) []story {
	delayedThenExpired := func(name string) []notice {
		return []notice{{name: name + "-delayed", kind: dsn.Delayed}, {name: name + "-expired", kind: dsn.Failed}}
	}
	success := func(address string) []recipient {
		return []recipient{{address: address, notify: "NOTIFY=SUCCESS", status: "2.0.0"}}
	}
	return []story{
		story{name: "user-unknown", to: []recipient{failed("nobody", unknown)}}.named(dsn.Failed),
		story{name: "mailbox-full", to: []recipient{failed("hoarder", full)}}.named(dsn.Failed),
		story{name: "refused-after-data", to: []recipient{failed("strict", spam).after()}}.named(dsn.Failed),
		{name: "deferred", to: []recipient{failed("slow", later)}, notices: delayedThenExpired("deferred")},
		{name: "host-down", to: []recipient{{address: "user@" + downDomain}}, notices: delayedThenExpired("host-down")},
		story{name: "several", to: []recipient{
			failed("fine", "").quietly(), failed("gone", unknown), failed("stuffed", full),
		}}.named(dsn.Failed),
		story{name: "headers-only", mail: []string{"RET=HDRS", "ENVID=order-4711"}, absent: "Please find",
			to: []recipient{failed("left", unknown)}}.named(dsn.Failed),
		story{name: "eight-bit", mail: []string{"BODY=8BITMIME"}, subject: "Gr\xfc\xdfe aus K\xf6ln",
			body: "Gr\xfc\xdfe von der Stra\xdfe in K\xf6ln\n", to: []recipient{failed("koeln", unknown)}}.named(dsn.Failed),
		story{name: "large", body: largeBody(), absent: "400. Item", to: []recipient{failed("small", unknown)}}.named(dsn.Failed),
		story{name: "delivered", to: success(here(user))}.named(dsn.Delivered),
		story{name: "relayed", to: success("friend@" + oldDomain)}.named(dsn.Relayed),
		story{name: "expanded", to: success(here("team"))}.named(dsn.Expanded),
		story{name: "local-unknown", to: []recipient{{address: here("nosuch"), status: "5.1.1"}}}.named(dsn.Failed),
		story{name: "host-unknown", to: []recipient{{address: "user@" + noDomain, status: "5.1.2"}}}.named(dsn.Failed),
		story{name: "utf8-address", mail: []string{"SMTPUTF8"}, subject: "Grüße aus Köln",
			// go-smtp, which plays the servers, refuses the ORCPT parameter of such
			// an address; a server without DSN is sent none.
			to: []recipient{{address: "jürgen@" + oldDomain, reply: unknown}}}.named(dsn.Failed),
	}
}
