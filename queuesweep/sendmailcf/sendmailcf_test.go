package sendmailcf

import (
	"fmt"
	"path"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParse(t *testing.T) {
	tests := []struct {
		name, cf string
		want     Settings
		paths    []string
		root     string
	}{
		{
			name:  "flat",
			cf:    "V10/Berkeley\n# O QueueDirectory=/wrong\nO QueueDirectory=/var/spool/mqueue\nO QueueFileMode=0600\n",
			want:  Settings{QueueDirectory: "/var/spool/mqueue", QueueFileMode: 0o600},
			paths: []string{"/var/spool/mqueue"},
			root:  "/var/spool/mqueue",
		},
		{
			name:  "wildcard and trusted user, option names in any case",
			cf:    "O queuedirectory=/x/q*\r\nO TRUSTEDUSER = smmta\r\n",
			want:  Settings{QueueDirectory: "/x/q*", TrustedUser: "smmta"},
			paths: []string{"/x/q*"},
			root:  "/x",
		},
		{
			name: "queue groups, folded",
			cf:   "O QueueDirectory=/x/main*\nQother, P=/x/other,\n\tF=f, R=2\nQnone\n",
			want: Settings{
				QueueDirectory: "/x/main*",
				Groups:         []Group{{"other", "/x/other"}, {"none", ""}},
			},
			paths: []string{"/x/main*", "/x/other"},
			root:  "/x",
		},
		{
			name: "the default group redefined",
			cf:   "O QueueDirectory=/x\nQmqueue, Path=/x/a*\nQb, P=/x/b\nQb, P=/x/c\n",
			want: Settings{
				QueueDirectory: "/x",
				Groups:         []Group{{"mqueue", "/x/a*"}, {"b", "/x/c"}},
			},
			paths: []string{"/x/a*", "/x/c"},
			root:  "/x",
		},
		{
			name:  "the one-letter form of old files",
			cf:    "OQ/usr/spool/mqueue\nOA/etc/aliases\n",
			want:  Settings{QueueDirectory: "/usr/spool/mqueue"},
			paths: []string{"/usr/spool/mqueue"},
			root:  "/usr/spool/mqueue",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Parse([]byte(tt.cf))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("settings (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.paths, got.Paths()); diff != "" {
				t.Errorf("paths (-want +got):\n%s", diff)
			}
			if got.Root() != tt.root {
				t.Errorf("root %q, want %q", got.Root(), tt.root)
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	for cf, want := range map[string]string{
		"":                                       "no O QueueDirectory",
		"O QueueDirectory=mq\n":                  "no absolute path",
		"\nO QueueFileMode=rw\n":                 "line 2: QueueFileMode=rw: not an octal number",
		"O QueueDirectory=/x/mq\nQa, P=/y/a\n":   "does not lie below",
		"O QueueDirectory=/x/mq\nQa, P=/x/mqa\n": "does not lie below",
		"O QueueDirectory=/x\nQ, P=/x/a\n":       "queue group without a name",
	} {
		if _, err := Parse([]byte(cf)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Parse(%q): error %v, want one with %q", cf, err, want)
		}
	}
}

// FuzzParse: whatever comes in, there are settings that can be used, or an error;
// and what the settings name, written as a sendmail.cf, is read as the same.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"O QueueDirectory=/x/q*\nQa, P=/x/a\n", "OQ/x\n \n\t\nQ,,=\n", "", "O QueueDirectory=/*\n", "O QueueDirectory=*\n", "O QueueDirectory=/x/../../y\nQb, P=/y/../x\n",
		"V10/Berkeley\n# c\n\nO  queueDIRECTORY = /var/spool/mqueue \r\nO QueueFileMode=0600\nO TrustedUser=smmta\nQmqueue, P=/var/spool/mqueue/m*, F=f\nDnMAILER\nR$*\t$1\n\tand on\n",
		"O QueueDirectory=/x\nO QueueFileMode=99999999999999999999\n", "O QueueDirectory=/x\nQa\x00, P=/x/\xff\n", "OQ/x\x00y\nQa, P=/x\x00y/*\nQa, P=\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := Parse(data)
		if err != nil {
			return
		}
		root := s.Root()
		if !path.IsAbs(root) || len(s.Paths()) == 0 {
			t.Fatalf("settings without a place: %+v", s)
		}
		for _, p := range s.Paths() {
			if clean := path.Clean(p); p != s.QueueDirectory && clean != root && !strings.HasPrefix(clean, strings.TrimSuffix(root, "/")+"/") {
				t.Fatalf("%q lies outside of %q", p, root)
			}
		}
		var b strings.Builder
		fmt.Fprintf(&b, "O QueueDirectory=%s\nO TrustedUser=%s\nO QueueFileMode=%o\n", s.QueueDirectory, s.TrustedUser, s.QueueFileMode)
		for _, g := range s.Groups {
			fmt.Fprintf(&b, "Q%s, P=%s\n", g.Name, g.Path)
		}
		if text := b.String(); strings.Count(text, "\n") == 3+len(s.Groups) && !strings.Contains(text, "\r") { // no value is folded
			again, err := Parse([]byte(text))
			if err != nil {
				t.Fatalf("%q became %q: %v", data, text, err)
			}
			if d := cmp.Diff(s, again); d != "" {
				t.Fatalf("%q became %q:\n%s", data, text, d)
			}
		}
	})
}
