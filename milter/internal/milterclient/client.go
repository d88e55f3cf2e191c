// Package milterclient is the MTA's side of the milter protocol, frame by frame,
// for tests and benchmarks. It can say what no MTA would. (go-milter's own client
// does not negotiate with go-milter's server, and takes a skip for an error.)
//
// A Client is for one goroutine.
package milterclient

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"strings"
	"time"
)

// All that sendmail 8.17 offers.
const (
	AllActions  = 0x1FF
	AllProtocol = 0x1FFFFF
)

// Packet is a frame without its length.
type Packet struct {
	Code byte
	Data string
}

func (p Packet) String() string { return fmt.Sprintf("%c%q", p.Code, p.Data) }

// Answer is what a command was answered with.
type Answer struct {
	Packet           // the final one
	Changes []Packet // modifications ahead of it
}

// Client is a connection to a milter.
type Client struct {
	net.Conn
	in *bufio.Reader

	Version, Actions, Protocol uint32 // as negotiated
	Macros                     string // the macro lists asked for, as they came
}

// Dial connects; nothing is said yet.
func Dial(network, address string) (*Client, error) {
	c, err := net.DialTimeout(network, address, 5*time.Second)
	if err != nil {
		return nil, err
	}
	return New(c), nil
}

// New takes an open connection.
func New(c net.Conn) *Client { return &Client{Conn: c, in: bufio.NewReader(c)} }

// Frame writes a packet with its length.
func Frame(code byte, data string) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(1+len(data)))
	return append(append(b, code), data...)
}

// Send sends a command and waits for nothing.
func (c *Client) Send(code byte, data string) error {
	c.SetWriteDeadline(time.Now().Add(20 * time.Second))
	_, err := c.Write(Frame(code, data))
	return err
}

// Read reads a packet.
func (c *Client) Read() (Packet, error) {
	c.SetReadDeadline(time.Now().Add(20 * time.Second))
	var head [5]byte
	if _, err := io.ReadFull(c.in, head[:]); err != nil {
		return Packet{}, err
	}
	size := binary.BigEndian.Uint32(head[:])
	if size == 0 || size > 1<<20 {
		return Packet{}, fmt.Errorf("packet of %d bytes", size)
	}
	data := make([]byte, size-1)
	_, err := io.ReadFull(c.in, data)
	return Packet{head[4], string(data)}, err
}

// Negotiate offers options, and keeps what is asked for.
func (c *Client) Negotiate(version, actions, protocol uint32) error {
	var offer []byte
	for _, v := range []uint32{version, actions, protocol} {
		offer = binary.BigEndian.AppendUint32(offer, v)
	}
	if err := c.Send('O', string(offer)); err != nil {
		return err
	}
	p, err := c.Read()
	if err != nil {
		return err
	}
	if p.Code != 'O' || len(p.Data) < 12 {
		return fmt.Errorf("negotiation answered with %v", p)
	}
	c.Version = binary.BigEndian.Uint32([]byte(p.Data))
	c.Actions = binary.BigEndian.Uint32([]byte(p.Data[4:]))
	c.Protocol = binary.BigEndian.Uint32([]byte(p.Data[8:]))
	c.Macros = p.Data[12:]
	// What sendmail checks, and ends the connection for.
	if c.Version > version || c.Actions&^actions != 0 || c.Protocol&^protocol != 0 {
		return fmt.Errorf("asked for version %d, actions %x, protocol %x; offered %d, %x, %x",
			c.Version, c.Actions, c.Protocol, version, actions, protocol)
	}
	return nil
}

// The bits by which a command is not sent, and by which it is not answered.
var silent = map[byte][2]uint32{
	'C': {1 << 0, 1 << 12}, 'H': {1 << 1, 1 << 13}, 'M': {1 << 2, 1 << 14}, 'R': {1 << 3, 1 << 15},
	'B': {1 << 4, 1 << 19}, 'L': {1 << 5, 1 << 7}, 'N': {1 << 6, 1 << 18}, 'U': {1 << 8, 1 << 17}, 'T': {1 << 9, 1 << 16},
}

// Continue is the answer that a command without one counts as.
var Continue = Answer{Packet: Packet{Code: 'c'}}

// Command sends a command as an MTA does, which is not at all if the milter does
// not want it, and waits for its answer if there is one.
func (c *Client) Command(code byte, data string) (Answer, error) {
	bits := silent[code]
	if c.Protocol&bits[0] != 0 {
		return Continue, nil
	}
	if err := c.Send(code, data); err != nil {
		return Answer{}, err
	}
	if code == 'D' || code == 'A' || code == 'Q' || code == 'K' || c.Protocol&bits[1] != 0 {
		return Continue, nil
	}
	return c.Answer()
}

// Answer reads an answer, with the modifications ahead of it.
func (c *Client) Answer() (Answer, error) {
	var a Answer
	for {
		p, err := c.Read()
		if err != nil {
			return a, err
		}
		switch {
		case p.Code == 'p':
		case strings.IndexByte("+-2behimq", p.Code) >= 0:
			a.Changes = append(a.Changes, p)
		default:
			a.Packet = p
			return a, nil
		}
	}
}

// Message is what Deliver sends.
type Message struct {
	From   string   // "<a@b>", with arguments after NUL
	To     []string // likewise
	Header [][2]string
	Body   string
	Macros map[byte][]string // name, value, name, value; by the command that they come before
}

// Connect sends the macros, the client's address and its greeting.
func (c *Client) Connect(host string, family byte, port uint16, address, helo string) (Answer, error) {
	data := append([]byte(host), 0, family)
	if family != 'U' {
		data = binary.BigEndian.AppendUint16(data, port)
		data = append(append(data, address...), 0)
	}
	a, err := c.Command('C', string(data))
	if err != nil || a.Code != 'c' {
		return a, err
	}
	return c.Command('H', helo+"\x00")
}

// Deliver sends a message until it is answered for good. Refused recipients
// are left out, as an MTA does.
func (c *Client) Deliver(m Message) (Answer, error) {
	step := func(code byte, data string) (Answer, error) {
		if macros := m.Macros[code]; len(macros) > 0 {
			if err := c.Send('D', string(code)+strings.Join(macros, "\x00")+"\x00"); err != nil {
				return Answer{}, err
			}
		}
		return c.Command(code, data)
	}
	type command struct {
		code byte
		data string
	}
	commands := []command{{'M', m.From + "\x00"}}
	for _, to := range m.To {
		commands = append(commands, command{'R', to + "\x00"})
	}
	commands = append(commands, command{'T', ""})
	for _, h := range m.Header {
		commands = append(commands, command{'L', h[0] + "\x00" + h[1] + "\x00"})
	}
	commands = append(commands, command{'N', ""})
	for body := m.Body; body != ""; {
		n := min(len(body), 65535)
		commands = append(commands, command{'B', body[:n]})
		body = body[n:]
	}
	skipping := false
	for _, cmd := range commands {
		if cmd.code == 'B' && skipping {
			continue
		}
		a, err := step(cmd.code, cmd.data)
		if err != nil {
			return a, err
		}
		switch {
		case a.Code == 's' && cmd.code == 'B':
			skipping = true
		case a.Code == 'c' || cmd.code == 'R' && strings.IndexByte("rty", a.Code) >= 0:
		default:
			return a, nil
		}
	}
	return step('E', "")
}
