package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/backscatterd/backscatterd/queuesweep"
)

func TestClean(t *testing.T) {
	for text, want := range map[string]string{
		"héllo → 世界":         "héllo → 世界",
		"\x1b[31m":           `\u001b[31m`,
		"\u009b31m\x7f":      `\u009b31m\u007f`,
		"a\nb\tc\r":          "a b c ",
		"\xff\x80":           `\xff\x80`,
		"\ufffd":             "\ufffd",
		"\u202egnp.exe":      `\u202egnp.exe`,
		"\u200b\u2028\u00ad": `\u200b\u2028\u00ad`,
	} {
		if got := clean(text); got != want {
			t.Errorf("%q is shown as %q, want %q", text, got, want)
		}
	}
	if got := cleanLines("a\x1b\n\t^\nb"); got != "a\\u001b\n\t^\nb" {
		t.Errorf("lines are shown as %q", got)
	}
}

func TestNumbersForPeople(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Second: "future", 0: "0 s", 119 * time.Second: "119 s", 2 * time.Minute: "2 m", 119 * time.Minute: "119 m",
		2 * time.Hour: "2 h", 47 * time.Hour: "47 h", 48 * time.Hour: "2 d", 100 * 24 * time.Hour: "100 d",
	} {
		if got := age(d); got != want {
			t.Errorf("%v is %s, want %s", d, got, want)
		}
	}
	for n, want := range map[int64]string{0: "0", 999: "999", 1000: "1.0k", 9_949: "9.9k", 10_000: "10k", 999_999: "999k", 1_000_000: "1.0M", 10_000_000: "10M", 5_000_000_000: "5000M"} {
		if got := size(n); got != want {
			t.Errorf("%d bytes are %s, want %s", n, got, want)
		}
	}
	for columns, want := range map[int]string{0: "héllo", 5: "héllo", 4: "hél…", 1: "…"} {
		if got := fit("héllo", columns); got != want {
			t.Errorf("in %d columns: %q, want %q", columns, got, want)
		}
	}
}

func TestFolded(t *testing.T) {
	for _, c := range []struct {
		text string
		most int
		want string
	}{
		{"Deferred: 452 4.2.2 full", 24, "Deferred: 452 4.2.2 full"},
		{"Deferred: 452 4.2.2 full", 23, "Deferred: 452 4.2.2|full"},
		{"abcdefgh ij", 3, "abc|def|gh|ij"},
		{"信箱已滿", 5, "信箱|已滿"},
		{"信箱", 1, "信|箱"},
		{"", 5, ""},
	} {
		if got := strings.Join(fold(c.text, c.most), "|"); got != c.want {
			t.Errorf("%q in %d columns: %q, want %q", c.text, c.most, got, c.want)
		}
	}
	for most, want := range map[int]string{0: "mx.a.example", 12: "mx.a.example", 11: "mx.a.…ample", 4: "mx…e", 3: "m…e", 2: "m…"} {
		if got := fitMiddle("mx.a.example", most); got != want {
			t.Errorf("in %d columns: %q, want %q", most, got, want)
		}
	}
	for most := 1; most < 9; most++ {
		if got := fitMiddle("信箱已滿", most); columns(got) > most {
			t.Errorf("in %d columns: %q", most, got)
		}
	}
}

// A list sorts as much as it can hold, and loses nothing beyond.
func TestLongList(t *testing.T) {
	for _, n := range []int{maxSorted, maxSorted + 1, 2*maxSorted + 1} {
		var out strings.Builder
		rows := newRows(terminal{Writer: &out}, true, time.Now())
		for i := range n {
			created := time.Unix(int64(n-i), 0)
			rows.add(queuesweep.Listed{ID: fmt.Sprint(i), Created: &created})
		}
		rows.end()
		if got := strings.Count(out.String(), "\n"); got != n {
			t.Errorf("%d lines for %d messages", got, n)
		}
		if first := fmt.Sprintf(`{"id":"%d"`, min(n, maxSorted)-1); !strings.HasPrefix(out.String(), first) {
			t.Errorf("%d messages: the oldest of the first %d is not the first line", n, maxSorted)
		}
	}
}
