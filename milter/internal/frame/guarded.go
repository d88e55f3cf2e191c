package frame

import (
	"fmt"
	"net"
	"net/textproto"
	"runtime/debug"

	"github.com/emersion/go-milter"
)

// guarded stands around a handler. go-milter ends the connection without an
// answer when a callback panics or returns an error; here, the MTA gets the
// answer of OnError, without any change that the handler had begun.
type guarded struct {
	conn  *conn
	inner milter.Milter
}

var _ milter.Milter = (*guarded)(nil)

func (g *guarded) call(stage string, f func() (milter.Response, error)) (resp milter.Response, err error) {
	s := g.conn.server
	failed := func(err error) (milter.Response, error) {
		g.conn.changes = g.conn.changes[:0]
		g.conn.state.failed = true
		s.opts.Report(fmt.Errorf("milter: %s of a message from %q, client %s: %w",
			stage, g.conn.state.mail.Address, g.conn.state.client, err))
		return s.opts.OnError, nil
	}
	defer func() {
		if p := recover(); p != nil {
			s.panics.Add(1)
			resp, err = failed(fmt.Errorf("panic: %v\n%s", p, debug.Stack()))
		}
	}()
	resp, err = f()
	if err != nil {
		s.errors.Add(1)
		return failed(err)
	}
	return resp, nil
}

func (g *guarded) Connect(host, family string, port uint16, addr net.IP, m *milter.Modifier) (milter.Response, error) {
	return g.call("connect", func() (milter.Response, error) { return g.inner.Connect(host, family, port, addr, m) })
}

func (g *guarded) Helo(name string, m *milter.Modifier) (milter.Response, error) {
	return g.call("helo", func() (milter.Response, error) { return g.inner.Helo(name, m) })
}

func (g *guarded) MailFrom(from string, m *milter.Modifier) (milter.Response, error) {
	return g.call("sender", func() (milter.Response, error) { return g.inner.MailFrom(from, m) })
}

func (g *guarded) RcptTo(to string, m *milter.Modifier) (milter.Response, error) {
	return g.call("recipient", func() (milter.Response, error) { return g.inner.RcptTo(to, m) })
}

func (g *guarded) Header(name, value string, m *milter.Modifier) (milter.Response, error) {
	return g.call("header", func() (milter.Response, error) { return g.inner.Header(name, value, m) })
}

func (g *guarded) Headers(h textproto.MIMEHeader, m *milter.Modifier) (milter.Response, error) {
	return g.call("end of headers", func() (milter.Response, error) { return g.inner.Headers(h, m) })
}

func (g *guarded) BodyChunk(chunk []byte, m *milter.Modifier) (milter.Response, error) {
	return g.call("body", func() (milter.Response, error) { return g.inner.BodyChunk(chunk, m) })
}

func (g *guarded) Body(m *milter.Modifier) (milter.Response, error) {
	return g.call("end of message", func() (milter.Response, error) { return g.inner.Body(m) })
}

func (g *guarded) Abort(m *milter.Modifier) error {
	g.call("abort", func() (milter.Response, error) { return nil, g.inner.Abort(m) })
	return nil
}
