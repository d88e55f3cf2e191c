package queuesweep

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Audit is the append-only log of what was done: a JSON object a line. Safe for
// concurrent use; Reopen goes with logrotate.
type Audit struct {
	path string
	host string

	failures atomic.Int64
	failing  atomic.Bool

	mu   sync.Mutex
	file *os.File
}

// Failures is how many lines could not be written.
func (a *Audit) Failures() int64 { return a.failures.Load() }

// Failing tells that the last line could not be written.
func (a *Audit) Failing() bool { return a.failing.Load() }

// OpenAudit opens the audit log, and makes it, and the folder it lies in, where
// they are not there.
func OpenAudit(path string) (*Audit, error) {
	host, err := os.Hostname()
	if err != nil {
		return nil, fmt.Errorf("audit log: %w", err)
	}
	a := &Audit{path: path, host: host}
	if err := os.Mkdir(filepath.Dir(path), 0o750); err != nil && !errors.Is(err, os.ErrExist) {
		return nil, fmt.Errorf("audit log: %w (name another file in audit.file)", err)
	}
	return a, a.Reopen()
}

// Reopen opens the file anew under its name and then closes the old one.
func (a *Audit) Reopen() error {
	f, err := os.OpenFile(a.path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o640)
	if err != nil {
		return fmt.Errorf("audit log: %w (name another file in audit.file)", err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	old := a.file
	a.file = f
	if old != nil {
		return closed(old)
	}
	return nil
}

// Close closes the file.
func (a *Audit) Close() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return closed(a.file)
}

// closed closes a file. Linux has done so also where a signal has interrupted it.
func closed(f *os.File) error {
	if err := f.Close(); !errors.Is(err, unix.EINTR) {
		return err
	}
	return nil
}

// stamp is what the audit log has beyond a line of --json.
type stamp struct {
	Time time.Time `json:"time"`
	Run  string    `json:"run"`
	Host string    `json:"host"`
}

func (a *Audit) result(now time.Time, run string, r Result) error {
	return a.write(struct {
		stamp
		Result
	}{stamp{now, run, a.host}, r})
}

func (a *Audit) summary(now time.Time, run string, s Summary) error {
	return a.write(struct {
		stamp
		Summary
	}{stamp{now, run, a.host}, s})
}

// write appends one line by one call, so that lines of several processes do
// not mix.
func (a *Audit) write(v any) error {
	line, err := JSONLine(v)
	if err != nil {
		return fmt.Errorf("audit log: %w", err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	_, err = a.file.Write(line)
	a.failing.Store(err != nil)
	if err != nil {
		a.failures.Add(1)
		return fmt.Errorf("audit log: %w (nothing more is done before it can be written)", err)
	}
	return nil
}
