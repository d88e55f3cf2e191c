package rule

import (
	"fmt"
	"math"
	"strings"
	"time"
)

// ParseDuration reads a duration with Go's units and "d" for days of 24 hours,
// largest first or not: "30d", "1d12h", "1h30m", "90s".
func ParseDuration(s string) (time.Duration, error) {
	bad := fmt.Errorf("%q is no duration", s)
	rest, negative := strings.CutPrefix(s, "-")
	if rest == "" || strings.ContainsAny(rest, "+-") {
		return 0, bad
	}
	var total time.Duration
	for rest != "" {
		n := strings.IndexFunc(rest, func(c rune) bool { return c != '.' && (c < '0' || c > '9') })
		if n < 0 && rest == "0" && total == 0 {
			return 0, nil
		}
		if n <= 0 {
			return 0, bad
		}
		unit := strings.IndexAny(rest[n:], "0123456789.")
		if unit < 0 {
			unit = len(rest) - n
		}
		piece := rest[:n+unit]
		rest = rest[n+unit:]
		factor := time.Duration(1)
		if number, ok := strings.CutSuffix(piece, "d"); ok {
			piece, factor = number+"h", 24
		}
		d, err := time.ParseDuration(piece)
		if err != nil {
			return 0, bad
		}
		if d > math.MaxInt64/factor || total > math.MaxInt64-d*factor {
			return 0, fmt.Errorf("%q is more than 292 years", s)
		}
		total += d * factor
	}
	if negative {
		return -total, nil
	}
	return total, nil
}
