package qf_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Each header, byte for byte: condition, name, raw value, and the value as
// rules see it.
func TestHeaders(t *testing.T) {
	type header struct{ cond, name, raw, value string }
	for _, c := range []struct {
		line string
		want *header // nil: no header
	}{
		{"H??Subject: hello", &header{"", "Subject", " hello", "hello"}},
		{"HSubject: hello", &header{"", "Subject", " hello", "hello"}}, // version 0
		{"H?P?Return-Path: <\x81g>", &header{"P", "Return-Path", " <\x81g>", "<\x81g>"}},
		{"H?DFMx?X: y", &header{"DFMx", "X", " y", "y"}},
		{"H?$x?X: y", &header{"$x", "X", " y", "y"}},
		{"H?${if_addr}?X: y", &header{"${if_addr}", "X", " y", "y"}},
		{"H??X:y", &header{"", "X", "y", "y"}},
		{"H??X:", &header{"", "X", "", ""}},
		{"H??X:   ", &header{"", "X", "   ", ""}},
		{"H??X : y", &header{"", "X", " y", "y"}},
		{"H??X: a: b?c?", &header{"", "X", " a: b?c?", "a: b?c?"}},
		{"H??X-Spam-Flag: YES", &header{"", "X-Spam-Flag", " YES", "YES"}},
		{"H??X: a\n\tb", &header{"", "X", " a\n\tb", "a b"}},
		{"H??X: a\n        b\n \t c", &header{"", "X", " a\n        b\n \t c", "a b c"}},
		{"H??X: a  \n b", &header{"", "X", " a  \n b", "a b"}},
		{"H??X: a\r\n\tb", &header{"", "X", " a\r\n\tb", "a b"}},
		{"H??X:\n\tb", &header{"", "X", "\n\tb", "b"}},
		{"H??X: a\n ", &header{"", "X", " a\n ", "a"}},
		{"H??X: \xc3\xff\x89t\xc3\xa9", &header{"", "X", " Ét\xc3\xa9", "Été"}},
		{"H??X: a\x00b", &header{"", "X", " a", "a"}},
		{"H??X: a\x00b\n\tc", &header{"", "X", " a", "a"}},
		{"H??\n X: y", nil},
		{"H??X\n : y", &header{"", "X", " y", "y"}}, // chompheader passes over space before the colon
		{"H??no colon", nil},
		{"H?P no second mark: x", nil},
		{"H??: no name", nil},
		{"H??two words: x", nil},
		{"H??\xc3\xa4: x", nil},
		{"H", nil},
	} {
		var got *header
		for h := range parse(t, "V8\nS\n"+c.line+"\n.\n").Headers() {
			got = &header{h.Condition, h.Name, h.Raw(), h.Value()}
		}
		if d := cmp.Diff(c.want, got, cmp.AllowUnexported(header{})); d != "" {
			t.Errorf("%q:\n%s", c.line, d)
		}
	}
}

func TestHeaderByName(t *testing.T) {
	f := parse(t, "V8\nS\nH??Received: one\nH??x-loop: a\nH??Received: two\nH?P?Received: three\nH??Empty:\nH??Not a header\nH??Sub_ject: y\nH??Subject: s\nHs\xffubject: z\n.\n")
	for name, want := range map[string]string{
		"Received": "one", "RECEIVED": "one", "X-Loop": "a", "subject": "s", "Empty": "", "ubject": "", "Sub@ject": "",
		"sub\x1fject": "", "": "",
	} {
		if got := f.Header(name); got != want {
			t.Errorf("%q: got %q, want %q", name, got, want)
		}
	}
	if v, ok := f.RawHeader("empty"); !ok || v != "" {
		t.Errorf("an empty header is there: got %q, %v", v, ok)
	}
	if _, ok := f.RawHeader("absent"); ok {
		t.Error("an absent header was found")
	}
	var all []string
	for h := range f.Headers() {
		if h.Name == "Received" {
			all = append(all, h.Value())
		}
	}
	if d := cmp.Diff([]string{"one", "two", "three"}, all); d != "" {
		t.Error(d)
	}
	for range f.Headers() {
		break
	}
}

// Names are compared as ASCII in any case; "_" and DEL, which differ by the
// same bit as letters do, are other names.
func TestNamesThatDifferByTheCaseBit(t *testing.T) {
	f := parse(t, "V8\nS\nH??a_b: 1\nH??a[b: 2\n.\n")
	if f.Header("a\x7fb") != "" || f.Header("a{b") != "" || f.Header("A[B") != "2" || f.Header("A_B") != "1" {
		t.Error("names that are not the same were taken for the same")
	}
}
