package ledger

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"
	"time"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
	"golang.org/x/sys/unix"
)

// ErrInUse: another process has the ledger open.
var ErrInUse = errors.New("another backscatterd has it open; stop that one, or give this one a ledger of its own")

// Damaged reports a ledger file that could not be trusted. It was renamed, and a
// new, empty ledger took its place: what it knew no longer counts, and the
// warm-up begins again.
type Damaged struct {
	File  string // where the file is now; "" where it could not be renamed
	Cause error

	panicked bool // bbolt may hold its locks for ever
}

func (d *Damaged) Error() string {
	return fmt.Sprintf("ledger was damaged, started anew, warm-up begins again; old file kept as %s: %v", cmp.Or(d.File, "(not renamed)"), d.Cause)
}

func (d *Damaged) Unwrap() error { return d.Cause }

// Options of the embedded ledger.
type Options struct {
	File   string
	Secret []byte // 16 bytes or more; another secret makes the file worthless
	Keep   int    // days that are kept beside today's
	// Report is told what an administrator should read: damage, a full disk
	// and its end. May be nil. Called by one goroutine at a time; must not block.
	Report func(error)
	Now    func() time.Time // nil: time.Now

	// The following have defaults.
	Group     time.Duration // records of this long are written as one: 500 ms
	Heartbeat time.Duration // how often an idle ledger notes that it runs: 1 minute
	Queue     int           // entries that wait to be written: 100,000
}

// Embedded is the ledger in a file of this host, on bbolt: a bucket a day. A
// crash loses the last group at worst, and the time it stood for counts as a
// gap.
type Embedded struct {
	opts Options
	hash hasher

	mu       sync.Mutex // of all below
	waiting  map[key]entry
	writing  map[key]entry // handed to bbolt, not yet safe
	group    uint64        // number of the group in writing, or of the last one
	cover    coverage
	failing  error // why the last write failed
	failures int64 // writes that failed
	dropped  int64 // messages that left unrecorded since too much waited
	expired  string
	stopping bool

	fileMu sync.RWMutex // held shared for as long as db is used
	db     *bbolt.DB

	flushMu sync.Mutex // one flush at a time
	wake    chan struct{}
	stop    chan struct{}
	done    chan struct{}
}

var _ Ledger = (*Embedded)(nil)

// Open opens the ledger, or makes it. A damaged one is set aside and reported.
// The caller must Close it.
func Open(opts Options) (*Embedded, error) {
	if len(opts.Secret) < 16 {
		return nil, errors.New("ledger: secret of less than 16 bytes")
	}
	if opts.Keep < 1 {
		return nil, fmt.Errorf("ledger: keep %d days: want 1 or more", opts.Keep)
	}
	opts.Group = cmp.Or(opts.Group, 500*time.Millisecond)
	opts.Heartbeat = cmp.Or(opts.Heartbeat, time.Minute)
	opts.Queue = cmp.Or(opts.Queue, 100_000)
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.Report == nil {
		opts.Report = func(error) {}
	}
	l := &Embedded{
		opts:    opts,
		hash:    newHasher(opts.Secret),
		waiting: map[key]entry{},
		wake:    make(chan struct{}, 1),
		stop:    make(chan struct{}),
		done:    make(chan struct{}),
	}
	if err := os.MkdirAll(filepath.Dir(opts.File), 0o750); err != nil {
		return nil, fmt.Errorf("ledger: %w", err)
	}
	if err := l.openFile(); err != nil {
		return nil, fmt.Errorf("ledger %s: %w", opts.File, err)
	}
	l.beat() // what the status says is of this run from here on
	go l.run()
	return l, nil
}

// openFile opens a sound file, or a new one in the place of a damaged one.
func (l *Embedded) openFile() error {
	err := l.trustFile()
	if err == nil {
		err = l.load()
	}
	var damage *Damaged
	if !errors.As(err, &damage) {
		return err
	}
	if err := l.setAside(damage); err != nil {
		return err
	}
	return l.load()
}

// trustFile reads the whole file before bbolt does. A file that is in use is
// left alone: it changes while it is read.
func (l *Embedded) trustFile() error {
	file, err := os.Open(l.opts.File)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer file.Close()
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); errors.Is(err, unix.EWOULDBLOCK) {
		return ErrInUse
	} else if err != nil {
		return fmt.Errorf("lock: %w", err)
	}
	info, err := file.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return errors.New("not a regular file; remove it, or name another")
	}
	if info.Size() == 0 {
		return nil // bbolt had no time to begin
	}
	if err := verify(file, info.Size()); err != nil {
		return &Damaged{Cause: err}
	}
	return nil
}

