package deputy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"
)

// Whoever reaches the deputy can have one message sent to one address, and no
// more.
func TestOneAddress(t *testing.T) {
	sent := 0
	w := Work{Submit: func(context.Context, string, bool, *os.File) error { sent++; return nil }}
	file := message(t)
	for to, good := range map[string]bool{
		"joe@example.org": true, "O'Hara,x@example.org": true,
		"": false, "a@x>,<b@y": false, "a@x>": false, "<a@x": false, "a\nb@x": false, "a\x00@x": false, strings.Repeat("a", 1001): false,
	} {
		before := sent
		_, err := w.do(t.Context(), quoted(to), file)
		if (err == nil) != good || (sent > before) != good {
			t.Errorf("%q: %v", to, err)
		}
	}
}

func quoted(to string) []byte {
	packet, err := json.Marshal(request{Do: "submit", To: to})
	if err != nil {
		panic(err)
	}
	return packet
}

func message(t *testing.T) *os.File {
	t.Helper()
	file, err := os.Create(filepath.Join(t.TempDir(), "message"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	return file
}

// standing is a deputy that works in this process, and the daemon's end.
func standing(t *testing.T, w Work) (fd int, ended <-chan error) {
	t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	theirs := os.NewFile(uintptr(pair[1]), "deputy")
	end := make(chan error, 1)
	go func() { end <- ServeStanding(context.Background(), theirs, w); theirs.Close() }()
	t.Cleanup(func() { unix.Close(pair[0]) })
	return pair[0], end
}

// Packets of any size, without a descriptor or with one of something else, do not
// end a deputy, and keep nobody's request from being dealt with. Its end comes with
// the daemon's.
func TestStandingSocket(t *testing.T) {
	var asked atomic.Int64
	fd, ended := standing(t, Work{Expire: func(_ context.Context, _, id string) ([]byte, error) {
		asked.Add(1)
		return []byte("ran " + id), nil
	}})
	file := message(t)
	pipe, other, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer pipe.Close()
	defer other.Close()
	for _, p := range []struct {
		packet []byte
		files  []int
	}{
		{[]byte{}, nil},
		{[]byte{0}, nil},
		{[]byte("two"), nil},
		{quoted("a@example.org"), nil},
		{quoted("a@example.org"), []int{int(file.Fd())}},
		{make([]byte, maxPacket+1), nil},
		{[]byte{0}, []int{int(pipe.Fd())}},
		{[]byte{0}, []int{int(file.Fd()), int(pipe.Fd()), int(other.Fd())}},
	} {
		var rights []byte
		if p.files != nil {
			rights = unix.UnixRights(p.files...)
		}
		if err := unix.Sendmsg(fd, p.packet, rights, nil, 0); err != nil {
			t.Fatal(err)
		}
	}
	d := Reach(fd)
	for range 3 {
		if out, err := d.Expire(t.Context(), "cf", "ID"); err != nil || string(out) != "ran ID" {
			t.Errorf("%q, %v", out, err)
		}
	}
	if err := d.Submit(t.Context(), "a@example.org", false, pipe); err == nil || !strings.Contains(err.Error(), "no file") {
		t.Errorf("a pipe for a message: %v", err)
	}
	if n := asked.Load(); n != 3 {
		t.Errorf("it was asked %d times", n)
	}
	if err := unix.Shutdown(fd, unix.SHUT_RDWR); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// No more requests than maxAtOnce are in hand. The next ones wait, and are dealt
// with when one has ended.
func TestAtOnce(t *testing.T) {
	const more = 3
	begun, finish := make(chan bool, maxAtOnce+more), make(chan bool)
	var atOnce atomic.Int64
	fd, ended := standing(t, Work{Expire: func(context.Context, string, string) ([]byte, error) {
		if n := atOnce.Add(1); n > maxAtOnce {
			t.Errorf("%d at once", n)
		}
		begun <- true
		<-finish
		atOnce.Add(-1)
		return nil, nil
	}})
	d := Reach(fd)
	outcomes := make(chan error, maxAtOnce+more)
	for range maxAtOnce + more {
		go func() { _, err := d.Expire(context.Background(), "", "ID"); outcomes <- err }()
	}
	for range maxAtOnce {
		<-begun
	}
	for range maxAtOnce + more {
		finish <- true
		if err := <-outcomes; err != nil {
			t.Error(err)
		}
	}
	unix.Shutdown(fd, unix.SHUT_RDWR)
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// A connection that systemd has accepted is one request.
func TestOneConnection(t *testing.T) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs := os.NewFile(uintptr(pair[0]), "ours"), os.NewFile(uintptr(pair[1]), "theirs")
	ended := make(chan error, 1)
	w := Work{Submit: func(_ context.Context, to string, _ bool, m *os.File) error {
		data, err := io.ReadAll(m)
		return errors.Join(fmt.Errorf("to %s: %q", to, data), err)
	}}
	go func() { ended <- ServeConnection(context.Background(), theirs, w); theirs.Close() }()
	d := &Deputy{func(context.Context) (*net.UnixConn, error) { defer ours.Close(); return conn(ours) }}
	m := message(t)
	if _, err := m.WriteString("a bounce"); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Seek(0, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	if err := d.Submit(t.Context(), "a@example.org", true, m); err == nil || err.Error() != `to a@example.org: "a bounce"` {
		t.Errorf("%v", err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if err := ServeConnection(t.Context(), message(t), w); err == nil {
		t.Error("a file was taken for a socket")
	}
}
