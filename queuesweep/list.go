package queuesweep

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"sync"
	"time"

	"github.com/backscatterd/backscatterd/queuesweep/qf"
	"github.com/backscatterd/backscatterd/queuesweep/rule"
	"github.com/backscatterd/backscatterd/queuesweep/spool"
)

// Listed is what can be said of one message in a queue: a line of queue list
// --json.
type Listed struct {
	ID          string            `json:"id"`
	Queue       string            `json:"queue"`
	State       State             `json:"state"`
	Sender      string            `json:"sender"`
	Recipients  []ListedRecipient `json:"recipients"`
	Status      string            `json:"status"`
	Attempts    int               `json:"attempts"`
	Created     *time.Time        `json:"created"`      // null if the file does not tell
	LastAttempt *time.Time        `json:"last_attempt"` // null if there was none
	Size        int64             `json:"size"`         // of the df, bytes
	Priority    int               `json:"priority"`
	Flags       string            `json:"flags"`
	Quarantine  string            `json:"quarantine"`
	Headers     [][2]string       `json:"headers"`
	// Error says why a message is incomplete or damaged.
	Error string `json:"error,omitempty"`
	// Removed says when and why, for a message of the removed store.
	Removed *spool.Record `json:"removed,omitempty"`
	// BounceOwed tells of a message of the removed store that its sender has
	// not been told yet.
	BounceOwed bool `json:"bounce_owed,omitempty"`
	// Rules are the names of all rules that match, where they were asked for.
	Rules []string `json:"rules,omitempty"`

	// BodyType and NullSender are for people.
	BodyType   string `json:"-"`
	NullSender bool   `json:"-"`
}

// ListedRecipient is one undelivered recipient.
type ListedRecipient struct {
	Address string `json:"address"`
	Status  string `json:"status"`
	Notify  string `json:"notify"`
}

// ListOptions say what to list.
type ListOptions struct {
	Where *rule.Set // only messages that it holds for; nil is all
	Rules *rule.Set // tell which of these match; nil is none
	// Emit is called for each message, one at a time, in no order.
	Emit func(Listed)
}

// List tells of every message in the queues. A folder that cannot be read is an
// error, after the others have been listed.
func (s *Sweeper) List(ctx context.Context, o ListOptions) error {
	sp, partial := s.open()
	if sp == nil {
		return partial
	}
	defer sp.Close()
	var mu sync.Mutex
	err := s.scan(ctx, sp.Folders(), func(rd *reader) func([]spool.Entry) error {
		l := s.lister(o, rd)
		return rd.each(func(e spool.Entry) error {
			if m, ok := l.list(e); ok {
				mu.Lock()
				defer mu.Unlock()
				o.Emit(m)
			}
			return nil
		})
	})
	return errors.Join(partial, err)
}

// ListRemoved tells of every message in the removed store, the newest day
// first.
func (s *Sweeper) ListRemoved(ctx context.Context, o ListOptions) error {
	if _, err := os.Lstat(s.Store); errors.Is(err, fs.ErrNotExist) {
		s.Log.Warn("there is no removed store: nothing has been removed yet, or store.directory names another", "store", s.Store)
		return nil
	}
	store, err := spool.ExistingStore(s.Disk, s.Store)
	if err != nil {
		return &SetupError{err}
	}
	defer store.Close()
	owing, err := store.Owing(ctx)
	if err != nil {
		return err
	}
	l := s.lister(o, s.reader())
	return store.Messages(ctx, func(m spool.Stored) error {
		listed, ok := l.list(m.Entry)
		if !ok {
			return nil
		}
		if listed.Removed = m.Record; m.Record != nil {
			listed.Queue = m.Record.Queue
		}
		listed.BounceOwed = owing[m.ID]
		o.Emit(listed)
		return nil
	})
}

// Show tells of single messages by their ids, in that order.
func (s *Sweeper) Show(_ context.Context, ids []string, o ListOptions) error {
	sp, partial := s.open()
	if sp == nil {
		return partial
	}
	defer sp.Close()
	errs := []error{partial}
	l := s.lister(o, s.reader())
	for _, id := range ids {
		e, err := sp.Find(id)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if m, ok := l.list(e); ok {
			o.Emit(m)
		}
	}
	return errors.Join(errs...)
}

// lister is one goroutine's.
type lister struct {
	rd    *reader
	max   int64
	now   time.Time
	where *rule.Judge
	rules *rule.Judge
	names []rule.Rule
}

func (s *Sweeper) lister(o ListOptions, rd *reader) *lister {
	l := &lister{rd: rd, max: s.MaxControlFile, now: s.Now()}
	if o.Where != nil {
		l.where = o.Where.Judge()
	}
	if o.Rules != nil {
		l.rules = o.Rules.Judge()
		l.names = o.Rules.Rules()
	}
	return l
}

func (l *lister) list(e spool.Entry) (Listed, bool) {
	m := Listed{ID: e.ID, Queue: e.Folder.Path, Recipients: []ListedRecipient{}, Headers: [][2]string{}}
	msg, state, err := l.rd.read(e, l.now)
	if errors.Is(err, spool.ErrGone) {
		return m, false
	}
	if err == nil && state == StateActive && e.Locked() {
		state = StateLocked
		msg.State = string(state)
	}
	m.State = state
	if err != nil {
		m.Error = err.Error()
	}
	if msg == nil {
		return m, l.where == nil
	}
	if l.where != nil {
		if i, err := l.where.First(msg); err != nil || i < 0 {
			return m, false
		}
	}
	m.describe(msg.File)
	m.Size = msg.Body.Size()
	if err == nil && state != StateLocked && l.rd.body.missing() {
		if _, err := e.Read(nil, l.max); errors.Is(err, spool.ErrGone) {
			return m, false // sendmail has just delivered it: the df goes first
		}
		m.Error = spool.ErrNoBody.Error()
	}
	if l.rules != nil && err == nil {
		matching, err := l.rules.All(msg)
		for _, i := range matching {
			m.Rules = append(m.Rules, l.names[i].Name)
		}
		if err != nil {
			m.Error = err.Error()
		}
	}
	return m, true
}

func (m *Listed) describe(f *qf.File) {
	m.Sender, m.NullSender = f.Sender(), f.NullSender()
	for r := range f.Recipients() {
		m.Recipients = append(m.Recipients, ListedRecipient{r.Address, r.Status, r.Notify()})
	}
	m.Status, m.Attempts, m.Priority = f.Status(), f.Attempts(), f.Priority()
	if created := f.Created(); created.Unix() > 0 {
		created = created.UTC()
		m.Created = &created
	}
	if last := f.LastAttempt(); !last.IsZero() {
		last = last.UTC()
		m.LastAttempt = &last
	}
	m.Flags, m.Quarantine, m.BodyType = f.Flags(), f.Quarantine(), f.BodyType()
	for h := range f.Headers() {
		m.Headers = append(m.Headers, [2]string{h.Name, h.Value()})
	}
}