func (l *Embedded) setAside(damage *Damaged) error {
	aside := l.opts.File + ".damaged-" + l.opts.Now().UTC().Format("20060102T150405.000000000")
	if err := os.Rename(l.opts.File, aside); err != nil {
		return fmt.Errorf("set a damaged file aside: %w", err)
	}
	damage.File = aside
	l.opts.Report(damage)
	return nil
}

// load opens bbolt, checks that the file is of this secret, and reads the
// coverage, to which the time since the last heartbeat is added as a gap.
func (l *Embedded) load() error {
	var db *bbolt.DB
	err := guard(func() (err error) {
		db, err = bbolt.Open(l.opts.File, 0o600, &bbolt.Options{
			Timeout:         time.Second,
			FreelistType:    bbolt.FreelistMapType,
			InitialMmapSize: 64 << 20, // so that growing seldom waits for readers
			NoStatistics:    true,
		})
		return err
	})
	if errors.Is(err, berrors.ErrTimeout) {
		return ErrInUse
	}
	if err != nil {
		return err
	}
	db.AllocSize = 1 << 20 // the file grows by this; 16 MB is much for a small host
	now := l.opts.Now()
	var cover coverage
	err = guard(func() error {
		return db.Update(func(tx *bbolt.Tx) (err error) {
			cover, err = l.loadMeta(tx, now)
			return err
		})
	})
	if err != nil {
		var damage *Damaged
		if !errors.As(err, &damage) || !damage.panicked {
			db.Close()
		}
		return err
	}
	l.db = db
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cover = cover
	l.group = max(l.group, cover.group)
	return nil
}

// guard turns what bbolt does about a damaged file, a panic or a fault in its
// mapped memory, into a *Damaged.
func guard(f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = &Damaged{Cause: fmt.Errorf("bbolt: %v", p), panicked: true}
		}
	}()
	err = f()
	for _, sign := range []error{berrors.ErrInvalid, berrors.ErrChecksum, berrors.ErrVersionMismatch} {
		if errors.Is(err, sign) {
			return &Damaged{Cause: err}
		}
	}
	return err
}

// withFile runs f on the file as it is. If it turns out damaged, a new one takes
// its place before the error is returned.
func (l *Embedded) withFile(f func(*bbolt.DB) error) error {
	l.fileMu.RLock()
	db := l.db
	if db == nil {
		l.fileMu.RUnlock()
		return errors.New("no file is open")
	}
	err := guard(func() error { return f(db) })
	l.fileMu.RUnlock()
	var damage *Damaged
	if errors.As(err, &damage) {
		l.replaceFile(db, damage)
	}
	return err
}

// replaceFile starts anew while the mail flows. The old file stays open: after
// a panic, bbolt's Close may wait for ever for a lock that the panic kept.
func (l *Embedded) replaceFile(broken *bbolt.DB, damage *Damaged) {
	l.fileMu.Lock()
	defer l.fileMu.Unlock()
	if l.db != broken {
		return // another goroutine was faster
	}
	l.db = nil
	err := l.setAside(damage)
	if err == nil {
		err = l.load()
	}
	if err != nil {
		l.opts.Report(fmt.Errorf("ledger %s: cannot start anew, will go on trying: %w", l.opts.File, err))
	}
}

// reopen tries again where replaceFile failed.
func (l *Embedded) reopen() error {
	l.fileMu.Lock()
	defer l.fileMu.Unlock()
	if l.db != nil {
		return nil
	}
	return l.openFile()
}

// Close writes what waits and closes the file. From then on, messages go
// unrecorded.
func (l *Embedded) Close() error {
	l.mu.Lock()
	stopped := l.stopping
	l.stopping = true
	l.mu.Unlock()
	if stopped {
		return nil
	}
	close(l.stop)
	<-l.done
	err := l.flush()
	if statusErr := l.writeStatus(); err == nil {
		err = statusErr
	}
	l.fileMu.Lock()
	defer l.fileMu.Unlock()
	if l.db == nil {
		return err
	}
	closeErr := guard(l.db.Close)
	l.db = nil
	return cmp.Or(err, closeErr)
}
