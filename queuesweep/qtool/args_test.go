package qtool_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/pelletier/go-toml/v2"

	"github.com/backscatterd/backscatterd/queuesweep/qtool"
)

func TestParseArgs(t *testing.T) {
	const expr = `$msg{num_delivery_attempts} > 5`
	for _, tt := range []struct {
		args []string
		want qtool.Invocation
	}{
		{[]string{"/removed", "/q"},
			qtool.Invocation{Action: qtool.Move, Target: "/removed", Sources: []string{"/q"}}},
		{[]string{"-e", expr, "/removed", "/q1", "/q2/qftAE9QVHl018335"},
			qtool.Invocation{Action: qtool.Move, Expr: expr, Target: "/removed", Sources: []string{"/q1", "/q2/qftAE9QVHl018335"}}},
		{[]string{"-d", "-e", expr, "/q"},
			qtool.Invocation{Action: qtool.Delete, Expr: expr, Sources: []string{"/q"}}},
		{[]string{"-b", "-e" + expr, "/q"},
			qtool.Invocation{Action: qtool.Expire, Expr: expr, Sources: []string{"/q"}}},
		{[]string{"-bd", "/q"},
			qtool.Invocation{Action: qtool.Delete, Sources: []string{"/q"}}},
		{[]string{"-d", "-b", "/q"},
			qtool.Invocation{Action: qtool.Delete, Sources: []string{"/q"}}},
		{[]string{"-dQs3600", "-C/etc/mail/other.cf", "/q"},
			qtool.Invocation{Action: qtool.Delete, Quarantined: true, OlderThan: time.Hour, CF: "/etc/mail/other.cf", Sources: []string{"/q"}}},
		{[]string{"-Q", "-s", "60", "-C", "x.cf", "--", "-removed", "-q"},
			qtool.Invocation{Action: qtool.Move, Quarantined: true, OlderThan: time.Minute, CF: "x.cf", Target: "-removed", Sources: []string{"-q"}}},
		{[]string{"-s", "60", "-s", "120", "-d", "/q"},
			qtool.Invocation{Action: qtool.Delete, OlderThan: 2 * time.Minute, Sources: []string{"/q"}}},
		{[]string{"-e", "1 # -d", "-d", "/q"},
			qtool.Invocation{Action: qtool.Delete, Expr: "1 # -d", Sources: []string{"/q"}}},
		{[]string{"-C", "--", "-d", "/q"}, // a value is a value
			qtool.Invocation{Action: qtool.Delete, CF: "--", Sources: []string{"/q"}}},
		{[]string{"--dry-run", "--json", "-c", "a.toml", "/removed", "/q"},
			qtool.Invocation{Action: qtool.Move, DryRun: true, JSON: true, Config: "a.toml", Target: "/removed", Sources: []string{"/q"}}},
		{[]string{"--config=a.toml", "-d", "/q"},
			qtool.Invocation{Action: qtool.Delete, Config: "a.toml", Sources: []string{"/q"}}},
		{[]string{"--config", "a.toml", "-d", "/q"},
			qtool.Invocation{Action: qtool.Delete, Config: "a.toml", Sources: []string{"/q"}}},
		{[]string{"--print-rule", "-e", expr},
			qtool.Invocation{Action: qtool.Move, PrintRule: true, Expr: expr, Sources: []string{}}},
		{[]string{"--print-rule", "-de", expr},
			qtool.Invocation{Action: qtool.Delete, PrintRule: true, Expr: expr, Sources: []string{}}},
		{[]string{"-h"}, qtool.Invocation{Action: qtool.Move, Help: true}},
		{[]string{"--help"}, qtool.Invocation{Action: qtool.Move, Help: true}},
		{[]string{"-d", "-"}, qtool.Invocation{Action: qtool.Delete, Sources: []string{"-"}}}, // Getopt::Std: no option
	} {
		got, err := qtool.ParseArgs(tt.args)
		if err != nil {
			t.Errorf("%q: %v", tt.args, err)
		} else if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%q (-want +got):\n%s", tt.args, diff)
		}
	}
}

