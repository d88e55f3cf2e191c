package ledger

import (
	"context"
	"crypto/tls"
	"net"
	"time"
)

const dialTime = 2 * time.Second

// dial connects to a server. What is on its way when a connection is given up is
// dropped: the kernel would go on sending it, for minutes, and an old mark that
// arrives after a newer one would look like a server that lost what it had.
func (o Server) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTime)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	if c, ok := conn.(*net.TCPConn); ok {
		_ = c.SetLinger(0) // a connection that is broken already says so when it is used
	}
	if o.TLS == nil {
		return conn, nil
	}
	config := o.TLS.Clone()
	if config.ServerName == "" {
		config.ServerName, _, _ = net.SplitHostPort(addr)
	}
	secure := tls.Client(conn, config)
	if err := secure.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, err
	}
	return secure, nil
}
