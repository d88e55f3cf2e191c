package lab

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log"
	"maps"
	"net"
	"net/mail"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/emersion/go-smtp"
)

// Delivery is one message that the stub took, with 250 at the end of its data.
type Delivery struct {
	From      string   // envelope sender, no brackets, "" if null
	To        []string // recipients of this transaction, no brackets
	Mail      smtp.MailOptions
	Rcpt      []smtp.RcptOptions // of To, in the same order
	Data      []byte             // header and body with CRLF, as sent
	MessageID string             // value of Message-ID, "" if none
	At        time.Time
}

// Stub is the SMTP server that all mail of a lab goes to. It takes everything,
// but for what the rules refuse, and may be used from any goroutine.
//
// A rule answers with a whole reply such as "450 4.7.1 Relay access denied"
// (the enhanced code may be left out), or "" to accept. A 421 makes sendmail
// give up the connection.
type Stub struct {
	server   *smtp.Server
	listener *net.TCPListener
	serving  sync.WaitGroup

	mu         sync.Mutex
	closed     bool
	conns      map[net.Conn]struct{}
	onMail     func(from string) string
	onRcpt     func(from, to string) string
	onData     func(Delivery) string
	refused    map[string]string
	gates      []*Gate
	deliveries []Delivery
	counts     map[received]int
	changed    chan struct{} // closed and made anew with each delivery
}

// received tells a delivered copy from others.
type received struct{ messageID, recipient string }

func newStub(dsn bool) (*Stub, error) {
	ln, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return nil, fmt.Errorf("starting the stub SMTP server: %w", err)
	}
	s := &Stub{
		listener: ln,
		conns:    map[net.Conn]struct{}{},
		refused:  map[string]string{},
		counts:   map[received]int{},
		changed:  make(chan struct{}),
	}
	s.server = smtp.NewServer(smtp.BackendFunc(s.session))
	s.server.Domain = "stub.lab.example"
	s.server.EnableDSN = dsn
	s.server.EnableSMTPUTF8 = true
	s.server.MaxLineLength = 1 << 20
	s.server.ErrorLog = log.New(io.Discard, "", 0) // a client that breaks off is part of many tests
	s.serving.Go(func() { _ = s.server.Serve(quickListener{ln}) })
	return s, nil
}

// close ends all connections and waits for their goroutines.
func (s *Stub) close() {
	s.mu.Lock()
	s.closed = true
	gates, conns := slices.Clone(s.gates), slices.Collect(maps.Keys(s.conns))
	s.mu.Unlock()
	for _, gate := range gates {
		gate.Open()
	}
	for _, conn := range conns {
		_ = conn.Close()
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	_ = s.server.Shutdown(ctx)
	s.serving.Wait()
}

// Addr is host:port of the stub.
func (s *Stub) Addr() string { return s.listener.Addr().String() }

func (s *Stub) port() int { return s.listener.Addr().(*net.TCPAddr).Port }

// AnswerMail sets the rule for MAIL; nil accepts all. from is "" if null.
func (s *Stub) AnswerMail(rule func(from string) string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.onMail = rule
}

// AnswerRcpt sets the rule for RCPT; nil accepts all.
func (s *Stub) AnswerRcpt(rule func(from, to string) string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.onRcpt = rule
}

// AnswerData sets the rule for the end of the data; nil accepts all.
func (s *Stub) AnswerData(rule func(Delivery) string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.onData = rule
}

// Refuse answers RCPT for this one recipient, in whatever case, with the reply,
// before any rule; "" takes that back.
func (s *Stub) Refuse(to, reply string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if reply == "" {
		delete(s.refused, strings.ToLower(to))
		return
	}
	s.refused[strings.ToLower(to)] = reply
}

// Gate keeps deliveries waiting for the reply to their data: sendmail is in
// mid-delivery then and holds the lock on the queue file.
type Gate struct {
	stub    *Stub
	match   func(Delivery) bool
	reached chan struct{}
	open    chan struct{}
	first   sync.Once
	opened  sync.Once
}

// Hold makes a gate for all deliveries that match; nil matches all. It stays
// until it is opened, at the latest by the end of the test.
func (s *Stub) Hold(match func(Delivery) bool) *Gate {
	g := &Gate{stub: s, match: match, reached: make(chan struct{}), open: make(chan struct{})}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		g.opened.Do(func() { close(g.open) })
		return g
	}
	s.gates = append(s.gates, g)
	return g
}

// Reached returns once a delivery stands before the gate.
func (g *Gate) Reached(ctx context.Context) error {
	select {
	case <-g.reached:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("waiting for a delivery to reach the gate: %w", ctx.Err())
	}
}

