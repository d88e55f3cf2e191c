package spell_test

import (
	"testing"

	"github.com/backscatterd/backscatterd/queuesweep/rule/spell"
)

func TestNearest(t *testing.T) {
	known := []string{"status", "state", "statuses", "header", "headers", "max_share", "max_messages", "id"}
	for word, want := range map[string]string{
		"stauts": "status", "STATUS": "status", "stat": "state", "heder": "header", "maxshare": "max_share", "max_mesages": "max_messages",
		"di": "id", "hedears": "headers", "subject": "", "x": "", "": "", "verylongwordthatisnothing": "",
	} {
		if got := spell.Nearest(word, known); got != want {
			t.Errorf("%q: %q, want %q", word, got, want)
		}
	}
}
