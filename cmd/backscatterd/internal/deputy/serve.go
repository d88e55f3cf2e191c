package deputy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"time"
	"unicode"

	"golang.org/x/sys/unix"
)

// Serve is a deputy's life, on the socket that it got as its standard input:
// either the one of Start, over which connections come, or a connection. It ends
// with the last one.
func Serve(ctx context.Context, stdin *os.File, w Work) error {
	fd := int(stdin.Fd())
	if kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE); err != nil || kind != unix.SOCK_SEQPACKET {
		return errors.New("standard input is no packet socket: this command is started by the daemon, or by systemd")
	}
	var serving sync.WaitGroup
	defer serving.Wait()
	buf, rights := make([]byte, maxPacket), make([]byte, unix.CmsgSpace(4))
	for {
		n, roob, _, _, err := unix.Recvmsg(fd, buf, rights, unix.MSG_CMSG_CLOEXEC)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return err
		case n == 0:
			return nil
		}
		came := received(rights[:roob])
		if n > 1 { // a request: this is a connection itself
			dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
			if err != nil {
				return err
			}
			c, err := conn(dup)
			if err != nil {
				return err
			}
			w.serve(ctx, c, buf[:n], came)
			return nil
		}
		if came == nil {
			continue
		}
		c, err := conn(dupAndClose(came))
		if err != nil {
			continue
		}
		serving.Go(func() { w.first(ctx, c) })
	}
}

func dupAndClose(f *os.File) int {
	defer f.Close()
	fd, _ := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	return fd
}

// received is the file that came with a packet, nil if none did. Any more are
// closed: who sends them would use up our descriptors.
func received(oob []byte) (file *os.File) {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil
	}
	for _, m := range messages {
		fds, err := unix.ParseUnixRights(&m)
		if err != nil {
			continue
		}
		for _, fd := range fds {
			if file == nil {
				file = os.NewFile(uintptr(fd), "message")
			} else {
				unix.Close(fd)
			}
		}
	}
	return file
}

// first reads the request of a connection.
func (w Work) first(ctx context.Context, c *net.UnixConn) {
	buf, rights := make([]byte, maxPacket), make([]byte, unix.CmsgSpace(4))
	c.SetReadDeadline(time.Now().Add(requestTime))
	n, roob, _, _, err := c.ReadMsgUnix(buf, rights)
	if err != nil || n == 0 {
		c.Close()
		return
	}
	c.SetReadDeadline(time.Time{})
	w.serve(ctx, c, buf[:n], received(rights[:roob]))
}

// serve does what was asked for and answers. The other end's closing ends it.
func (w Work) serve(ctx context.Context, c *net.UnixConn, packet []byte, message *os.File) {
	defer c.Close()
	if message != nil {
		defer message.Close()
	}
	ctx, cancel := context.WithCancel(ctx)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		defer cancel()
		c.Read(make([]byte, 1)) // nothing more is said
	}()
	output, err := w.do(ctx, packet, message)
	a := answer{Output: string(output[:min(len(output), maxOutput)])}
	if err != nil {
		a.Error = fmt.Sprintf("%.2000s", err.Error())
	}
	reply, err := json.Marshal(a)
	if err == nil {
		c.Write(reply)
	}
	c.CloseRead()
	<-watched
}

// maxAddress is above what RFC 5321 §4.5.3.1 grants a path.
const maxAddress = 1000

// oneAddress: nothing in it leads out of the angle brackets that sendmail gets it
// in, to another recipient.
func oneAddress(to string) bool {
	return to != "" && len(to) <= maxAddress && !strings.ContainsFunc(to, func(r rune) bool { return r == '<' || r == '>' || unicode.IsControl(r) })
}

func (w Work) do(ctx context.Context, packet []byte, message *os.File) ([]byte, error) {
	var r request
	if err := json.Unmarshal(packet, &r); err != nil {
		return nil, err
	}
	switch r.Do {
	case "expire":
		return w.Expire(ctx, r.CF, r.ID)
	case "submit":
		if message == nil {
			return nil, errors.New("no message came with the request")
		}
		if !oneAddress(r.To) {
			return nil, fmt.Errorf("%.100q is not one address", r.To)
		}
		return nil, w.Submit(ctx, r.To, r.UTF8, message)
	}
	return nil, fmt.Errorf("the request %q is none", r.Do)
}