// Open lets all waiting deliveries through, and all to come. Opening it again
// does nothing.
func (g *Gate) Open() {
	g.opened.Do(func() {
		g.stub.mu.Lock()
		g.stub.gates = slices.DeleteFunc(g.stub.gates, func(o *Gate) bool { return o == g })
		g.stub.mu.Unlock()
		close(g.open)
	})
}

// Deliveries are all messages taken so far, oldest first.
func (s *Stub) Deliveries() []Delivery {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.deliveries)
}

// Count is how many times this message was taken for this recipient.
func (s *Stub) Count(messageID, recipient string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.counts[received{messageID, strings.ToLower(recipient)}]
}

// Await returns once at least n messages were taken.
func (s *Stub) Await(ctx context.Context, n int) error {
	for {
		s.mu.Lock()
		have, changed := len(s.deliveries), s.changed
		s.mu.Unlock()
		if have >= n {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("waiting for %d deliveries, %d came: %w", n, have, ctx.Err())
		}
	}
}

// record notes a delivery. It is called just before the 250 is written, so a
// client that is killed at that very moment may send the message again.
func (s *Stub) record(d Delivery) {
	d.At = time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.deliveries = append(s.deliveries, d)
	for _, to := range d.To {
		s.counts[received{d.MessageID, strings.ToLower(to)}]++
	}
	close(s.changed)
	s.changed = make(chan struct{})
}

// stubSession is one connection; go-smtp calls it from one goroutine.
type stubSession struct {
	stub *Stub
	conn net.Conn
	at   Delivery
}

func (s *Stub) session(c *smtp.Conn) (smtp.Session, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, reply("421 4.3.2 the stub is closing")
	}
	s.conns[c.Conn()] = struct{}{}
	return &stubSession{stub: s, conn: c.Conn()}, nil
}

func (c *stubSession) Reset() { c.at = Delivery{} }

func (c *stubSession) Logout() error {
	c.stub.mu.Lock()
	defer c.stub.mu.Unlock()
	delete(c.stub.conns, c.conn)
	return nil
}

func (c *stubSession) Mail(from string, options *smtp.MailOptions) error {
	c.stub.mu.Lock()
	rule := c.stub.onMail
	c.stub.mu.Unlock()
	if rule != nil {
		if answer := rule(from); answer != "" {
			return reply(answer)
		}
	}
	c.at = Delivery{From: from, Mail: *options}
	return nil
}

func (c *stubSession) Rcpt(to string, options *smtp.RcptOptions) error {
	c.stub.mu.Lock()
	rule, answer := c.stub.onRcpt, c.stub.refused[strings.ToLower(to)]
	c.stub.mu.Unlock()
	if answer == "" && rule != nil {
		answer = rule(c.at.From, to)
	}
	if answer != "" {
		return reply(answer)
	}
	c.at.To = append(c.at.To, to)
	c.at.Rcpt = append(c.at.Rcpt, *options)
	return nil
}

func (c *stubSession) Data(r io.Reader) error {
	data, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	d := c.at
	d.Data = data
	if m, err := mail.ReadMessage(bytes.NewReader(data)); err == nil {
		d.MessageID = m.Header.Get("Message-Id")
	}
	c.stub.mu.Lock()
	rule, gates := c.stub.onData, slices.Clone(c.stub.gates)
	c.stub.mu.Unlock()
	for _, gate := range gates {
		if gate.match == nil || gate.match(d) {
			gate.first.Do(func() { close(gate.reached) })
			<-gate.open
		}
	}
	if rule != nil {
		if answer := rule(d); answer != "" {
			return reply(answer)
		}
	}
	c.stub.record(d)
	return nil
}

var replyForm = regexp.MustCompile(`^([45]\d\d) (?:([245])\.(\d{1,3})\.(\d{1,3}) )?(.*)$`)

// reply reads the text of a rule's answer. One that is no refusal is answered
// with a 554 that quotes it, to be found in the bounce.
func reply(line string) *smtp.SMTPError {
	parts := replyForm.FindStringSubmatch(line)
	if parts == nil {
		return &smtp.SMTPError{Code: 554, EnhancedCode: smtp.EnhancedCode{5, 3, 0},
			Message: fmt.Sprintf("the stub's rule answered %q, which is no 4xx or 5xx reply", line)}
	}
	number := func(i int) int { n, _ := strconv.Atoi(parts[i]); return n } // digits by the form
	enhanced := smtp.NoEnhancedCode
	if parts[2] != "" {
		enhanced = smtp.EnhancedCode{number(2), number(3), number(4)}
	}
	return &smtp.SMTPError{Code: number(1), EnhancedCode: enhanced, Message: parts[5]}
}
