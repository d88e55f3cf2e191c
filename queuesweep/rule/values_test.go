package rule

import (
	"math"
	"testing"
	"time"
)

// The values are what perl 5.36 prints for $x + 0.
func TestPerlNumber(t *testing.T) {
	for in, want := range map[string]float64{
		"": 0, "12": 12, "12abc": 12, " 12": 12, "\n\t7": 7, "-3.5e2x": -350, ".5": .5, "5.": 5, "1e": 1, "1e+": 1, "1e+2": 100,
		"0x10": 0, "abc": 0, "+5": 5, "--5": 0, "1_000": 1, ".": 0, "-": 0, "+.5": .5, "-.e5": 0, "12.5.6": 12.5, "1e-400": 0,
		"inf": math.Inf(1), "Infinity": math.Inf(1), "info": math.Inf(1), "-inf": math.Inf(-1), "1e999": math.Inf(1), "-1e999": math.Inf(-1),
	} {
		if got := perlNumber(in); got != want {
			t.Errorf("%q is %v, want %v", in, got, want)
		}
	}
	for _, in := range []string{"nan", "NaN", "nano"} {
		if got := perlNumber(in); !math.IsNaN(got) {
			t.Errorf("%q is %v, want NaN", in, got)
		}
	}
}

func TestParseDuration(t *testing.T) {
	const day = 24 * time.Hour
	for in, want := range map[string]time.Duration{
		"30d": 30 * day, "1d12h": 36 * time.Hour, "1h30m": 90 * time.Minute, "90s": 90 * time.Second, "0": 0, "0s": 0, "1.5h": 90 * time.Minute,
		"0.5d": 12 * time.Hour, "100ms": 100 * time.Millisecond, "-4h": -4 * time.Hour, "36500d": 36500 * day,
	} {
		got, err := ParseDuration(in)
		if err != nil || got != want {
			t.Errorf("%q is %v, %v, want %v", in, got, err, want)
		}
	}
	for _, in := range []string{"", "-", "d", "4", "4x", "4 h", "h4", "1d-1h", "+4h", "30 d", "4h ", "200000d", "99999999999h", "100000d100000d", ".", "..h", "1d0", "4D"} {
		if got, err := ParseDuration(in); err == nil {
			t.Errorf("%q is %v, want an error", in, got)
		}
	}
}
