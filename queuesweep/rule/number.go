package rule

import (
	"math"
	"strconv"
	"strings"
)

// perlNumber is the value that Perl gives a string in a comparison of numbers:
// that of the longest number it starts with, blanks before it aside, else 0
// (Perl_grok_number and my_atof3 in numeric.c). A leading "Inf" or "NaN" in any
// case counts; "0x" does not.
func perlNumber(s string) float64 {
	s = strings.TrimLeft(s, " \t\n\r\f\v")
	end := numberLength(s)
	if end == 0 {
		return perlSpecial(s)
	}
	v, _ := strconv.ParseFloat(s[:end], 64) // out of range: ±Inf or 0, as in Perl
	return v
}

// numberLength is the length of the decimal number that s starts with.
func numberLength(s string) int {
	i := signLength(s)
	whole := digits(s[i:])
	i += whole
	fraction := 0
	if i < len(s) && s[i] == '.' {
		fraction = digits(s[i+1:])
		i += 1 + fraction
	}
	if whole+fraction == 0 {
		return 0
	}
	if i < len(s) && (s[i] == 'e' || s[i] == 'E') {
		sign := signLength(s[i+1:])
		if n := digits(s[i+1+sign:]); n > 0 {
			i += 1 + sign + n
		}
	}
	return i
}

func perlSpecial(s string) float64 {
	n := signLength(s)
	word := s[n:]
	switch {
	case len(word) >= 3 && strings.EqualFold(word[:3], "inf"):
		if n > 0 && s[0] == '-' {
			return math.Inf(-1)
		}
		return math.Inf(1)
	case len(word) >= 3 && strings.EqualFold(word[:3], "nan"):
		return math.NaN()
	}
	return 0
}

func signLength(s string) int {
	if s != "" && (s[0] == '+' || s[0] == '-') {
		return 1
	}
	return 0
}

func digits(s string) int {
	n := 0
	for n < len(s) && s[n] >= '0' && s[n] <= '9' {
		n++
	}
	return n
}
