package ledger

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// Server says where the shared ledger is: a Redis or Valkey server, a cluster
// of them, or what a Sentinel names the master.
type Server struct {
	Addresses []string // host:port; of Sentinels, where SentinelMaster is set
	Cluster   bool     // also true with more than one address and no Sentinel
	// SentinelMaster is the name under which Sentinels know the server.
	SentinelMaster string
	// Username and Password of an ACL user. The Sentinels' are their own.
	Username, Password                 string
	SentinelUsername, SentinelPassword string
	Database                           int         // not in a cluster
	TLS                                *tls.Config // nil: in clear
	// Prefix begins the name of every key. Two sites may share a server by it.
	Prefix string
}

// SharedOptions are those of a ledger that several hosts keep together.
type SharedOptions struct {
	Server Server
	// Host is the name of this host, unlike any other's. "" only looks: nothing
	// is recorded, and nobody waits for its reports.
	Host string
	// Hosts must have reported before "not found" means "not sent". Those that
	// have ever reported count too.
	Hosts  []string
	Secret []byte // 16 bytes or more, the same on all hosts
	Keep   int    // days that are kept beside today's
	// Report is told what an administrator should read. May be nil. Called by
	// one goroutine at a time; must not block.
	Report func(error)
	Now    func() time.Time // nil: time.Now

	// The following have defaults.
	Group time.Duration // records of this long are written as one: 100 ms
	Beat  time.Duration // how often a host reports: 1 s
	Stale time.Duration // a host that was silent for so long may have sent: 3 s
	Queue int           // entries that wait to be written: 100,000
	Wait  time.Duration // for the server, where no mail waits: 2 s
}

// ErrAway: the server has not answered, so that nothing is known.
var ErrAway = errors.New("the server does not answer")

// ErrWell is what Report is told when what it was told before is over.
var ErrWell = errors.New("all is well again")

// Shared is the ledger on a server that several hosts write to, so that the
// proof of what left through one is known to the others.
//
// "Not found" counts only where every host has reported without a gap, and
// where the server shows that it still has what this host wrote to it: each
// look-up reads a mark beside the entry, from the same node. A server that was
// emptied, that fell back to an older copy, or that may throw entries away, is
// noticed by that and not believed.
type Shared struct {
	opts   SharedOptions
	hash   hasher
	client redis.UniversalClient

	mu       sync.Mutex // of all below
	waiting  map[key]int64
	writing  map[key]int64
	own      record
	acked    [marks]uint64   // the marks that the server has taken
	fleet    map[string]seen // by host
	trusted  map[string]trust
	evicting string    // why the server may throw entries away; "" if it does not
	looked   time.Time // when it was last asked for that
	loaded   bool      // own continues what the server had
	down     error     // why look-ups are not tried until the next report
	away     time.Time // since when the server is away; zero if it is there
	failing  error     // why the last report did not get through
	broken   bool      // the server was lost since the last report: another may answer
	doubt    string    // why "not found" means nothing; "" if it means something
	trouble  string    // what was told last
	stopping bool
	counts   counts

	flushMu sync.Mutex // one writer at a time
	wake    chan struct{}
	hurry   chan struct{}
	stop    chan struct{}
	done    chan struct{}
}

var _ Ledger = (*Shared)(nil)

// counts are since the start.
type counts struct{ failures, dropped, lookupErrors, overBudget int64 }

// OpenShared begins to keep a ledger on a server, which need not answer yet.
// The caller must Close it.
func OpenShared(opts SharedOptions) (*Shared, error) {
	if len(opts.Secret) < 16 {
		return nil, errors.New("ledger: secret of less than 16 bytes")
	}
	if opts.Keep < 1 {
		return nil, fmt.Errorf("ledger: keep %d days: want 1 or more", opts.Keep)
	}
	if len(opts.Server.Addresses) == 0 {
		return nil, errors.New("ledger: no address of a server")
	}
	opts.Group = cmp.Or(opts.Group, 100*time.Millisecond)
	opts.Beat = cmp.Or(opts.Beat, time.Second)
	opts.Stale = cmp.Or(opts.Stale, 3*time.Second)
	opts.Queue = cmp.Or(opts.Queue, 100_000)
	opts.Wait = cmp.Or(opts.Wait, 2*time.Second)
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.Report == nil {
		opts.Report = func(error) {}
	}
	quiet()
	now := opts.Now().UTC()
	s := &Shared{
		opts:    opts,
		hash:    newHasher(opts.Secret),
		client:  opts.Server.client(),
		waiting: map[key]int64{},
		own:     record{Instance: rand.Text(), Since: now, Written: now, Days: map[string]int{}},
		fleet:   map[string]seen{},
		down:    ErrAway,
		// Until it has been asked, it is not believed.
		evicting: "the ledger's server was not yet asked whether it throws entries away",

		wake:  make(chan struct{}, 1),
		hurry: make(chan struct{}, 1),
		stop:  make(chan struct{}),
		done:  make(chan struct{}),
	}
	go s.run()
	return s, nil
}

