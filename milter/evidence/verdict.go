package evidence

import (
	"slices"

	"github.com/backscatterd/backscatterd/dsn"
)

// Verdict says whether a bounce is about mail that we sent.
type Verdict string

// The verdicts. Ordinary mail has none.
const (
	Legit   Verdict = "legit"
	Suspect Verdict = "suspect"
	Unknown Verdict = "unknown"
)

// contraGroups are the contras of which two are needed. Those of one number
// look at the same thing and count once.
var contraGroups = map[Name]int{
	FirstHopNotOurs: 2, HELOOurDomain: 2,
	NeverSends: 3, NotSeenSending: 3,
	ManyRecipients: 4, Listed: 5, ForgedSignature: 6,
}

// decide gives the verdict that follows from findings, and nothing else:
//
//	a proof                                        legit
//	no proof and no support, and
//	    the ledger would know the message, or
//	    the recipient is said never to send, or
//	    two contras of different kinds, one of them
//	    of the first hop or a forged signature     suspect
//	else                                           unknown
//
// A brake or a failed look-up stands in the way of suspect.
func decide(kind dsn.Kind, f []Finding) Verdict {
	switch {
	case kind == dsn.None:
		return ""
	case anyOf(f, Proof, Yes):
		return Legit
	case !kind.IsBounce(), anyOf(f, Support, Yes), failed(f),
		holds(f, KindNeverSuspect), holds(f, Exempt), holds(f, Cut):
		return Unknown
	case holds(f, NeverSends):
		return Suspect
	case holds(f, NotCovered), holds(f, Gap):
		return Unknown
	case holds(f, NotInLedger), twoContras(f):
		return Suspect
	}
	return Unknown
}

// failed reports whether any look-up failed: had it not, it might have proved
// the bounce to be ours.
func failed(f []Finding) bool {
	return slices.ContainsFunc(f, func(f Finding) bool { return f.Outcome == Errored })
}

func twoContras(f []Finding) bool {
	var groups [7]bool
	n := 0
	for _, x := range f {
		if g := contraGroups[x.Name]; x.Outcome == Yes && g > 0 && !groups[g] {
			groups[g] = true
			n++
		}
	}
	return n >= 2 && (groups[2] || groups[6])
}

// reasons are the words that explain a verdict: what it rests on, or what is
// missing and what stood in the way.
func reasons(v Verdict, f []Finding) []Name {
	var out []Name
	for _, x := range f {
		relevant := x.Role == Proof || x.Role == Note
		if v != Legit {
			relevant = x.Role != Proof && (v == Unknown || x.Role == Contra || x.Role == Note)
		}
		if x.Outcome == Yes && relevant && !slices.Contains(out, x.Name) {
			out = append(out, x.Name)
		}
	}
	switch {
	case v == "":
		return nil
	case v == Legit:
		return out
	}
	out = slices.Insert(out, 0, NoProof)
	if failed(f) {
		out = append(out, LookupFailed)
	}
	return out
}
