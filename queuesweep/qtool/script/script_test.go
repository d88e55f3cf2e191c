package script_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/backscatterd/backscatterd/config"
	"github.com/backscatterd/backscatterd/queuesweep/qtool/script"
)

const setQ = "Q=/usr/share/sendmail/qtool.pl\n"

// calls are what a file's calls amount to, one a line: schedule, action,
// condition, folders; or what is told of them, as line:column message.
func calls(files ...script.File) (out []string) {
	found, problems := script.Read(files...)
	for _, c := range found {
		condition, err := c.Condition()
		if err != nil {
			condition = err.Error()
		}
		out = append(out, strings.Join(strings.Fields(fmt.Sprint(c.Schedule, " ", c.Action, " ", condition, " ", c.Target, " ", strings.Join(c.Sources, " "))), " "))
	}
	for _, p := range problems {
		kind := "!"
		if p.Note {
			kind = "note"
		}
		out = append(out, fmt.Sprintf("%s %d:%d %s", kind, p.Line, p.Column, p.Message))
	}
	return out
}

// What the shell would do is worked out, and what it alone can know is told.
func TestScripts(t *testing.T) {
	for _, tt := range []struct {
		text string
		want []string
	}{
		{"qtool.pl -d -e '$msg{sender} =~ /a/' /q", []string{`delete line("S") matches "a" /q`}},
		{`qtool.pl -d -e "\$msg{sender} =~ /a\\./" /q`, []string{`delete line("S") matches ` + "`a\\.` /q"}},
		{"qtool.pl -d -e '$msg{sender} '\"=~ /it's/\" /q", []string{`delete line("S") matches "it's" /q`}},
		{setQ + "$Q -d /q; ${Q} -b \\\n  /p && $Q -dQ /r", []string{"delete true /q", "expire true /p", `delete state == "held" /r`}},
		{setQ + "X=sp; $Q -d -e '$msg{sender} =~ /'\"${X}am\"/ /q", []string{`delete line("S") matches "spam" /q`}},
		{"L='/a /b'\nfor q in $L \"/c d\" /e*; do qtool.pl -d \"$q\"; done", []string{"delete true /a", "delete true /b", "delete true /c d", "delete true /e*"}},
		{"for q in /a /b; do for n in 1 2; do qtool.pl -d -s $((n*60)) $q; done; done", []string{
			`delete df_age > duration("60s") /a`, `delete df_age > duration("120s") /a`, `delete df_age > duration("60s") /b`, `delete df_age > duration("120s") /b`}},
		{"QS=(/a /b)\nqtool.pl -d \"${QS[@]}\"", []string{"delete true /a /b"}},
		{"clean() { qtool.pl -d -e \"$1\" ${2:-/q}; }\nclean '$msg{id}' /p\nclean '$msg{id}'", []string{`delete id not in ["", "0"] /p`, `delete id not in ["", "0"] /q`}},
		{"sudo nice -n 19 perl /opt/qtool.pl -d /q; sh -c 'qtool.pl -d /p'; flock -n /l sh -c \"qtool.pl -b /r\"", []string{"delete true /q", "delete true /p", "expire true /r"}},
		{"cd /var/spool && qtool.pl removed mqueue\n(cd /x; qtool.pl -d y)\nqtool.pl -d y", []string{"move true /var/spool/removed mqueue", "delete true y", "delete true y"}},
		{"[ -x /usr/share/sendmail/qtool.pl ] || exit 0\nif test -d /q && [ ! -f /run/stop ]; then qtool.pl -d /q; fi", []string{"delete true /q"}},
		{"qtool.pl -d /q > /dev/null 2>&1\nqtool.pl -d /q | mail root", []string{"delete true /q", "delete true /q",
			"note 1:16 left out: what a sweep does stands in the audit log", "note 2:16 left out: what a sweep does stands in the audit log"}},
		{"# qtool.pl -d /q\necho qtool.pl -d /q; ls -l /usr/share/sendmail/qtool.pl\nexit\nqtool.pl -d /q", nil},
		{"while true; do qtool.pl -d /q; sleep 60; done", []string{"delete true /q"}},
		{"alias qtool='/usr/share/sendmail/qtool.pl'\nqtool -d /q", []string{"delete true /q"}},

		{"qtool.pl -d $Q", []string{"! 1:13 not taken: $Q is not set in this file"}},
		{"qtool.pl -d $1", []string{"! 1:13 not taken: $1 is given to the script when it runs"}},
		{"qtool.pl -d $(ls /q)", []string{"! 1:13 not taken: what a command prints is known only when the script runs"}},
		{"qtool.pl -d -e \"$msg{sender} eq 'x'\" /q", []string{`! 1:16 not taken: in double quotes the shell takes $msg for a variable of its own: put the expression in single quotes, or write \$msg`}},
		{"true\n  qtool.pl -d -e '$msg{sender} eq system(1)' /q", []string{"! 2:35 not taken: running commands is not supported (an expression may only ask about the message)"}},
		{"find . | xargs qtool.pl -d", []string{"! 1:10 not taken: xargs gives it the messages when it runs; write a rule for what was looked for"}},
		{"if mailq | grep -q x; then qtool.pl -d /q; else qtool.pl -b /q; fi", []string{
			"! 1:28 not taken: it runs on a condition only (if in line 1); say that in a rule, or leave this line to the script",
			"! 1:49 not taken: it runs on a condition only (if in line 1); say that in a rule, or leave this line to the script"}},
		{"[ $HOSTNAME = mx ] || exit 1\nqtool.pl -d /q", []string{
			"! 2:1 not taken: the script may have ended before: it runs only if this fails: [ $HOSTNAME = mx ]; say that in a rule, or leave this line to the script"}},
		{"grep -q x /y && qtool.pl -d /q", []string{"! 1:17 not taken: it runs only if this succeeds: grep -q x /y; say that in a rule, or leave this line to the script"}},
		{"read q\nqtool.pl -d $q", []string{"! 2:13 not taken: $q is known only when the script runs (read in line 1)"}},
		{"if [ $1 = a ]; then q=/a; fi\nqtool.pl -d $q", []string{"! 2:13 not taken: $q is set on a condition only"}},
		{"qtool.pl -d mqueue", []string{`! 1:13 not taken: nobody knows where "mqueue" is: write the whole path, from / on`}},
		{"qtool.pl -d /q/qf6AOLt67K000020", []string{"! 1:13 not taken: /q/qf6AOLt67K000020 is a single message, and a rule is for all: use backscatterd queue move|delete|expire 6AOLt67K000020"}},
		{"qtool.pl /var/spool/slow-queue /q", []string{"! 1:10 not taken: /var/spool/slow-queue looks like a queue that mail is delivered from, and a rule takes mail out of delivery: leave this line to the script, or move by hand with backscatterd qtool"}},
		{"qtool.pl -d", []string{"! 1:1 not taken: name the messages: a queue folder, a control file or an id"}},
		{"f() { f; }\nf; qtool.pl -d /q", []string{"delete true /q", "! 1:5 the function f calls itself too often"}},
	} {
		got := calls(script.File{Name: "x", Data: []byte(tt.text)})
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s\n%s", tt.text, diff)
		}
	}
}

