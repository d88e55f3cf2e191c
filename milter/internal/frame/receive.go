package frame

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/emersion/go-milter"
)

// Commands, as in sendmail's mfdef.h.
const (
	codeNegotiate = 'O'
	codeMacro     = 'D'
	codeConnect   = 'C'
	codeHelo      = 'H'
	codeMail      = 'M'
	codeRcpt      = 'R'
	codeData      = 'T'
	codeHeader    = 'L'
	codeEOH       = 'N'
	codeBody      = 'B'
	codeEOM       = 'E'
	codeAbort     = 'A'
	codeQuit      = 'Q'
	codeQuitNew   = 'K'
	codeUnknown   = 'U'
)

// noReply is the flag by which a command goes unanswered.
var noReply = map[byte]milter.OptProtocol{
	codeConnect: milter.OptNoConnReply,
	codeHelo:    milter.OptNoHeloReply,
	codeMail:    milter.OptNoMailReply,
	codeRcpt:    milter.OptNoRcptReply,
	codeData:    milter.OptNoDataReply,
	codeHeader:  milter.OptNoHeaderReply,
	codeEOH:     milter.OptNoEOHReply,
	codeBody:    milter.OptNoBodyReply,
	codeUnknown: milter.OptNoUnknownReply,
}

// endOfMessage is what go-milter sees of it: it drops what comes with it.
var endOfMessage = newFrame(codeEOM, nil)

// step is a frame that go-milter shall see.
type step struct {
	code  byte
	frame []byte
	owed  bool   // the MTA waits for an answer to it
	apply func() // changes the state when its turn comes; may be nil
}

// conversation is where the MTA and we are.
type conversation struct {
	negotiated bool
	now        step // in hand
	replied    bool
	next       []step // those up to begun are done
	begun      int
	position   int    // of the message's last command in messageOrder
	skipBody   bool   // the handler has seen enough of the body
	held       []byte // a final answer that came where none could be sent
}

// idle: nothing is planned for go-milter.
func (t *conversation) idle() bool { return t.begun == len(t.next) }

// advance takes the next step in hand. The memory of the steps is used again.
func (t *conversation) advance() {
	t.now, t.replied = t.next[t.begun], false
	t.next[t.begun] = step{}
	if t.begun++; t.idle() {
		t.next, t.begun = t.next[:0], 0
	}
}

// messageOrder is the order of a message's commands; those in messageRepeats
// may come again.
const (
	messageOrder   = "MRTLNBE"
	messageRepeats = "RLB"
)

// owes reports whether the MTA waits for an answer to a command.
func (c *conn) owes(code byte) bool {
	switch code {
	case codeMacro, codeAbort, codeQuit, codeQuitNew:
		return false
	}
	return c.state.protocol&noReply[code] == 0
}

// show plans a frame for go-milter.
func (c *conn) show(code byte, frame []byte) {
	c.talk.next = append(c.talk.next, step{code: code, frame: frame, owed: c.owes(code)})
}

// showOurs plans a frame that the MTA did not send, and has no answer to.
func (c *conn) showOurs(code byte, data []byte) {
	c.talk.next = append(c.talk.next, step{code: code, frame: newFrame(code, data)})
}

// skip plans that the MTA gets its answer without go-milter.
func (c *conn) skip(code byte) {
	c.talk.next = append(c.talk.next, step{code: code, owed: c.owes(code)})
}

// receive decides what becomes of a frame: go-milter sees it, as it is or
// rewritten, or it is dealt with here.
func (c *conn) receive(code byte, frame []byte) error {
	data := frame[5:]
	if !c.talk.negotiated && code != codeNegotiate && code != codeQuit {
		return fmt.Errorf("frame %q before option negotiation", code)
	}
	switch code {
	case codeNegotiate:
		return c.offered(frame)
	case codeMacro:
		// go-milter ends the connection for an empty one.
		if !c.state.setMacros(data) {
			c.broke(errors.New("macros without a stage"))
		}
	case codeConnect:
		c.endMessage()
		client, ok := parseClient(data)
		if c.state.client = client; !ok {
			// go-milter ends the connection, or answers with a tempfail.
			c.broke(errors.New("client address not understood"))
		}
		c.show(code, client.frame())
	case codeHelo:
		c.endMessage()
		helo, _ := cutString(data)
		c.state.helo = string(helo)
		c.show(code, frame)
	case codeAbort:
		c.endMessage()
	case codeQuit:
		c.endMessage()
		c.showOurs(codeQuit, nil)
	case codeQuitNew:
		// Another SMTP session follows. go-milter ends the connection.
		c.endMessage()
		c.state.resetConnection()
	case codeUnknown:
		// An SMTP command that the MTA does not know. go-milter ends the
		// connection.
		c.skip(code)
	case codeMail:
		c.beginMessage(frame)
	case codeRcpt, codeData, codeHeader, codeEOH, codeBody, codeEOM:
		c.receiveMessage(code, frame)
	default:
		// Of a protocol to come. go-milter ends the connection.
		c.broke(fmt.Errorf("unknown command %q", code))
		c.skip(code)
	}
	return nil
}

