package milter

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync/atomic"
	"time"

	"github.com/emersion/go-milter"

	"github.com/backscatterd/backscatterd/dsn"
	"github.com/backscatterd/backscatterd/milter/evidence"
	"github.com/backscatterd/backscatterd/milter/internal/frame"
	"github.com/backscatterd/backscatterd/milter/ledger"
)

// Options are what stays while the filter runs.
type Options struct {
	// Ledger remembers mail of ours. May be nil: then nothing is remembered.
	Ledger ledger.Ledger
	Log    *slog.Logger // nil: nothing is said
	// Observer is told what is done. May be nil.
	Observer Observer

	// TempFail defers a message for which the filter fails; else it is accepted.
	TempFail bool

	// The following have defaults.
	MaxConnections int           // further ones are closed at once: 4,000
	HeaderLimit    int           // bytes of header a message that are looked at: 1 MiB
	IdleTimeout    time.Duration // of a connection on which nothing is said: 7,210 s
	FrameTimeout   time.Duration // of a command that has begun to come in: 60 s
	StopTimeout    time.Duration // for messages in hand, when told to stop: 20 s
	Now            func() time.Time
}

// Observer is told what the filter does as it does it. Called concurrently; must
// not block.
type Observer interface {
	// Bounce tells of a bounce, or of what else answers mail: what it is, what
	// it was found to be, and what is done with it.
	Bounce(kind dsn.Kind, verdict evidence.Verdict, action Action)
	// Answered tells how long the answer to the end of a message took.
	Answered(took time.Duration)
}

// Counts are what the filter has done since it began.
type Counts struct {
	frame.Counts
	Messages int64 // that came to their end, or were let go before it
	Outgoing int64 // of ours
	Suspect  int64 // bounces, by verdict
	Legit    int64
	Unknown  int64
}

// Filter is the milter. It may be used concurrently.
type Filter struct {
	opts   Options
	server *frame.Server
	rules  atomic.Pointer[rules]

	messages, outgoing      atomic.Int64
	suspect, legit, unknown atomic.Int64
}

// What is asked of the MTA. All but the end of the header and the end of the
// message goes unanswered: what an answer costs both sides is more than what a
// body costs of which nothing is wanted any more.
const (
	wantedActions = milter.OptAddHeader | milter.OptChangeHeader | milter.OptAddRcpt | milter.OptRemoveRcpt |
		milter.OptQuarantine | milter.OptChangeFrom | milter.OptSetSymList
	wantedProtocol = milter.OptNoUnknown | milter.OptNoData | milter.OptNoBodyReply |
		milter.OptNoConnReply | milter.OptNoHeloReply | milter.OptNoMailReply | milter.OptNoRcptReply | milter.OptNoHeaderReply
)

// New makes a filter with a policy; Serve starts it.
func New(o Options, p Policy) (*Filter, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.StopTimeout == 0 {
		o.StopTimeout = 20 * time.Second
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	f := &Filter{opts: o}
	if err := f.Use(p); err != nil {
		return nil, err
	}
	onError := milter.RespAccept
	if o.TempFail {
		onError = milter.RespTempFail
	}
	f.server = frame.NewServer(frame.Options{
		New:     func(s *frame.State) milter.Milter { return &session{filter: f, state: s} },
		Actions: wantedActions, Protocol: wantedProtocol,
		Macros: map[milter.Stage][]string{
			milter.StageMailFrom: {"i", "{auth_authen}", "{mail_addr}"},
			milter.StageEOM:      {"i", "{msg_id}"},
		},
		OnError:     onError,
		Report:      func(err error) { o.Log.Error("milter", "error", err) },
		MaxConns:    o.MaxConnections,
		HeaderLimit: o.HeaderLimit, IdleTimeout: o.IdleTimeout, FrameTimeout: o.FrameTimeout,
	})
	return f, nil
}

// Use makes a policy the one of all messages that begin from now on. Those in
// hand go on with the one they began with.
func (f *Filter) Use(p Policy) error {
	r, err := compile(p)
	if err != nil {
		return err
	}
	f.rules.Store(r)
	return nil
}

// Serve serves on the listeners, which it closes, until ctx ends; it then waits
// for the messages in hand, as long as StopTimeout allows. The error is that of a
// listener that failed, or says that messages were cut off. Call it once.
func (f *Filter) Serve(ctx context.Context, listeners []net.Listener) error {
	ended := make(chan error, len(listeners))
	for _, ln := range listeners {
		go func() { ended <- f.server.Serve(ln) }()
	}
	var failure error
	left := len(listeners)
	select {
	case <-ctx.Done():
	case failure = <-ended:
		left--
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), f.opts.StopTimeout)
	defer cancel()
	drained := f.server.Shutdown(stop)
	for range left {
		failure = errors.Join(failure, <-ended)
	}
	if ctx.Err() != nil {
		return drained
	}
	return errors.Join(fmt.Errorf("milter: %w", failure), drained)
}

// Counts returns the counters.
func (f *Filter) Counts() Counts {
	return Counts{
		Counts: f.server.Counts(), Messages: f.messages.Load(), Outgoing: f.outgoing.Load(),
		Suspect: f.suspect.Load(), Legit: f.legit.Load(), Unknown: f.unknown.Load(),
	}
}

func (f *Filter) count(kind dsn.Kind, v evidence.Verdict, a Action) {
	if o := f.opts.Observer; o != nil {
		o.Bounce(kind, v, a)
	}
	switch v {
	case evidence.Suspect:
		f.suspect.Add(1)
	case evidence.Legit:
		f.legit.Add(1)
	default:
		f.unknown.Add(1)
	}
}
