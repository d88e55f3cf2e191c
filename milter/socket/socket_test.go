package socket

import (
	"errors"
	"fmt"
	"net"
	"os"
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
