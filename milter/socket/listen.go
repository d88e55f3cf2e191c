package socket

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/activation"
	"golang.org/x/sys/unix"
)

// ErrLive: a process listens on the socket already.
var ErrLive = errors.New("another process listens on it; stop that one, or use another path")

// Options are for unix sockets.
type Options struct {
	Mode         fs.FileMode // 0: 0660
	Owner, Group string      // name or number; "": left as it is
}

// Listen listens on all addresses, or on none and returns the first error.
// Addresses of systemd are taken from the environment, once a process, so that
// all of them must be in one call.
func Listen(ctx context.Context, addresses []Address, opts Options) (listeners []net.Listener, err error) {
	defer func() {
		if err != nil {
			for _, ln := range listeners {
				ln.Close()
			}
			listeners = nil
		}
	}()
	names := []string{}
	for _, a := range addresses {
		var ln net.Listener
		switch a.Network {
		case "systemd":
			names = append(names, a.Name)
			continue
		case "unix":
			ln, err = listenUnix(ctx, a.Name, opts)
		default:
			ln, err = (&net.ListenConfig{}).Listen(ctx, a.Network, a.Name)
		}
		if err != nil {
			return listeners, fmt.Errorf("listen on %s: %w", a, err)
		}
		listeners = append(listeners, ln)
	}
	if len(names) > 0 {
		inherited, err := inherit(names)
		if err != nil {
			return append(listeners, inherited...), fmt.Errorf("listen on %s: %w", Address{"systemd", names[0]}, err)
		}
		listeners = append(listeners, inherited...)
	}
	return listeners, nil
}

// inherit takes the sockets that systemd opened under these names.
func inherit(names []string) (listeners []net.Listener, err error) {
	files := activation.Files(true)
	defer func() {
		for _, f := range files {
			f.Close()
		}
	}()
	if len(files) == 0 {
		return nil, errors.New("systemd passed no socket; start the backscatterd.socket unit, or listen on unix: or inet: instead")
	}
	for _, name := range names {
		found := false
		for _, f := range files {
			if name != "" && f.Name() != name {
				continue
			}
			ln, err := net.FileListener(f)
			if err != nil {
				return listeners, fmt.Errorf("socket %q of systemd: %w; it must be a ListenStream= without Accept=yes", f.Name(), err)
			}
			if u, ok := ln.(*net.UnixListener); ok {
				u.SetUnlinkOnClose(false) // the file is systemd's
			}
			listeners = append(listeners, ln)
			found = true
		}
		if !found {
			return listeners, fmt.Errorf("systemd passed no socket of that name; set FileDescriptorName=%s in the socket unit", name)
		}
	}
	return listeners, nil
}

func listenUnix(ctx context.Context, path string, opts Options) (_ net.Listener, err error) {
	uid, gid, err := opts.ids()
	if err != nil {
		return nil, err
	}
	// Of two that start at once, the second must find the first one's socket.
	folder, err := os.Open(filepath.Dir(path))
	if err != nil {
		return nil, fmt.Errorf("folder of the socket: %w", err)
	}
	defer folder.Close()
	if err := unix.Flock(int(folder.Fd()), unix.LOCK_EX); err != nil {
		return nil, fmt.Errorf("lock the folder of the socket: %w", err)
	}
	if err := removeStale(path); err != nil {
		return nil, err
	}
	config := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		// The mode of the open descriptor is the one that bind(2) gives the
		// file, on Linux: nobody slips in before it has its final owner.
		var modeErr error
		if err := raw.Control(func(fd uintptr) { modeErr = unix.Fchmod(int(fd), 0o600) }); err != nil {
			return err
		}
		return modeErr
	}}
	ln, err := config.Listen(ctx, "unix", path)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			ln.Close()
		}
	}()
	if uid >= 0 || gid >= 0 {
		if err := os.Chown(path, uid, gid); err != nil {
			return nil, fmt.Errorf("give the socket to its owner: %w; only root may, or a member of the group", err)
		}
	}
	mode := opts.Mode
	if mode == 0 {
		mode = 0o660
	}
	if err := os.Chmod(path, mode.Perm()); err != nil {
		return nil, err
	}
	info, err := os.Lstat(path)
	if err != nil {
		return nil, err
	}
	ln.(*net.UnixListener).SetUnlinkOnClose(false)
	return &unixListener{Listener: ln, path: path, made: info}, nil
}

// removeStale removes the socket of a process that is gone.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode().Type() != fs.ModeSocket {
		return errors.New("something that is no socket is there; remove it, or use another path")
	}
	conn, err := net.DialTimeout("unix", path, time.Second)
	switch {
	case err == nil:
		conn.Close()
		return ErrLive
	case errors.Is(err, syscall.ECONNREFUSED):
		return os.Remove(path)
	case errors.Is(err, syscall.EAGAIN) || errors.Is(err, os.ErrDeadlineExceeded):
		return ErrLive // it lives, and its queue is full
	case errors.Is(err, syscall.EPROTOTYPE):
		return errors.New("a socket of another type is there; remove it, or use another path")
	}
	return fmt.Errorf("cannot tell whether a process listens on it: %w", err)
}

// unixListener removes its socket when it closes, unless another took its place.
type unixListener struct {
	net.Listener
	path string
	made fs.FileInfo
	once sync.Once
}

func (l *unixListener) Close() error {
	l.once.Do(func() {
		if info, err := os.Lstat(l.path); err == nil && os.SameFile(info, l.made) {
			os.Remove(l.path)
		}
	})
	return l.Listener.Close()
}

// ids looks up owner and group; -1 leaves one as it is.
func (o Options) ids() (uid, gid int, err error) {
	uid, gid = -1, -1
	if o.Owner != "" {
		if uid, err = strconv.Atoi(o.Owner); err != nil || uid < 0 {
			u, err := user.Lookup(o.Owner)
			if err != nil {
				return 0, 0, fmt.Errorf("owner of the socket: no user %q on this host", o.Owner)
			}
			if uid, err = strconv.Atoi(u.Uid); err != nil {
				return 0, 0, fmt.Errorf("owner of the socket: user %q has the id %q", o.Owner, u.Uid)
			}
		}
	}
	if o.Group != "" {
		if gid, err = strconv.Atoi(o.Group); err != nil || gid < 0 {
			g, err := user.LookupGroup(o.Group)
			if err != nil {
				return 0, 0, fmt.Errorf("group of the socket: no group %q on this host", o.Group)
			}
			if gid, err = strconv.Atoi(g.Gid); err != nil {
				return 0, 0, fmt.Errorf("group of the socket: group %q has the id %q", o.Group, g.Gid)
			}
		}
	}
	return uid, gid, nil
}
