package status

import (
	"cmp"
	"context"
	"fmt"
	"html/template"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/backscatterd/backscatterd/dsn"
	"github.com/backscatterd/backscatterd/milter"
	"github.com/backscatterd/backscatterd/milter/evidence"
	"github.com/backscatterd/backscatterd/milter/ledger"
	"github.com/backscatterd/backscatterd/queuesweep"
)

// Options of a Board.
type Options struct {
	Version string
	Host    string // this machine's name, for people
	// Sweeps and Filters say which halves of the daemon run here. Only theirs is
	// exposed as metrics.
	Sweeps, Filters bool
	// TempFail: a message for which the filter fails is deferred, not accepted.
	TempFail bool
	// History is the file in which the filter's half keeps its counts by the
	// hour, and where the other half reads them; "" for none.
	History string
	// Refresh is how old what is known of the queue gets at least before a look
	// has it read again.
	Refresh time.Duration
	Log     *slog.Logger
	Now     func() time.Time // nil: time.Now
}

// Sources are asked when somebody looks. All may be called concurrently; nil is
// for what does not run here.
type Sources struct {
	Filter        func() milter.Counts
	Ledger        func() (ledger.Status, error)
	AuditFailures func() int64
	AuditFailing  func() bool
	Audit         func() ([]queuesweep.AuditEntry, error) // the last entries
	Survey        func(context.Context) (queuesweep.Survey, error)
	Stock         func(context.Context) (queuesweep.Stock, error)
	Next          func(now time.Time) []Next
}

// Next is a job that is scheduled.
type Next struct {
	Job, Schedule string
	At            time.Time
}

// Run is one scheduled sweep.
type Run struct {
	Began   time.Time
	Took    time.Duration
	DryRun  bool
	Summary queuesweep.Summary
	Err     error // of the whole run; single messages are in the summary
}

// Board is what is known of the daemon. Its methods may be called concurrently.
type Board struct {
	opts    Options
	history *History
	metrics *metrics
	layout  *template.Template
	filter  atomic.Pointer[Sources]
	sweeper atomic.Pointer[Sources]
	ask     chan struct{}
	most    time.Duration // that a reading of the queues for a look may take

	mu          sync.Mutex // of all below
	survey      queuesweep.Survey
	tried       time.Time     // when the last reading for a look began, also one that failed
	triedFor    time.Duration // how long it took
	stock       queuesweep.Stock
	run         Run
	lastSuccess time.Time
	unread      error // why the queues could not be read the last time
}

var _ milter.Observer = (*Board)(nil)

// NewBoard makes a Board. A history that is not there begins now; of one that
// cannot be read the log tells, and it is written anew.
func NewBoard(o Options) *Board {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	o.Refresh = cmp.Or(o.Refresh, time.Minute)
	b := &Board{opts: o, ask: make(chan struct{}, 1), most: surveyTime, history: NewHistory(), layout: pageLayout()}
	b.filter.Store(&Sources{})
	b.sweeper.Store(&Sources{})
	if o.Filters && o.History != "" {
		h, err := ReadHistory(o.History)
		if err != nil {
			o.Log.Warn("the counts of earlier hours are lost", "error", err)
		}
		b.history = h
	}
	b.metrics = newMetrics(b)
	return b
}

// UseFilter says whom to ask about the filter.
func (b *Board) UseFilter(s Sources) { b.filter.Store(&s) }

// UseSweeper says whom to ask about sweeps: the sweeper of the configuration
// that holds from now on.
func (b *Board) UseSweeper(s Sources) { b.sweeper.Store(&s) }

// saveEvery is how often the history is written, where there is news.
const saveEvery = time.Minute

// Keep reads the queues where somebody wants to know, and keeps the history on
// disk, until ctx ends.
func (b *Board) Keep(ctx context.Context) {
	b.readQueues(ctx)
	save := time.NewTicker(saveEvery)
	defer save.Stop()
	defer b.Save()
	for {
		select {
		case <-ctx.Done():
			return
		case <-save.C:
			b.Save()
		case <-b.ask:
			if b.stale() {
				b.readQueues(ctx)
			}
		}
	}
}

// Save writes the history, where this half counts.
func (b *Board) Save() {
	if !b.opts.Filters || b.opts.History == "" {
		return
	}
	if err := b.history.Save(b.opts.History); err != nil {
		b.opts.Log.Warn("the counts by the hour could not be written; they are kept in memory", "error", err)
	}
}

