package main

import (
	"fmt"
	"net"
	"net/textproto"
	"strings"
	"time"
)

// dial connects to port 25 of a system and reads its greeting.
func dial(addr string) (*textproto.Conn, error) {
	conn, err := net.DialTimeout("tcp4", net.JoinHostPort(addr, "25"), 5*time.Second)
	if err != nil {
		return nil, err
	}
	if err := conn.SetDeadline(time.Now().Add(startTime)); err != nil {
		return nil, err
	}
	c := textproto.NewConn(conn)
	if _, _, err := c.ReadResponse(220); err != nil {
		_ = c.Close()
		return nil, err
	}
	return c, nil
}

func greeting(addr string) error {
	c, err := dial(addr)
	if err != nil {
		return err
	}
	_, _ = c.Cmd("QUIT")
	return c.Close()
}

// send submits the message of a story, with the parameters of MAIL and, unless
// the system is plain, those of RCPT.
func send(addr string, t story, parameters []string, plain bool) error {
	c, err := dial(addr)
	if err != nil {
		return err
	}
	defer c.Close()
	lines := []string{"EHLO client." + fromDomain, strings.Join(append([]string{"MAIL FROM:<" + t.sender() + ">"}, parameters...), " ")}
	for _, r := range t.to {
		line := "RCPT TO:<" + r.address + ">"
		if r.notify != "" && !plain {
			line += " " + r.notify
		}
		lines = append(lines, line)
	}
	for _, line := range lines {
		if err := command(c, 25, line); err != nil {
			return err
		}
	}
	if err := command(c, 354, "DATA"); err != nil {
		return err
	}
	w := c.DotWriter()
	if _, err := w.Write([]byte(t.message())); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	if _, _, err := c.ReadResponse(250); err != nil {
		return err
	}
	return command(c, 221, "QUIT")
}

func command(c *textproto.Conn, code int, line string) error {
	if _, err := c.Cmd("%s", line); err != nil {
		return err
	}
	if _, _, err := c.ReadResponse(code); err != nil {
		return fmt.Errorf("%s: %w", line, err)
	}
	return nil
}
