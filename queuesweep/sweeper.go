package queuesweep

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"time"

	"github.com/backscatterd/backscatterd/queuesweep/rule"
	"github.com/backscatterd/backscatterd/queuesweep/spool"
)

// Options are what a Sweeper needs to know.
type Options struct {
	// Places names the queue folders. It is asked for each run anew, since
	// folders of a wildcard come and go.
	Places func() ([]spool.Place, error)
	Disk   spool.Disk
	// Store is the path of the removed store.
	Store string
	// Workers is how many messages are read at the same time.
	Workers int
	// MaxControlFile is the size in bytes beyond which a control file is left
	// alone.
	MaxControlFile int64
	// PlainReads has files read by the plain system calls only, where else
	// io_uring would be used.
	PlainReads bool
	// MaxShare (of the messages in the queue, 0 to 1) and MaxMessages bound
	// what one sweep acts on. Zero is no limit.
	MaxShare    float64
	MaxMessages int
	// LockWait is how long to wait for another process that has the store.
	LockWait time.Duration
	// Sendmail is the path of the sendmail command, for Expire.
	Sendmail string
	// RunExpired is what runs it, where this process may not; nil is RunExpired
	// of this package.
	RunExpired func(ctx context.Context, cf, id string) (output []byte, err error)
	// Bounce is nil where no rule bounces.
	Bounce *BounceOptions
	// Audit may be nil where nothing is going to be done.
	Audit *Audit
	Log   *slog.Logger
	Now   func() time.Time
	// Looked, if set, is told of each so many messages that a look at the queues
	// has got over, from several goroutines.
	Looked func(n int)
}

// Sweeper looks at queues and acts on them. Safe for concurrent use: runs that
// change something take turns at the store's lock.
type Sweeper struct {
	Options
}

// New makes a Sweeper.
func New(o Options) *Sweeper { return &Sweeper{Options: o} }

// SetupError tells that nothing was looked at or done, since no queue folder, or
// not the removed store, can be used.
type SetupError struct{ Err error }

func (e *SetupError) Error() string { return e.Err.Error() }
func (e *SetupError) Unwrap() error { return e.Err }

// open opens the queue folders. Those that cannot be opened are returned as an
// error beside a usable spool; if none can, it is a *SetupError.
func (s *Sweeper) open() (*spool.Spool, error) {
	places, err := s.Places()
	if len(places) == 0 && err != nil {
		return nil, &SetupError{err}
	}
	sp, openErr := spool.Open(s.Disk, places)
	if err = errors.Join(err, openErr); sp == nil {
		return nil, &SetupError{err}
	}
	return sp, err
}

// run is one run: what it is going to tell, and to whom.
type run struct {
	*Sweeper
	id        string
	dry       bool
	set       *rule.Set
	rules     []rule.Rule
	emit      func(Result)
	spool     *spool.Spool
	store     *spool.Store
	target    *spool.Folder // of MoveTo, instead of the store
	elsewhere *spool.Spool  // of the target, where it is no folder of spool
	judging   bool          // not where a person named the messages
	judges    []*rule.Judge // of the goroutines that act
	limited   bool
	batch     int       // how many messages are acted on at once
	surveyor  *surveyor // nil where nobody asked what the queues are like
	began     time.Time
	sum       Summary

	preview func(Result, func(io.Writer) error) error // of bounces, in a dry run
	bounced map[string]int                            // by domain, in the last hour; nil if not counted yet
	tried   map[string]bool                           // messages that this run has tried to send a bounce of, or have one sent

	unfinished int // changes that were made, and of which something is left to do
	stuck      int // changes of a killed process that cannot be ended yet
}

func (s *Sweeper) newRun(set *rule.Set, dry bool, emit func(Result)) *run {
	r := &run{
		Sweeper: s, id: rand.Text()[:12], dry: dry, set: set, emit: emit,
		began: s.Now(), batch: spool.BatchSize(), sum: Summary{Summary: true, DryRun: dry}, tried: make(map[string]bool),
	}
	if set != nil {
		r.rules = set.Rules()
	}
	return r
}

// prepare opens what the run needs. A dry run opens no store.
func (r *run) prepare(ctx context.Context) (partial, err error) {
	if r.Bounce == nil && slices.ContainsFunc(r.rules, func(rl rule.Rule) bool { return rl.Do == rule.Bounce }) {
		return nil, errors.New("a rule bounces, and nothing says how")
	}
	if r.spool, partial = r.open(); r.spool == nil {
		return nil, partial
	}
	if r.dry {
		return partial, nil
	}
	if r.Audit == nil {
		r.close()
		return nil, errors.New("no audit log is open: nothing is done without one")
	}
	if r.store, err = spool.OpenStore(r.Disk, r.Store); err != nil {
		err = &SetupError{err}
	} else {
		err = r.recover(ctx)
	}
	if err != nil {
		r.close()
		return nil, err
	}
	return partial, nil
}

