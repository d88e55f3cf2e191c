package main

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"strings"
	"time"
)

// client is the MTA's side: it sends what sendmail sends, a command a write, and
// waits for an answer where the filter has not said that it gives none.
type client struct {
	net.Conn
	in       *bufio.Reader
	protocol uint32
	reply    []byte
	added    []string // headers that the filter added to the last message
}

// The bits by which a filter does not want a command, and does not answer it
// (SMFIP_ in mfdef.h).
var silent = map[byte][2]uint32{
	'C': {1 << 0, 1 << 12}, 'H': {1 << 1, 1 << 13}, 'M': {1 << 2, 1 << 14}, 'R': {1 << 3, 1 << 15},
	'B': {1 << 4, 1 << 19}, 'L': {1 << 5, 1 << 7}, 'N': {1 << 6, 1 << 18}, 'T': {1 << 9, 1 << 16},
}

// What sendmail 8.17 offers.
const (
	allActions  = 0x1FF
	allProtocol = 0x1FFFFF
)

func frame(code byte, data string) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(1+len(data)))
	return append(append(b, code), data...)
}

// dial connects, negotiates, and greets as a client of this address.
func dial(socket, address string) (*client, error) {
	conn, err := net.Dial("unix", socket)
	if err != nil {
		return nil, err
	}
	c := &client{Conn: conn, in: bufio.NewReader(conn)}
	var offer []byte
	for _, v := range []uint32{6, allActions, allProtocol} {
		offer = binary.BigEndian.AppendUint32(offer, v)
	}
	if _, err := c.Write(frame('O', string(offer))); err != nil {
		return nil, err
	}
	code, err := c.read()
	if err != nil || code != 'O' || len(c.reply) < 12 {
		return nil, fmt.Errorf("negotiation answered with %q %q, %v", code, c.reply, err)
	}
	c.protocol = binary.BigEndian.Uint32(c.reply[8:])
	for _, f := range [][]byte{
		frame('D', "Cj\x00mx.example.org\x00{daemon_name}\x00MTA\x00"), frame('C', "mx.remote.example\x004\x00\x19"+address+"\x00"),
		frame('H', "mx.remote.example\x00"),
	} {
		if _, err := c.command(f); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// read reads one packet into c.reply.
func (c *client) read() (code byte, err error) {
	c.SetReadDeadline(time.Now().Add(20 * time.Second))
	var head [5]byte
	if _, err := io.ReadFull(c.in, head[:]); err != nil {
		return 0, err
	}
	n := int(binary.BigEndian.Uint32(head[:])) - 1
	if n < 0 || n > 1<<20 {
		return 0, fmt.Errorf("packet of %d bytes", n)
	}
	if cap(c.reply) < n {
		c.reply = make([]byte, n)
	}
	c.reply = c.reply[:n]
	_, err = io.ReadFull(c.in, c.reply)
	return head[4], err
}

// command sends a frame, and returns the answer: 'c' where none is given.
func (c *client) command(f []byte) (byte, error) {
	bits := silent[f[4]]
	if c.protocol&bits[0] != 0 {
		return 'c', nil
	}
	if _, err := c.Write(f); err != nil {
		return 0, err
	}
	if f[4] == 'D' || c.protocol&bits[1] != 0 {
		return 'c', nil
	}
	for {
		code, err := c.read()
		if err != nil {
			return 0, err
		}
		switch {
		case code == 'h':
			c.added = append(c.added, string(c.reply))
		case strings.IndexByte("p+-2beimq", code) < 0:
			return code, nil
		}
	}
}

// message is one ready to be sent.
type message [][]byte

func newMessage(from, to string, header [][2]string, body string) message {
	m := message{
		frame('D', "Mi\x006AOMSHAk000014\x00{mail_mailer}\x00esmtp\x00{mail_host}\x00remote.example\x00{mail_addr}\x00"+from+"\x00"),
		frame('M', "<"+from+">\x00SIZE=8192\x00"),
		frame('D', "R{rcpt_mailer}\x00local\x00{rcpt_host}\x00\x00{rcpt_addr}\x00"+to+"\x00"),
		frame('R', "<"+to+">\x00"), frame('T', ""),
	}
	for _, h := range header {
		m = append(m, frame('L', h[0]+"\x00"+h[1]+"\x00"))
	}
	return append(m, frame('N', ""), frame('B', body), frame('D', "E{msg_id}\x00<x@y>\x00i\x006AOMSHAk000014\x00"), frame('E', ""))
}

// deliver sends a message until it is answered for good, and returns the answer.
func (c *client) deliver(m message) (byte, error) {
	c.added = c.added[:0]
	answer := byte('c')
	for _, f := range m {
		var err error
		if answer, err = c.command(f); err != nil {
			return 0, err
		}
		if answer != 'c' && answer != 's' {
			break
		}
	}
	return answer, nil
}
