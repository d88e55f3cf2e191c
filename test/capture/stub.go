package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"strconv"
	"strings"
	"sync"

	"github.com/emersion/go-smtp"
)

// An answers is what the servers of the world say, by recipient in lower case.
// Who is not in it is accepted.
type answers map[string]recipient

// A world is the servers that mail goes to. They accept everything, but for
// what the answers refuse, and keep what comes for the senders of the stories.
// It may be used from any goroutine.
type world struct {
	answers answers
	servers []*smtp.Server
	serving sync.WaitGroup

	mu      sync.Mutex
	arrived map[string][][]byte // by recipient, in the order of arrival
}

func newWorld(a answers) *world {
	return &world{answers: a, arrived: map[string][][]byte{}}
}

// listen starts a server, on port 25 of the address.
func (w *world) listen(addr string, dsn bool) error {
	ln, err := net.Listen("tcp4", net.JoinHostPort(addr, "25"))
	if err != nil {
		return err
	}
	s := smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) { return &session{world: w}, nil }))
	s.Domain = "mx.lab.example"
	for name, a := range addresses {
		if a == addr {
			s.Domain = name
		}
	}
	s.EnableDSN = dsn
	s.EnableSMTPUTF8 = true
	s.MaxLineLength = 1 << 16
	s.ErrorLog = log.New(io.Discard, "", 0) // systems that break off are none of our errors
	w.servers = append(w.servers, s)
	w.serving.Go(func() { _ = s.Serve(ln) }) // ends with Shutdown
	return nil
}

func (w *world) close(ctx context.Context) {
	for _, s := range w.servers {
		_ = s.Shutdown(ctx)
	}
	w.serving.Wait()
}

// mail are the messages that came for an address so far.
func (w *world) mail(address string) [][]byte {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.arrived[strings.ToLower(address)]
}

type session struct {
	world *world
	from  string
	to    []string
}

func (s *session) Reset()        { s.from, s.to = "", nil }
func (s *session) Logout() error { return nil }

func (s *session) Mail(from string, _ *smtp.MailOptions) error {
	s.from = from
	return nil
}

func (s *session) Rcpt(to string, _ *smtp.RcptOptions) error {
	if r := s.world.answers[strings.ToLower(to)]; r.reply != "" && !r.atData {
		return refusal(r.reply)
	}
	s.to = append(s.to, strings.ToLower(to))
	return nil
}

// Data keeps the message as a server of a mailbox does, with the envelope
// sender in front of it (RFC 5321, section 4.4), and with line ends of Unix.
func (s *session) Data(r io.Reader) error {
	data, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	for _, to := range s.to {
		if r := s.world.answers[to]; r.reply != "" {
			return refusal(r.reply)
		}
	}
	data = append(fmt.Appendf(nil, "Return-Path: <%s>\n", s.from), bytes.ReplaceAll(data, []byte("\r\n"), []byte("\n"))...)
	s.world.mu.Lock()
	defer s.world.mu.Unlock()
	for _, to := range s.to {
		s.world.arrived[to] = append(s.world.arrived[to], data)
	}
	return nil
}

// refusal reads a reply such as "550 5.1.1 User unknown".
func refusal(line string) error {
	words := strings.SplitN(line, " ", 3)
	code, _ := strconv.Atoi(words[0])
	var enhanced smtp.EnhancedCode
	for i, n := range strings.SplitN(words[1], ".", 3) {
		enhanced[i], _ = strconv.Atoi(n)
	}
	return &smtp.SMTPError{Code: code, EnhancedCode: enhanced, Message: words[2]}
}
