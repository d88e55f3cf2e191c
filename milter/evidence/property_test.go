package evidence

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/backscatterd/backscatterd/dsn"
)

var named = map[Role][]Name{
	Proof:   {BATV, Token, LedgerMessage, LedgerRecipient, EnvelopeID},
	Support: {ExpiredSignature, OurRelay, OurAddress, OurMessageID, WroteToDomain},
	Contra:  {NotInLedger, FirstHopNotOurs, HELOOurDomain, NeverSends, NotSeenSending, ManyRecipients, Listed, ForgedSignature},
	Brake:   {KindNeverSuspect, Exempt, Cut, NotCovered, WarmUp, Gap},
}

func anyFinding(t *rapid.T) Finding {
	role := rapid.SampledFrom([]Role{Proof, Support, Contra, Contra, Contra, Brake}).Draw(t, "role")
	outcome := rapid.SampledFrom([]Outcome{NotLooked, No, Yes, Yes, Yes, Errored}).Draw(t, "outcome")
	if role != Contra && rapid.IntRange(0, 3).Draw(t, "rare") > 0 {
		outcome = No
	}
	return Finding{Role: role, Name: rapid.SampledFrom(named[role]).Draw(t, "name"), Outcome: outcome}
}

var anyKind = rapid.SampledFrom([]dsn.Kind{dsn.Failed, dsn.Failed, dsn.Delayed, dsn.Delivered, dsn.Relayed, dsn.Expanded,
	dsn.Disposition, dsn.AutoReply, dsn.Challenge, dsn.Feedback, dsn.Other})

// rank orders verdicts from bad to good.
func rank(v Verdict) int { return slices.Index([]Verdict{Suspect, Unknown, Legit}, v) }

// Whatever else was found: evidence for a bounce never makes it worse, evidence
// against it never better, and not knowing never makes it suspect.
func TestVerdictsAreMonotone(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		kind := anyKind.Draw(t, "kind")
		f := rapid.SliceOfN(rapid.Custom(anyFinding), 0, 8).Draw(t, "findings")
		extra := anyFinding(t)
		before, after := decide(kind, f), decide(kind, append(slices.Clone(f), extra))
		switch {
		case extra.Outcome == Errored || extra.Role == Brake:
			if after == Suspect && before != Suspect {
				t.Fatalf("%+v makes it suspect", extra)
			}
		case extra.Outcome != Yes:
			if before != after {
				t.Fatalf("%+v makes %s of %s", extra, after, before)
			}
		case extra.Role == Proof:
			if after != Legit {
				t.Fatalf("%+v, and %s", extra, after)
			}
		case extra.Role == Support:
			if rank(after) < rank(before) {
				t.Fatalf("%+v makes %s of %s", extra, after, before)
			}
		case extra.Role == Contra:
			if rank(after) > rank(before) {
				t.Fatalf("%+v makes %s of %s", extra, after, before)
			}
		}
	})
}

func TestVerdictsRestOnEvidence(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		kind := anyKind.Draw(t, "kind")
		f := rapid.SliceOfN(rapid.Custom(anyFinding), 0, 8).Draw(t, "findings")
		v := decide(kind, f)
		without := func(role Role) Verdict {
			return decide(kind, slices.DeleteFunc(slices.Clone(f), func(f Finding) bool { return f.Role == role }))
		}
		if without(Proof) == Legit {
			t.Fatal("legit without a proof")
		}
		if without(Contra) == Suspect {
			t.Fatal("suspect without a contra")
		}
		if v == Suspect && (!kind.IsBounce() || failed(f)) {
			t.Fatalf("suspect: %s, failed look-up: %v", kind, failed(f))
		}
		if decide(dsn.None, f) != "" {
			t.Fatal("a verdict on ordinary mail")
		}
		if decide(kind, nil) != Unknown {
			t.Fatal("without evidence, not unknown")
		}
		if r := reasons(v, f); len(r) == 0 || (v == Legit) == slices.Contains(r, NoProof) {
			t.Fatalf("%s because of %v", v, r)
		}
		slices.Reverse(f)
		if decide(kind, f) != v {
			t.Fatal("the order of the evidence matters")
		}
	})
}

func TestTheDNSListAloneIsNeverEnough(t *testing.T) {
	for _, contra := range named[Contra] {
		f := []Finding{{Name: Listed, Role: Contra, Outcome: Yes}, {Name: contra, Role: Contra, Outcome: Yes}}
		want := Unknown
		switch contra {
		case NotInLedger, NeverSends, FirstHopNotOurs, HELOOurDomain, ForgedSignature:
			want = Suspect
		}
		if got := decide(dsn.Failed, f); got != want {
			t.Errorf("with %s: %s, want %s", contra, got, want)
		}
	}
}