func (c *conn) beginMessage(frame []byte) {
	if c.isInMessage() {
		c.broke(errors.New("MAIL within a message"))
		c.endMessage()
	}
	mail := parseEnvelope(frame[5:])
	c.talk.next = append(c.talk.next, step{code: codeMail, frame: frame, owed: c.owes(codeMail), apply: func() {
		c.state.beginMessage(mail)
		c.talk.position, c.talk.skipBody, c.talk.held = 0, false, nil
		c.changes = c.changes[:0]
		c.setInMessage(true)
	}})
}

// receiveMessage takes the commands of a message after MAIL.
func (c *conn) receiveMessage(code byte, frame []byte) {
	t, data := &c.talk, frame[5:]
	at := strings.IndexByte(messageOrder, code)
	again := strings.IndexByte(messageRepeats, code) >= 0
	if !c.isInMessage() || at < t.position || at == t.position && !again {
		c.broke(fmt.Errorf("command %q out of order", code))
		c.skip(code)
		return
	}
	t.position = at
	if t.held != nil {
		c.skip(code) // the handler is done with this message
		return
	}
	switch code {
	case codeRcpt:
		c.state.rcpt = parseEnvelope(data)
		c.show(code, frame)
	case codeData:
		c.skip(code) // go-milter has no callback for it
	case codeHeader:
		c.receiveHeader(frame)
	case codeBody:
		if t.skipBody {
			c.skip(code)
			return
		}
		c.show(code, frame)
	case codeEOM:
		// It may carry the last of the body, which go-milter drops.
		if len(data) > 0 && !t.skipBody {
			c.showOurs(codeBody, data)
		}
		c.show(code, endOfMessage)
	default:
		c.show(code, frame)
	}
}

// receiveHeader counts the bytes; past the limit, the handler sees no more.
func (c *conn) receiveHeader(frame []byte) {
	c.state.header += len(frame) - 5
	if c.state.header > c.server.opts.HeaderLimit {
		c.state.cut = true
		c.skip(codeHeader)
		return
	}
	// go-milter passes over a header with more NULs than the two that end its
	// name and its value. To the MTA, the value ends at the first.
	name, rest := cutString(frame[5:])
	if value, more := cutString(rest); len(more) > 0 {
		c.state.cut = true
		frame = newFrame(codeHeader, slices.Concat(name, []byte{0}, value, []byte{0}))
	}
	c.show(codeHeader, frame)
}

// endMessage tells the handler, by an abort, that the message is over.
// go-milter resets its own state on an abort only: without one, the next
// message sees the headers of this one too.
func (c *conn) endMessage() {
	if c.isInMessage() {
		c.setInMessage(false)
		c.showOurs(codeAbort, nil)
	}
	c.talk.held = nil
}

func (c *conn) isInMessage() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.inMessage
}

// offered takes the MTA's side of option negotiation. What go-milter answers is
// replaced by negotiation.
func (c *conn) offered(frame []byte) error {
	data := frame[5:]
	if len(data) < 12 {
		return errors.New("option negotiation cut short")
	}
	c.endMessage()
	c.state.resetConnection()
	want := &c.server.opts
	c.state.version = min(binary.BigEndian.Uint32(data), protocolVersion)
	c.state.actions = want.Actions & milter.OptAction(binary.BigEndian.Uint32(data[4:]))
	c.state.protocol = want.Protocol & milter.OptProtocol(binary.BigEndian.Uint32(data[8:]))
	c.talk.negotiated = true
	c.show(codeNegotiate, frame)
	return nil
}
