package lab

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// Recipients' domains that no connection can be made to. What sendmail writes
// of them into the queue file is the kernel's own answer, had on loopback:
//   - nobody listens on 127.0.0.9, so a connection is refused;
//   - 127.255.255.255 is loopback's broadcast address, and TCP to a broadcast
//     address is answered with ENETUNREACH (tcp_v4_connect in the kernel);
//   - a listener on 127.0.0.8 has its backlog full and never accepts: Linux
//     drops every further SYN, so a connection times out.
const (
	RefusedDomain     = "refused.example"
	UnreachableDomain = "unreachable.example"
	TimeoutDomain     = "timeout.example"
)

const (
	refusedAddr     = "127.0.0.9"
	unreachableAddr = "127.255.255.255"
	timeoutAddr     = "127.0.0.8"
)

// sealed is a listener whose backlog is full.
type sealed struct {
	fd      int
	waiting []net.Conn
}

// sealedPort listens on [timeoutAddr] and fills the backlog up, until a
// connection is no longer answered.
func sealedPort(port int) (*sealed, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("making a port that never answers: %w", err)
	}
	s := &sealed{fd: fd}
	if err := s.fill(port); err != nil {
		return nil, errors.Join(fmt.Errorf("making a port that never answers on %s:%d: %w", timeoutAddr, port, err), s.Close())
	}
	return s, nil
}

func (s *sealed) fill(port int) error {
	addr := &unix.SockaddrInet4{Port: port, Addr: [4]byte(net.ParseIP(timeoutAddr).To4())}
	if err := unix.Bind(s.fd, addr); err != nil {
		return err
	}
	if err := unix.Listen(s.fd, 0); err != nil {
		return err
	}
	target := net.JoinHostPort(timeoutAddr, strconv.Itoa(port))
	for range 64 {
		conn, err := net.DialTimeout("tcp4", target, 300*time.Millisecond)
		if timedOut := net.Error(nil); errors.As(err, &timedOut) && timedOut.Timeout() {
			return nil
		}
		if err != nil {
			return err
		}
		s.waiting = append(s.waiting, conn)
	}
	return errors.New("the backlog takes more than 64 connections")
}

// Close gives the port back.
func (s *sealed) Close() error {
	for _, conn := range s.waiting {
		_ = conn.Close()
	}
	return unix.Close(s.fd)
}
