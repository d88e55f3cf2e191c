// Package mailbox gives the messages of mailboxes one by one: of single files,
// mbox files (RFC 4155), Maildirs, and folders of .eml files; and those that come
// into a Maildir while it is watched.
//
// Mailboxes are read and never changed. Memory is that of one message, of which
// no more than a limit is kept. A message that cannot be read is reported as
// such, and the rest goes on.
package mailbox

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// MaxMessage is how much of a message is kept: more than is read of a bounce.
const MaxMessage = 5 << 20

// Message is one message of a mailbox.
type Message struct {
	// Name is the path of its file; in an mbox, with "#" and its number behind.
	Name string
	Data []byte // the first MaxMessage bytes
	// Stored is when it was put into the mailbox; zero if the mailbox does not
	// tell.
	Stored time.Time
	Err    error // it could not be read; Data is empty
}

// Stdin is the name that stands for the standard input.
const Stdin = "-"

// Read calls f for each message of the mailbox at path, in order. The error is
// that of the mailbox as a whole, of ctx, or of f.
func Read(ctx context.Context, path string, stdin io.Reader, f func(Message) error) error {
	if path == Stdin {
		return readStream(ctx, Stdin, stdin, f)
	}
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	switch {
	case !info.IsDir():
		return readFile(ctx, path, f)
	case IsMaildir(path):
		return readMaildir(ctx, path, f)
	}
	return readFolder(ctx, path, f)
}

// IsMaildir reports whether a folder is a Maildir.
func IsMaildir(path string) bool {
	for _, sub := range []string{"new", "cur"} {
		if info, err := os.Stat(filepath.Join(path, sub)); err != nil || !info.IsDir() {
			return false
		}
	}
	return true
}

func readMaildir(ctx context.Context, path string, f func(Message) error) error {
	for _, sub := range []string{"new", "cur"} {
		names, err := files(filepath.Join(path, sub))
		if err != nil {
			return err
		}
		for _, name := range names {
			if err := ctx.Err(); err != nil {
				return err
			}
			m, err := maildirMessage(filepath.Join(path, sub, name))
			if errors.Is(err, fs.ErrNotExist) {
				continue // its reader has moved or deleted it meanwhile
			}
			m.Err = err
			if err := f(m); err != nil {
				return err
			}
		}
	}
	return nil
}

// maildirMessage reads one message of a Maildir: one file, delivered when its
// file was written.
func maildirMessage(path string) (Message, error) {
	m := Message{Name: path}
	file, err := open(path)
	if err != nil {
		return m, err
	}
	defer file.Close()
	if info, err := file.Stat(); err == nil {
		m.Stored = info.ModTime()
	}
	m.Data, err = io.ReadAll(io.LimitReader(file, MaxMessage))
	return m, err
}

// files are the names of what is no folder and not hidden, sorted.
func files(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if !e.IsDir() && !strings.HasPrefix(e.Name(), ".") {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

func readFolder(ctx context.Context, path string, f func(Message) error) error {
	names, err := files(path)
	if err != nil {
		return err
	}
	names = slices.DeleteFunc(names, func(n string) bool { return !strings.EqualFold(filepath.Ext(n), ".eml") })
	if len(names) == 0 {
		return fmt.Errorf("%s: no Maildir (it has no new and cur), and no .eml file in it", path)
	}
	for _, name := range names {
		name = filepath.Join(path, name)
		err := readFile(ctx, name, f)
		var own *fs.PathError
		if errors.As(err, &own) && own.Path == name {
			err = f(Message{Name: name, Err: err})
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func readFile(ctx context.Context, path string, f func(Message) error) error {
	file, err := open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	return readStream(ctx, path, file, f)
}

// open refuses what would hold us up, such as a named pipe that nobody writes to.
func open(path string) (*os.File, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, &fs.PathError{Op: "read", Path: path, Err: errors.New("not a regular file")}
	}
	return os.Open(path)
}

// readStream reads an mbox, or a single message.
func readStream(ctx context.Context, name string, r io.Reader, f func(Message) error) error {
	in := bufio.NewReaderSize(r, 64<<10)
	if start, _ := in.Peek(len(fromLine)); string(start) == fromLine {
		return readMbox(ctx, name, in, f)
	}
	data, err := io.ReadAll(io.LimitReader(in, MaxMessage))
	if err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	return f(Message{Name: name, Data: data})
}
