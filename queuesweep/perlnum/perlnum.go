// Package perlnum gives texts the numeric value that Perl gives them, for
// expressions that were written for qtool.pl.
package perlnum

import (
	"math"
	"strconv"
	"strings"
)

// Value is Perl's numeric value of a text: the number that it begins with,
// after blanks, and 0 where it begins with none. Like Perl it takes decimals
// with an exponent, and words that begin with inf or nan; it knows no
// hexadecimal numbers and no underscores (my_atof3 in Perl's numeric.c).
func Value(text string) float64 {
	n, _ := Leading(text)
	return n
}

// Leading is Value; ok says whether the text begins with a number.
func Leading(text string) (n float64, ok bool) {
	text = strings.TrimLeft(text, " \t\n\r\f\v")
	i := 0
	if i < len(text) && (text[i] == '+' || text[i] == '-') {
		i++
	}
	if len(text) >= i+3 {
		switch strings.ToLower(text[i : i+3]) {
		case "inf":
			if text[0] == '-' {
				return math.Inf(-1), true
			}
			return math.Inf(1), true
		case "nan":
			return math.NaN(), true
		}
	}
	digits := countDigits(text[i:])
	i += digits
	if i < len(text) && text[i] == '.' {
		if more := countDigits(text[i+1:]); digits+more > 0 {
			digits += more
			i += 1 + more
		}
	}
	if digits == 0 {
		return 0, false
	}
	i += ExponentLength(text[i:])
	// The only error left is a range error, which comes with the right value.
	n, _ = strconv.ParseFloat(text[:i], 64)
	return n, true
}

func countDigits(s string) int {
	return len(s) - len(strings.TrimLeft(s, "0123456789"))
}

// ExponentLength is the length of an exponent at the start of s, 0 if none.
func ExponentLength(s string) int {
	if s == "" || s[0] != 'e' && s[0] != 'E' {
		return 0
	}
	i := 1
	if i < len(s) && (s[i] == '+' || s[i] == '-') {
		i++
	}
	if d := countDigits(s[i:]); d > 0 {
		return i + d
	}
	return 0
}
