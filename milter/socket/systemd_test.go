package socket

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// activated is a process that systemd started: it greets one connection on each
// of its sockets.
func activated(addresses []string) {
	var parsed []Address
	for _, s := range addresses {
		a, err := Parse(s)
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		parsed = append(parsed, a)
	}
	lns, err := Listen(context.Background(), parsed, Options{})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println(len(lns), "listeners")
	for _, ln := range lns {
		c, err := ln.Accept()
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		io.WriteString(c, "hello\n")
		c.Close()
		ln.Close()
	}
	os.Exit(0)
}

func TestSocketsThatSystemdOpened(t *testing.T) {
	path := filepath.Join(t.TempDir(), "milter.sock")
	unixSocket, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer unixSocket.Close()
	tcpSocket, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer tcpSocket.Close()
	unixFile, err := unixSocket.File()
	if err != nil {
		t.Fatal(err)
	}
	defer unixFile.Close()
	tcpFile, err := tcpSocket.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer tcpFile.Close()
	pipe, other, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer pipe.Close()
	defer other.Close()

	type dial struct{ network, address string }
	viaUnix, viaTCP := dial{"unix", path}, dial{"tcp4", tcpSocket.Addr().String()}
	for name, c := range map[string]struct {
		addresses string
		files     []*os.File
		fdNames   string
		want      string
		greeted   []dial
	}{
		"all of them":     {"systemd:", []*os.File{unixFile, tcpFile}, "a:b", "2 listeners", []dial{viaUnix, viaTCP}},
		"one by its name": {"systemd:b", []*os.File{unixFile, tcpFile}, "a:b", "1 listeners", []dial{viaTCP}},
		"two by name":     {"systemd:b systemd:a", []*os.File{unixFile, tcpFile}, "a:b", "2 listeners", []dial{viaTCP, viaUnix}},
		"no such name":    {"systemd:c", []*os.File{unixFile}, "a", "FileDescriptorName=c", nil},
		"none passed":     {"systemd:", nil, "", "passed no socket", nil},
		"no socket":       {"systemd:", []*os.File{pipe}, "a", "ListenStream=", nil},
	} {
		child := exec.Command("/bin/sh", "-c", `LISTEN_PID=$$ exec "$0"`, os.Args[0])
		child.Env = append(os.Environ(), "SOCKET_TEST_CHILD="+c.addresses, fmt.Sprint("LISTEN_FDS=", len(c.files)), "LISTEN_FDNAMES="+c.fdNames)
		child.ExtraFiles = c.files
		out, err := child.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		said, err := bufio.NewReader(out).ReadString('\n')
		if err != nil || !strings.Contains(said, c.want) {
			t.Errorf("%s: said %q, %v; want %q", name, said, err, c.want)
		}
		for _, d := range c.greeted {
			conn, err := net.Dial(d.network, d.address)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			greeting, err := io.ReadAll(conn)
			conn.Close()
			if err != nil || string(greeting) != "hello\n" {
				t.Errorf("%s: greeted with %q, %v", name, greeting, err)
			}
		}
		if err := child.Wait(); (err == nil) != (len(c.greeted) > 0) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := os.Lstat(path); err != nil {
			t.Fatalf("%s: the socket of systemd was removed", name)
		}
	}
}
