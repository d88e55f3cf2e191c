package mailbox

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// settle is how long a file is left alone that was made in place, not moved in
// whole as Maildir asks: its writer may be at it still.
const settle = 200 * time.Millisecond

// Watch calls f for each message that is new in a Maildir, and then for each one
// that comes, until ctx ends, which is no error. It waits for the kernel's notice
// (inotify), so the Maildir has to be on a file system of this host.
func Watch(ctx context.Context, path string, f func(Message) error) error {
	if !IsMaildir(path) {
		return fmt.Errorf("%s: no Maildir (it has no new and cur)", path)
	}
	w, err := newWatcher(path)
	if err != nil {
		return fmt.Errorf("watch %s: %w", path, err)
	}
	defer w.events.Close()
	defer context.AfterFunc(ctx, func() { w.events.SetReadDeadline(time.Unix(1, 0)) })()
	names, err := files(w.new)
	for {
		if err == nil {
			err = w.give(names, f)
		}
		if err == nil {
			names, err = w.next(ctx)
		}
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return fmt.Errorf("watch %s: %w", path, err)
		}
	}
}

type watcher struct {
	maildir, new string
	events       *os.File        // inotify
	seen         map[string]bool // names that were given and are still there
}

func newWatcher(path string) (*watcher, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("inotify: %w", err)
	}
	w := &watcher{maildir: path, new: filepath.Join(path, "new"), events: os.NewFile(uintptr(fd), "inotify"), seen: map[string]bool{}}
	if _, err := unix.InotifyAddWatch(fd, w.new, unix.IN_MOVED_TO|unix.IN_CREATE|unix.IN_CLOSE_WRITE|unix.IN_DELETE_SELF|unix.IN_MOVE_SELF|unix.IN_ONLYDIR); err != nil {
		w.events.Close()
		return nil, fmt.Errorf("inotify: %w", err)
	}
	return w, nil
}

// give reads the messages of these names that were not given before.
func (w *watcher) give(names []string, f func(Message) error) error {
	for _, name := range names {
		if w.seen[name] || strings.HasPrefix(name, ".") {
			continue
		}
		m, err := maildirMessage(filepath.Join(w.new, name))
		if errors.Is(err, fs.ErrNotExist) {
			m, err = w.moved(name)
		}
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		w.seen[name] = true
		m.Err = err
		if err := f(m); err != nil {
			return err
		}
	}
	w.forget()
	return nil
}

// moved finds a message that a mail reader has taken from new to cur already,
// and given flags.
func (w *watcher) moved(name string) (Message, error) {
	found, err := files(filepath.Join(w.maildir, "cur"))
	if err != nil {
		return Message{}, err
	}
	for _, have := range found {
		if base, _, _ := strings.Cut(have, ":"); base == name {
			return maildirMessage(filepath.Join(w.maildir, "cur", have))
		}
	}
	return Message{}, fs.ErrNotExist
}

// forget drops the names that are gone, when they are many. A name of a Maildir
// never comes again.
func (w *watcher) forget() {
	if len(w.seen) < 10_000 {
		return
	}
	for name := range w.seen {
		if _, err := os.Lstat(filepath.Join(w.new, name)); errors.Is(err, fs.ErrNotExist) {
			delete(w.seen, name)
		}
	}
}

// next waits for events, and gives the names that they are about, or all there
// are where events were lost.
func (w *watcher) next(ctx context.Context) ([]string, error) {
	buf := make([]byte, 64<<10)
	n, err := w.events.Read(buf)
	if err != nil {
		return nil, err
	}
	names, lost, writing, err := readEvents(buf[:n])
	if err != nil {
		return nil, err
	}
	if writing {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(settle):
		}
	}
	if lost {
		return files(w.new)
	}
	return names, nil
}

// readEvents takes apart what inotify gives: inotify_event of inotify(7).
func readEvents(buf []byte) (names []string, lost, writing bool, err error) {
	const header = unix.SizeofInotifyEvent
	for len(buf) >= header {
		mask := binary.NativeEndian.Uint32(buf[4:])
		size := int(binary.NativeEndian.Uint32(buf[12:]))
		if size > len(buf)-header {
			break
		}
		name := string(bytes.TrimRight(buf[header:header+size], "\x00"))
		buf = buf[header+size:]
		switch {
		case mask&(unix.IN_DELETE_SELF|unix.IN_MOVE_SELF|unix.IN_IGNORED) != 0:
			return nil, false, false, errors.New("it was removed")
		case mask&unix.IN_Q_OVERFLOW != 0:
			lost = true
		case mask&unix.IN_ISDIR != 0 || name == "":
		default:
			writing = writing || mask&unix.IN_CREATE != 0
			if !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	return names, lost, writing, nil
}
