package queuesweep

import (
	"errors"
	"time"

	"github.com/backscatterd/backscatterd/dsn"
	"github.com/backscatterd/backscatterd/queuesweep/qf"
	"github.com/backscatterd/backscatterd/queuesweep/rule"
	"github.com/backscatterd/backscatterd/queuesweep/spool"
)

// State is what can be said of a message in a queue.
type State string

// The states.
const (
	StateActive     State = "active"
	StateHeld       State = "held"       // quarantined
	StateLost       State = "lost"       // set aside by sendmail as Qf
	StateLocked     State = "locked"     // in sendmail's hands at this moment
	StateIncomplete State = "incomplete" // being written, or cut short
	StateDamaged    State = "damaged"
)

// reader reads and parses one control file after the other into the same
// memory. One goroutine uses it.
type reader struct {
	files *spool.Reader
	data  []byte // of the file that was parsed last
	file  qf.File
	body  lazyBody
	msg   rule.Message
}

func (s *Sweeper) reader() *reader {
	return &reader{files: spool.NewReader(s.MaxControlFile, s.PlainReads)}
}

// each makes the visitor of a scan that takes one entry after the other.
func (r *reader) each(visit func(spool.Entry) error) func([]spool.Entry) error {
	return func(entries []spool.Entry) error {
		r.files.Ahead(entries)
		for _, e := range entries {
			if err := visit(e); err != nil {
				return err
			}
		}
		return nil
	}
}

// read reads a message and says its state. The File it points to holds until
// the next call, and is nil where the file could not be read. The error says
// why a message is incomplete, damaged or unreadable.
func (r *reader) read(e spool.Entry, now time.Time) (*rule.Message, State, error) {
	data, err := r.files.Read(e)
	if err != nil {
		return nil, StateDamaged, err
	}
	return r.parse(e, data, now)
}

// parse is read for a message whose control file was read before.
func (r *reader) parse(e spool.Entry, data []byte, now time.Time) (*rule.Message, State, error) {
	err := r.file.Reset(data)
	r.data = data
	state := stateOf(e, &r.file, err)
	r.body.reset(e, &r.file)
	r.msg = rule.Message{ID: e.ID, Queue: e.Folder.Path, State: string(state), File: &r.file, Now: now, Body: &r.body}
	return &r.msg, state, err
}

func stateOf(e spool.Entry, f *qf.File, err error) State {
	switch {
	case errors.Is(err, qf.ErrEmpty), errors.Is(err, qf.ErrIncomplete):
		return StateIncomplete
	case e.Kind == spool.Lost:
		return StateLost
	case err != nil:
		return StateDamaged
	case e.Kind == spool.Held || f.Quarantined():
		return StateHeld
	}
	return StateActive
}

// lazyBody looks at a df when a rule asks for it, once.
type lazyBody struct {
	entry    spool.Entry
	file     *qf.File
	body     spool.Body
	err      error // of looking
	looked   bool
	parsed   bool
	returned *dsn.Report
}

func (b *lazyBody) reset(e spool.Entry, f *qf.File) { *b = lazyBody{entry: e, file: f} }

func (b *lazyBody) look() *spool.Body {
	if !b.looked {
		b.looked = true
		b.body, b.err = b.entry.Body(b.file) // absent: size 0
	}
	return &b.body
}

// missing tells that there is no df.
func (b *lazyBody) missing() bool {
	b.look()
	return errors.Is(b.err, spool.ErrNoBody)
}

// Size is the df's, in bytes, 0 without one.
func (b *lazyBody) Size() int64 { return b.look().Size() }

// Modified is when the df was written, zero without one.
func (b *lazyBody) Modified() time.Time { return b.look().Modified() }

// Returned reads the df as the body of a bounce.
func (b *lazyBody) Returned() *dsn.Report {
	if b.parsed {
		return b.returned
	}
	b.parsed = true
	if b.look(); b.err != nil {
		return nil
	}
	df, err := b.body.Open()
	if err != nil {
		return nil
	}
	defer df.Close()
	// The envelope sender tells a bounce from what quotes one.
	header := append(make([]dsn.Field, 0, 24), dsn.Field{Name: "Return-Path", Value: "<" + b.file.Sender() + ">"})
	for h := range b.file.Headers() {
		if !h.Template() {
			header = append(header, dsn.Field{Name: h.Name, Value: h.Value()})
		}
	}
	report, err := dsn.ReadBody(header, df, dsn.Limits{})
	if err == nil && report.Kind.IsBounce() {
		b.returned = &report
	}
	return b.returned
}
