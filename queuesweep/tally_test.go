package queuesweep

import (
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"
)

// However many keys come in, and however long, few are kept; what is frequent
// among them stays, and nothing is left out of the count.
func TestTallyIsBounded(t *testing.T) {
	counts := tally{}
	total := 0
	for i := range 5 * maxKeys {
		counts.add(fmt.Sprintf("%d.example", i)+strings.Repeat("é", maxKey), i%3)
		total++
		if i%10 == 0 {
			counts.add("often.example", 0)
			total++
		}
	}
	sum := 0
	for key, c := range counts {
		if c.Key != key || len(key) > maxKey+len("…") || !utf8.ValidString(key) {
			t.Fatalf("a key of %d bytes: %q", len(key), key)
		}
		sum += c.Total
		for _, n := range c.Ages {
			c.Total -= n
		}
		if c.Total != 0 {
			t.Errorf("%s: the ages do not add up", key)
		}
	}
	if len(counts) > maxKeys+1 || sum != total {
		t.Errorf("%d keys and %d messages, want at most %d and %d", len(counts), sum, maxKeys+1, total)
	}
	if counts["often.example"] == nil || counts[OtherKeys] == nil {
		t.Error("the most frequent key, or the rest, is missing")
	}
}

// A line for a log or a terminal keeps nothing that either could act on.
func TestPrintable(t *testing.T) {
	for line, want := range map[string]string{
		"plain ü\n": "plain ü\n", "": "", "\n": "\n", "a\x7fb\n": "a\\u007fb\n", "\u009b31m": "\\u009b31m", "\u202e\n": "\\u202e\n", "\U000e0001": "\\udb40\\udc01",
	} {
		if got := string(Printable([]byte(line))); got != want {
			t.Errorf("%q became %q, want %q", line, got, want)
		}
	}
}
