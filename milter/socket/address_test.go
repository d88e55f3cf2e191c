package socket

import (
	"strings"
	"testing"
)

func TestAddressesAsSendmailWritesThem(t *testing.T) {
	for s, want := range map[string]Address{
		"unix:/run/backscatterd/milter.sock": {"unix", "/run/backscatterd/milter.sock"},
		"local:/run/x":                       {"unix", "/run/x"},
		"/run/x":                             {"unix", "/run/x"},
		"unix:/run//a/../x":                  {"unix", "/run/x"},
		"unix:/run/with:colon@at":            {"unix", "/run/with:colon@at"},
		"UNIX:/run/x":                        {"unix", "/run/x"},
		" inet:8890@127.0.0.1 ":              {"tcp4", "127.0.0.1:8890"},
		"inet:8890@[127.0.0.1]":              {"tcp4", "127.0.0.1:8890"},
		"inet:8890@localhost":                {"tcp4", "localhost:8890"},
		"inet:8890":                          {"tcp4", ":8890"},
		"inet6:8890@::1":                     {"tcp6", "[::1]:8890"},
		"inet6:8890@[::1]":                   {"tcp6", "[::1]:8890"},
		"inet6:8890@[IPv6:::1]":              {"tcp6", "[::1]:8890"},
		"inet6:8890@localhost":               {"tcp6", "localhost:8890"},
		"inet6:65535":                        {"tcp6", ":65535"},
		"systemd:":                           {"systemd", ""},
		"systemd:milter":                     {"systemd", "milter"},
	} {
		got, err := Parse(s)
		if err != nil || got != want {
			t.Errorf("Parse(%q) = %v, %v; want %v", s, got, err, want)
		}
		if again, err := Parse(got.String()); err != nil || again != got {
			t.Errorf("%q is written %q, which reads as %v, %v", s, got.String(), again, err)
		}
	}
}

func TestAddressesThatCannotBe(t *testing.T) {
	for s, want := range map[string]string{
		"":                      "want unix:PATH",
		"8890":                  "want unix:PATH",
		"tcp:8890@localhost":    "want unix:PATH",
		"localhost:8890":        "want unix:PATH",
		"unix:":                 "begin with a slash",
		"unix:run/x":            "begin with a slash",
		"unix:/" + long:         "use a shorter one",
		"unix:/run/x\x00y":      "NUL",
		"inet:127.0.0.1:8890":   "the port comes first",
		"inet:localhost:8890":   "the port comes first",
		"inet:":                 "1 to 65535",
		"inet:0@127.0.0.1":      "1 to 65535",
		"inet:65536@127.0.0.1":  "1 to 65535",
		"inet:milter@127.0.0.1": "1 to 65535",
		"inet:-1":               "1 to 65535",
		"inet:8890@::1":         "inet6:",
		"inet6:8890@127.0.0.1":  "inet:",
		"inet:8890@[127.0.0.1":  "bracket",
		"inet:8890@a b":         "name or an address",
		"inet:8890@/run/x":      "name or an address",
	} {
		if a, err := Parse(s); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Parse(%q) = %v, %v; want an error that says %q", s, a, err, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"unix:/run/x", "inet:8890@127.0.0.1", "inet6:1@[::1]", "systemd:a", "inet:1@[IPv6:::1]", "/x", "inet:1@a%b", ":", "inet:1@]"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, err := Parse(s)
		if err != nil {
			return
		}
		if again, err := Parse(a.String()); err != nil || again != a {
			t.Fatalf("%q reads as %v, written %q, read again %v, %v", s, a, a.String(), again, err)
		}
	})
}
