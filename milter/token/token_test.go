package token

import (
	"errors"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var (
	day0     = time.Date(2026, 3, 1, 23, 59, 59, 0, time.UTC)
	current  = Key{"k2", []byte("the key of today")}
	previous = Key{"k1", []byte("the key of last year")}
)

func signer(t testing.TB, lifetime int, keys ...Key) *Signer {
	t.Helper()
	s, err := New(lifetime, keys...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func sign(t testing.TB, s *Signer, sender, id string) string {
	t.Helper()
	v, err := s.Sign(sender, id, day0)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// The form is what scripts and later versions rely on. The value was computed
// with Python's hmac over 8-byte lengths and fields.
func TestTokenIsWrittenAsDocumented(t *testing.T) {
	got := sign(t, signer(t, 14, current), "joe@example.org", "<1@mx.example.org>")
	want := "v1 k=k2 t=20513 h=vRPAshDF2fmV_dejepoq6IuBB0YMZQ4z4dzVUWGeK0Q"
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestTokenComesBackInManyShapes(t *testing.T) {
	s := signer(t, 14, current, previous)
	value := sign(t, s, "Joe.Bloggs@Example.ORG", "<a.b@mx.example.org>")
	for _, v := range []string{
		value,
		"  " + value + "\r\n",
		strings.ReplaceAll(value, " ", "\r\n\t"),
		strings.ReplaceAll(value, " ", "\n> "),
		strings.ReplaceAll(value, " h=", "\n>> h="),
	} {
		for _, sender := range []string{"joe.bloggs@example.org", "<Joe.Bloggs@example.org>", "JOE.BLOGGS@EXAMPLE.ORG"} {
			for _, id := range []string{"<a.b@mx.example.org>", "a.b@mx.example.org", " <a.b@mx.\r\n example.org>"} {
				if r := s.Check(v, id, day0, sender); r != Valid {
					t.Errorf("Check(%q, %q, %q) = %v", v, id, sender, r)
				}
			}
		}
	}
	// The MTA rewrote the sender after the filter saw it.
	if r := s.Check(value, "<a.b@mx.example.org>", day0, "joe@example.org", "joe.bloggs@example.org"); r != Valid {
		t.Errorf("second candidate: %v", r)
	}
}

func TestWhatATokenDoesNotProve(t *testing.T) {
	s := signer(t, 14, current, previous)
	value := sign(t, s, "joe@example.org", "<1@mx>")
	tok, err := Parse(value)
	if err != nil {
		t.Fatal(err)
	}
	otherDay, otherKey, flipped := tok, tok, tok
	otherDay.Day++
	otherKey.KeyID = "k1"
	flipped.MAC[31] ^= 1
	foreign := sign(t, signer(t, 14, Key{"zz", []byte("theirs")}), "joe@example.org", "<1@mx>")
	for name, c := range map[string]struct {
		value, id, sender string
		want              Result
	}{
		"as sent":         {value, "<1@mx>", "joe@example.org", Valid},
		"absent":          {"", "<1@mx>", "joe@example.org", Absent},
		"blank":           {" \t", "<1@mx>", "joe@example.org", Absent},
		"other sender":    {value, "<1@mx>", "eve@example.org", Forged},
		"other id":        {value, "<2@mx>", "joe@example.org", Forged},
		"id in upper":     {value, "<1@MX>", "joe@example.org", Forged},
		"moved boundary":  {value, "<@mx>", "joe@example.org1", Forged},
		"another day":     {otherDay.String(), "<1@mx>", "joe@example.org", Forged},
		"another key":     {otherKey.String(), "<1@mx>", "joe@example.org", Forged},
		"one bit":         {flipped.String(), "<1@mx>", "joe@example.org", Forged},
		"unknown key":     {foreign, "<1@mx>", "joe@example.org", UnknownKey},
		"cut short":       {value[:len(value)-1], "<1@mx>", "joe@example.org", Malformed},
		"cut by a chunk":  {value[:12], "<1@mx>", "joe@example.org", Malformed},
		"longer":          {value + "A", "<1@mx>", "joe@example.org", Malformed},
		"a fifth word":    {value + " x", "<1@mx>", "joe@example.org", Malformed},
		"version 2":       {"v2" + value[2:], "<1@mx>", "joe@example.org", Malformed},
		"padded":          {value + "=", "<1@mx>", "joe@example.org", Malformed},
		"leading zero":    {strings.Replace(value, "t=", "t=0", 1), "<1@mx>", "joe@example.org", Malformed},
		"negative day":    {strings.Replace(value, "t=", "t=-", 1), "<1@mx>", "joe@example.org", Malformed},
		"day of 8 digits": {"v1 k=k2 t=12345678 h=" + value[len(value)-43:], "<1@mx>", "joe@example.org", Malformed},
	} {
		if got := s.Check(c.value, c.id, day0, c.sender); got != c.want {
			t.Errorf("%s: Check(%q) = %v; want %v", name, c.value, got, c.want)
		}
	}
	if got := s.Check(value, "<1@mx>", day0); got != Forged {
		t.Errorf("no sender at all: %v", got)
	}
}

func TestLifetimeAndKeyChange(t *testing.T) {
	s := signer(t, 14, previous)
	value := sign(t, s, "joe@example.org", "<1@mx>")
	envid, err := s.SignEnvelopeID("joe@example.org", "<1@mx>", day0)
	if err != nil {
		t.Fatal(err)
	}
	after := signer(t, 14, current, previous)
	for days, want := range map[int]Result{
		-9000: Expired, -2: Expired, -1: Valid, 0: Valid, 1: Valid, 14: Valid, 15: Expired, 1000: Expired,
	} {
		now := day0.AddDate(0, 0, days)
		if got := after.Check(value, "<1@mx>", now, "joe@example.org"); got != want {
			t.Errorf("token, %d days later: %v; want %v", days, got, want)
		}
		if got := after.CheckEnvelopeID(envid, now, "joe@example.org"); got != want {
			t.Errorf("envelope id, %d days later: %v; want %v", days, got, want)
		}
	}
}

func TestEnvelopeID(t *testing.T) {
	s := signer(t, 14, current, previous)
	envid, err := s.SignEnvelopeID("Joe@example.org", "<1@mx>", day0)
	if err != nil {
		t.Fatal(err)
	}
	other, err := s.SignEnvelopeID("Joe@example.org", "<2@mx>", day0)
	if err != nil {
		t.Fatal(err)
	}
	if envid == other {
		t.Error("two messages have the same envelope id")
	}
	longest, err := signer(t, 14, Key{strings.Repeat("k", 32), []byte("s")}).SignEnvelopeID("a@b", "<1@mx>", time.Unix(1<<40, 0))
	if err != nil || len(longest) > 100 {
		t.Errorf("%s, %v: %d octets, RFC 3461 allows 100", longest, err, len(longest))
	}
	if strings.ContainsAny(envid, "+= <>@") {
		t.Errorf("%s needs xtext", envid)
	}
	flip := func(i int) string {
		b := []byte(envid)
		b[i] ^= 1
		return string(b)
	}
	for name, c := range map[string]struct {
		envid, sender string
		want          Result
	}{
		"as sent":       {envid, "joe@example.org", Valid},
		"folded":        {strings.ToUpper(envid[:5]) + envid[5:8] + strings.ToUpper(envid[8:]), "JOE@EXAMPLE.ORG", Valid},
		"spaces":        {" " + envid + "\r\n", "joe@example.org", Valid},
		"none":          {"", "joe@example.org", Absent},
		"the client's":  {"QQ314159", "joe@example.org", Absent},
		"near miss":     {"bsg2" + envid[4:], "joe@example.org", Absent},
		"other sender":  {envid, "eve@example.org", Forged},
		"mail":          {flip(len(envid) - 40), "joe@example.org", Forged},
		"signature":     {flip(len(envid) - 1), "joe@example.org", Forged},
		"unknown key":   {strings.Replace(envid, ".k2.", ".k9.", 1), "joe@example.org", UnknownKey},
		"another key":   {strings.Replace(envid, ".k2.", ".k1.", 1), "joe@example.org", Forged},
		"cut":           {envid[:len(envid)-3], "joe@example.org", Malformed},
		"only the mark": {"bsg1.", "joe@example.org", Malformed},
		"five parts":    {envid + ".x", "joe@example.org", Malformed},
	} {
		if got := s.CheckEnvelopeID(c.envid, day0, c.sender); got != c.want {
			t.Errorf("%s: CheckEnvelopeID(%q) = %v; want %v", name, c.envid, got, c.want)
		}
	}
}

func TestSignerOptionsThatMakeNoSense(t *testing.T) {
	for name, c := range map[string]struct {
		lifetime int
		key      Key
	}{
		"no lifetime": {0, current},
		"no secret":   {14, Key{"k", nil}},
		"no id":       {14, Key{"", []byte("s")}},
		"id with dot": {14, Key{"a.b", []byte("s")}},
		"id too long": {14, Key{strings.Repeat("k", 33), []byte("s")}},
	} {
		if _, err := New(c.lifetime, c.key); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	none := signer(t, 14)
	if _, err := none.Sign("a@b", "<1@mx>", day0); !errors.Is(err, ErrNoKey) {
		t.Errorf("Sign without keys: %v", err)
	}
	if _, err := none.SignEnvelopeID("a@b", "<1@mx>", day0); !errors.Is(err, ErrNoKey) {
		t.Errorf("SignEnvelopeID without keys: %v", err)
	}
}

// Two messages that differ in sender or Message-ID never share a token, however
// their text is cut up.
func TestEncodingIsUnambiguous(t *testing.T) {
	s := signer(t, 14, current)
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringMatching(`[ab\x00@.]{2,12}`).Draw(t, "text")
		i, j := rapid.IntRange(0, len(text)).Draw(t, "i"), rapid.IntRange(0, len(text)).Draw(t, "j")
		a, err := s.Sign(text[:i], text[i:], day0)
		if err != nil {
			t.Fatal(err)
		}
		b, err := s.Sign(text[:j], text[j:], day0)
		if err != nil {
			t.Fatal(err)
		}
		if (a == b) != (i == j) {
			t.Fatalf("%q cut at %d and %d", text, i, j)
		}
	})
}

func FuzzToken(f *testing.F) {
	s := signer(f, 14, current, previous)
	f.Add(sign(f, s, "joe@example.org", "<1@mx>"), "<1@mx>", "joe@example.org")
	envid, err := s.SignEnvelopeID("joe@example.org", "<1@mx>", day0)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(envid, "<1@mx>", "joe@example.org")
	f.Add("v1 k= t= h=", "", "")
	f.Add("v1 k=k1 t=0 h="+strings.Repeat("_", 43), "<>", "<>")
	f.Add("bsg1....", "\x00", "\xff")
	f.Fuzz(func(t *testing.T, value, id, sender string) {
		tok, err := Parse(value)
		if err == nil {
			again, err := Parse(tok.String())
			if err != nil || again != tok {
				t.Fatalf("%q reads as %v, written %q, read again as %v, %v", value, tok, tok, again, err)
			}
		}
		if r := s.Check(value, id, day0, sender); (r == Absent || r == Malformed) == (err == nil) {
			t.Fatalf("Parse(%q): %v, Check: %v", value, err, r)
		}
		s.CheckEnvelopeID(value, day0, sender)
		signed, err := s.Sign(sender, id, day0)
		if err != nil || s.Check(signed, id, day0, sender) != Valid {
			t.Fatalf("Sign(%q, %q) = %q, %v, which does not check", sender, id, signed, err)
		}
	})
}
