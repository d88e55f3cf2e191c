package rule

import (
	"testing"
	"time"
)

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
