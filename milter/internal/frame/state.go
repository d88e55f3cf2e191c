package frame

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"strings"

	"github.com/emersion/go-milter"
)

// State is what is known of a connection and its current message. It is for the
// handler, within its callbacks only.
type State struct {
	conn   *conn
	client Client
	helo   string
	mail   Envelope
	rcpt   Envelope
	macros [len(macroStages)][]byte
	cut    bool
	failed bool
	header int

	version  uint32
	actions  milter.OptAction
	protocol milter.OptProtocol
}

// Client is the SMTP client.
type Client struct {
	Host   string             // its name, or its address in brackets
	Family milter.ProtoFamily // FamilyUnknown for local submission and what is not understood
	Addr   netip.Addr         // invalid unless the family is IPv4 or IPv6
	Port   uint16
	Path   string // of a unix socket
}

func (c Client) String() string {
	switch {
	case c.Addr.IsValid():
		return c.Addr.String()
	case c.Host != "":
		return c.Host
	}
	return "unknown"
}

// Envelope is the argument of MAIL or RCPT.
type Envelope struct {
	Address string   // without angle brackets
	Args    []string // of ESMTP: "SIZE=100", "ENVID=..."
}

// Arg returns the value of an ESMTP argument, and whether it was given.
func (e Envelope) Arg(name string) (string, bool) {
	for _, a := range e.Args {
		if key, value, _ := strings.Cut(a, "="); strings.EqualFold(key, name) {
			return value, true
		}
	}
	return "", false
}

// Client returns the SMTP client.
func (s *State) Client() Client { return s.client }

// Helo returns what the client said in HELO or EHLO.
func (s *State) Helo() string { return s.helo }

// Mail returns the sender and its arguments. go-milter drops these.
func (s *State) Mail() Envelope { return s.mail }

// Rcpt returns the recipient of the latest RCPT and its arguments.
func (s *State) Rcpt() Envelope { return s.rcpt }

// Incomplete reports that some of the message was not shown to the handler,
// because it was larger than a limit.
func (s *State) Incomplete() bool { return s.cut }

// Failed reports that a callback of this message panicked or returned an error:
// the MTA is answered with OnError, whatever else is said.
func (s *State) Failed() bool { return s.failed }

// May reports whether the MTA agreed to an action. Modifications that it did
// not agree to return ErrNotNegotiated.
func (s *State) May(a milter.OptAction) bool { return s.actions&a == a }

// Progress tells an MTA that waits for the end of a message to wait longer.
func (s *State) Progress() { s.conn.send([]byte{0, 0, 0, 1, replyProgress}) }

// macroStages are the commands that macros come before, in order. Those before
// MAIL stay for the connection.
const (
	macroStages = "CHMRTLNBEU"
	mailStage   = 2
)

// Macro returns the value of a macro, with or without braces, from the latest
// stage that has it; "" if none has. go-milter forgets those of earlier stages.
func (s *State) Macro(name string) string {
	name = strings.Trim(name, "{}")
	for i := len(s.macros) - 1; i >= 0; i-- {
		rest := s.macros[i]
		for len(rest) > 0 {
			var key, value []byte
			key, rest = cutString(rest)
			value, rest = cutString(rest)
			if string(bytes.Trim(key, "{}")) == name {
				return string(value)
			}
		}
	}
	return ""
}

// setMacros keeps the macros of a stage, in place of those that it had.
func (s *State) setMacros(data []byte) bool {
	if len(data) == 0 {
		return false
	}
	i := strings.IndexByte(macroStages, data[0])
	if i < 0 {
		return false
	}
	s.macros[i] = append(s.macros[i][:0], data[1:]...)
	return true
}

// beginMessage forgets what belongs to the message before. The macros of MAIL
// came ahead of it.
func (s *State) beginMessage(mail Envelope) {
	s.mail, s.rcpt = mail, Envelope{}
	s.cut, s.failed, s.header = false, false, 0
	for i := range s.macros[mailStage+1:] {
		m := &s.macros[mailStage+1+i]
		if *m = (*m)[:0]; cap(*m) > 1024 {
			*m = nil
		}
	}
}

func (s *State) resetConnection() {
	s.beginMessage(Envelope{})
	s.client, s.helo = Client{}, ""
	for i := range s.macros {
		s.macros[i] = nil
	}
}

// parseEnvelope reads <address> NUL argument NUL argument NUL.
func parseEnvelope(data []byte) (e Envelope) {
	address, rest := cutString(data)
	address = bytes.TrimSuffix(bytes.TrimPrefix(address, []byte("<")), []byte(">"))
	e.Address = string(address)
	for len(rest) > 0 {
		var arg []byte
		if arg, rest = cutString(rest); len(arg) > 0 {
			e.Args = append(e.Args, string(arg))
		}
	}
	return e
}

// parseClient reads host NUL family port address NUL, as libmilter's
// st_connectinfo does: all families but the unknown one have a port.
func parseClient(data []byte) (c Client, ok bool) {
	host, rest := cutString(data)
	c.Host, c.Family = string(host), milter.FamilyUnknown
	if len(rest) == 0 {
		return c, false
	}
	family := milter.ProtoFamily(rest[0])
	if family == milter.FamilyUnknown {
		return c, true
	}
	if len(rest) < 3 {
		return c, false
	}
	address, _ := cutString(rest[3:])
	switch family {
	case milter.FamilyUnix:
		c.Path = string(address)
	case milter.FamilyInet, milter.FamilyInet6:
		// sendmail writes IPv6 addresses with a prefix, which go-milter takes
		// for no address at all.
		text := string(address)
		if len(text) > 5 && strings.EqualFold(text[:5], "IPv6:") {
			text = text[5:]
		}
		addr, err := netip.ParseAddr(text)
		if err != nil {
			return c, false
		}
		c.Addr = addr.Unmap()
	default:
		return c, false
	}
	c.Family, c.Port = family, binary.BigEndian.Uint16(rest[1:])
	return c, true
}

// frame writes a client in the way that go-milter reads.
func (c Client) frame() []byte {
	data := append([]byte(c.Host), 0, byte(c.Family))
	if c.Addr.IsValid() {
		data = binary.BigEndian.AppendUint16(data, c.Port)
		data = append(data, c.Addr.String()...)
	} else {
		data = append(data, c.Path...)
	}
	return newFrame(codeConnect, append(data, 0))
}

// cutString cuts off what comes before the first NUL.
func cutString(b []byte) (s, rest []byte) {
	if i := bytes.IndexByte(b, 0); i >= 0 {
		return b[:i], b[i+1:]
	}
	return b, nil
}

func newFrame(code byte, data []byte) []byte {
	b := binary.BigEndian.AppendUint32(make([]byte, 0, 5+len(data)), uint32(1+len(data)))
	return append(append(b, code), data...)
}