// recover ends what a killed process has left. What cannot be ended keeps its
// own message from being changed, and no other.
func (r *run) recover(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, r.LockWait)
	defer cancel()
	var told error
	r.store.Ended = func(e spool.Ended) { told = errors.Join(told, r.tellEnded(e)) }
	_, err := r.store.Recover(ctx)
	if left := new(spool.UnendedError); errors.As(err, &left) {
		err, r.stuck = nil, len(left.Changes)
		for _, u := range left.Changes {
			told = errors.Join(told, r.tellStuck(u))
		}
	}
	return errors.Join(err, told)
}

// tellStuck tells of a change that a killed process had begun and that cannot be
// ended yet. It is no result of this run either.
func (r *run) tellStuck(u spool.Unended) error {
	r.Log.Error("a change that was interrupted cannot be ended yet", "run", r.id, "id", u.ID, "queue", u.From, "action", u.Op, "error", u.Err)
	return r.Audit.result(r.Now(), r.id, Result{
		ID: u.ID, Queue: u.From, Action: Verb(u.Op), Result: Failed, Recipients: []string{}, Error: u.Err.Error(),
	})
}

// tellEnded tells of a change that a killed process had begun, since that one
// may not have come to telling it. It is no result of this run.
func (r *run) tellEnded(e spool.Ended) error {
	r.Log.Warn("finished or undid a change that was interrupted", "run", r.id, "id", e.ID, "queue", e.From, "action", e.Op)
	return r.Audit.result(r.Now(), r.id, Result{
		ID: e.ID, Queue: e.From, Action: Verb(e.Op), Result: Done, Recipients: []string{},
		Note: "interrupted before: now finished, or undone where it was not yet made",
	})
}

func (r *run) close() {
	if r.spool != nil {
		r.spool.Close()
	}
	if r.elsewhere != nil {
		r.elsewhere.Close()
	}
	if r.store != nil {
		r.store.Close()
	}
}

// tell counts a result, keeps it in the audit log and gives it to the caller.
func (r *run) tell(res Result) error {
	r.sum.count(res.Action, res.Result)
	r.logResult(res)
	var err error
	if !r.dry {
		err = r.Audit.result(r.Now(), r.id, res)
	}
	if r.emit != nil {
		r.emit(res)
	}
	return err
}

func (r *run) logResult(res Result) {
	level := slog.LevelInfo
	switch {
	case r.dry:
		level = slog.LevelDebug
	case res.Result == Failed:
		level = slog.LevelError
	}
	if !r.Log.Enabled(context.Background(), level) {
		return
	}
	attrs := []any{"run", r.id, "id", res.ID, "queue", res.Queue, "rule", res.Rule, "action", string(res.Action), "result", string(res.Result)}
	if res.Error != "" {
		attrs = append(attrs, "error", res.Error)
	}
	if res.Note != "" {
		attrs = append(attrs, "note", res.Note)
	}
	r.Log.Log(context.Background(), level, "message", attrs...)
}

// settle comes last in a run: what earlier ones have left, of what follows from
// their changes.
func (r *run) settle(ctx context.Context) error {
	err := errors.Join(r.endReturns(ctx), r.payDebts(ctx))
	return errors.Join(r.left(), err)
}

// left is an error where not all that follows from the run's changes was done,
// or from those of a killed process.
func (r *run) left() error {
	var errs []error
	if r.unfinished > 0 {
		errs = append(errs, fmt.Errorf("not all that follows from %d of the changes could be done: the next run that acts does the rest, once what kept it is mended", r.unfinished))
	}
	if r.stuck > 0 {
		errs = append(errs, fmt.Errorf("%d interrupted changes cannot be ended yet, and their messages are left alone: the log says which, and why", r.stuck))
	}
	return errors.Join(errs...)
}

// finish closes the books of the run.
func (r *run) finish(ctx context.Context) (Summary, error) {
	r.sum.Seconds = r.Now().Sub(r.began).Seconds()
	if r.sum.Limit != "" {
		r.Log.Error("the sweep stopped at a limit: look at the rules, then raise it or sweep by hand",
			"run", r.id, "limit", r.sum.Limit, "scanned", r.sum.Scanned, "matched", r.sum.Matched)
	}
	r.Log.Info("run ended", "run", r.id, "dry_run", r.dry, "scanned", r.sum.Scanned, "matched", r.sum.Matched,
		"done", r.sum.Done, "skipped", r.sum.Skipped, "failed", r.sum.Failed, "seconds", r.sum.Seconds)
	if r.dry {
		return r.sum, nil
	}
	if err := r.Audit.summary(r.Now(), r.id, r.sum); err != nil {
		return r.sum, err
	}
	return r.sum, r.settle(ctx)
}

// candidate is a message that a rule matches.
type candidate struct {
	entry  spool.Entry
	rule   int
	result Result
	err    error // the rule failed on it, so nobody knows whether it matches
}

func limitText(name string, value any) string { return fmt.Sprintf("%s = %v", name, value) }
