package batv

import (
	"errors"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func at(t *testing.T, s string) time.Time {
	t.Helper()
	when, err := time.Parse(time.DateTime, s)
	if err != nil {
		t.Fatal(err)
	}
	return when
}

func scheme(t *testing.T, opts Options) *Scheme {
	t.Helper()
	s, err := New(opts)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// The tags that Exim 4.96 makes, lifetime 7 days.
var eximVectors = []struct {
	now, address, secret string
	number               int
	want                 string
}{
	{"2024-01-01 12:00:00", "userx@test.ex", "secret", 0, "prvs=0730570649=userx@test.ex"},
	{"2024-01-01 12:00:00", "userx@test.ex", "secret", 1, "prvs=1730bb11f0=userx@test.ex"},
	{"2024-01-01 12:00:00", "User.Name@Example.COM", "0123456789abcdef", 7, "prvs=77304f7e90=User.Name@Example.COM"},
	{"2024-01-01 23:59:59", "a@b.example", "k", 9, "prvs=973045d24e=a@b.example"},
	{"2022-01-05 00:00:00", "userx@test.ex", "secret", 0, "prvs=00045dee1d=userx@test.ex"},
}

func TestTagsAreEximsOfTheSameKey(t *testing.T) {
	for _, v := range eximVectors {
		keys := []Key{{Number: v.number, Secret: []byte(v.secret)}}
		exact := scheme(t, Options{Keys: keys, Lifetime: 7, Exact: true})
		got, err := exact.Sign(v.address, at(t, v.now))
		if err != nil || got != v.want {
			t.Errorf("Sign(%s) = %s, %v; want %s", v.address, got, err, v.want)
		}
		// Whichever way we sign ourselves, what an Exim signed is accepted.
		for _, s := range []*Scheme{exact, scheme(t, Options{Keys: keys, Lifetime: 7})} {
			if r := s.Check(v.want, at(t, v.now)); r != Valid {
				t.Errorf("Check(%s) = %v; want valid", v.want, r)
			}
		}
		if v.address == strings.ToLower(v.address) {
			got, err := scheme(t, Options{Keys: keys, Lifetime: 7}).Sign(v.address, at(t, v.now))
			if err != nil || got != v.want {
				t.Errorf("folding Sign(%s) = %s, %v; want %s", v.address, got, err, v.want)
			}
		}
	}
}

func TestTagSurvivesAHostThatFoldsCase(t *testing.T) {
	now := at(t, "2024-01-01 12:00:00")
	s := scheme(t, Options{Keys: []Key{{3, []byte("s3cret")}}, Lifetime: 7})
	for _, sender := range []string{"joe@example.org", "Joe.Bloggs@Example.ORG", "JOE@EXAMPLE.ORG"} {
		tagged, err := s.Sign(sender, now)
		if err != nil {
			t.Fatal(err)
		}
		local, domain, _ := split(tagged)
		for _, arrived := range []string{
			tagged,
			strings.ToLower(tagged),
			strings.ToUpper(tagged),
			strings.ToLower(local) + "@" + domain,
			strings.ToUpper(local) + "@" + domain,
			`"` + local + `"@` + domain,
		} {
			if r := s.Check(arrived, now); r != Valid {
				t.Errorf("signed as %s, came back as %s: %v; want valid", tagged, arrived, r)
			}
			if plain, ok := Strip(arrived); !ok || !strings.EqualFold(plain, sender) {
				t.Errorf("Strip(%s) = %s, %v; want %s", arrived, plain, ok, sender)
			}
		}
	}
}

func TestExpiryAcrossTheWrapOfTheDayCounter(t *testing.T) {
	s := scheme(t, Options{Keys: []Key{{0, []byte("secret")}}, Lifetime: 7})
	// Day 18997 is 2022-01-05, whose tag expires on day 19004: 004.
	for _, signed := range []string{"2022-01-05 00:00:00", "2022-01-01 09:00:00", "2024-01-01 12:00:00", "2024-09-30 23:59:59"} {
		start := at(t, signed)
		tagged, err := s.Sign("userx@test.ex", start)
		if err != nil {
			t.Fatal(err)
		}
		for after := -400; after <= 590; after++ {
			want := Expired
			if after >= 0 && after <= 7 {
				want = Valid
			}
			if got := s.Check(tagged, start.AddDate(0, 0, after)); got != want {
				t.Fatalf("%s signed %s, checked %d days later: %v; want %v", tagged, signed, after, got, want)
			}
		}
	}
}

func TestCheck(t *testing.T) {
	now := at(t, "2024-01-01 12:00:00")
	s := scheme(t, Options{Lifetime: 7, Keys: []Key{
		{1, []byte("new")}, {0, []byte("secret")}, {1, []byte("older, same digit")},
	}})
	older := scheme(t, Options{Lifetime: 7, Keys: []Key{{1, []byte("older, same digit")}}})
	byOlder, err := older.Sign("userx@test.ex", now)
	if err != nil {
		t.Fatal(err)
	}
	for recipient, want := range map[string]Result{
		"":                                  Untagged,
		"userx@test.ex":                     Untagged,
		"prvs@test.ex":                      Untagged,
		"prvs=@test.ex":                     Untagged,
		"prvs=0730570649=@test.ex":          Untagged,
		"prvs=0730570649=userx":             Untagged,
		"prvs=0730570649=userx@test.ex":     Valid,
		"userx+prvs=0730570649@test.ex":     Valid,
		"prvs=userx=0730570649@test.ex":     Valid,
		byOlder:                             Valid,
		"prvs=0729570649=userx@test.ex":     Forged,
		"prvs=0730570648=userx@test.ex":     Forged,
		"prvs=0730570649=usery@test.ex":     Forged,
		"prvs=0730570649=userx@test.exe":    Forged,
		"prvs=1730570649=userx@test.ex":     Forged,
		"prvs=5730570649=userx@test.ex":     UnknownKey,
		"btv1==0730570649==userx@test.ex":   Foreign,
		"msprvs1=17900qKJ0fP5F=u@test.ex":   Foreign,
		"prvs=userx=123ABC0A@test.ex":       Foreign,
		"prvs=0123456789abcdef0=u@test.ex":  Untagged,
		"prvs=0730570649=a@evil@test.ex":    Untagged,
		"prvs=0730570649=a\r\nX: y@test.ex": Untagged,
	} {
		if got := s.Check(recipient, now); got != want {
			t.Errorf("Check(%q) = %v; want %v", recipient, got, want)
		}
	}
	keyless := scheme(t, Options{Lifetime: 7})
	if got := keyless.Check("prvs=0730570649=userx@test.ex", now); got != UnknownKey {
		t.Errorf("without keys: %v; want unknown-key", got)
	}
}

func TestStripRecognisesTheFormsMetInTheWild(t *testing.T) {
	for recipient, want := range map[string]string{
		"prvs=0730570649=userx@test.ex":                  "userx@test.ex",
		"PRVS=0730570649=USERX@TEST.EX":                  "USERX@TEST.EX",
		"prvs=0730570649=list-owner=a.example@test.ex":   "list-owner=a.example@test.ex",
		"prvs=0730570649=0123456789@test.ex":             "0123456789@test.ex",
		"prvs=userx=0730570649@test.ex":                  "userx@test.ex",
		"prvs=userx=123ABC0A@test.ex":                    "userx@test.ex",
		"prvs=deadbeef42ab=userx@test.ex":                "userx@test.ex",
		"btv1==0730570649==userx@test.ex":                "userx@test.ex",
		"Btv1==abc0570649==user=x@test.ex":               "user=x@test.ex",
		"msprvs1=17900qKJ0fP5F=bounces-2601-1@mail.test": "bounces-2601-1@mail.test",
		"userx+prvs=0730570649@test.ex":                  "userx@test.ex",
		"userx+detail+prvs=0730570649@test.ex":           "userx+detail@test.ex",
		"userx-prvs=0730570649@test.ex":                  "userx@test.ex",
		`"prvs=0730570649=userx"@test.ex`:                "userx@test.ex",
		"userx@test.ex":                                  "",
		"prvs=userx@test.ex":                             "",
		"prvs=hello=world@test.ex":                       "",
		"userx+prvs=073057064@test.ex":                   "",
		"+prvs=0730570649@test.ex":                       "",
		"btv1==nothex==userx@test.ex":                    "",
		"btv1==0730570649=userx@test.ex":                 "",
		"msprvs1==userx@test.ex":                         "",
		"@":                                              "",
		"prvs=0730570649=userx@":                         "",
	} {
		got, tagged := Strip(recipient)
		if want == "" {
			if tagged || got != recipient {
				t.Errorf("Strip(%s) = %s, %v; want it left alone", recipient, got, tagged)
			}
			continue
		}
		if !tagged || got != want {
			t.Errorf("Strip(%s) = %s, %v; want %s", recipient, got, tagged, want)
		}
	}
}

func TestAddressesThatAreLeftAlone(t *testing.T) {
	now := at(t, "2024-01-01 12:00:00")
	s := scheme(t, Options{Keys: []Key{{0, []byte("secret")}}, Lifetime: 7})
	local48 := strings.Repeat("x", 48)
	for address, want := range map[string]error{
		"":                                         ErrNotSignable,
		"postmaster":                               ErrNotSignable,
		"@test.ex":                                 ErrNotSignable,
		"user@":                                    ErrNotSignable,
		`"john doe"@test.ex`:                       ErrNotSignable,
		"@relay.ex:user@test.ex":                   ErrNotSignable,
		"user\r\nRCPT TO:<a@b>@test.ex":            ErrNotSignable,
		"user@test.ex\x00":                         ErrNotSignable,
		"prvs=0730570649=userx@test.ex":            ErrTagged,
		"prvs=userx=123ABC0A@test.ex":              ErrTagged,
		"btv1==0730570649==userx@test.ex":          ErrTagged,
		"msprvs1=17900qKJ0fP5F=u@test.ex":          ErrTagged,
		"u+prvs=0730570649@test.ex":                ErrTagged,
		local48 + "@test.ex":                       nil,
		local48 + "x@test.ex":                      ErrTooLong,
		"user@" + strings.Repeat("d.", 117) + "ex": ErrTooLong,
		"jürgen@test.ex":                           nil,
		"SRS0=abcd=xy=a.ex=u@test.ex":              nil,
	} {
		got, err := s.Sign(address, now)
		if !errors.Is(err, want) {
			t.Errorf("Sign(%q) = %q, %v; want %v", address, got, err, want)
		}
		if err == nil && s.Check(got, now) != Valid {
			t.Errorf("Sign(%q) = %q, which does not check", address, got)
		}
	}
	if _, err := scheme(t, Options{Lifetime: 7}).Sign("a@b", now); !errors.Is(err, ErrNoKey) {
		t.Errorf("without keys: %v; want %v", err, ErrNoKey)
	}
}

func TestOptionsThatMakeNoSense(t *testing.T) {
	for name, opts := range map[string]Options{
		"no lifetime":    {},
		"lifetime wraps": {Lifetime: 999},
		"two digits":     {Lifetime: 7, Keys: []Key{{10, []byte("k")}}},
		"negative":       {Lifetime: 7, Keys: []Key{{-1, []byte("k")}}},
		"no secret":      {Lifetime: 7, Keys: []Key{{1, nil}}},
	} {
		if _, err := New(opts); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// Any address that is signed comes back as itself, on any day and at any age.
func TestSignCheckStripAgree(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		lifetime := rapid.IntRange(1, 998).Draw(t, "lifetime")
		s, err := New(Options{Lifetime: lifetime, Exact: rapid.Bool().Draw(t, "exact"), Keys: []Key{
			{rapid.IntRange(0, 9).Draw(t, "number"), rapid.SliceOfN(rapid.Byte(), 1, 64).Draw(t, "secret")},
		}})
		if err != nil {
			t.Fatal(err)
		}
		address := rapid.StringMatching(`[A-Za-z0-9.=+_-]{1,60}@[A-Za-z0-9.-]{1,40}`).Draw(t, "address")
		now := time.Unix(rapid.Int64Range(0, 1<<33).Draw(t, "now"), 0)
		tagged, err := s.Sign(address, now)
		if err != nil {
			t.Skip(err)
		}
		if plain, ok := Strip(tagged); !ok || plain != address {
			t.Fatalf("Strip(%s) = %s, %v", tagged, plain, ok)
		}
		age := rapid.IntRange(0, lifetime).Draw(t, "age")
		if r := s.Check(tagged, now.AddDate(0, 0, age)); r != Valid {
			t.Fatalf("%s after %d days: %v", tagged, age, r)
		}
	})
}

func FuzzParse(f *testing.F) {
	for _, v := range eximVectors {
		f.Add(v.want)
	}
	for _, s := range []string{"", "@", "prvs==@", "btv1====@a", "msprvs1=a=@b", "a+prvs=0730570649@c", `""@a`, `"@"@`, "prvs=\xff\x00=@\n"} {
		f.Add(s)
	}
	s, err := New(Options{Keys: []Key{{0, []byte("secret")}}, Lifetime: 7})
	if err != nil {
		f.Fatal(err)
	}
	now := time.Unix(1704110400, 0)
	f.Fuzz(func(t *testing.T, address string) {
		plain, tagged := Strip(address)
		if !tagged && plain != address {
			t.Fatalf("Strip(%q) changed an address without a tag to %q", address, plain)
		}
		if tagged && (len(plain) >= len(address) || strings.ContainsAny(plain[:strings.LastIndexByte(plain, '@')], "\r\n\x00")) {
			t.Fatalf("Strip(%q) = %q", address, plain)
		}
		if tagged == (s.Check(address, now) == Untagged) {
			t.Fatalf("Strip and Check disagree on %q", address)
		}
		if signed, err := s.Sign(address, now); err == nil {
			if back, ok := Strip(signed); !ok || back != address || s.Check(signed, now) != Valid {
				t.Fatalf("Sign(%q) = %q, which strips to %q and is %v", address, signed, back, s.Check(signed, now))
			}
		}
	})
}
