package qtool

import (
	"math"
	"strconv"
)

// floatText is how Perl writes a number with a fraction or an exponent as text.
func floatText(n float64) string { return strconv.FormatFloat(n, 'g', 15, 64) }

// numberLiteral is a number as a condition writes it, with all of its digits.
func numberLiteral(n float64) string {
	if n == math.Trunc(n) && math.Abs(n) < 1<<53 {
		return strconv.FormatInt(int64(n), 10)
	}
	return strconv.FormatFloat(n, 'g', -1, 64)
}
