package qf_test

import (
	"strings"
	"testing"

	"github.com/backscatterd/backscatterd/queuesweep/qf"
)

func TestQuarantine(t *testing.T) {
	for _, c := range []struct{ name, before, after string }{
		{"before S", "V8\nT1\nFs\nS<a@b>\nRP:<c@d>\n.\n", "V8\nT1\nFs\nqwhy\nS<a@b>\nRP:<c@d>\n.\n"},
		{"in place of an old one", "V8\nqold\nFs\nS<a@b>\n.\n", "V8\nqwhy\nFs\nS<a@b>\n.\n"},
		{"in place of an old one behind S", "V8\nS<a@b>\nqold\n.\n", "V8\nS<a@b>\nqwhy\n.\n"},
		{"of several, once", "V8\nqold\nMx\nqolder\nS<a@b>\n.\n", "V8\nqwhy\nMx\nS<a@b>\n.\n"},
		{"of a folded one", "V8\nqold\n\tand long\nS<a@b>\n.\n", "V8\nqwhy\nS<a@b>\n.\n"},
		{"before the first of two S", "V8\nS<a@b>\nS<c@d>\n.\n", "V8\nqwhy\nS<a@b>\nS<c@d>\n.\n"},
		{"no final newline", "V8\nS<a@b>\n.", "V8\nqwhy\nS<a@b>\n."},
		{"CRLF stays", "V8\r\nS<a@b>\r\n.\r\n", "V8\r\nqwhy\nS<a@b>\r\n.\r\n"},
		{"stuffing and folds stay", "V8\nS<\xc3\xff\x89@b>\nH??A: \xff\xff\n\tb \n.\n", "V8\nqwhy\nS<\xc3\xff\x89@b>\nH??A: \xff\xff\n\tb \n.\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := string(parse(t, c.before).WithQuarantine("why")); got != c.after {
				t.Errorf("got %q, want %q", got, c.after)
			}
		})
	}
}

func TestWithoutQuarantine(t *testing.T) {
	for before, after := range map[string]string{
		"V8\nqwhy\nS<a@b>\n.\n":               "V8\nS<a@b>\n.\n",
		"V8\nqwhy\n\tand\n more\nS<a@b>\n.\n": "V8\nS<a@b>\n.\n",
		"V8\nqa\nS<a@b>\nqb\n.\n":             "V8\nS<a@b>\n.\n",
		"V8\nS<a@b>\nH??q: not this\n.":       "V8\nS<a@b>\nH??q: not this\n.",
	} {
		if got := string(parse(t, before).WithoutQuarantine()); got != after {
			t.Errorf("%q: got %q, want %q", before, got, after)
		}
	}
}

// A reason is one line of printable ASCII, so that it can neither end the q
// line nor add another to the file.
func TestReasonIsOneLine(t *testing.T) {
	for reason, want := range map[string]string{
		"rule spam":               "rule spam",
		" a\nRP:<x@y>\n.\n":       "a RP:<x@y> .",
		"a\r\n b\x00c\x1b[31m":    "a   b c [31m",
		"für später":              "f r sp ter",
		"":                        "held by backscatterd",
		" \n ":                    "held by backscatterd",
		strings.Repeat("x", 5000): strings.Repeat("x", 500),
	} {
		f := parse(t, string(parse(t, minimal).WithQuarantine(reason)))
		if f.Quarantine() != want {
			t.Errorf("%q: got %q, want %q", reason, f.Quarantine(), want)
		}
		n := 0
		for range f.Recipients() {
			n++
		}
		if n != 1 {
			t.Errorf("%q: the file now has %d recipients", reason, n)
		}
	}
}

// Editing gives new bytes: the old ones, which others may look at, stay.
func TestEditLeavesTheOldFileAlone(t *testing.T) {
	data := []byte(minimal)
	f, err := qf.Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	edited := f.WithQuarantine("why")
	for i := range edited {
		edited[i] = '#'
	}
	again := f.WithoutQuarantine()
	for i := range again {
		again[i] = '#'
	}
	if string(data) != minimal || f.Sender() != "a@b.example" {
		t.Error("the edit wrote into the bytes that were parsed")
	}
}
