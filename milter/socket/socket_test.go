package socket

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if names := os.Getenv("SOCKET_TEST_CHILD"); names != "" {
		activated(strings.Split(names, " "))
	}
	goleak.VerifyTestMain(m)
}

func TestAddressesAsSendmailWritesThem(t *testing.T) {
	for s, want := range map[string]Address{
		"unix:/run/backscatterd/milter.sock": {"unix", "/run/backscatterd/milter.sock"},
		"local:/run/x":                       {"unix", "/run/x"},
		"/run/x":                             {"unix", "/run/x"},
		"unix:/run//a/../x":                  {"unix", "/run/x"},
		"unix:/run/with:colon@at":            {"unix", "/run/with:colon@at"},
		"UNIX:/run/x":                        {"unix", "/run/x"},
		" inet:8890@127.0.0.1 ":              {"tcp4", "127.0.0.1:8890"},
		"inet:8890@[127.0.0.1]":              {"tcp4", "127.0.0.1:8890"},
		"inet:8890@localhost":                {"tcp4", "localhost:8890"},
		"inet:8890":                          {"tcp4", ":8890"},
		"inet6:8890@::1":                     {"tcp6", "[::1]:8890"},
		"inet6:8890@[::1]":                   {"tcp6", "[::1]:8890"},
		"inet6:8890@[IPv6:::1]":              {"tcp6", "[::1]:8890"},
		"inet6:8890@localhost":               {"tcp6", "localhost:8890"},
		"inet6:65535":                        {"tcp6", ":65535"},
		"systemd:":                           {"systemd", ""},
		"systemd:milter":                     {"systemd", "milter"},
	} {
		got, err := Parse(s)
		if err != nil || got != want {
			t.Errorf("Parse(%q) = %v, %v; want %v", s, got, err, want)
		}
		if again, err := Parse(got.String()); err != nil || again != got {
			t.Errorf("%q is written %q, which reads as %v, %v", s, got.String(), again, err)
		}
	}
}

func TestAddressesThatCannotBe(t *testing.T) {
	for s, want := range map[string]string{
		"":                      "want unix:PATH",
		"8890":                  "want unix:PATH",
		"tcp:8890@localhost":    "want unix:PATH",
		"localhost:8890":        "want unix:PATH",
		"unix:":                 "begin with a slash",
		"unix:run/x":            "begin with a slash",
		"unix:/" + long:         "use a shorter one",
		"unix:/run/x\x00y":      "NUL",
		"inet:127.0.0.1:8890":   "the port comes first",
		"inet:localhost:8890":   "the port comes first",
		"inet:":                 "1 to 65535",
		"inet:0@127.0.0.1":      "1 to 65535",
		"inet:65536@127.0.0.1":  "1 to 65535",
		"inet:milter@127.0.0.1": "1 to 65535",
		"inet:-1":               "1 to 65535",
		"inet:8890@::1":         "inet6:",
		"inet6:8890@127.0.0.1":  "inet:",
		"inet:8890@[127.0.0.1":  "bracket",
		"inet:8890@a b":         "name or an address",
		"inet:8890@/run/x":      "name or an address",
	} {
		if a, err := Parse(s); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Parse(%q) = %v, %v; want an error that says %q", s, a, err, want)
		}
	}
}

var long = strings.Repeat("x", 107)

func listen(t *testing.T, address string, opts Options) (net.Listener, error) {
	t.Helper()
	a, err := Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	lns, err := Listen(t.Context(), []Address{a}, opts)
	if err != nil {
		return nil, err
	}
	if len(lns) != 1 {
		t.Fatalf("%d listeners for one address", len(lns))
	}
	t.Cleanup(func() { lns[0].Close() })
	return lns[0], nil
}

