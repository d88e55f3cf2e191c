package soak

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"

	"github.com/backscatterd/backscatterd/test/lab"
)

// fate is what is to become of a message, by what the receiver answers and what
// the rules make of the answer.
type fate int

const (
	accepted fate = iota // taken at the first try
	later                // taken after a few tries
	unknown              // refused for good: sendmail tells the sender
	moved                // deferred; a rule moves it; restored at the end, and then taken
	held                 // deferred; a rule holds it; released at the end, and then taken
	deleted              // deferred; a rule deletes it
	bounced              // deferred; a rule tells the sender, and moves it
	fates
)

func (f fate) String() string {
	return [...]string{"accepted", "later", "unknown", "moved", "held", "deleted", "bounced"}[f]
}

// delivered tells whether the recipient is to get the message in the end.
func (f fate) delivered() bool {
	return f == accepted || f == later || f == moved || f == held
}

// rules answer the replies of the plan.
const rules = `
[sweep]
max_share = 1.0
[bounce]
host = "mx.lab.example"
per_hour = 0
[[rule]]
name = "moved"
when = 'status contains "soak-moved"'
do = "move"
[[rule]]
name = "held"
when = 'status contains "soak-held"'
do = "hold"
reason = "held by the soak"
[[rule]]
name = "deleted"
when = 'status contains "soak-deleted"'
do = "delete"
[[rule]]
name = "bounced"
when = 'status contains "soak-bounced"'
do = "bounce"
`

// letter is the plan for one message.
type letter struct {
	fate  fate
	tries int  // later: how many are deferred first
	data  bool // later: at the end of its data, not at RCPT
}

// plan is all that the seed decides: each message's fate, each answer of the
// receiver, what is done by hand to which message, and when a process is killed
// (as a share of what the one before it took). It may be used from any
// goroutine.
type plan struct {
	seed    uint64
	letters []letter

	mu    sync.Mutex
	tried map[int]int // attempts that the receiver has seen
	open  bool        // the end: what is moved and held is now taken
}

func newPlan(seed uint64, messages int) *plan {
	p := &plan{seed: seed, tried: make(map[int]int)}
	r := p.random("fates")
	for range messages {
		l := letter{tries: 1 + r.IntN(3), data: r.IntN(2) == 0}
		switch n := r.IntN(100); {
		case n < 30:
			l.fate = accepted
		case n < 50:
			l.fate = later
		case n < 60:
			l.fate = unknown
		case n < 75:
			l.fate = moved
		case n < 90:
			l.fate = held
		case n < 95:
			l.fate = deleted
		default:
			l.fate = bounced
		}
		p.letters = append(p.letters, l)
	}
	return p
}

// random is a source of its own for each purpose, so that the timing of one
// thing does not change what is drawn for another.
func (p *plan) random(purpose string) *rand.Rand {
	var n uint64
	for _, c := range []byte(purpose) {
		n = n*131 + uint64(c)
	}
	return rand.New(rand.NewPCG(p.seed, n))
}

func recipient(i int) string { return fmt.Sprintf("r%d@dest.example", i) }
func sender(i int) string    { return fmt.Sprintf("s%d@customer.example", i) }
func messageID(i int) string { return fmt.Sprintf("<soak%d@customer.example>", i) }

func (p *plan) envelope(i int) lab.Envelope {
	return lab.Envelope{From: sender(i), To: lab.To(recipient(i)),
		Data: lab.Compose(body(i), "From: "+sender(i), "To: "+recipient(i), "Subject: soak", "Message-ID: "+messageID(i))}
}

// body differs in length, so that one message's df cannot pass for another's.
func body(i int) string {
	return fmt.Sprintf("the body of message %d\n", i) + strings.Repeat("and more of it, line by line\n", i%40) + "the end of it\n"
}

// numberOf reads the number in an address of the plan, "r" or "s" before it.
func numberOf(address string, kind string) (int, bool) {
	local, domain, _ := strings.Cut(address, "@")
	digits, ok := strings.CutPrefix(local, kind)
	n, err := strconv.Atoi(digits)
	return n, ok && err == nil && (domain == "dest.example" || domain == "customer.example")
}

// answerRcpt is the receiver's answer to RCPT.
func (p *plan) answerRcpt(_, to string) string {
	i, ok := numberOf(to, "r")
	if !ok || i >= len(p.letters) {
		return "" // a sender who is told something
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	l := p.letters[i]
	p.tried[i]++
	switch l.fate {
	case later:
		if !l.data && p.tried[i] <= l.tries {
			return "451 4.3.2 try again"
		}
	case unknown:
		return "550 5.1.1 User unknown"
	case moved, held:
		if !p.open {
			return "450 4.7.1 soak-" + l.fate.String()
		}
	case deleted, bounced:
		return "452 4.2.2 soak-" + l.fate.String()
	}
	return ""
}

// answerData is the receiver's answer to the end of the data.
func (p *plan) answerData(d lab.Delivery) string {
	i, ok := numberOf(d.To[0], "r")
	if !ok || i >= len(p.letters) {
		return ""
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if l := p.letters[i]; l.fate == later && l.data && p.tried[i] <= l.tries {
		return "452 4.3.1 no room yet"
	}
	return ""
}

// openUp lets through what was deferred until now.
func (p *plan) openUp() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.open = true
}
