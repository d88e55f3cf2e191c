package dsn

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// ordinaryMail makes n messages that are no bounces, the same ones each time.
// Many of them talk about bounces, quote them or carry them.
func ordinaryMail(t testing.TB, n int) []ordinaryMessage {
	t.Helper()
	bounces := bundledBounces(t)
	rnd := rand.New(rand.NewPCG(3464, 6522))
	pick := func(list []string) string { return list[rnd.IntN(len(list))] }
	var out []ordinaryMessage
	for i := range n {
		k := kindsOfMail[i%len(kindsOfMail)]
		m := letter{
			from:    pick(people),
			subject: pick(titles),
			bounce:  pick(bounces),
			text:    pick(paragraphs) + "\n\n" + pick(paragraphs),
			n:       i,
			rnd:     rnd,
		}
		text := k.make(&m)
		if rnd.IntN(2) == 0 { // as a filter sees it, before anybody wrote the reverse-path down
			text = strings.Replace(text, fmt.Sprintf("Return-Path: <sender%d@home.test>\n", i), "", 1)
		}
		if rnd.IntN(3) == 0 {
			text = strings.ReplaceAll(text, "\n", "\r\n")
		}
		out = append(out, ordinaryMessage{k.name, text})
	}
	return out
}

type ordinaryMessage struct{ what, text string }

type letter struct {
	from, subject, bounce, text string
	n                           int
	rnd                         *rand.Rand
}

var (
	people = []string{
		"Anna <anna@home.test>", "bob@office.test", `"Carol, Dr." <carol@clinic.test>`, "Post Master Flash <flash@band.test>",
		"Mailer Team <team@agency.test>", "postmaster@office.test", "System Administrator <root@office.test>", "=?utf-8?Q?J=C3=BCrgen?= <j@home.test>",
	}
	titles = []string{
		"Lunch on Friday", "Minutes", "Failure is an option", "Your delivery arrives on Tuesday", "Status of the project", "mail server move",
		"Photos", "Could you have a look?", "=?utf-8?B?R3LDvMOfZQ==?=", "Returned your book", "undelivered parcels", "",
	}
	paragraphs = []string{
		"Dear all,\nplease find the agenda below. We meet at ten.", "The parcel could not be delivered, nobody was at home.\nAsk carol@clinic.test for the key.",
		"I looked at the log:\n550 5.1.1 <x@gone.test>... User unknown\nDoes that tell you anything?", "Thanks!", "My new address is anna@elsewhere.test.\nThe old mailbox is full.",
		"Received: with thanks, the books.\nFrom: the shelf\nTo: the table", "The following addresses are new in our group:\n\nanna@home.test\nbob@office.test",
		"Sorry for the delay; delivery has been delayed by the strike.", "Wer kommt mit? Nachricht an bob@office.test.",
	}
)

func (m *letter) head(extra, ct string) string {
	return fmt.Sprintf("Return-Path: <sender%d@home.test>\nReceived: from a.test (a.test [192.0.2.1]) by b.test; Wed, 12 Jun 2024 10:00:00 +0200\n"+
		"Date: Wed, 12 Jun 2024 10:00:00 +0200\nFrom: %s\nTo: you@here.test\nSubject: %s\nMessage-ID: <%d.ordinary@home.test>\n%sMIME-Version: 1.0\nContent-Type: %s\n\n",
		m.n, m.from, m.subject, m.n, extra, ct)
}

const plain = "text/plain; charset=utf-8"

func (m *letter) quotedBounce() string {
	_, body, _ := strings.Cut(m.bounce, "\n\n")
	return "> " + strings.ReplaceAll(strings.TrimSpace(body), "\n", "\n> ") + "\n"
}

func (m *letter) bounceSubject() string {
	for line := range strings.Lines(m.bounce) {
		if s, ok := strings.CutPrefix(line, "Subject: "); ok {
			return strings.TrimSpace(s)
		}
	}
	return "Undelivered Mail Returned to Sender"
}

