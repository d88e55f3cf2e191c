// Package deputy runs sendmail for a daemon that is confined.
//
// sendmail inherits whatever its parent is confined to: without new privileges
// its set-group-id bit is dead, without network it delivers nothing, without
// rights to files it reads no alias. So the daemon starts a deputy before it
// confines itself, and asks it. The deputy is the same program. It reads
// nothing from the network and no mail; it does two things, with fixed arguments
// and without a shell, by the sendmail command that the configuration names at
// that moment:
//   - a queue run for one message, whose id and sendmail.cf it checks;
//   - a submission from the null sender to one address, of a message in an open
//     file.
//
// Each request is a connection of its own, and so many at a time are dealt with
// as a daemon could need. Closing it early kills the sendmail
// that works on it. A deputy ends with the daemon that started it. Where systemd
// starts both, the daemon connects to a socket unit instead, and the deputy is
// started for each request: so the daemon's unit can be closed, while sendmail
// runs in another one.
package deputy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// A request and its answer are one packet each.
type request struct {
	Do   string `json:"do"` // expire or submit
	CF   string `json:"cf,omitempty"`
	ID   string `json:"id,omitempty"`
	To   string `json:"to,omitempty"`
	UTF8 bool   `json:"utf8,omitempty"`
}

type answer struct {
	Output string `json:"output"`
	Error  string `json:"error"`
}

// maxPacket bounds a packet, and maxOutput what of sendmail's words goes into it.
const (
	maxPacket = 16 << 10
	maxOutput = 1 << 10
)

// requestTime is how long a connection may wait with its request.
const requestTime = 30 * time.Second

// Work is what a deputy does. Both check what they are asked for, end when ctx
// does, and are called concurrently.
type Work struct {
	Expire func(ctx context.Context, cf, id string) (output []byte, err error)
	Submit func(ctx context.Context, to string, utf8 bool, message *os.File) error
}

// Deputy is the daemon's end: how to reach one.
type Deputy struct {
	connect func(ctx context.Context) (*net.UnixConn, error)
}

// At is a deputy that a socket unit of systemd starts.
func At(path string) *Deputy {
	return &Deputy{func(ctx context.Context) (*net.UnixConn, error) {
		c, err := new(net.Dialer).DialContext(ctx, "unixpacket", path)
		if err != nil {
			return nil, fmt.Errorf("%w (is the socket unit backscatterd-sendmail.socket started?)", err)
		}
		return c.(*net.UnixConn), nil
	}}
}

// Start starts a deputy, a process of the program's that calls ServeStanding on
// its standard input, and returns the descriptor to reach it by: see Reach.
func Start(cmd *exec.Cmd) (fd int, err error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	theirs := os.NewFile(uintptr(pair[1]), "deputy")
	defer theirs.Close()
	cmd.Stdin = theirs
	if err := cmd.Start(); err != nil {
		unix.Close(pair[0])
		return -1, err
	}
	// It is not waited for: it outlives this image of the program, and ends
	// after the last one, when its socket closes.
	return pair[0], cmd.Process.Release()
}

// Reach is the deputy behind a descriptor of Start's, which it takes over.
func Reach(fd int) *Deputy {
	var mu sync.Mutex
	return &Deputy{func(context.Context) (*net.UnixConn, error) {
		pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return nil, err
		}
		defer unix.Close(pair[1])
		mu.Lock()
		err = unix.Sendmsg(fd, []byte{0}, unix.UnixRights(pair[1]), nil, unix.MSG_NOSIGNAL)
		mu.Unlock()
		if err != nil {
			unix.Close(pair[0])
			return nil, fmt.Errorf("%w (it has ended: restart the daemon)", err)
		}
		end := os.NewFile(uintptr(pair[0]), "deputy")
		defer end.Close()
		return conn(end)
	}}
}

// conn is a connection on a descriptor of its own.
func conn(f *os.File) (*net.UnixConn, error) {
	c, err := net.FileConn(f)
	if err != nil {
		return nil, err
	}
	u, ok := c.(*net.UnixConn)
	if !ok {
		c.Close()
		return nil, errors.New("this is no unix socket")
	}
	return u, nil
}

// Expire has sendmail run the queue for one message with a life that is over.
func (d *Deputy) Expire(ctx context.Context, cf, id string) (output []byte, err error) {
	return d.ask(ctx, request{Do: "expire", CF: cf, ID: id}, nil)
}

// Submit hands a message to sendmail, all of the file.
func (d *Deputy) Submit(ctx context.Context, to string, utf8 bool, message *os.File) error {
	_, err := d.ask(ctx, request{Do: "submit", To: to, UTF8: utf8}, message)
	return err
}

func (d *Deputy) ask(ctx context.Context, r request, message *os.File) ([]byte, error) {
	c, err := d.connect(ctx)
	if err != nil {
		return nil, fmt.Errorf("the process that runs sendmail: %w", err)
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { c.Close() })()
	packet, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	var rights []byte
	if message != nil {
		rights = unix.UnixRights(int(message.Fd()))
	}
	a := answer{}
	if _, _, err = c.WriteMsgUnix(packet, rights, nil); err == nil {
		err = receive(c, &a)
	}
	if err != nil {
		return nil, fmt.Errorf("the process that runs sendmail: %w", errors.Join(err, ctx.Err()))
	}
	if a.Error != "" {
		return []byte(a.Output), errors.New(a.Error)
	}
	return []byte(a.Output), nil
}

func receive(c *net.UnixConn, v any) error {
	buf := make([]byte, maxPacket)
	n, err := c.Read(buf)
	if err == nil && n == 0 {
		err = errors.New("it ended without an answer")
	}
	if err != nil {
		return err
	}
	return json.Unmarshal(buf[:n], v)
}
