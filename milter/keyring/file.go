package keyring

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	keySuffix    = ".key"
	secretSuffix = ".secret"
	maxFileSize  = 4096

	keyHead    = "backscatterd key 1"
	secretHead = "backscatterd secret 1"
)

func (k Key) encode() []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\nnumber %d\ncreated %s\n", keyHead, k.Number, k.Created.UTC().Format(time.RFC3339))
	if !k.Retired.IsZero() {
		fmt.Fprintf(&b, "retired %s\n", k.Retired.UTC().Format(time.RFC3339))
	}
	fmt.Fprintf(&b, "secret %s\n", base64.StdEncoding.EncodeToString(k.secret))
	return []byte(b.String())
}

// decode reads what encode wrote: a first line, then a name and a value a line.
func decode(content []byte) (Key, error) {
	head, rest, _ := strings.Cut(string(content), "\n")
	if head != keyHead {
		return Key{}, fmt.Errorf("not a key file: its first line is not %q", keyHead)
	}
	k := Key{Number: -1}
	for line := range strings.Lines(rest) {
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		var err error
		switch name {
		case "number":
			if k.Number, err = strconv.Atoi(value); err == nil && (k.Number < 0 || k.Number > 9) {
				err = errors.New("not a digit")
			}
		case "created":
			k.Created, err = time.Parse(time.RFC3339, value)
		case "retired":
			k.Retired, err = time.Parse(time.RFC3339, value)
		case "secret":
			k.secret, err = base64.StdEncoding.DecodeString(value)
		default:
			err = errors.New("unknown name")
		}
		if err != nil {
			// Not the value: it may be the secret.
			return Key{}, fmt.Errorf("damaged key file: cannot read its line %q", name)
		}
	}
	if k.Number < 0 || k.Created.IsZero() || len(k.secret) < 16 {
		return Key{}, errors.New("damaged key file: it lacks a number, a date or a secret of 16 bytes or more")
	}
	return k, nil
}

func encodeSecret(secret []byte) []byte {
	return []byte(secretHead + "\nsecret " + base64.StdEncoding.EncodeToString(secret) + "\n")
}

func decodeSecret(content []byte) ([]byte, error) {
	value, ok := strings.CutPrefix(string(content), secretHead+"\nsecret ")
	secret, err := base64.StdEncoding.DecodeString(strings.TrimSuffix(value, "\n"))
	if !ok || err != nil || len(secret) != 32 {
		return nil, errors.New("damaged secret file")
	}
	return secret, nil
}

// checkFolder refuses a folder in which others could put a key of theirs.
func (f *Folder) checkFolder() error {
	info, err := os.Stat(f.dir)
	if err != nil {
		return fmt.Errorf("keys folder: %w", err)
	}
	if !info.IsDir() {
		return fmt.Errorf("keys folder %s: not a folder", f.dir)
	}
	if info.Mode().Perm()&0o022 != 0 {
		return fmt.Errorf("keys folder %s: mode %04o lets others write into it; run: chmod go-w %s", f.dir, info.Mode().Perm(), f.dir)
	}
	return nil
}

// read returns a file that nobody but its owner can read.
func (f *Folder) read(name string) ([]byte, error) {
	path := filepath.Join(f.dir, name)
	// O_NONBLOCK: a named pipe must not hold us up.
	file, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: not a regular file; remove it", path)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("%s: mode %04o lets others read it; if nobody did, run: chmod 600 %s; else make a new key and remove this one",
			path, info.Mode().Perm(), path)
	}
	if owner := info.Sys().(*syscall.Stat_t).Uid; owner != 0 && int(owner) != os.Geteuid() && os.Geteuid() != 0 {
		return nil, fmt.Errorf("%s: belongs to user %d, neither root nor us; run: chown %d %s", path, owner, os.Geteuid(), path)
	}
	content, err := io.ReadAll(io.LimitReader(file, maxFileSize+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	if len(content) > maxFileSize {
		return nil, fmt.Errorf("%s: longer than %d bytes, so not one of ours; remove it", path, maxFileSize)
	}
	return content, nil
}

// write puts a file into the folder: it is there whole, after a crash too, or
// not at all. It belongs to the folder's owner, so that a key made by root can
// be read by the daemon.
func (f *Folder) write(name string, content []byte, replace bool) (err error) {
	path := filepath.Join(f.dir, name)
	folder, err := os.Stat(f.dir)
	if err != nil {
		return err
	}
	temp, err := os.CreateTemp(f.dir, ".new-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(temp.Name())
	defer temp.Close()
	if os.Geteuid() == 0 {
		owner := folder.Sys().(*syscall.Stat_t)
		if err := temp.Chown(int(owner.Uid), int(owner.Gid)); err != nil {
			return err
		}
	}
	if _, err := temp.Write(content); err != nil {
		return err
	}
	if err := temp.Sync(); err != nil {
		return err
	}
	if replace {
		err = os.Rename(temp.Name(), path)
	} else {
		err = os.Link(temp.Name(), path)
	}
	if err != nil {
		return err
	}
	return syncFolder(f.dir)
}

func syncFolder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// lock makes the folder if need be, and keeps other processes from changing it.
func (f *Folder) lock() (unlock func(), err error) {
	if err := os.MkdirAll(f.dir, 0o700); err != nil {
		return nil, fmt.Errorf("keys folder: %w", err)
	}
	if err := f.checkFolder(); err != nil {
		return nil, err
	}
	d, err := os.Open(f.dir)
	if err != nil {
		return nil, fmt.Errorf("keys folder: %w", err)
	}
	for {
		err = unix.Flock(int(d.Fd()), unix.LOCK_EX)
		if err == nil {
			return func() { d.Close() }, nil
		}
		if !errors.Is(err, unix.EINTR) {
			d.Close()
			return nil, &fs.PathError{Op: "lock", Path: f.dir, Err: err}
		}
	}
}

func isID(s string) bool {
	for _, c := range []byte(s) {
		if !('0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z') {
			return false
		}
	}
	return s != "" && len(s) <= 32
}
