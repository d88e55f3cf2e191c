package spool

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Kind is the first letter of a control file's name.
type Kind byte

const (
	Active Kind = 'q' // qf: sendmail delivers it
	Held   Kind = 'h' // hf: quarantined
	Lost   Kind = 'Q' // Qf: sendmail found it bad and set it aside
)

// maxName is the length beyond which sendmail passes over a name.
const maxName = 20

// Entry names one control file. It is a value, cheap to copy, and says nothing
// of whether the file is still there.
type Entry struct {
	Folder *Folder
	Kind   Kind
	ID     string
	// Odd tells why the name is no control file that could be acted on: an id
	// with other characters than letters and digits, or no regular file. "" is
	// the normal case.
	Odd string

	regular bool // the folder said so
}

func (e Entry) name() string { return string([]byte{byte(e.Kind), 'f'}) + e.ID }

// Path is the control file's path, for messages.
func (e Entry) Path() string { return e.Folder.qf.path + "/" + e.name() }

// Entries calls yield for each control file of the folder, in the order that
// the file system gives them, a few thousand names in memory at most. An error
// of yield ends it and is returned.
func (f *Folder) Entries(ctx context.Context, yield func(Entry) error) error {
	return f.qf.each(ctx, func(name []byte, typ byte) error {
		if len(name) < 3 || name[1] != 'f' || len(name) > maxName && validID(name[2:]) {
			return nil
		}
		kind := Kind(name[0])
		if kind != Active && kind != Held && kind != Lost {
			return nil
		}
		e := Entry{Folder: f, Kind: kind, ID: string(name[2:])}
		switch {
		case !validID(name[2:]):
			e.Odd = "the name holds no queue id"
		case typ != unix.DT_REG && typ != unix.DT_UNKNOWN:
			e.Odd = "it is no regular file but a " + typeName(typ)
		default:
			e.regular = typ == unix.DT_REG
		}
		return yield(e)
	})
}

func validID(id []byte) bool {
	for _, c := range id {
		if c < '0' || c > '9' && c < 'A' || c > 'Z' && c < 'a' || c > 'z' {
			return false
		}
	}
	return len(id) > 0
}

func typeName(typ byte) string {
	switch typ {
	case unix.DT_DIR:
		return "folder"
	case unix.DT_LNK:
		return "symbolic link"
	case unix.DT_FIFO:
		return "fifo"
	case unix.DT_SOCK:
		return "socket"
	case unix.DT_BLK, unix.DT_CHR:
		return "device"
	}
	return "file of unknown type"
}

// each reads the folder in chunks, on a descriptor of its own, so that several
// may read at once. name is valid during the call only.
func (d *dir) each(ctx context.Context, yield func(name []byte, typ byte) error) error {
	fd, err := d.disk.Openat(d.fd, ".", openDirFlags, 0)
	if err != nil {
		return fmt.Errorf("open folder %s: %w", d.path, err)
	}
	defer d.disk.Close(fd)
	buf := make([]byte, 64<<10)
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := d.disk.ReadDirent(fd, buf)
		if err != nil {
			return fmt.Errorf("read folder %s: %w", d.path, err)
		}
		if n <= 0 {
			return nil
		}
		if err := eachDirent(buf[:n], yield); err != nil {
			return err
		}
	}
}

// eachDirent goes over records as getdents64(2) writes them: inode (8 bytes),
// offset (8), length of the record (2), type (1), name and a NUL.
func eachDirent(buf []byte, yield func(name []byte, typ byte) error) error {
	const header = 19
	for len(buf) >= header {
		length := int(binary.NativeEndian.Uint16(buf[16:]))
		if length < header || length > len(buf) {
			return errors.New("read folder: a record of impossible length")
		}
		name := buf[header:length]
		if i := bytes.IndexByte(name, 0); i >= 0 {
			name = name[:i]
		}
		if err := yield(name, buf[18]); err != nil {
			return err
		}
		buf = buf[length:]
	}
	return nil
}