func TestParseArgsRefuses(t *testing.T) {
	for _, tt := range []struct {
		args []string
		want string
	}{
		{nil, "name the folder to move to"},
		{[]string{"/removed"}, `name what to move to "/removed"`},
		{[]string{"-d"}, "name the messages"},
		{[]string{"-x", "/q"}, "unknown option -'x'"},
		{[]string{"-dä", "/q"}, "unknown option -'ä'"},
		{[]string{"--delete", "/q"}, `unknown option "--delete"`},
		{[]string{"--json=yes", "/q"}, "--json takes no value"},
		{[]string{"-d", "-e"}, "-e needs a value"},
		{[]string{"--config"}, "--config needs a value"},
		{[]string{"-d", "-C", "", "/q"}, "-C needs a value"},
		{[]string{"-d", "-e", " ", "/q"}, "-e needs an expression"},
		{[]string{"-d", "-s", "1h", "/q"}, `whole number of seconds, not "1h"`},
		{[]string{"-d", "-s", "-5", "/q"}, `whole number of seconds, not "-5"`},
		{[]string{"-d", "-s", "99999999999999999999", "/q"}, "more than a century"},
		{[]string{"-d", "/q", "--dry-run"}, `"--dry-run" stands behind "/q"`},
		{[]string{"/removed", "/q", "-d"}, `"-d" stands behind "/q"`},
		{[]string{"-d", ""}, "name is empty"},
		{[]string{"", "/q"}, "name is empty"},
	} {
		_, err := qtool.ParseArgs(tt.args)
		var usage *qtool.UsageError
		if !errors.As(err, &usage) || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "--help") {
			t.Errorf("%q: error %v, should be %q", tt.args, err, tt.want)
		}
	}
	_, err := qtool.ParseArgs([]string{"-d", "-e", `$msg{sender} = "x"`, "/q"})
	var syntax *qtool.SyntaxError
	if !errors.As(err, &syntax) {
		t.Errorf("a wrong expression gives %v", err)
	}
}

func TestUsageNamesEveryOption(t *testing.T) {
	for _, option := range []string{"-b ", "-C ", "-d ", "-e ", "-Q ", "-s ", "-c,", "--config", "--dry-run", "--json", "--print-rule"} {
		if !strings.Contains(qtool.Usage, "\n  "+option) && !strings.Contains(qtool.Usage, " "+option) {
			t.Errorf("%s is missing", option)
		}
	}
}

func TestRule(t *testing.T) {
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"-e", `(($msg{message}[0] =~ /Connection timed out/) && ($msg{headers}->{ubject} =~ /Returned mail: see transcript for details/))`, "/var/spool/removed/", "/var/spool/mqueue/"},
			`# qtool.pl -e (($msg{message}[0] =~ /Connection timed out/) && ($msg{headers}->{ubject} =~ /Returned mail: see transcript for details/))
# qtool.pl moved to /var/spool/removed/; a rule moves to the removed store
[[rule]]
name = "move-connection-timed-out-returned-mail-see-transcript-for"
when = 'status matches "Connection timed out" && any(old_headers("ubject"), # matches "Returned mail: see transcript for details")'
do = "move"
`},
		{[]string{"-b", "-e", `(($msg{num_delivery_attempts} > 10) && ($msg{message}[0] =~ /Network is unreachable/))`, "/q"},
			`# qtool.pl -e (($msg{num_delivery_attempts} > 10) && ($msg{message}[0] =~ /Network is unreachable/))
[[rule]]
name = "expire-10-network-is-unreachable"
when = 'attempts > 10 && status matches "Network is unreachable"'
do = "expire"
`},
		{[]string{"-dQ", "-s3600", "-e", "$msg{message} =~ /it's/ ||\n$msg{id} eq 'x'", "/q"},
			`# qtool.pl -e $msg{message} =~ /it's/ || $msg{id} eq 'x'
[[rule]]
name = "delete-held-3600s-it-s-x"
when = '''state == "held" && df_age > duration("3600s") && (status matches "it's" || id == "x")'''
do = "delete"
`},
		{[]string{"-d", "/q"}, `[[rule]]
name = "delete"
when = "true"
do = "delete"
`},
		{[]string{"-d", "-e", `$msg{sender} eq q('''\ ")`, "/q"}, `# qtool.pl -e $msg{sender} eq q('''\ ")
[[rule]]
name = "delete"
when = "line(\"S\") == ` + "`'''\\\\ \\\"`" + `"
do = "delete"
`},
	} {
		inv, err := qtool.ParseArgs(append([]string{"--print-rule"}, tt.args...))
		if err != nil {
			t.Fatal(err)
		}
		rule, err := inv.Rule()
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(tt.want, rule); diff != "" {
			t.Errorf("%q (-want +got):\n%s", tt.args, diff)
		}
		checkRule(t, inv, rule)
	}
}

// checkRule reads a rule as the configuration does, and finds the condition in
// it as it was.
func checkRule(t *testing.T, inv qtool.Invocation, rule string) {
	t.Helper()
	var file struct {
		Rule []struct{ Name, When, Do string }
	}
	if err := toml.NewDecoder(strings.NewReader(rule)).DisallowUnknownFields().Decode(&file); err != nil {
		t.Fatalf("%v in\n%s", err, rule)
	}
	condition, err := inv.Condition()
	if err != nil {
		t.Fatal(err)
	}
	if len(file.Rule) != 1 || file.Rule[0].When != condition || file.Rule[0].Do != string(inv.Action) || file.Rule[0].Name == "" || len(file.Rule[0].Name) > 60 {
		t.Fatalf("the rule for %s reads as %+v:\n%s", condition, file.Rule, rule)
	}
	if _, err := compile(condition); err != nil {
		t.Fatalf("%s does not compile: %v", condition, err)
	}
}
