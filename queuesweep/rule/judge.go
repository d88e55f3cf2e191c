package rule

import (
	"errors"
	"fmt"
	"time"

	"github.com/expr-lang/expr/vm"

	"github.com/backscatterd/backscatterd/dsn"
)

// Judge evaluates the rules of a Set. It keeps its memory from message to
// message; one goroutine may use it at a time.
type Judge struct {
	set *Set
	vm  vm.VM
	env map[string]any
	// quick has the direct function of each term of each rule, nil where the
	// machine has to run.
	quick [][]func() bool
	memo

	// of the message that is looked at
	m         *Message
	status    string
	hasStatus bool
	report    *dsn.Report

	fleeting bool // something else than its control file was asked
}

// Judge returns a new one for this set.
func (s *Set) Judge() *Judge {
	j := &Judge{set: s}
	j.env = environment(j)
	j.vm.MemoryBudget = maxMemory
	for _, c := range s.compiled {
		quick := make([]func() bool, len(c.terms))
		for i, t := range c.terms {
			if t.direct != nil {
				quick[i] = t.direct(j.env)
			}
		}
		j.quick = append(j.quick, quick)
	}
	j.memo.reset()
	return j
}

// First returns the index of the first rule that matches the message, -1 if
// none does. An error of evaluation is a *RuleError; the message then matches
// nothing, not even a later rule, since an earlier one might have matched.
//
// Lost, incomplete and damaged messages match nothing. Held ones are judged by
// rules only whose condition names state or quarantine, or which release.
func (j *Judge) First(m *Message) (int, error) {
	if !j.judgeable(m) {
		return -1, nil
	}
	j.begin(m)
	defer j.end()
	known := j.recall()
	for i := range j.set.compiled {
		if !j.applies(i) || known.excludes(i) {
			continue
		}
		ok, err := j.matches(i, known)
		if err != nil {
			return -1, err
		}
		if ok {
			return i, nil
		}
	}
	return -1, nil
}

// All returns the indexes of all rules that match the message, each judged by
// itself. The error joins those of evaluation; rules that had one are not
// among the indexes.
func (j *Judge) All(m *Message) ([]int, error) {
	if !j.judgeable(m) {
		return nil, nil
	}
	j.begin(m)
	defer j.end()
	known := j.recall()
	var matching []int
	var errs []error
	for i := range j.set.compiled {
		if !j.applies(i) || known.excludes(i) {
			continue
		}
		ok, err := j.matches(i, known)
		if err != nil {
			errs = append(errs, err)
		}
		if ok {
			matching = append(matching, i)
		}
	}
	return matching, errors.Join(errs...)
}

func (j *Judge) judgeable(m *Message) bool {
	if j.set.byHand {
		return m.File != nil
	}
	switch m.State {
	case stateLost, stateIncomplete, stateDamaged:
		return false
	}
	return m.File != nil
}

func (j *Judge) begin(m *Message) { j.m, j.fleeting = m, false }

// Lasting tells whether what the last First or All found follows from the
// control file alone, its name and its folder. If not, the same message may be
// judged otherwise at another time, or with another df.
func (j *Judge) Lasting() bool { return !j.fleeting }

// now is the time, which passes.
func (j *Judge) now() time.Time {
	j.fleeting = true
	return j.m.Now
}

// body is the df, nil without one.
func (j *Judge) body() Body {
	j.fleeting = true
	return j.m.Body
}

// end lets go of the message.
func (j *Judge) end() { j.m, j.status, j.hasStatus, j.report = nil, "", false, nil }

func (j *Judge) applies(i int) bool {
	return j.m.State != stateHeld || j.set.compiled[i].held
}

// matches evaluates the terms of a rule until one does not hold.
func (j *Judge) matches(i int, known verdicts) (bool, error) {
	terms := j.set.compiled[i].terms
	for k := range terms {
		if terms[k].statusOnly && known.holds(terms[k].id) {
			continue
		}
		ok, err := j.run(i, k)
		if err != nil {
			return false, &RuleError{i, j.set.rules[i].Name, fmt.Errorf("message %s: %w", j.m.ID, err)}
		}
		if !ok {
			return false, nil
		}
	}
	return true, nil
}

// run evaluates one term of a rule. vm.Run recovers panics by itself.
func (j *Judge) run(rule, term int) (ok bool, err error) {
	if f := j.quick[rule][term]; f != nil {
		defer func() {
			if r := recover(); r != nil {
				ok, err = false, fmt.Errorf("%v", r)
			}
		}()
		return f(), nil
	}
	v, err := j.vm.Run(j.set.compiled[rule].terms[term].program, j.env)
	if err != nil {
		at := locate(err)
		return false, fmt.Errorf("line %d, column %d of its condition: %s", at.Line, at.Column+1, plain.Replace(at.Message))
	}
	ok, isBool := v.(bool)
	if !isBool {
		return false, fmt.Errorf("the condition gave %v, not true or false", v)
	}
	return ok, nil
}

func (j *Judge) statusText() string {
	if !j.hasStatus {
		j.status, j.hasStatus = j.m.File.Status(), true
	}
	return j.status
}

func (j *Judge) size() int {
	body := j.body()
	if body == nil {
		return 0
	}
	return int(body.Size())
}

func (j *Judge) dfAge() time.Duration {
	body := j.body()
	if body == nil {
		return 0
	}
	return since(j.now(), body.Modified())
}

// returned reads the df the first time it is asked for.
func (j *Judge) returned() *dsn.Report {
	if j.report == nil {
		j.report = nothing
		if body := j.body(); body != nil {
			if r := body.Returned(); r != nil {
				j.report = r
			}
		}
	}
	return j.report
}
