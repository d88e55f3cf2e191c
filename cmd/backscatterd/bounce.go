package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/emersion/go-smtp"
	"golang.org/x/sys/unix"

	"github.com/backscatterd/backscatterd/config"
	"github.com/backscatterd/backscatterd/queuesweep"
)

// submitTime bounds the handing over of one bounce.
const submitTime = 5 * time.Minute

// bounce turns the configuration into what the bounce action needs.
func (a *app) bounce(cfg *config.Config) (*queuesweep.BounceOptions, error) {
	o := &queuesweep.BounceOptions{Host: cfg.Bounce.Host, From: cfg.Bounce.From, PerHour: cfg.Bounce.PerHour}
	if o.Host == "" {
		host, err := os.Hostname()
		if err != nil {
			return nil, fmt.Errorf("this machine's name: %w (set bounce.host)", err)
		}
		o.Host = host
	}
	if o.From == "" {
		o.From = "Mail Delivery Subsystem <MAILER-DAEMON@" + o.Host + ">"
	}
	text := ""
	if cfg.Bounce.Template != "" {
		data, err := os.ReadFile(cfg.Bounce.Template)
		if err != nil {
			return nil, fmt.Errorf("bounce.template: %w", err)
		}
		text = string(data)
	}
	var err error
	if o.Letter, err = queuesweep.NewLetter(text); err != nil {
		return nil, fmt.Errorf("bounce.template = %q: %w (docs/rules.md says what a template can use)", cfg.Bounce.Template, err)
	}
	for _, pattern := range cfg.Bounce.NeverBounce {
		re, err := regexp.Compile(pattern)
		if err != nil {
			return nil, fmt.Errorf("bounce.never_bounce: %w", err)
		}
		o.Never = append(o.Never, re)
	}
	o.Submit = bySendmail(a.handOver(cfg.Queue.Sendmail))
	if addr := cfg.Bounce.SMTP(); addr != "" {
		o.Submit = bySMTP(addr, o.Host)
	}
	return o, nil
}

// bySendmail hands a bounce to sendmail's submission command. It takes lines
// that end in LF, and gives the null sender to nobody but trusted users.
//
// sendmail gets the message as a file, complete before it is started: at the end
// of a pipe that breaks off, by an error or by our being killed, it would send
// what it has got so far.
func bySendmail(submit submission) func(context.Context, string, bool, io.Reader) error {
	return func(ctx context.Context, to string, utf8 bool, message io.Reader) error {
		file, err := spooled(&lineFeeds{r: bufio.NewReader(message)})
		if err != nil {
			return err
		}
		defer file.Close()
		return submit(ctx, to, utf8, file)
	}
}

// submission hands a message in a file over, all of it.
type submission func(ctx context.Context, to string, utf8 bool, message *os.File) error

// command submits by the sendmail command at a path.
func command(path string) submission {
	return func(ctx context.Context, to string, utf8 bool, message *os.File) error {
		ctx, cancel := context.WithTimeout(ctx, submitTime)
		defer cancel()
		// A file too: a process that sendmail leaves in the background would
		// keep a pipe open, and us waiting.
		said, err := spooled(strings.NewReader(""))
		if err != nil {
			return err
		}
		defer said.Close()
		args := []string{"-f", "<>", "-i", "-B8BITMIME"}
		if utf8 {
			args = append(args, "-U")
		}
		// In angle brackets an address stays one, whatever is in it.
		cmd := exec.CommandContext(ctx, path, append(args, "--", "<"+to+">")...)
		cmd.Stdin, cmd.Stdout, cmd.Stderr = message, said, said
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		cmd.Cancel = func() error { return unix.Kill(-cmd.Process.Pid, unix.SIGKILL) }
		if err := cmd.Run(); err != nil {
			text := make([]byte, 1000)
			n, _ := said.ReadAt(text, 0)
			line, _, _ := bytes.Cut(bytes.TrimSpace(text[:n]), []byte("\n"))
			return fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args, " "), err, line)
		}
		return nil
	}
}

// unnamed makes a file without a name, so that nothing is left of it however
// this process ends. Where the file system has none, it had a name for a moment.
func unnamed() (*os.File, error) {
	f, err := os.OpenFile(os.TempDir(), os.O_RDWR|os.O_EXCL|unix.O_TMPFILE, 0o600)
	if !errors.Is(err, unix.EOPNOTSUPP) && !errors.Is(err, unix.EISDIR) {
		return f, err
	}
	if f, err = os.CreateTemp("", "backscatterd-bounce-"); err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// spooled puts a message into a file without a name.
func spooled(message io.Reader) (*os.File, error) {
	f, err := unnamed()
	if err != nil {
		return nil, fmt.Errorf("a temporary file for the bounce: %w (TMPDIR names another folder)", err)
	}
	_, err = io.Copy(f, message)
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("a temporary file for the bounce: %w", err)
	}
	return f, nil
}

// bySMTP hands a bounce to a mail server.
func bySMTP(addr, host string) func(context.Context, string, bool, io.Reader) error {
	return func(ctx context.Context, to string, utf8 bool, message io.Reader) error {
		ctx, cancel := context.WithTimeout(ctx, submitTime)
		defer cancel()
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
		if err != nil {
			return fmt.Errorf("bounce.submit: %w", err)
		}
		c := smtp.NewClient(conn)
		defer c.Close()
		defer context.AfterFunc(ctx, func() { conn.Close() })()
		err = c.Hello(host)
		if err == nil {
			err = c.Mail("", &smtp.MailOptions{UTF8: utf8})
		}
		if err == nil {
			err = c.Rcpt(to, nil)
		}
		if err == nil {
			err = data(c, message)
		}
		if err != nil {
			return fmt.Errorf("bounce.submit: %s: %w", addr, errors.Join(err, ctx.Err()))
		}
		_ = c.Quit() // the server has the message, however it says goodbye
		return nil
	}
}

// data sends a message. Where it breaks off there is no final dot, and the
// server throws away what it has got.
func data(c *smtp.Client, message io.Reader) error {
	w, err := c.Data()
	if err != nil {
		return err
	}
	if _, err := io.Copy(w, message); err != nil {
		return err
	}
	return w.Close()
}

// lineFeeds reads CRLF as LF. A CR that ends no line stays.
type lineFeeds struct {
	r *bufio.Reader
}

func (l *lineFeeds) Read(p []byte) (n int, err error) {
	for n < len(p) {
		c, err := l.r.ReadByte()
		if err != nil {
			return n, err
		}
		if c == '\r' {
			if next, _ := l.r.Peek(1); len(next) == 1 && next[0] == '\n' {
				continue
			}
		}
		p[n] = c
		n++
	}
	return n, nil
}
