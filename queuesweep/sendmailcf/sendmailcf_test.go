package sendmailcf

import (
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

func FuzzParse(f *testing.F) {
	f.Add([]byte("O QueueDirectory=/x/q*\nQa, P=/x/a\n"))
	f.Add([]byte("OQ/x\n \n\t\nQ,,=\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := Parse(data)
		if err == nil && (len(s.Paths()) == 0 || s.Root() == "") {
			t.Fatalf("settings without a path: %+v", s)
		}
	})
}
