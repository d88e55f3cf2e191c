package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// ControlFile is the path of a message's control file: qf, hf if it is
// quarantined, Qf if sendmail set it aside. The error is fs.ErrNotExist where
// there is none in any queue of the lab.
func (l *Lab) ControlFile(id string) (string, error) {
	return l.find(id, "qf", "qf", "hf", "Qf")
}

// DataFile is the path of a message's df, wherever in the lab's queues it lies.
func (l *Lab) DataFile(id string) (string, error) {
	return l.find(id, "df", "df")
}

func (l *Lab) find(id, sub string, prefixes ...string) (string, error) {
	for _, queue := range append([]string{l.ClientQueue}, l.Queues...) {
		for _, folder := range []string{queue, filepath.Join(queue, sub)} {
			for _, prefix := range prefixes {
				name := filepath.Join(folder, prefix+id)
				if _, err := os.Lstat(name); err == nil {
					return name, nil
				}
			}
		}
	}
	return "", fmt.Errorf("message %s has no %s file in the lab's queues: %w", id, sub, fs.ErrNotExist)
}

// Edit replaces the first line of a control file that begins with this code,
// under sendmail's lock: Edit(ctx, id, 'N', "57") makes a message that was
// tried 57 times of one that was tried once. The file gets a new inode with
// the old owner and mode, as when sendmail rewrites it. Edit waits while
// sendmail delivers the message.
func (l *Lab) Edit(ctx context.Context, id string, code byte, value string) error {
	for {
		err := l.edit(id, code, value)
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return err
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("waiting for sendmail's lock on message %s: %w", id, ctx.Err())
		}
	}
}

func (l *Lab) edit(id string, code byte, value string) error {
	name, err := l.ControlFile(id)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return err
	}
	locked, err := f.Stat()
	if err != nil {
		return err
	}
	// sendmail renames a new file onto the name: then the lock is on the old.
	if named, err := os.Lstat(name); err != nil || !os.SameFile(locked, named) {
		return unix.EWOULDBLOCK
	}
	text, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	lines := bytes.SplitAfter(text, []byte("\n"))
	for i, line := range lines {
		if len(line) > 0 && line[0] == code {
			lines[i] = fmt.Appendf(nil, "%c%s\n", code, value)
			return replace(name, locked, bytes.Join(lines, nil))
		}
	}
	return fmt.Errorf("message %s has no line %c in %s", id, code, name)
}

// replace puts new text in the place of a file, with its owner and mode.
func replace(name string, old fs.FileInfo, text []byte) error {
	temporary := filepath.Join(filepath.Dir(name), "lab-edit-"+filepath.Base(name))
	if err := os.WriteFile(temporary, text, 0o600); err != nil {
		return err
	}
	owner := old.Sys().(*syscall.Stat_t)
	err := os.Chown(temporary, int(owner.Uid), int(owner.Gid))
	if err == nil {
		err = os.Chmod(temporary, old.Mode())
	}
	if err == nil {
		err = os.Rename(temporary, name)
	}
	if err != nil {
		_ = os.Remove(temporary)
	}
	return err
}
