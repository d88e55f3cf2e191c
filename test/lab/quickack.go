package lab

import (
	"net"

	"golang.org/x/sys/unix"
)

// quickListener accepts connections that acknowledge at once. sendmail writes
// the end of a message's data in a segment of its own and leaves Nagle's
// algorithm on: that segment waits for the acknowledgement of the one before,
// which Linux delays by 40 ms. A queue of 2,000 messages would wait 80 s.
type quickListener struct{ *net.TCPListener }

func (l quickListener) Accept() (net.Conn, error) {
	conn, err := l.AcceptTCP()
	if err != nil {
		return nil, err
	}
	return &quickConn{conn}, nil
}

type quickConn struct{ *net.TCPConn }

// Read asks for quick acknowledgements each time, as the kernel forgets it
// (tcp(7), TCP_QUICKACK). That it may not work costs time and nothing else.
func (c *quickConn) Read(b []byte) (int, error) {
	if raw, err := c.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) {
			_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_QUICKACK, 1)
		})
	}
	return c.TCPConn.Read(b)
}