// stale tells whether the queues may be read for a look: a large queue, which
// takes long to read, is read the more seldom for it.
func (b *Board) stale() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	at, took := b.survey.At, b.survey.Took
	if !b.tried.Before(at) {
		at, took = b.tried, b.triedFor
	}
	return b.opts.Now().Sub(at) >= max(b.opts.Refresh, 20*took)
}

// want has the queues read in the background where what is known is old.
func (b *Board) want() {
	select {
	case b.ask <- struct{}{}:
	default:
	}
}

// surveyTime bounds a reading of the queues for a look.
const surveyTime = 5 * time.Minute

// readQueues keeps what was read before where nothing can be read now: with its
// time, so that nobody takes it for new.
func (b *Board) readQueues(daemon context.Context) {
	s := b.sweeper.Load()
	if s.Survey == nil {
		return
	}
	ctx, cancel := context.WithTimeout(daemon, b.most)
	defer cancel()
	began := b.opts.Now()
	v, err := s.Survey(ctx)
	if daemon.Err() != nil {
		return
	}
	if err != nil && ctx.Err() != nil {
		err = fmt.Errorf("it took longer than %v, and was given up: see what holds up the disk that they are on", b.most)
	}
	b.mu.Lock()
	if b.unread = err; !v.At.IsZero() {
		b.survey = v
	}
	b.tried, b.triedFor = began, b.opts.Now().Sub(began)
	b.mu.Unlock()
	if err != nil {
		b.opts.Log.Warn("not all queues could be read for the status page", "error", err)
	}
	b.readStock(daemon)
}

func (b *Board) readStock(ctx context.Context) {
	s := b.sweeper.Load()
	if s.Stock == nil {
		return
	}
	stock, err := s.Stock(ctx)
	if err != nil {
		if ctx.Err() == nil {
			b.opts.Log.Warn("the removed store could not be counted for the status page", "error", err)
		}
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.stock = stock
}

// Surveyed notes what a sweep has found the queues to be like.
func (b *Board) Surveyed(v queuesweep.Survey) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.survey, b.unread = v, nil
}

// Acted counts what became of a message.
func (b *Board) Acted(r queuesweep.Result) { b.metrics.acted(r) }

// Swept notes a run that has ended, and looks what it has left.
func (b *Board) Swept(ctx context.Context, r Run) {
	b.metrics.swept(r)
	b.mu.Lock()
	b.run = r
	if r.Err == nil {
		b.lastSuccess = r.Began.Add(r.Took)
	}
	b.mu.Unlock()
	b.readStock(ctx)
}

// Bounce implements milter.Observer.
func (b *Board) Bounce(kind dsn.Kind, verdict evidence.Verdict, action milter.Action) {
	b.history.Add(b.opts.Now(), string(verdict), string(action))
	b.metrics.bounce(string(kind), string(verdict), string(action))
}

// Answered implements milter.Observer.
func (b *Board) Answered(took time.Duration) { b.metrics.answered(took) }

// Problems says what is not well, a sentence each; none where all is.
func (b *Board) Problems() (problems []string) {
	s, f := b.sweeper.Load(), b.filter.Load()
	b.mu.Lock()
	run, unread := b.run, b.unread
	b.mu.Unlock()
	if run.Err != nil {
		problems = append(problems, fmt.Sprintf("the sweep of %s failed: %v", run.Began.Format(time.RFC3339), run.Err))
	} else if unread != nil {
		problems = append(problems, fmt.Sprintf("not all queues can be read: %v", unread))
	}
	if f.Ledger != nil {
		if l, err := f.Ledger(); err != nil {
			problems = append(problems, fmt.Sprintf("the ledger cannot be read: %v", err))
		} else if l.Error != "" && l.Server != "" {
			problems = append(problems, "the ledger cannot be relied on, so that no bounce is called suspect for not being found in it: "+l.Error)
		} else if l.Error != "" {
			problems = append(problems, "the ledger cannot be written, so that bounces of mail that leaves now will be unknown: "+l.Error)
		}
	}
	if s.AuditFailing != nil && s.AuditFailing() {
		problems = append(problems, "the audit log cannot be written, and nothing is changed without it: make room, or name another file in audit.file")
	}
	return problems
}

// snapshot is what was seen last.
func (b *Board) snapshot() (queuesweep.Survey, queuesweep.Stock, Run) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.survey, b.stock, b.run
}