// Crontabs have schedules, with users or without, and say when a script runs.
func TestCrontabs(t *testing.T) {
	const clean = "#!/bin/sh\nqtool.pl -d /q\n"
	for _, tt := range []struct {
		name, text string
		want       []string
	}{
		{"tab", "*/5 * * * * qtool.pl -d /q\n@daily qtool.pl -d /q", []string{"*/5 * * * * delete true /q", "@daily delete true /q"}},
		{"/etc/cron.d/x", "MAILTO=a\n0 4 * * 1-7 root qtool.pl -d /q\n", []string{"0 4 * * 1,2,3,4,5,6,0 delete true /q"}},
		{"tab", "0 4 1 jan SUN root /opt/qtool.pl -d /q\n", []string{"0 4 1 jan sun delete true /q"}},
		{"tab", "CRON_TZ=Europe/Paris\nQ=\"/opt/qtool.pl\"\n0 4 * * * $Q -d -e '$msg{sender} =~ /\\%/' /q%input\n", []string{`CRON_TZ=Europe/Paris 0 4 * * * delete line("S") matches "%" /q`}},
		{"tab", "0 4 * * * true\n5 4 * * * root /usr/local/sbin/clean >/dev/null\n5 5 * * * root sh /usr/local/sbin/clean", []string{"5 4 * * * delete true /q", "5 5 * * * delete true /q"}},
		{"tab", "@reboot qtool.pl -d /q\n", []string{"! 1:1 not taken: @reboot is no time; backscatterd serve sweeps on the schedule of [sweep]"}},
		{"tab", "0 4 */2 * 1 qtool.pl -d /q\n", []string{"! 1:1 not taken: cron wants both the day of the month and the weekday here, a schedule of ours either: divide it, or write the days out"}},
		{"tab", "0 4 30 2 * qtool.pl -d /q\n", []string{`! 1:1 not taken: schedule "0 4 30 2 *": that date never comes`}},
	} {
		files := []script.File{{Name: tt.name, Data: []byte(tt.text)}}
		if strings.Contains(tt.text, "sbin/clean") {
			files = append(files, script.File{Name: "/usr/local/sbin/clean", Data: []byte(clean)})
		}
		if diff := cmp.Diff(tt.want, calls(files...)); diff != "" {
			t.Errorf("%s\n%s", tt.text, diff)
		}
	}
	if got := calls(script.File{Name: "/etc/cron.hourly/clean", Data: []byte(clean)}); !slices.Equal(got, []string{"@hourly delete true /q"}) {
		t.Errorf("a script that run-parts runs: %q", got)
	}
}

