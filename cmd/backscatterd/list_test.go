package main

import (
	"testing"

	"github.com/backscatterd/backscatterd/queuesweep"
)

// Where a route is too long, names before the domains give way first.
func TestRoute(t *testing.T) {
	message := func(from string, to ...string) queuesweep.Listed {
		m := queuesweep.Listed{NullSender: from == ""}
		m.Sender = from
		for _, a := range to {
			m.Recipients = append(m.Recipients, queuesweep.ListedRecipient{Address: a})
		}
		return m
	}
	usual := message("sender@customer.example", "user@dest.example")
	for _, c := range []struct {
		m    queuesweep.Listed
		most int
		want string
	}{
		{usual, 0, "sender@customer.example → user@dest.example"},
		{usual, 43, "sender@customer.example → user@dest.example"},
		{usual, 41, "sen…@customer.example → user@dest.example"},
		{usual, 37, "s…@customer.example → u…@dest.example"},
		{usual, 30, "s…@customer.example → u…@dest…"},
		{message("", "user@dest.example", "other@dest.example"), 18, "<> → u…@dest.exam…"},
		{message("root"), 40, "root → -"},
		{message("root", "a-long-name-without-a-domain"), 20, "root → a-long-name-…"},
	} {
		got := route(c.m, c.most)
		if got != c.want {
			t.Errorf("in %d columns: got %q, want %q", c.most, got, c.want)
		}
		if c.most > 0 && columns(got) > c.most {
			t.Errorf("%q takes more than %d columns", got, c.most)
		}
	}
}
