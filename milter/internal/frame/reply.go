package frame

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/emersion/go-milter"
)

// The version that the MTA is answered with, if it offers as much. go-milter
// says 2, whatever was offered, and asks for what came with 6.
const protocolVersion = 6

// Answers that go-milter has no name for, or none of their own type.
const (
	replyProgress = 'p'
	replySkip     = 's'
)

// continues is the answer of which nothing has to be made.
var continues = newFrame(byte(milter.ActContinue), nil)

// Skip answers a body chunk: the handler wants no more of the body. Where the
// MTA cannot do that, it is kept from the handler here.
var Skip milter.Response = milter.NewResponse(replySkip, nil)

// ErrNotNegotiated: the MTA does not let us change this of a message.
var ErrNotNegotiated = errors.New("the MTA did not agree to this kind of change")

// change are the answers that modify a message, and what must be negotiated.
var change = map[byte]milter.OptAction{
	byte(milter.ActAddHeader):    milter.OptAddHeader,
	byte(milter.ActInsertHeader): milter.OptAddHeader,
	byte(milter.ActChangeHeader): milter.OptChangeHeader,
	byte(milter.ActReplBody):     milter.OptChangeBody,
	byte(milter.ActAddRcpt):      milter.OptAddRcpt,
	byte(milter.ActDelRcpt):      milter.OptRemoveRcpt,
	byte(milter.ActQuarantine):   milter.OptQuarantine,
	byte(milter.ActChangeFrom):   milter.OptChangeFrom,
}

// Write takes what go-milter writes, frame by frame. Errors of the network are
// kept from it, for it would write them to the standard logger; it finds the
// connection at its end with the next Read.
func (c *conn) Write(p []byte) (int, error) {
	c.out = append(c.out, p...)
	for len(c.out) >= 5 {
		size := 4 + int(binary.BigEndian.Uint32(c.out))
		if len(c.out) < size {
			break
		}
		frame := c.out[:size]
		err := c.answer(frame[4], frame)
		c.out = append(c.out[:0], c.out[size:]...)
		if err != nil {
			c.out = nil
			return 0, err
		}
	}
	if len(c.out) == 0 && cap(c.out) > 1024 {
		c.out = nil
	}
	return len(p), nil
}

// answer takes one frame of go-milter's.
func (c *conn) answer(code byte, frame []byte) error {
	if action, ok := change[code]; ok {
		return c.addChange(action, frame)
	}
	switch code {
	case codeNegotiate:
		c.talk.replied = true
		c.send(c.negotiation())
	case replyProgress:
		c.send(frame)
	default:
		c.verdict(code, frame)
	}
	return nil
}

// addChange keeps a modification until the final answer: one write for all of
// them, and none of them if the handler fails half-way.
func (c *conn) addChange(action milter.OptAction, frame []byte) error {
	switch {
	case c.talk.now.code != codeEOM:
		return errors.New("a message can be changed at its end only")
	case !c.state.May(action):
		return ErrNotNegotiated
	}
	c.changes = append(c.changes, frame...)
	return nil
}

// verdict takes the answer to the command in hand.
func (c *conn) verdict(code byte, frame []byte) {
	t := &c.talk
	if t.replied {
		return
	}
	if code == replySkip {
		t.skipBody = true
		if t.now.code != codeBody || c.state.protocol&milter.OptSkip == 0 {
			code, frame = byte(milter.ActContinue), continues
		}
	}
	if !t.now.owed {
		// The MTA listens to nothing here. What ends the message is said with
		// the next answer that it waits for.
		if code != byte(milter.ActContinue) && code != replySkip && c.isInMessage() {
			t.held = append([]byte(nil), frame...)
		}
		return
	}
	t.replied = true
	switch {
	case t.now.code == codeEOM:
		c.send(append(c.changes, frame...))
		if c.changes = c.changes[:0]; cap(c.changes) > 1024 {
			c.changes = nil
		}
	default:
		c.send(frame)
	}
	if c.endsMessage(code) {
		c.endMessage()
	}
}

// endsMessage: after such an answer the MTA sends nothing more of this message.
// A refused recipient is not the end of it.
func (c *conn) endsMessage(code byte) bool {
	if strings.IndexByte(messageOrder, c.talk.now.code) < 0 {
		return false
	}
	switch milter.ActionCode(code) {
	case milter.ActAccept, milter.ActDiscard:
		return true
	case milter.ActReject, milter.ActTempFail, milter.ActReplyCode:
		return c.talk.now.code != codeRcpt
	}
	return c.talk.now.code == codeEOM
}

// settle answers the command in hand if the MTA waits and go-milter, which is
// done with it, said nothing: the handler returned nil, or never saw it.
func (c *conn) settle() {
	t := &c.talk
	if t.now.owed && !t.replied {
		frame := t.held
		if frame == nil {
			frame = continues
		}
		c.verdict(frame[4], frame)
	}
	t.now = step{}
}

// send writes to the MTA. When that fails, the connection is at its end.
func (c *conn) send(b []byte) {
	if c.lost {
		return
	}
	c.Conn.SetWriteDeadline(time.Now().Add(c.server.opts.WriteTimeout))
	if _, err := c.Conn.Write(b); err != nil {
		c.lost = true
		c.note(fmt.Errorf("write: %w", err))
		c.endMessage()
	}
}

// negotiation is our side of option negotiation: what we want, as far as the
// MTA offers it. go-milter would ask for all it was configured with, and the MTA
// would end the connection.
func (c *conn) negotiation() []byte {
	var data []byte
	for _, v := range []uint32{c.state.version, uint32(c.state.actions), uint32(c.state.protocol)} {
		data = binary.BigEndian.AppendUint32(data, v)
	}
	if c.state.May(milter.OptSetSymList) {
		data = appendMacroLists(data, c.server.opts.Macros)
	}
	return newFrame(codeNegotiate, data)
}

func appendMacroLists(data []byte, lists map[milter.Stage][]string) []byte {
	stages := []milter.Stage{}
	for stage := range lists {
		stages = append(stages, stage)
	}
	// sendmail ignores a list for the end of the message unless there is one for
	// the end of the headers.
	eom, hasEOM := lists[milter.StageEOM]
	if _, hasEOH := lists[milter.StageEOH]; hasEOM && !hasEOH {
		stages = append(stages, milter.StageEOH)
	}
	slices.Sort(stages)
	for _, stage := range stages {
		list, ok := lists[stage]
		if !ok {
			list = eom
		}
		data = binary.BigEndian.AppendUint32(data, uint32(stage))
		data = append(data, strings.Join(list, " ")...)
		data = append(data, 0)
	}
	return data
}
