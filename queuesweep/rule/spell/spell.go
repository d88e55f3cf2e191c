// Package spell guesses which known word a mistyped one was meant to be, for
// the hints of error messages.
package spell

import "strings"

// Nearest returns the known word that is most like word, "" if none is like it.
// Case does not count. Of equals the first is taken.
func Nearest(word string, known []string) string {
	best, limit := "", 1+len(word)/3
	for _, k := range known {
		if d := distance(strings.ToLower(word), strings.ToLower(k), limit); d <= limit {
			if best == "" || d < limit {
				best, limit = k, d
			}
		}
	}
	return best
}

// distance is the least number of letters to insert, remove, change, or swap
// with their neighbour; any number above limit where it is above.
func distance(a, b string, limit int) int {
	if abs(len(a)-len(b)) > limit {
		return limit + 1
	}
	var before, last []int
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		before, last, row = last, row, make([]int, len(b)+1)
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
	}
	return row[len(b)]
}

func abs(n int) int { return max(n, -n) }