// A page on qtool.pl is text: several command lines stand in a line of it, in
// sentences, and what stands for something is no folder.
func TestText(t *testing.T) {
	page := `Here's a script: #!/bin/bash QTOOL=/usr/share/sendmail/qtool.pl QUEUE=/var/spool/mqueue/ OUT="/var/spool/removed/" $QTOOL -e '($msg{sender} eq "a")' $OUT $QUEUE
We've more: $QTOOL -d -e '($msg{message}[0] =~ /spam/i)' $QUEUE $QTOOL -b -s 60 $QUEUE
To delete one: /usr/share/sendmail/qtool.pl -d <qf-file>, or use the tool (qtool.pl) for more.
`
	want := []string{
		`move line("S") == "a" /var/spool/removed /var/spool/mqueue/`,
		`delete status matches "(?i)spam" /var/spool/mqueue/`,
		`expire df_age > duration("60s") /var/spool/mqueue/`,
	}
	got := calls(script.File{Name: "page", Data: []byte(page)})
	if len(got) < 3 || !slices.Equal(got[:3], want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if !slices.ContainsFunc(got, func(s string) bool {
		return strings.Contains(s, "<qf-file>, stands for something") || strings.Contains(s, "<qf-file> stands for something")
	}) {
		t.Errorf("the placeholder is not told: %q", got)
	}
}

// Rules of the same line are one where that keeps the order of what qtool.pl
// did; each has its own name, and the whole is a right configuration.
func TestConfiguration(t *testing.T) {
	text := setQ + `for q in /q /p; do $Q -d -e '$msg{sender} eq "a"' $q; $Q -e '$msg{sender} eq "b"' /removed $q; done
$Q -d -e '$msg{sender} eq "b"' /q
$Q -d -e '$msg{quarantine_reason} eq "x"' /q
$Q -d -e '$msg{sender} eq "c"' '/mq/q*'
$Q -d -e '$msg{sender}  eq "a"' /q
`
	found, problems := script.Read(script.File{Name: "x", Data: []byte(text)})
	out, taken, more := script.Configuration(found)
	if len(problems)+len(more) > 0 || taken != 8 {
		t.Errorf("%d taken; %v %v", taken, problems, more)
	}
	cfg, err := config.Parse("x", []byte(out))
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var got []string
	for _, r := range cfg.Rules {
		got = append(got, r.Name+": "+r.When+" "+string(r.Do))
	}
	want := []string{
		`delete-a: (queue == "/p" || queue == "/q") && line("S") == "a" delete`,
		`move-b: (queue == "/p" || queue == "/q") && line("S") == "b" move`,
		`delete-b: queue == "/q" && line("S") == "b" delete`,
		`delete-x: queue == "/q" && (quarantine == "x") && state != "held" delete`,
		`delete-c: queue startsWith "/mq/q" && line("S") == "c" delete`,
		`delete-a-2: queue == "/q" && line("S") == "a" delete`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if !cfg.Sweep.DryRun || !slices.Equal(cfg.Queue.Directories, []string{"/mq/q*", "/p", "/q"}) {
		t.Errorf("dry run %v, folders %q", cfg.Sweep.DryRun, cfg.Queue.Directories)
	}
	for _, line := range []string{"# x:2: $Q -d -e '$msg{sender} eq \"a\"' $q\n", "# qtool.pl moved to /removed.\n"} {
		if strings.Count(out, line) != 1 {
			t.Errorf("want once %q in\n%s", line, out)
		}
	}
}

// A folder that one line moves to and another takes from is a queue; but where
// that one clears it of what is old, the removed store does.
func TestChain(t *testing.T) {
	found, _ := script.Read(script.File{Name: "x", Data: []byte("qtool.pl /wait /q\nqtool.pl -b -s 60 /wait\nqtool.pl -d /p\n")})
	out, taken, problems := script.Configuration(found)
	if taken != 1 || len(problems) != 2 || !strings.Contains(problems[0].Message, "from which another line takes messages") ||
		!strings.Contains(problems[1].Message, "from where another line moves them") || strings.Count(out, "[[rule]]") != 1 {
		t.Errorf("%d taken, %v\n%s", taken, problems, out)
	}
	found, _ = script.Read(script.File{Name: "x", Data: []byte("qtool.pl /wait /q\nqtool.pl -d -s 60 /wait\n")})
	out, taken, problems = script.Configuration(found)
	if taken != 2 || len(problems) != 0 || !strings.Contains(out, "# x:2: qtool.pl -d -s 60 /wait\n[store]\nkeep = \"60s\"\n") {
		t.Errorf("%d taken, %v\n%s", taken, problems, out)
	}
}

// FuzzRead: whatever comes in, it ends, each problem points into its file, and
// what comes out is a right configuration.
func FuzzRead(f *testing.F) {
	for _, seed := range []string{
		setQ + "for q in /a \"$Q\"; do $Q -d -e '$msg{sender} eq \"x\"' $q 2>&1 | cat; done",
		"*/5 * * * 7 root qtool.pl -Q -e '$msg{message}[0] =~ /a\\%b/i' /removed /q/*\nA=b\n@daily sh -c 'qtool.pl -b /q'",
		"We've $QTOOL -d <qf-file> QTOOL=/usr/share/sendmail/ $QTOOL -e \"\\$msg{id}\" ${Q} /q $QTOOL -d /q",
		"f() { if [ -x a ]; then qtool.pl -d -s $((2*$1)) \"${@}\"; fi; }; f 1 /q; case x in y) qtool.pl -d /q;; esac",
		"qtool.pl '/a\"\\' /b\nqtool.pl -C /c -d '/\x01\u00e9*'", "\xff", "((((", "1 2 3 4 5 \\%",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		file := script.File{Name: "x", Data: []byte(text)}
		found, problems := script.Read(file)
		out, _, more := script.Configuration(found)
		lines := strings.Count(text, "\n") + 1
		for _, p := range append(problems, more...) {
			if p.Line < 1 || p.Line > lines || p.Column < 1 || p.Message == "" || strings.ContainsAny(p.String(), "\x00\x1b\x07") {
				t.Fatalf("%q: %#v", text, p)
			}
		}
		if out == "" {
			return
		}
		if _, err := config.Parse("x", []byte(out)); err != nil {
			t.Fatalf("%q became\n%s\n%v", text, out, err)
		}
	})
}
