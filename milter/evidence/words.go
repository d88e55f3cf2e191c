package evidence

import (
	"fmt"
	"time"
)

// several names the first of a list, and how many there are more.
func several(list []string) string {
	switch len(list) {
	case 0:
		return "nobody"
	case 1:
		return list[0]
	}
	return fmt.Sprintf("%s and %d more", list[0], len(list)-1)
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") }

// days says a duration in days where it is whole ones.
func days(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d == day:
		return "day"
	case d >= day && d%day == 0:
		return fmt.Sprintf("%d days", d/day)
	}
	return d.String()
}
