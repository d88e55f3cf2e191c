package queuesweep

import (
	"context"
	"errors"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/backscatterd/backscatterd/queuesweep/rule"
	"github.com/backscatterd/backscatterd/queuesweep/spool"
)

// look judges all messages and sends on those that a rule matches.
func (r *run) look(ctx context.Context, o SweepOptions, found chan<- []candidate, scanned *atomic.Int64) error {
	if o.Memory != nil {
		o.Memory.begin()
		defer o.Memory.end()
	}
	return r.scan(ctx, r.spool.Folders(), func(rd *reader) func([]spool.Entry) error {
		l := &looker{run: r, rd: rd, judge: r.set.Judge(), seen: r.surveyor.counter(), only: o.Only, memory: o.Memory}
		return func(entries []spool.Entry) error {
			l.matching = nil
			wanted := l.choose(entries)
			scanned.Add(int64(len(wanted)))
			l.judgeAll(wanted)
			if len(l.matching) == 0 {
				return nil
			}
			select {
			case found <- l.matching:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	})
}

// looker is one goroutine's part of looking at the queues.
type looker struct {
	*run
	rd       *reader
	judge    *rule.Judge
	seen     *counter
	only     func(spool.Entry) bool
	memory   *Memory // nil is none
	matching []candidate
	learned  []learned
}

// learned is what is going to be remembered of a message.
type learned struct {
	mark
	ok   bool   // it may be
	pass bool   // no rule matches
	data []byte // the text, otherwise
}

// choose leaves out what no rule is asked about, in place.
func (l *looker) choose(entries []spool.Entry) []spool.Entry {
	held := l.set.JudgesHeld()
	wanted := entries[:0]
	for _, e := range entries {
		switch {
		case e.Kind == spool.Lost || e.Kind == spool.Held && !held:
			l.seen.aside(e)
		case l.only == nil || l.only(e):
			wanted = append(wanted, e)
		}
	}
	return wanted
}

func (l *looker) judgeAll(entries []spool.Entry) {
	if l.memory == nil {
		l.rd.files.Ahead(entries)
		for _, e := range entries {
			msg, state, err := l.rd.read(e, l.began)
			l.judgeOne(e, msg, state, err)
		}
		return
	}
	entries = l.recall(entries)
	l.rd.files.Ahead(entries)
	for i, e := range entries {
		msg, state, err := l.rd.read(e, l.began)
		good, matches := l.judgeOne(e, msg, state, err)
		n := &l.learned[i]
		switch n.ok = n.ok && good; {
		case !n.ok:
		case !matches && l.judge.Lasting() && l.seen == nil:
			n.pass = true
		default:
			n.data = append([]byte(nil), l.rd.data...)
		}
	}
	l.remember()
}

// judgeOne judges a message that was read. good tells that it could be judged.
func (l *looker) judgeOne(e spool.Entry, msg *rule.Message, state State, err error) (good, matches bool) {
	l.seen.read(state, err, l.rd)
	if err != nil {
		if errno := unix.Errno(0); errors.As(err, &errno) {
			l.matching = append(l.matching, unreadable(e, err))
			return false, false
		}
		l.leave(e, state, err)
		return false, false
	}
	i, err := l.judge.First(msg)
	if i < 0 && err == nil {
		return true, false
	}
	if c, ok := l.candidate(e, i, err); ok {
		l.matching = append(l.matching, c)
	}
	return err == nil, true
}

// recall judges what is remembered and returns the rest, in place, with a mark
// of each in l.learned.
func (l *looker) recall(entries []spool.Entry) []spool.Entry {
	l.learned = l.learned[:0]
	for _, e := range entries {
		p, ok := l.memory.mark(e, l.began)
		l.learned = append(l.learned, learned{mark: p, ok: ok})
	}
	l.memory.mu.Lock()
	for i := range l.learned {
		if n := &l.learned[i]; n.ok {
			n.pass, n.data = l.memory.recall(n.mark)
		}
	}
	l.memory.mu.Unlock()
	unread, marks := entries[:0], l.learned[:0]
	for i, e := range entries {
		switch n := l.learned[i]; {
		case n.pass && l.seen == nil:
		case n.data != nil:
			msg, state, err := l.rd.parse(e, n.data, l.began)
			l.judgeOne(e, msg, state, err)
		default:
			unread, marks = append(unread, e), append(marks, learned{mark: n.mark, ok: n.ok && !n.pass})
		}
	}
	l.learned = marks
	return unread
}

// remember keeps what was learned for the next turn.
func (l *looker) remember() {
	l.memory.mu.Lock()
	defer l.memory.mu.Unlock()
	for i := range l.learned {
		switch n := &l.learned[i]; {
		case n.pass:
			l.memory.pass(n.mark)
		case n.ok:
			l.memory.keep(n.mark, n.data)
		}
		l.learned[i] = learned{}
	}
}

// unreadable is a message that the disk does not give: nobody knows whether a
// rule matches it, as where one has failed on it.
func unreadable(e spool.Entry, err error) candidate {
	return candidate{entry: e, result: Result{ID: e.ID, Queue: e.Folder.Path, Action: Read, Recipients: []string{}}, err: err}
}

// leave tells of a message that is not to be judged.
func (l *looker) leave(e spool.Entry, state State, err error) {
	switch {
	case errors.Is(err, spool.ErrGone):
	case state == StateIncomplete:
		l.Log.Debug("left alone", "run", l.id, "file", e.Path(), "state", string(state), "why", err)
	default:
		l.Log.Warn("left alone", "run", l.id, "file", e.Path(), "state", string(state), "why", err)
	}
}

// candidate describes the message that was just read, which a rule matches or
// has failed on.
func (l *looker) candidate(e spool.Entry, i int, err error) (c candidate, ok bool) {
	var broken *rule.RuleError
	switch {
	case errors.As(err, &broken):
		i = broken.Rule
	case err != nil:
		return c, false
	}
	c = candidate{entry: e, rule: i, result: resultFor(e, l.rules[i]), err: err}
	c.result.describe(&l.rd.file, l.began)
	if err == nil {
		l.decide(&c.result, &l.rd.file)
	}
	return c, true
}
