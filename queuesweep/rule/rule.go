package rule

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/backscatterd/backscatterd/dsn"
	"github.com/backscatterd/backscatterd/queuesweep/qf"
)

// Action is what is done with a message that a rule matches.
type Action string

// The actions.
const (
	Move    Action = "move"    // into the removed store
	Delete  Action = "delete"  // for good
	Bounce  Action = "bounce"  // a DSN to the sender, then into the removed store
	Expire  Action = "expire"  // sendmail bounces it as timed out
	Hold    Action = "hold"    // quarantine it
	Release Action = "release" // end its quarantine
	Log     Action = "log"     // only tell
)

// Actions returns all of them, in the order in which help texts list them.
func Actions() []Action { return []Action{Move, Delete, Bounce, Expire, Hold, Release, Log} }

// Valid tells whether a is one of Actions.
func (a Action) Valid() bool {
	switch a {
	case Move, Delete, Bounce, Expire, Hold, Release, Log:
		return true
	}
	return false
}

// Rule is a condition and what to do with a message that it holds for.
type Rule struct {
	Name     string
	When     string // the condition
	Do       Action // "" is Move
	Reason   string // of Hold
	Schedule string // a cron schedule of its own, "" for the common one
}

// States of a message that decide whether it is judged. Any other is judged as
// an active one.
const (
	stateHeld       = "held"
	stateLost       = "lost"
	stateIncomplete = "incomplete"
	stateDamaged    = "damaged"
)

// Message is what a condition can see.
type Message struct {
	ID, Queue string
	State     string // active, held, lost, locked, incomplete or damaged
	File      *qf.File
	Now       time.Time
	Body      Body // asked only by conditions that need it; nil is an absent df
}

// Body is the df of a message.
type Body interface {
	Size() int64           // in bytes
	Modified() time.Time   // zero if there is no df
	Returned() *dsn.Report // what the body says as a bounce, nil if it is none
}

// Set is a list of compiled rules.
type Set struct {
	rules       []Rule
	compiled    []compiled
	statusTerms int  // terms that depend on the status alone, over all rules
	byHand      bool // of CompileByHand: messages in every state are judged
}

// compiled is a rule's condition as the list of its terms, all of which have
// to hold.
type compiled struct {
	terms []term
	held  bool // judges held messages
}

// RuleError tells which rule of a list has what fault.
type RuleError struct {
	Rule int // index
	Name string
	Err  error // a *ConditionError if the condition is at fault
}

func (e *RuleError) Error() string {
	if e.Name == "" {
		return e.Err.Error()
	}
	return fmt.Sprintf("rule %q: %v", e.Name, e.Err)
}

func (e *RuleError) Unwrap() error { return e.Err }

// Compile compiles rules. The error joins a *RuleError for each fault.
func Compile(rules []Rule) (*Set, error) {
	s := &Set{rules: make([]Rule, len(rules)), compiled: make([]compiled, len(rules))}
	copy(s.rules, rules)
	var errs []error
	for i := range s.rules {
		r := &s.rules[i]
		if r.Do == "" {
			r.Do = Move
		}
		if !r.Do.Valid() {
			errs = append(errs, &RuleError{i, r.Name, fmt.Errorf("unknown action %q; use one of %v", r.Do, Actions())})
		}
		c, err := s.compileRule(r.When)
		if err != nil {
			errs = append(errs, &RuleError{i, r.Name, err})
			continue
		}
		c.held = c.held || r.Do == Release
		s.compiled[i] = c
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return s, nil
}

// CompileCondition compiles one condition that a person gave for this once,
// such as that of --where: a set of one rule without a name. The error is a
// *ConditionError.
func CompileCondition(src string) (*Set, error) {
	return CompileByHand(Rule{When: src, Do: Log})
}

// CompileByHand compiles one rule that a person gave for this once. Messages in
// every state are judged by it, whatever it names. The error is a
// *ConditionError where the condition is at fault.
func CompileByHand(r Rule) (*Set, error) {
	if !r.Do.Valid() {
		return nil, fmt.Errorf("unknown action %q; use one of %v", r.Do, Actions())
	}
	s := &Set{rules: []Rule{r}, byHand: true}
	c, err := s.compileRule(r.When)
	if err != nil {
		return nil, err
	}
	c.held = true
	s.compiled = []compiled{c}
	return s, nil
}

// JudgesHeld tells whether a rule of the set looks at held messages.
func (s *Set) JudgesHeld() bool {
	return slices.ContainsFunc(s.compiled, func(c compiled) bool { return c.held })
}

// Rules returns the rules of the set, with their defaults filled in.
func (s *Set) Rules() []Rule { return append([]Rule(nil), s.rules...) }

func (s *Set) compileRule(src string) (compiled, error) {
	cond, err := parseCondition(src)
	if err != nil {
		return compiled{}, err
	}
	for i := range cond.terms {
		if cond.terms[i].statusOnly {
			cond.terms[i].id = s.statusTerms
			s.statusTerms++
		}
	}
	return compiled{terms: cond.terms, held: cond.names["state"] || cond.names["quarantine"]}, nil
}
