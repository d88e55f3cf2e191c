package perlnum

import (
	"math"
	"testing"
)

// The values are what perl 5.36 prints for $x + 0.
func TestValue(t *testing.T) {
	for in, want := range map[string]float64{
		"": 0, "12": 12, "12abc": 12, " 12": 12, "\n\t7": 7, "-3.5e2x": -350, ".5": .5, "5.": 5, "1e": 1, "1e+": 1, "1e+2": 100,
		"0x10": 0, "abc": 0, "+5": 5, "--5": 0, "1_000": 1, ".": 0, "-": 0, "+.5": .5, "-.e5": 0, "12.5.6": 12.5, "1e-400": 0,
		"inf": math.Inf(1), "Infinity": math.Inf(1), "info": math.Inf(1), "-inf": math.Inf(-1), "1e999": math.Inf(1), "-1e999": math.Inf(-1),
	} {
		if got := Value(in); got != want {
			t.Errorf("%q is %v, want %v", in, got, want)
		}
	}
	for _, in := range []string{"nan", "NaN", "nano"} {
		if got := Value(in); !math.IsNaN(got) {
			t.Errorf("%q is %v, want NaN", in, got)
		}
	}
}