// serves reports whether a connection arrives.
func serves(t *testing.T, ln net.Listener, network, address string) {
	t.Helper()
	c, err := net.Dial(network, address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	s, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
}

func TestModeAndOwnerOfTheSocket(t *testing.T) {
	for _, umask := range []int{0, 0o022, 0o077} {
		old := syscall.Umask(umask)
		for mode, want := range map[os.FileMode]os.FileMode{0: 0o660, 0o600: 0o600, 0o666: 0o666} {
			path := filepath.Join(t.TempDir(), "milter.sock")
			group := fmt.Sprint(os.Getgid())
			ln, err := listen(t, "unix:"+path, Options{Mode: mode, Owner: fmt.Sprint(os.Getuid()), Group: group})
			if err != nil {
				t.Fatal(err)
			}
			info, err := os.Stat(path)
			if err != nil || info.Mode().Perm() != want {
				t.Errorf("umask %o, mode %o: %v, %v; want %o", umask, mode, info.Mode(), err, want)
			}
			serves(t, ln, "unix", path)
			if err := ln.Close(); err != nil {
				t.Error(err)
			}
			if _, err := os.Lstat(path); err == nil {
				t.Error("the socket is left behind")
			}
		}
		syscall.Umask(old)
	}
}

func TestTheSocketIsGivenAway(t *testing.T) {
	uid, gid := os.Geteuid(), os.Getegid()
	if uid == 0 {
		uid, gid = 65534, 65534 // only root can
	}
	path := filepath.Join(t.TempDir(), "milter.sock")
	if _, err := listen(t, "unix:"+path, Options{Owner: fmt.Sprint(uid), Group: fmt.Sprint(gid)}); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if st := info.Sys().(*syscall.Stat_t); int(st.Uid) != uid || int(st.Gid) != gid {
		t.Errorf("belongs to %d:%d; want %d:%d", st.Uid, st.Gid, uid, gid)
	}
	if _, err := listen(t, "unix:"+path+"2", Options{Owner: "no-such-user"}); err == nil || !strings.Contains(err.Error(), "no-such-user") {
		t.Errorf("unknown owner: %v", err)
	}
	if _, err := listen(t, "unix:"+path+"2", Options{Group: "no-such-group"}); err == nil || !strings.Contains(err.Error(), "no-such-group") {
		t.Errorf("unknown group: %v", err)
	}
	if _, err := os.Lstat(path + "2"); err == nil {
		t.Error("a failed start left a socket")
	}
	ln, err := listen(t, "unix:"+path+"3", Options{Owner: "root"})
	if err == nil {
		ln.Close()
	} else if os.Geteuid() == 0 {
		t.Errorf("by name: %v", err)
	}
}

func TestAStaleSocketIsReplacedAndALiveOneIsNot(t *testing.T) {
	path := filepath.Join(t.TempDir(), "milter.sock")
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	dead.SetUnlinkOnClose(false)
	dead.Close()
	live, err := listen(t, "unix:"+path, Options{})
	if err != nil {
		t.Fatalf("stale socket: %v", err)
	}
	if _, err := listen(t, "unix:"+path, Options{}); !errors.Is(err, ErrLive) {
		t.Errorf("live socket: %v; want %v", err, ErrLive)
	}
	// The question whether it lives was itself a connection.
	if c, err := live.Accept(); err != nil {
		t.Error(err)
	} else {
		c.Close()
	}
	serves(t, live, "unix", path)
}

func TestOfManyThatStartAtOnceOneGetsTheSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "milter.sock")
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	dead.SetUnlinkOnClose(false)
	dead.Close()
	var wg sync.WaitGroup
	var mu sync.Mutex
	won := 0
	for range 8 {
		wg.Go(func() {
			lns, err := Listen(t.Context(), []Address{{"unix", path}}, Options{})
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				won++
				t.Cleanup(func() { lns[0].Close() })
			} else if !errors.Is(err, ErrLive) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if won != 1 {
		t.Errorf("%d of 8 listen on one path", won)
	}
}

func TestWhatIsNoSocketIsLeftAlone(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(file, filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{file, filepath.Join(dir, "link"), dir} {
		if _, err := listen(t, "unix:"+path, Options{}); err == nil || !strings.Contains(err.Error(), "no socket") {
			t.Errorf("%s: %v", path, err)
		}
	}
	datagram, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(dir, "log"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer datagram.Close()
	if _, err := listen(t, "unix:"+filepath.Join(dir, "log"), Options{}); err == nil || !strings.Contains(err.Error(), "another type") {
		t.Errorf("datagram socket: %v", err)
	}
	if content, err := os.ReadFile(file); err != nil || string(content) != "precious" {
		t.Errorf("the file is %q, %v", content, err)
	}
	if _, err := listen(t, "unix:"+filepath.Join(dir, "none", "x"), Options{}); err == nil || !strings.Contains(err.Error(), "folder of the socket") {
		t.Errorf("no folder: %v", err)
	}
}

// A successor's socket is not removed by the one before it.
func TestCloseLeavesTheSocketOfAnother(t *testing.T) {
	path := filepath.Join(t.TempDir(), "milter.sock")
	first, err := listen(t, "unix:"+path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	second, err := listen(t, "unix:"+path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	first.Close()
	serves(t, second, "unix", path)
}

func TestInternetSockets(t *testing.T) {
	free := func(network, address string) string {
		ln, err := net.Listen(network, address)
		if err != nil {
			t.Fatalf("this host has no %s loopback: %v", network, err)
		}
		defer ln.Close()
		_, port, err := net.SplitHostPort(ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		return port
	}
	port := free("tcp4", "127.0.0.1:0")
	ln, err := listen(t, "inet:"+port+"@127.0.0.1", Options{})
	if err != nil {
		t.Fatal(err)
	}
	serves(t, ln, "tcp4", "127.0.0.1:"+port)
	if _, err := listen(t, "inet:"+port+"@127.0.0.1", Options{}); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("port in use: %v", err)
	}
	port = free("tcp6", "[::1]:0")
	ln, err = listen(t, "inet6:"+port+"@[::1]", Options{})
	if err != nil {
		t.Fatal(err)
	}
	serves(t, ln, "tcp6", "[::1]:"+port)
}

func TestAllAddressesOrNone(t *testing.T) {
	dir := t.TempDir()
	_, err := Listen(t.Context(), []Address{{"unix", filepath.Join(dir, "a")}, {"unix", filepath.Join(dir, "none", "b")}}, Options{})
	if err == nil {
		t.Fatal("no error")
	}
	if _, err := os.Lstat(filepath.Join(dir, "a")); err == nil {
		t.Error("the first socket is left behind")
	}
}

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

func FuzzParse(f *testing.F) {
	for _, s := range []string{"unix:/run/x", "inet:8890@127.0.0.1", "inet6:1@[::1]", "systemd:a", "inet:1@[IPv6:::1]", "/x", "inet:1@a%b", ":", "inet:1@]"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, err := Parse(s)
		if err != nil {
			return
		}
		if again, err := Parse(a.String()); err != nil || again != a {
			t.Fatalf("%q reads as %v, written %q, read again %v, %v", s, a, a.String(), again, err)
		}
	})
}
