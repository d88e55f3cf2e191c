package queuesweep

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/backscatterd/backscatterd/queuesweep/spool"
)

// Survey is what the queues were like when all of them were last read. Held and
// lost messages count under States alone.
type Survey struct {
	At     time.Time // when the reading began
	Took   time.Duration
	States map[State]int // never active and locked apart: that would take a lock each
	Oldest time.Time     // when the oldest message that waits came; zero if there is none
	// Waiting counts all messages that wait, Domains and Statuses the same by
	// where they go to and why they are still here: the largest first, the
	// rest of a long list as OtherKeys.
	Waiting           Count
	Domains, Statuses []Count
}

// surveyTold is how many keys a Survey names.
const surveyTold = 40

// Survey reads all queues, and changes nothing. A folder that cannot be read is
// an error beside what the others have.
func (s *Sweeper) Survey(ctx context.Context) (Survey, error) {
	sp, partial := s.open()
	if sp == nil {
		return Survey{}, partial
	}
	defer sp.Close()
	v := newSurveyor(s.Now())
	err := s.scan(ctx, sp.Folders(), func(rd *reader) func([]spool.Entry) error {
		t := v.counter()
		return rd.each(func(e spool.Entry) error {
			if t.aside(e) {
				return nil
			}
			_, state, err := rd.read(e, v.at)
			t.read(state, err, rd)
			return nil
		})
	})
	if ctx.Err() != nil {
		return Survey{}, ctx.Err()
	}
	return v.survey(s.Now()), errors.Join(partial, err)
}

// surveyor adds up what several workers count, each for itself.
type surveyor struct {
	at       time.Time
	mu       sync.Mutex
	counters []*counter
}

func newSurveyor(at time.Time) *surveyor { return &surveyor{at: at} }

// counter makes one worker's; of a nil surveyor it is nil, which counts nothing.
func (v *surveyor) counter() *counter {
	if v == nil {
		return nil
	}
	t := &counter{at: v.at, states: make(map[State]int), domains: tally{}, statuses: tally{}, generic: make(map[string]string)}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.counters = append(v.counters, t)
	return t
}

type counter struct {
	at                time.Time
	states            map[State]int
	oldest            time.Time
	waiting           Count
	domains, statuses tally
	generic           map[string]string // of a status message; most are the same
	seen              []string          // domains of the message in hand
}

// aside counts what is set aside by its name alone.
func (t *counter) aside(e spool.Entry) bool {
	switch e.Kind {
	case spool.Held:
		t.state(StateHeld)
	case spool.Lost:
		t.state(StateLost)
	default:
		return false
	}
	return true
}

func (t *counter) state(s State) {
	if t != nil {
		t.states[s]++
	}
}

// read counts the message that was just read.
func (t *counter) read(state State, err error, rd *reader) {
	if t == nil || errors.Is(err, spool.ErrGone) {
		return
	}
	t.states[state]++
	if state != StateActive || err != nil {
		return
	}
	f, age := &rd.file, 0
	if created := f.Created(); created.Unix() > 0 {
		age = bucket(t.at.Sub(created))
		if t.oldest.IsZero() || created.Before(t.oldest) {
			t.oldest = created
		}
	}
	t.waiting.count(age)
	status := f.Status()
	text, known := t.generic[status]
	if !known {
		text = cut(cmp.Or(genericStatus(status), "(none)"), maxKey)
		if len(t.generic) < maxKeys && len(status) <= maxText {
			t.generic[status] = strings.Clone(text) // which else keeps all of a status that was cut
		}
	}
	t.statuses.add(text, age)
	t.seen = t.seen[:0]
	for r := range f.Recipients() {
		if d := domainOf(r.Address); !slices.Contains(t.seen, d) && len(t.seen) < MaxRecipients {
			t.seen = append(t.seen, d)
			t.domains.add(d, age)
		}
	}
	if len(t.seen) == 0 {
		t.domains.add("(none)", age)
	}
}

func (c *Count) count(age int) {
	c.Total++
	c.Ages[age]++
}

func (c *Count) plus(o *Count) {
	c.Total += o.Total
	for i, n := range o.Ages {
		c.Ages[i] += n
	}
}

// plus adds another tally to this one.
func (t tally) plus(o tally) {
	for key, c := range o {
		if t[key] == nil {
			if len(t) >= maxKeys {
				t.fold()
			}
			t[key] = &Count{Key: key}
		}
		t[key].plus(c)
	}
}

// survey is the sum of all tallies, whose workers are done.
func (v *surveyor) survey(now time.Time) Survey {
	s := Survey{At: v.at, Took: now.Sub(v.at), States: make(map[State]int), Waiting: Count{Key: "waiting"}}
	domains, statuses := tally{}, tally{}
	for _, t := range v.counters {
		for state, n := range t.states {
			s.States[state] += n
		}
		if !t.oldest.IsZero() && (s.Oldest.IsZero() || t.oldest.Before(s.Oldest)) {
			s.Oldest = t.oldest
		}
		s.Waiting.plus(&t.waiting)
		domains.plus(t.domains)
		statuses.plus(t.statuses)
	}
	s.Domains, s.Statuses = largest(domains), largest(statuses)
	return s
}

// largest names the largest counts, the rest together at the end.
func largest(counts tally) []Count {
	others := Count{Key: OtherKeys}
	all := make([]Count, 0, len(counts))
	for key, c := range counts {
		if key == OtherKeys {
			others.plus(c)
			continue
		}
		all = append(all, *c)
	}
	slices.SortFunc(all, func(a, b Count) int {
		return cmp.Or(cmp.Compare(b.Total, a.Total), cmp.Compare(a.Key, b.Key))
	})
	for i := surveyTold; i < len(all); i++ {
		others.plus(&all[i])
	}
	all = all[:min(len(all), surveyTold)]
	if others.Total > 0 {
		all = append(all, others)
	}
	return all
}

// Stock is what the removed store holds.
type Stock struct {
	At       time.Time
	Messages int
	Bytes    int64
	Owed     int // bounces
}

// Stock counts the removed store. A store that is not there holds nothing.
func (s *Sweeper) Stock(ctx context.Context) (Stock, error) {
	stock := Stock{At: s.Now()}
	store, err := spool.ExistingStore(s.Disk, s.Store)
	if errors.Is(err, spool.ErrNoStore) {
		return stock, nil
	}
	if err != nil {
		return stock, err
	}
	defer store.Close()
	if stock.Messages, stock.Bytes, err = store.Usage(ctx); err != nil {
		return stock, err
	}
	owing, err := store.Owing(ctx)
	stock.Owed = len(owing)
	return stock, err
}
