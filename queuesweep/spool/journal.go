package spool

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"golang.org/x/sys/unix"
)

// intent is one line of the journal: a change that has been begun. It holds
// what the next process needs to finish or undo it after looking at the disk.
type intent struct {
	Op      string `json:"op"` // move, restore, delete, hold, release
	ID      string `json:"id"`
	Control string `json:"control"` // the control file's name, such as qf6AO0lZlY014484
	From    places `json:"from"`
	To      places `json:"to,omitzero"`
	// Inodes of the control file, where it is rewritten, and of the df, so that
	// no other file of that name is ever taken for it.
	ControlIno uint64 `json:"qf_ino,omitempty"`
	DataIno    uint64 `json:"df_ino,omitempty"`
}

// places are the folders that a message's files lie in, and their inodes: where
// a file system is not mounted, the empty folder below it is none of them.
type places struct {
	Control string    `json:"qf"`
	Data    string    `json:"df"`
	Xscript string    `json:"xf"`
	Inodes  [3]uint64 `json:"inodes"`
}

func placesOf(qf, df, xf *dir) places {
	return places{qf.path, df.path, xf.path, [3]uint64{qf.ino, df.ino, xf.ino}}
}

const (
	journalName    = "journal"
	journalNewName = "journal.new"
)

// journal is the file that tells the next process what this one was about to
// do. It belongs to the holder of the store's lock.
type journal struct {
	store *Store
}

func (j journal) dir() *dir { return j.store.top }

// write makes intents durable, behind those that are there.
func (j journal) write(intents []intent) error {
	return j.append(journalName, unix.O_APPEND, intents)
}

func (j journal) append(name string, flags int, intents []intent) error {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	for _, in := range intents {
		if err := enc.Encode(in); err != nil {
			return fmt.Errorf("journal: %w", err)
		}
	}
	err := j.store.appendFile(j.dir(), name, flags, buf.Bytes())
	if err != nil {
		return fmt.Errorf("journal of the removed store: %w%s", err, hint(err))
	}
	return nil
}

// keep leaves just these intents in the journal: none of them when all is
// finished.
func (j journal) keep(intents []intent) error {
	if len(intents) == 0 {
		top := j.dir()
		fd, err := top.disk.Openat(top.fd, journalName, unix.O_WRONLY|unix.O_NOFOLLOW, 0)
		if err == unix.ENOENT {
			return nil
		}
		if err != nil {
			return fmt.Errorf("open %s/%s: %w", top.path, journalName, err)
		}
		defer top.disk.Close(fd)
		if err := top.disk.Ftruncate(fd, 0); err != nil {
			return fmt.Errorf("empty %s/%s: %w", top.path, journalName, err)
		}
		return nil
	}
	if err := j.append(journalNewName, unix.O_TRUNC, intents); err != nil {
		return err
	}
	if err := j.dir().rename(journalNewName, j.dir(), journalName, true); err != nil {
		return err
	}
	return j.dir().fsync()
}

// read returns what an earlier process has begun and not ended. A last line
// that was cut short was never acted on: a change starts after its intent is
// on the disk. Nor was one with a NUL in it, which no intent has: the power
// went before the fsync, when a part of the file that lies further on had
// reached the disk.
func (j journal) read() (out []intent, empty bool, err error) {
	data, err := readFile(j.dir(), journalName)
	if errors.Is(err, unix.ENOENT) || err == nil && len(data) == 0 {
		return nil, true, nil
	}
	if err != nil {
		return nil, false, err
	}
	for line := range bytes.Lines(data) {
		var in intent
		if bytes.IndexByte(line, 0) >= 0 {
			continue
		}
		if err := json.Unmarshal(line, &in); err != nil {
			if !bytes.HasSuffix(line, []byte("\n")) {
				break
			}
			return nil, false, fmt.Errorf("%s/%s holds a line that is no intent (%w): look at it and remove it", j.dir().path, journalName, err)
		}
		out = append(out, in)
	}
	return out, false, nil
}

// appendFile appends to a file of ours, or makes it, and makes it durable, its
// name too.
func (s *Store) appendFile(d *dir, name string, flags int, data []byte) (err error) {
	flags |= unix.O_WRONLY | unix.O_NOFOLLOW
	fd, err := d.disk.Openat(d.fd, name, flags, 0)
	made := err == unix.ENOENT
	if made {
		fd, err = d.disk.Openat(d.fd, name, flags|unix.O_CREAT, 0o600)
	}
	if err != nil {
		return fmt.Errorf("open %s/%s: %w", d.path, name, err)
	}
	defer func() { err = errors.Join(err, d.disk.Close(fd)) }()
	if err := writeAll(d.disk, fd, data); err != nil {
		return fmt.Errorf("write %s/%s: %w", d.path, name, err)
	}
	if err := d.disk.Fsync(fd); err != nil {
		return fmt.Errorf("fsync %s/%s: %w", d.path, name, err)
	}
	return s.durable(d, name, made)
}

func writeAll(disk Disk, fd int, data []byte) error {
	for len(data) > 0 {
		n, err := disk.Write(fd, data)
		if err != nil {
			return err
		}
		if n == 0 {
			return io.ErrShortWrite
		}
		data = data[n:]
	}
	return nil
}

// readFile reads a whole file of ours.
func readFile(d *dir, name string) ([]byte, error) {
	fd, err := d.disk.Openat(d.fd, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s/%s: %w", d.path, name, err)
	}
	r := &BodyReader{d.disk, fd}
	defer r.Close()
	data, err := io.ReadAll(r)
	if err != nil {
		return nil, fmt.Errorf("read %s/%s: %w", d.path, name, err)
	}
	return data, nil
}
