package e2e

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net"
	"net/mail"
	"net/textproto"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/backscatterd/backscatterd/milter/keyring"
	"github.com/backscatterd/backscatterd/test/lab"
)

const (
	ourDomain = "example.org"
	// Loopback is all the network there is.
	relayAll = "RELAY_DOMAIN(`127')dnl"
	// outside is where mail from the internet comes from; everything else in a
	// test comes from 127.0.0.1, which is ours.
	outside = "127.0.0.5"
)

// mailSite is a site whose sendmail asks our filter about each message.
type mailSite struct {
	*site
	listen string
	keys   string
	log    *logged
	serve  *exec.Cmd
}

// mailOptions shape a mailSite.
type mailOptions struct {
	tcp      bool
	lab      lab.Options
	filters  []string // INPUT_MAIL_FILTER lines ahead of ours
	milter   string   // lines of [milter]
	other    string   // what follows it
	only     string   // --only
	noKey    bool
	failMode string // F= of the filter: "", "T", "R"
}

// newMailSite makes one, and starts the daemons.
func newMailSite(t *testing.T, o mailOptions) (*mailSite, context.Context) {
	t.Helper()
	s := setUpMailSite(t, o)
	s.startFilter(o.only)
	return s, s.start()
}

func setUpMailSite(t *testing.T, o mailOptions) *mailSite {
	t.Helper()
	// sendmail wants no folder above a socket to be writable for all, unless it
	// is sticky and the lab says that this will do.
	dir, err := os.MkdirTemp("", "bsd")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	s := &mailSite{listen: "unix:" + filepath.Join(dir, "m"), keys: filepath.Join(dir, "keys"), log: &logged{}}
	if o.tcp {
		s.listen = fmt.Sprintf("inet:%d@127.0.0.1", freePort(t))
	}
	options := o.lab
	options.InMemory = true
	equates := "S=" + s.listen + ", T=S:20s;R:20s;E:1m"
	if o.failMode != "" {
		equates = "S=" + s.listen + ", F=" + o.failMode + ", T=S:20s;R:20s;E:1m"
	}
	options.MC = append(append(append(slices.Clone(options.MC), relayAll), o.filters...), fmt.Sprintf("INPUT_MAIL_FILTER(`backscatterd', `%s')dnl", equates))
	s.site = newSite(t, options, fmt.Sprintf(`[milter]
listen = %q
our_domains = [%q]
our_networks = ["127.0.0.1"]
our_hosts = [%q]
keys = %q
ledger = %q
warm_up = "1s"
%s
%s`, s.listen, ourDomain, lab.Host, s.keys, filepath.Join(dir, "ledger.db"), o.milter, o.other))
	if !o.noKey {
		if _, err := keyring.Open(s.keys).New(time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func freePort(t *testing.T) int {
	t.Helper()
	ln := listenLoopback(t)
	defer ln.Close()
	return port(ln)
}

func listenLoopback(t *testing.T) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return ln
}

func port(ln net.Listener) int { return ln.Addr().(*net.TCPAddr).Port }

// startFilter starts backscatterd serve, and waits until it listens.
func (s *mailSite) startFilter(only string) {
	s.t.Helper()
	args := []string{"serve", "-c", s.config}
	if only != "" {
		args = append(args, "--only", only)
	}
	cmd := exec.Command(program, args...)
	cmd.SysProcAttr = &unix.SysProcAttr{Pdeathsig: unix.SIGKILL}
	cmd.Stderr = s.log
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.serve = cmd
	s.t.Cleanup(s.stopFilter)
	s.says("the milter listens")
}

// stopFilter ends it as an init script does.
func (s *mailSite) stopFilter() {
	if s.serve == nil {
		return
	}
	cmd := s.serve
	s.serve = nil
	cmd.Process.Signal(unix.SIGTERM)
	timer := time.AfterFunc(30*time.Second, func() { cmd.Process.Kill() })
	defer timer.Stop()
	if err := cmd.Wait(); err != nil {
		s.t.Errorf("serve ended with %v\n%s", err, s.log)
	}
	if s.t.Failed() {
		s.t.Logf("log of serve:\n%s", s.log)
	}
}

// says waits for a line of the log.
func (s *mailSite) says(what string) {
	s.t.Helper()
	for range 3000 {
		if strings.Contains(s.log.String(), what) {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	s.t.Fatalf("no %q in the log:\n%s", what, s.log)
}

// logged collects what a process writes.
type logged struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// fromOutside hands a message to the lab from the internet, and returns what
// sendmail answered to its end, or to what it refused before that.
func fromOutside(t *testing.T, l *lab.Lab, e lab.Envelope) string {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(outside)}, Timeout: 10 * time.Second}
	conn, err := d.DialContext(t.Context(), "tcp4", l.Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	answer, err := converse(conn, e)
	if err != nil {
		t.Fatal(err)
	}
	return answer
}

// converse hands a message in over a connection.
func converse(conn net.Conn, e lab.Envelope) (answer string, err error) {
	conn.SetDeadline(time.Now().Add(time.Minute))
	c := textproto.NewConn(conn)
	commands := []string{"EHLO remote.example", "MAIL FROM:<" + e.From + ">" + joined(e.Mail)}
	for _, to := range e.To {
		commands = append(commands, "RCPT TO:<"+to.Address+">"+joined(to.Args))
	}
	commands = append(commands, "DATA")
	if _, _, err := c.ReadResponse(220); err != nil {
		return "", err
	}
	for _, command := range commands {
		if err := c.PrintfLine("%s", command); err != nil {
			return "", err
		}
		code, text, err := c.ReadResponse(0)
		if err != nil {
			return "", fmt.Errorf("%s: %w", command, err)
		}
		if code >= 400 {
			return fmt.Sprintf("%d %s", code, text), nil
		}
	}
	w := c.DotWriter()
	w.Write(e.Data)
	if err := w.Close(); err != nil {
		return "", err
	}
	code, text, err := c.ReadResponse(0)
	return fmt.Sprintf("%d %s", code, text), err
}

func joined(args []string) string {
	if len(args) == 0 {
		return ""
	}
	return " " + strings.Join(args, " ")
}

// deliver runs the queue until the stub has taken one more message than before,
// and returns the newest.
func deliver(t *testing.T, ctx context.Context, l *lab.Lab, before int) lab.Delivery {
	t.Helper()
	for range 20 {
		if _, err := l.RunQueue(ctx); err != nil {
			t.Fatal(err)
		}
		if all := l.Stub.Deliveries(); len(all) > before {
			return all[len(all)-1]
		}
	}
	t.Fatal("nothing was delivered")
	return lab.Delivery{}
}

// carry takes a message that one lab delivered to another one.
func carry(t *testing.T, d lab.Delivery, to *lab.Lab) {
	t.Helper()
	e := lab.Envelope{From: d.From, Data: d.Data}
	if d.Mail.EnvelopeID != "" {
		e.Mail = append(e.Mail, "ENVID="+d.Mail.EnvelopeID)
	}
	if d.Mail.Return != "" {
		e.Mail = append(e.Mail, "RET="+string(d.Mail.Return))
	}
	for _, address := range d.To {
		e.To = append(e.To, lab.Recipient{Address: address})
	}
	if answer := fromOutside(t, to, e); !strings.HasPrefix(answer, "250") {
		t.Fatalf("the message was not taken: %s", answer)
	}
}

func header(t *testing.T, d lab.Delivery) mail.Header {
	t.Helper()
	m, err := mail.ReadMessage(bufio.NewReader(bytes.NewReader(d.Data)))
	if err != nil {
		t.Fatal(err)
	}
	return m.Header
}

// received hands a message in from outside and returns it as the users get it.
func (s *mailSite) received(ctx context.Context, e lab.Envelope) lab.Delivery {
	s.t.Helper()
	before := len(s.Stub.Deliveries())
	if answer := fromOutside(s.t, s.Lab, e); !strings.HasPrefix(answer, "250") {
		s.t.Fatalf("the message was not taken: %s", answer)
	}
	return deliver(s.t, ctx, s.Lab, before)
}

// sent hands a message in as a user of ours and returns it as it leaves.
func (s *mailSite) sent(ctx context.Context, e lab.Envelope) lab.Delivery {
	s.t.Helper()
	before := len(s.Stub.Deliveries())
	if _, err := s.Submit(ctx, e); err != nil {
		s.t.Fatal(err)
	}
	return deliver(s.t, ctx, s.Lab, before)
}

// letter is a message with the headers that all have.
func letter(from, to, id string, more ...string) []byte {
	return lab.Compose("How do you do?\n", append([]string{
		"From: <" + from + ">", "To: <" + to + ">", "Subject: hello", "Message-ID: <" + id + ">",
		"Date: " + time.Now().Format(time.RFC1123Z), "MIME-Version: 1.0",
	}, more...)...)
}
