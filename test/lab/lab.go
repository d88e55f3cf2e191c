package lab

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Layout is how the queue folders of a lab lie.
type Layout int

const (
	// Flat has one folder with the qf, df and xf files in it.
	Flat Layout = iota
	// Split has q1, q2 and q3 (QueueDirectory=.../q*), each with qf/, df/ and xf/.
	Split
	// Groups has the default group in main1 (with qf/ and df/) and a second
	// group, "other", flat in a folder of its own. Recipients in
	// [OtherDomain] belong to the second group.
	Groups
)

func (l Layout) String() string {
	return [...]string{"flat", "split", "groups"}[l]
}

const (
	// Host is the name that the lab's sendmail goes by.
	Host = "mx.lab.example"
	// OtherDomain is the recipients' domain that goes to the second queue
	// group where the layout is [Groups].
	OtherDomain = "other.example"
)

// Options shape a lab; the zero value is a flat queue, mail is only queued and
// never tried until the queue is run, and the stub announces DSN.
type Options struct {
	Layout Layout
	// Background makes the daemon try each message as it comes
	// (confDELIVERY_MODE background), not at the next run of the queue.
	Background bool
	// InMemory puts the queues on /dev/shm. sendmail syncs every file and
	// folder it writes, so that 2,000 messages can take half a minute on a
	// disk; in memory they take a second.
	InMemory bool
	// Port is the daemon's; 0 means a free one.
	Port int
	// MC are lines of m4 put after the lab's own and before the mailers:
	// milters, timeouts, features. They win over the lab's own definitions.
	MC []string
	// NoDSN makes the stub keep quiet about DSN (RFC 3461).
	NoDSN bool
	// Network is the file of the network namespace that the lab lives in, such as
	// /proc/PID/ns/net; "" is the test's own. 127.0.0.1 is that of the namespace.
	Network string
	// ConnectTimeout is how long sendmail waits for a connection, in whole
	// seconds; 0 means one second.
	ConnectTimeout time.Duration
}

// Lab is one sendmail with its queues. The fields do not change after New.
type Lab struct {
	Dir         string   // everything of the lab lies in it, but for queues in memory
	CF          string   // sendmail.cf
	Aliases     string   // alias file, empty; Sendmail(ctx, "-bi") makes a change known
	ClientCF    string   // submit.cf
	QueueRoot   string   // the folder above all queue folders
	Queues      []string // the queue folders, without qf/ or df/
	ClientQueue string   // the client queue's folder, owned by smmsp
	Addr        string   // host:port of the daemon
	Stub        *Stub    // where all mail is sent to

	options Options
	port    int
	sealed  *sealed
	keeper  *keeper

	mu     sync.Mutex
	daemon *daemon

	stories atomic.Int64 // numbers the addresses of the stories
}

// New makes a lab and sees to its end with the test. The daemon is not yet
// running: [Lab.Start] starts it, and all else works without.
func New(tb testing.TB, options Options) *Lab {
	tb.Helper()
	Require(tb)
	l := &Lab{options: options}
	if err := l.build(tb.Cleanup); err != nil {
		tb.Fatalf("making a lab for sendmail: %v", err)
	}
	return l
}

// build makes everything, handing what must be undone to cleanup.
func (l *Lab) build(cleanup func(func())) error {
	var err error
	if l.Dir, err = folderIn("", cleanup); err != nil {
		return err
	}
	l.Aliases = filepath.Join(l.Dir, "aliases")
	queues := l.Dir
	if l.options.InMemory {
		if queues, err = folderIn("/dev/shm", cleanup); err != nil {
			return fmt.Errorf("a folder in memory (do without Options.InMemory where there is no tmpfs): %w", err)
		}
	}
	if err := l.makeQueues(queues); err != nil {
		return err
	}
	if err := l.openPorts(cleanup); err != nil {
		return err
	}
	if err := l.writeConfiguration(); err != nil {
		return err
	}
	if l.keeper, err = startKeeper(l.Dir, l.options.Network); err != nil {
		return err
	}
	// Cleanups run last in, first out: the processes end before the stub they
	// talk to and the folder they write to.
	cleanup(l.end)
	if err := l.writeWrappers(); err != nil {
		return err
	}
	// Without the database of its (empty) alias file sendmail leaves mail for
	// this host in the queue. A test that wants aliases does this again.
	ctx, cancel := context.WithTimeout(context.Background(), startTime)
	defer cancel()
	_, err = l.Sendmail(ctx, "-bi")
	return err
}

