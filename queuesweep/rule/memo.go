package rule

// Many messages of a queue share few status messages ("Deferred: Connection
// refused by mx.example."). What follows from the status alone is worked out
// once for each text and remembered, so that most rules fall out with one look.

const (
	memoTexts  = 4096 // texts remembered at a time
	memoLength = 512  // longer ones are not
)

type memo struct {
	known map[string]verdicts // by the status as the file has it
}

func (m *memo) reset() { m.known = make(map[string]verdicts) }

// verdicts is what follows from a status: bits of the rules that cannot match,
// and of the terms that hold. Its zero value knows nothing.
type verdicts struct{ excluded, true bits }

func (v verdicts) excludes(rule int) bool { return v.excluded.has(rule) }
func (v verdicts) holds(term int) bool    { return v.true.has(term) }

type bits []uint64

func newBits(n int) bits      { return make(bits, (n+63)/64) }
func (b bits) has(i int) bool { return i>>6 < len(b) && b[i>>6]&(1<<(i&63)) != 0 }
func (b bits) set(i int)      { b[i>>6] |= 1 << (i & 63) }

// recall returns what follows from the status of the message.
func (j *Judge) recall() verdicts {
	if j.set.statusTerms == 0 {
		return verdicts{}
	}
	raw := j.m.File.RawStatus()
	if v, ok := j.known[string(raw)]; ok {
		return v
	}
	v := j.conclude()
	if len(raw) <= memoLength {
		if len(j.known) >= memoTexts {
			clear(j.known)
		}
		j.known[string(raw)] = v
	}
	return v
}

// conclude evaluates the terms that depend on the status alone. A rule is
// excluded only if every term before the one that does not hold gives a value
// for certain, since evaluation in order would otherwise have failed there. A
// term that fails now is left to be evaluated, and to fail, in its turn.
func (j *Judge) conclude() verdicts {
	v := verdicts{newBits(len(j.set.compiled)), newBits(j.set.statusTerms)}
	for i := range j.set.compiled {
		certain := true
		for k, t := range j.set.compiled[i].terms {
			if !t.statusOnly {
				certain = certain && t.safe
				continue
			}
			ok, err := j.run(i, k)
			if err != nil {
				break
			}
			if ok {
				v.true.set(t.id)
			} else {
				if certain {
					v.excluded.set(i)
				}
				break
			}
		}
	}
	return v
}