// quiet: the library would write to stderr, for the whole process, what Report is
// told here in better words.
var quiet = sync.OnceFunc(func() { redis.SetLogger(nowhere{}) })

type nowhere struct{}

func (nowhere) Printf(context.Context, string, ...any) {}

func (o Server) client() redis.UniversalClient {
	return redis.NewUniversalClient(&redis.UniversalOptions{
		Addrs: o.Addresses, IsClusterMode: o.Cluster, MasterName: o.SentinelMaster,
		Username: o.Username, Password: o.Password,
		SentinelUsername: o.SentinelUsername, SentinelPassword: o.SentinelPassword,
		DB: o.Database, Dialer: o.dial, TLSConfig: o.TLS, ClientName: "backscatterd",
		// Who waits says for how long, and nothing is tried twice meanwhile.
		ContextTimeoutEnabled: true, MaxRetries: -1, DialerRetries: 1,
		DialTimeout: dialTime, ReadTimeout: 2 * time.Second, WriteTimeout: 2 * time.Second,
		// A client for a few small values needs no large buffers.
		ReadBufferSize: 8 << 10, WriteBufferSize: 8 << 10, PipelinePoolSize: -1,
		// Neither is there on every server that speaks this protocol.
		DisableIdentity:          true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	})
}

// String names the server, for messages.
func (o Server) String() string {
	where := strings.Join(o.Addresses, ",")
	if o.SentinelMaster != "" {
		return o.SentinelMaster + " by " + where
	}
	return where
}

// run writes in groups and reports until Close. OpenShared starts it, Close
// waits for it.
func (s *Shared) run() {
	defer close(s.done)
	next := time.NewTimer(0)
	defer next.Stop()
	settle := func(err, doubt error) {
		if err != nil || doubt != nil {
			next.Reset(min(s.opts.Beat, time.Second)) // until it answers
		} else {
			next.Reset(s.opts.Beat)
		}
	}
	for {
		select {
		case <-s.stop:
			return
		case <-next.C:
			settle(s.beat())
			continue
		case <-s.hurry:
			settle(s.beat())
			continue
		case <-s.wake:
		}
		select {
		case <-s.stop:
			return
		case <-time.After(s.opts.Group):
		}
		if err := s.flush(); err != nil {
			settle(err, nil)
		}
	}
}

// patient waits for the server as long as may be where no mail waits for it.
func (s *Shared) patient() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), s.opts.Wait)
}

// Close writes what waits, says that this host has stopped, and leaves the
// server. What cannot be written by then is a gap, from the last report on.
func (s *Shared) Close() error {
	s.mu.Lock()
	stopped := s.stopping
	s.stopping = true
	s.mu.Unlock()
	if stopped {
		return nil
	}
	close(s.stop)
	<-s.done
	err, _ := s.beat()
	if err != nil && s.opts.Host != "" {
		err = fmt.Errorf("ledger on %s: the last records could not be written: %w", s.opts.Server, err)
	}
	return cmp.Or(err, s.client.Close())
}

// Record implements Ledger. It only touches memory; when more waits than may,
// because the server is away or too slow, the message is dropped and leaves a
// gap.
func (s *Shared) Record(m Message) {
	now := s.opts.Now().UTC()
	entries := s.hash.entries(m, now)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopping || len(s.waiting)+len(s.writing)+len(entries) > s.opts.Queue {
		s.own.gap(now, now, "queue full")
		s.counts.dropped++
		return
	}
	s.own.Days[now.Format(time.DateOnly)]++
	for k, e := range entries {
		if k[0] != kindTotal {
			s.waiting[k] = e.shared(k[0])
		}
	}
	nudge(s.wake)
}

// Missed implements Ledger.
func (s *Shared) Missed() {
	now := s.opts.Now().UTC()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.own.gap(now, now, "message not recorded")
	nudge(s.wake)
}

func nudge(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// The value of an entry is one number, which the server keeps in the place of a
// pointer: when it left, and, of a Message-ID, 31 bits of its sender's hash.
const senderBits = 31

func (e entry) shared(kind byte) int64 {
	if kind != kindMessage {
		return int64(e.at)
	}
	return int64(e.at)<<senderBits | e.senderHash()
}

func (e entry) senderHash() int64 {
	return (int64(e.sender[0])<<24 | int64(e.sender[1])<<16 | int64(e.sender[2])<<8 | int64(e.sender[3])) & (1<<senderBits - 1)
}

func sharedTime(kind byte, v int64) time.Time {
	if kind == kindMessage {
		v >>= senderBits
	}
	return time.Unix(v, 0).UTC()
}