// openPorts starts the stub and finds the daemon's port.
func (l *Lab) openPorts(cleanup func(func())) error {
	err := InNetwork(l.options.Network, func() (err error) {
		if l.Stub, err = newStub(!l.options.NoDSN); err != nil {
			return err
		}
		cleanup(l.Stub.close)
		if l.sealed, err = sealedPort(l.Stub.port()); err != nil {
			return err
		}
		cleanup(func() { _ = l.sealed.Close() })
		if l.port = l.options.Port; l.port == 0 {
			l.port, err = freePort()
		}
		return err
	})
	l.Addr = net.JoinHostPort("127.0.0.1", strconv.Itoa(l.port))
	return err
}

// end ends all processes and waits for them.
func (l *Lab) end() {
	l.keeper.stop()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.daemon != nil {
		<-l.daemon.done
		l.daemon = nil
	}
}

// folderIn makes a folder of the lab's own. It is not the test's TempDir: that
// lies under a folder of mode 0700, and the user of the client queue must be
// able to reach its files.
func folderIn(parent string, cleanup func(func())) (string, error) {
	dir, err := os.MkdirTemp(parent, "sendmail-lab-")
	if err != nil {
		return "", err
	}
	cleanup(func() { _ = os.RemoveAll(dir) })
	return dir, os.Chmod(dir, 0o755)
}

// makeQueues makes the queues with the owners and modes that sendmail asks
// for: its own queues for root alone, the client queue for its group.
func (l *Lab) makeQueues(base string) error {
	l.QueueRoot = filepath.Join(base, "queues")
	l.ClientQueue = filepath.Join(base, "client")
	folders := []string{l.QueueRoot}
	queue := func(name string, parts ...string) {
		path := filepath.Join(l.QueueRoot, name)
		l.Queues = append(l.Queues, path)
		folders = append(folders, path)
		for _, part := range parts {
			folders = append(folders, filepath.Join(path, part))
		}
	}
	switch l.options.Layout {
	case Flat:
		queue("mqueue")
	case Split:
		for _, name := range []string{"q1", "q2", "q3"} {
			queue(name, "qf", "df", "xf")
		}
	case Groups:
		queue("main1", "qf", "df")
		queue("other")
	default:
		return fmt.Errorf("layout %d is none: use Flat, Split or Groups", l.options.Layout)
	}
	for _, folder := range folders {
		if err := os.Mkdir(folder, 0o700); err != nil {
			return err
		}
	}
	if err := os.Mkdir(l.ClientQueue, 0o770); err != nil {
		return err
	}
	owner, err := user.Lookup(clientUser)
	if err != nil {
		return err
	}
	uid, err := strconv.Atoi(owner.Uid)
	if err != nil {
		return err
	}
	gid, err := strconv.Atoi(owner.Gid)
	if err != nil {
		return err
	}
	if err := os.Chown(l.ClientQueue, uid, gid); err != nil {
		return err
	}
	return os.Chmod(l.ClientQueue, os.ModeSetgid|0o770) // past the umask
}

// freePort finds a port below those that the kernel hands to outgoing
// connections, so that none of these takes it before the daemon does.
func freePort() (int, error) {
	var last error
	for range 100 {
		port := 20000 + rand.IntN(10000)
		ln, err := net.Listen("tcp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err != nil {
			last = err
			continue
		}
		return port, ln.Close()
	}
	return 0, fmt.Errorf("no free port on 127.0.0.1 in 100 tries, use Options.Port: %w", last)
}
