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

// maxAtOnce bounds the requests that are dealt with at the same time, and so the
// processes and descriptors that a daemon gone mad could have. The next ones wait.
// A daemon makes one at a time for each run.
const maxAtOnce = 32

// ServeConnection deals with the one request of the connection that the deputy got
// as its standard input, from systemd.
func ServeConnection(ctx context.Context, stdin *os.File, w Work) error {
	if err := isPacketSocket(stdin); err != nil {
		return err
	}
	c, err := conn(stdin)
	if err != nil {
		return err
	}
	w.first(ctx, c)
	return nil
}

// ServeStanding deals with the requests of connections that come over the socket
// of Start, which the deputy got as its standard input. It ends with the daemon,
// which has the other end, and after the last request. A packet that is no
// connection is passed over.
func ServeStanding(ctx context.Context, stdin *os.File, w Work) error {
	if err := isPacketSocket(stdin); err != nil {
		return err
	}
	fd := int(stdin.Fd())
	var serving sync.WaitGroup
	defer serving.Wait()
	free := make(chan struct{}, maxAtOnce)
	buf, rights := make([]byte, 1), make([]byte, unix.CmsgSpace(4))
	for {
		n, roob, _, _, err := unix.Recvmsg(fd, buf, rights, unix.MSG_CMSG_CLOEXEC)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return err
		}
		came := received(rights[:roob])
		if came == nil {
			if n == 0 && hungUp(fd) { // an empty packet looks the same
				return nil
			}
			continue
		}
		c, err := conn(came)
		came.Close()
		if err != nil {
			continue
		}
		free <- struct{}{}
		serving.Go(func() { w.first(ctx, c); <-free })
	}
}

func hungUp(fd int) bool {
	poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
	n, err := unix.Poll(poll, 0)
	return n > 0 && err == nil && poll[0].Revents&(unix.POLLRDHUP|unix.POLLHUP|unix.POLLERR) != 0
}

func isPacketSocket(f *os.File) error {
	if kind, err := unix.GetsockoptInt(int(f.Fd()), unix.SOL_SOCKET, unix.SO_TYPE); err != nil || kind != unix.SOCK_SEQPACKET {
		return errors.New("standard input is no packet socket: this command is started by the daemon, or by systemd")
	}
	return nil
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
	reply(c, a)
	c.CloseRead()
	<-watched
}

// replyTime bounds how long an answer waits for its reader.
const replyTime = 10 * time.Second

func reply(c *net.UnixConn, a answer) {
	if packet, err := json.Marshal(a); err == nil {
		c.SetWriteDeadline(time.Now().Add(replyTime))
		c.Write(packet)
	}
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
		// sendmail would wait for the end of anything else.
		if info, err := message.Stat(); err != nil || !info.Mode().IsRegular() {
			return nil, errors.Join(err, errors.New("what came with the request is no file"))
		}
		if !oneAddress(r.To) {
			return nil, fmt.Errorf("%.100q is not one address", r.To)
		}
		return nil, w.Submit(ctx, r.To, r.UTF8, message)
	}
	return nil, fmt.Errorf("the request %q is none", r.Do)
}
