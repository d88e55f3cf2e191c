package evidence

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/backscatterd/backscatterd/dsn"
)

func TestStatusIsWrittenAsTheContractSays(t *testing.T) {
	for _, c := range []struct {
		status Status
		want   string
	}{
		{Status{Suspect, dsn.Failed, []Name{NoProof, FirstHopNotOurs}}, "suspect kind=failed reasons=no-proof,first-hop-not-ours"},
		{Status{Legit, dsn.AutoReply, []Name{Token}}, "legit kind=auto-reply reasons=token"},
		{Status{Unknown, dsn.Delayed, nil}, "unknown kind=delayed"},
	} {
		if got := c.status.String(); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
		if back, err := ParseStatus(c.want); err != nil || !cmp.Equal(back, c.status) {
			t.Errorf("%q reads as %v, %v", c.want, back, err)
		}
	}
	if s, err := ParseStatus("suspect kind=failed\r\n\treasons=no-proof"); err != nil || s.Verdict != Suspect {
		t.Errorf("folded: %v, %v", s, err)
	}
}

func TestWhatIsNoStatus(t *testing.T) {
	for _, v := range []string{
		"", "suspect", "SUSPECT kind=failed", "suspect, kind=failed", "good kind=failed", "suspect kind=none", "suspect kind=", "suspect failed",
		"suspect kind=failed no-proof", "suspect kind=failed reasons=", "suspect kind=failed reasons=a,,b", "suspect kind=failed reasons=A",
		"suspect kind=failed reasons=-a", "suspect kind=failed reasons=a b", "suspect kind=failed reasons=a more", "suspect kind=failed reasons=a;b",
		"suspect kind=failed reasons=" + strings.Repeat("a", 33), "suspect kind=failed reasons=" + strings.Repeat("a,", 24) + "a",
		"suspect\x00kind=failed", "suspect kind=failed\x00", "suspect\u00a0kind=failed",
	} {
		if s, err := ParseStatus(v); err == nil {
			t.Errorf("%q reads as %v", v, s)
		}
	}
}

// Whatever is put into a status, it comes out as one line that reads back, and
// never with a better or worse verdict than was put in.
func TestNothingCanBeInjected(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		odd := rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{
			"legit", "suspect", "unknown", "failed", "no-proof", "x\r\nX-Backscatter-Flag: YES", "a,b", "a b", "", "legit kind=failed"}))
		var names []Name
		for _, r := range rapid.SliceOfN(odd, 0, 40).Draw(t, "reasons") {
			names = append(names, Name(r))
		}
		s := Status{Verdict(odd.Draw(t, "verdict")), dsn.Kind(odd.Draw(t, "kind")), names}
		text := s.String()
		if len(text) > 900 || strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r > '~' }) {
			t.Fatalf("%q", text)
		}
		back, err := ParseStatus(text)
		if err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		if want := s.Verdict; isVerdict(want) && back.Verdict != want || !isVerdict(want) && back.Verdict != Unknown {
			t.Fatalf("%q of verdict %q", text, want)
		}
		for _, r := range back.Reasons {
			if !slices.Contains(names, r) {
				t.Fatalf("%q has the reason %q, which was not put in", text, r)
			}
		}
	})
}

func FuzzParseStatus(f *testing.F) {
	f.Add("suspect kind=failed reasons=no-proof,first-hop-not-ours")
	f.Add("legit kind=auto-reply\r\n reasons=token")
	f.Add("unknown kind=delayed reasons=")
	f.Fuzz(func(t *testing.T, value string) {
		s, err := ParseStatus(value)
		if err != nil {
			return
		}
		if got, want := s.String(), strings.Join(strings.Fields(value), " "); got != want {
			t.Fatalf("%q reads, and is written as %q", value, got)
		}
	})
}
