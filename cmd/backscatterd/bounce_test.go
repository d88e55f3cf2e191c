package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/emersion/go-smtp"
)

// Line ends become LF, and nothing else changes, however the bytes come.
func TestLineFeeds(t *testing.T) {
	for in, want := range map[string]string{
		"": "", "a\r\nb\r\n": "a\nb\n", "a\nb": "a\nb", "a\rb\r": "a\rb\r", "\r\r\n\n\r": "\r\n\n\r", "\r\n": "\n",
		strings.Repeat("x", 4095) + "\r\ny": strings.Repeat("x", 4095) + "\ny",
	} {
		for name, r := range map[string]io.Reader{"whole": strings.NewReader(in), "byte by byte": iotest.OneByteReader(strings.NewReader(in))} {
			got, err := io.ReadAll(&lineFeeds{r: bufio.NewReader(r)})
			if err != nil || string(got) != want {
				t.Errorf("%q, %s: %q, %v; want %q", in, name, got, err, want)
			}
		}
	}
	if err := iotest.TestReader(&lineFeeds{r: bufio.NewReader(strings.NewReader("a\r\nb\rc\n"))}, []byte("a\nb\rc\n")); err != nil {
		t.Error(err)
	}
}

var errBroken = errors.New("input/output error")

func broken() io.Reader {
	return io.MultiReader(strings.NewReader("Subject: half\r\n\r\nof it\r\n"), iotest.ErrReader(errBroken))
}

// A message that breaks off is given to sendmail not even in part; what sendmail
// says when it fails is passed on; a process that it leaves behind keeps nobody
// waiting.
func TestBySendmail(t *testing.T) {
	dir := t.TempDir()
	script := func(text string) string {
		path := filepath.Join(dir, "sendmail")
		if err := errors.Join(os.WriteFile(path+".new", []byte("#!/bin/sh\n"+text), 0o755), os.Rename(path+".new", path)); err != nil {
			t.Fatal(err)
		}
		return path
	}
	taken := filepath.Join(dir, "taken")
	take := script("echo \"$@\" >" + taken + "\ncat >>" + taken + "\n(sleep 20 &)\n")
	if err := bySendmail(command(take))(t.Context(), "a@b.example", false, broken()); !errors.Is(err, errBroken) {
		t.Errorf("a message that breaks off: %v", err)
	}
	if _, err := os.Stat(taken); err == nil {
		t.Error("sendmail was given a part of a message")
	}
	if err := bySendmail(command(take))(t.Context(), "a@b.example", true, strings.NewReader("A: b\r\n\r\n.\r\nc\rd\r\n")); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(taken)
	if want := "-f <> -i -B8BITMIME -U -- <a@b.example>\nA: b\n\n.\nc\rd\n"; err != nil || string(got) != want {
		t.Errorf("sendmail got %q, %v; want %q", got, err, want)
	}
	fail := script("echo 'no room' >&2\nexit 75\n")
	if err := bySendmail(command(fail))(t.Context(), "a@b.example", false, strings.NewReader("A: b\r\n")); err == nil || !strings.Contains(err.Error(), "exit status 75: no room") {
		t.Errorf("sendmail that fails: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := bySendmail(command(script("sleep 30\n")))(ctx, "a@b.example", false, strings.NewReader("A: b\r\n")); err == nil {
		t.Error("sendmail that hangs: no error")
	}
}

// inbox is a mail server.
type inbox struct{ got []byte }

func (b *inbox) NewSession(*smtp.Conn) (smtp.Session, error) { return delivery{b}, nil }

type delivery struct{ *inbox }

func (d delivery) Mail(string, *smtp.MailOptions) error { return nil }
func (d delivery) Rcpt(string, *smtp.RcptOptions) error { return nil }
func (d delivery) Reset()                               {}
func (d delivery) Logout() error                        { return nil }
func (d delivery) Data(r io.Reader) error {
	data, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	d.got = data
	return nil
}

// A server never takes a message that breaks off.
func TestBySMTP(t *testing.T) {
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	box := new(inbox)
	server := smtp.NewServer(box)
	done := make(chan error, 1)
	go func() { done <- server.Serve(ln) }()
	submit := bySMTP(ln.Addr().String(), "mx.example.org")
	if err := submit(t.Context(), "a@b.example", false, broken()); !errors.Is(err, errBroken) {
		t.Errorf("a message that breaks off: %v", err)
	}
	if err := submit(t.Context(), "a@b.example", true, strings.NewReader("A: b\r\n\r\n")); err == nil || !strings.Contains(err.Error(), "SMTPUTF8") {
		t.Errorf("a server without SMTPUTF8: %v", err)
	}
	if err := submit(t.Context(), "a@b.example", false, strings.NewReader("A: b\r\n\r\n.\r\nc\r\n")); err != nil {
		t.Error(err)
	}
	if err := errors.Join(server.Close(), <-done); err != nil && !errors.Is(err, smtp.ErrServerClosed) {
		t.Error(err)
	}
	if !bytes.Equal(box.got, []byte("A: b\r\n\r\n.\r\nc\r\n")) {
		t.Errorf("the server has %q", box.got)
	}
	if err := submit(t.Context(), "a@b.example", false, strings.NewReader("A: b\r\n")); err == nil {
		t.Error("no server: no error")
	}
}

// A server that hangs up once it has taken the message has taken it.
func TestBySMTPWithoutGoodbye(t *testing.T) {
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		in := bufio.NewReader(conn)
		answer := "220 here"
		for err == nil {
			io.WriteString(conn, answer+"\r\n")
			var line string
			line, err = in.ReadString('\n')
			switch {
			case strings.HasPrefix(line, "QUIT"):
				return
			case strings.HasPrefix(line, "DATA"):
				io.WriteString(conn, "354 go on\r\n")
				for err == nil && line != ".\r\n" {
					line, err = in.ReadString('\n')
				}
			}
			answer = "250 well"
		}
	}()
	if err := bySMTP(ln.Addr().String(), "mx.example.org")(t.Context(), "a@b.example", false, strings.NewReader("A: b\r\n\r\n")); err != nil {
		t.Error(err)
	}
}
