package evidence

import (
	"fmt"
	"slices"
	"strings"

	"github.com/backscatterd/backscatterd/dsn"
)

// The headers that say what became of a bounce. Copies from outside are to be
// removed before ours are written.
const (
	FlagHeader   = "X-Backscatter-Flag" // on suspects only
	FlagValue    = "YES"
	StatusHeader = "X-Backscatter-Status"
)

// Status is the content of X-Backscatter-Status:
//
//	suspect kind=failed reasons=no-proof,first-hop-not-ours
type Status struct {
	Verdict Verdict
	Kind    dsn.Kind
	Reasons []Name
}

// maxReasons keeps the line below the 998 octets of RFC 5322, section 2.1.1.
const (
	maxReasons    = 24
	maxReasonSize = 32
)

var kinds = []dsn.Kind{
	dsn.Failed, dsn.Delayed, dsn.Delivered, dsn.Relayed, dsn.Expanded, dsn.Disposition,
	dsn.AutoReply, dsn.Challenge, dsn.Feedback, dsn.Other,
}

// String is the value of the header. Whatever the Status holds, it is one line
// of ASCII that ParseStatus reads: words that cannot stand in it are left out,
// an odd verdict is unknown and an odd kind other.
func (s Status) String() string {
	verdict, kind := s.Verdict, s.Kind
	if !isVerdict(verdict) {
		verdict = Unknown
	}
	if !slices.Contains(kinds, kind) {
		kind = dsn.Other
	}
	var words []string
	for _, r := range s.Reasons {
		if isReason(string(r)) && len(words) < maxReasons {
			words = append(words, string(r))
		}
	}
	if len(words) == 0 {
		return fmt.Sprintf("%s kind=%s", verdict, kind)
	}
	return fmt.Sprintf("%s kind=%s reasons=%s", verdict, kind, strings.Join(words, ","))
}

// ParseStatus reads the value of the header, folded or not, exactly as String
// writes it: anything else is an error.
func ParseStatus(value string) (Status, error) {
	words := strings.FieldsFunc(value, func(r rune) bool { return r == ' ' || r == '\t' || r == '\r' || r == '\n' })
	if len(words) < 2 || len(words) > 3 {
		return Status{}, fmt.Errorf("%s: %d words, want a verdict, kind= and reasons=", StatusHeader, len(words))
	}
	s := Status{Verdict: Verdict(words[0])}
	if !isVerdict(s.Verdict) {
		return Status{}, fmt.Errorf("%s: verdict %q, want legit, suspect or unknown", StatusHeader, words[0])
	}
	kind, ok := strings.CutPrefix(words[1], "kind=")
	s.Kind = dsn.Kind(kind)
	if !ok || !slices.Contains(kinds, s.Kind) {
		return Status{}, fmt.Errorf("%s: %q is no kind", StatusHeader, words[1])
	}
	if len(words) == 2 {
		return s, nil
	}
	list, ok := strings.CutPrefix(words[2], "reasons=")
	if !ok {
		return Status{}, fmt.Errorf("%s: %q, want reasons=", StatusHeader, words[2])
	}
	for word := range strings.SplitSeq(list, ",") {
		if !isReason(word) || len(s.Reasons) == maxReasons {
			return Status{}, fmt.Errorf("%s: %q is no reason, or one too many", StatusHeader, word)
		}
		s.Reasons = append(s.Reasons, Name(word))
	}
	return s, nil
}

func isVerdict(v Verdict) bool { return v == Legit || v == Suspect || v == Unknown }

// isReason: lower case letters, digits, and dashes between them.
func isReason(s string) bool {
	for _, c := range []byte(s) {
		if !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-') {
			return false
		}
	}
	return s != "" && len(s) <= maxReasonSize && s[0] != '-' && s[len(s)-1] != '-'
}