var kindsOfMail = []struct {
	name string
	make func(*letter) string
}{
	{"letter", func(m *letter) string { return m.head("", plain) + m.text + "\n" }},
	{"reply", func(m *letter) string {
		m.subject = "Re: " + m.subject
		return m.head("In-Reply-To: <a@here.test>\nReferences: <a@here.test>\n", plain) + m.text + "\n\n> " + strings.ReplaceAll(m.text, "\n", "\n> ") + "\n"
	}},
	{"reply that quotes a bounce", func(m *letter) string {
		m.subject = []string{"Re: ", "AW: ", "RE: Fwd: "}[m.rnd.IntN(3)] + m.bounceSubject()
		return m.head("In-Reply-To: <a@here.test>\n", plain) + m.text + "\n\n" + m.quotedBounce()
	}},
	{"bounce forwarded as attachment", func(m *letter) string {
		m.subject = "Fwd: " + m.bounceSubject()
		return m.head("", `multipart/mixed; boundary="fwd"`) + "--fwd\nContent-Type: " + plain + "\n\n" + m.text + "\n--fwd\nContent-Type: message/rfc822\n\n" + m.bounce + "\n--fwd--\n"
	}},
	{"bounce forwarded under a subject of its own", func(m *letter) string {
		return m.head("", `multipart/mixed; boundary="fwd"`) + "--fwd\nContent-Type: " + plain + "\n\n" + m.text + "\n--fwd\nContent-Type: message/rfc822\nContent-Disposition: attachment\n\n" + m.bounce + "\n--fwd--\n"
	}},
	{"bounce forwarded inline", func(m *letter) string {
		m.subject = "FW: " + m.bounceSubject()
		return m.head("", plain) + "What is this?\n\n-------- Original Message --------\n" + m.bounce
	}},
	{"bounce pasted into a letter", func(m *letter) string {
		m.subject = "question about: " + m.bounceSubject()
		_, body, _ := strings.Cut(m.bounce, "\n\n")
		return m.head("", plain) + "Hello,\n\nI got this today and do not understand it. Who is to blame?\nI wrote to him last week and all was well then. Since then nothing has\nchanged here, at least nothing that I know of; the server was moved on\nMonday, they say. Please tell me what to do, and whether to write again.\nAnna from the second floor has seen the same thing with another address,\nand she has been told to wait. I am not good at waiting.\n\n" + body
	}},
	{"digest with a bounce in it", func(m *letter) string {
		m.subject = "ops Digest, Vol 3, Issue 7"
		return m.head("List-Id: <ops.lists.test>\nPrecedence: list\n", `multipart/mixed; boundary="dig"`) + "--dig\nContent-Type: " + plain + "\n\nToday's Topics\n\n--dig\nContent-Type: multipart/digest; boundary=in\n\n--in\n\n" + m.bounce + "\n--in--\n--dig--\n"
	}},
	{"list", func(m *letter) string {
		m.subject = "[ops] " + m.bounceSubject()
		return m.head("List-Id: Operations <ops.lists.test>\nList-Post: <mailto:ops@lists.test>\nPrecedence: list\n", plain) + m.text + "\n" + m.quotedBounce()
	}},
	{"bounce passed on by a list", func(m *letter) string {
		head, body, _ := strings.Cut(m.bounce, "\n\n")
		return strings.Replace(head, "Return-Path: <>", "Return-Path: <ops-bounces@lists.test>", 1) + "\nList-Id: <ops.lists.test>\nPrecedence: list\n\n" + body
	}},
	{"newsletter", func(m *letter) string {
		return m.head("List-Unsubscribe: <https://news.test/u>\nPrecedence: bulk\n", `multipart/alternative; boundary="alt"`) + "--alt\nContent-Type: " + plain + "\n\n" + m.text + "\n--alt\nContent-Type: text/html\n\n<p>" + m.text + "</p>\n--alt--\n"
	}},
	{"newsletter from the null sender", func(m *letter) string {
		return strings.Replace(m.head("List-Id: <news.test>\n", plain), fmt.Sprintf("<sender%d@home.test>", m.n), "<>", 1) + m.text + "\n"
	}},
	{"vacation notice", func(m *letter) string {
		m.subject = "Out of office: " + m.subject
		return strings.Replace(m.head("Auto-Submitted: auto-replied\n", plain), fmt.Sprintf("<sender%d@home.test>", m.n), "<>", 1) + "I am away. In urgent cases ask\n\nbob@office.test\n"
	}},
	{"cron", func(m *letter) string {
		m.from, m.subject = "Cron Daemon <root@office.test>", "Cron <root@office> mailq | tail"
		return m.head("Auto-Submitted: auto-generated\n", plain) + "45CAbc01 1024 <anna@home.test>\n   (Deferred: 452 4.2.2 Mailbox full)\n   bob@office.test\n"
	}},
	{"monitoring", func(m *letter) string {
		m.subject = "PROBLEM: mail queue on mx1 is CRITICAL"
		return m.head("Auto-Submitted: auto-generated\nPrecedence: bulk\n", plain) + "Delivery failed for 17 messages in the last hour.\nSee <https://mon.test/>.\n"
	}},
	{"shop", func(m *letter) string {
		m.from, m.subject = "Parcels <no-reply@parcels.test>", "Your parcel could not be delivered"
		return m.head("", "text/html; charset=utf-8") + "<p>We were unable to deliver your parcel to the following address:</p><p>you@here.test</p>"
	}},
}

func bundledBounces(t testing.TB) []string {
	t.Helper()
	names, _ := filepath.Glob(filepath.Join("testdata", "*.eml"))
	var out []string
	for _, name := range names {
		r := readFile(t, name)
		if !r.Kind.IsBounce() {
			continue
		}
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, strings.ReplaceAll(strings.ReplaceAll(string(data), "\r\n", "\n"), "\r", "\n"))
	}
	if len(out) < 20 {
		t.Fatalf("only %d bundled bounces", len(out))
	}
	return out
}

// Ordinary mail is never taken for a bounce, whatever it talks about.
func TestOrdinaryMailIsNoBounce(t *testing.T) {
	for i, m := range ordinaryMail(t, 560) {
		r, err := Read(strings.NewReader(m.text), Limits{})
		if err != nil {
			t.Fatal(err)
		}
		if r.Kind.IsBounce() {
			t.Errorf("message %d, %s: taken for a bounce (%s, %s):\n%.900s", i, m.what, r.Kind, r.Form, m.text)
		}
		if len(r.Recipients) != 0 || r.Returned.Fields != nil {
			t.Errorf("message %d, %s: reports on recipients", i, m.what)
		}
	}
}
