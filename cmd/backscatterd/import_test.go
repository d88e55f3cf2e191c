package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// qtoolPL is the program that import takes over from.
const qtoolPL = "/usr/share/sendmail/qtool.pl"

// Scripts as people have them. SPOOL is a folder with the queues mqueue and
// mqueue-client, and removed; HERE has a sendmail and a sendmail.cf.
var importScripts = []struct {
	name, script string
	touched      []string
}{
	{"the page's", `#!/bin/bash
QTOOL=` + qtoolPL + `
MQUEUE=SPOOL/mqueue/
REMOVED=SPOOL/removed/
$QTOOL -C HERE/sendmail.cf -e '(($msg{message}[0] =~ /Connection timed out/) && ($msg{headers}->{Subject} =~ /Returned mail: see transcript for details/))' $REMOVED $MQUEUE
$QTOOL -C HERE/sendmail.cf -e '($msg{message}[0] =~ /Deferred: 45.* Relay access denied/)' $REMOVED $MQUEUE
$QTOOL -C HERE/sendmail.cf -e '($msg{message}[0] =~ /Deferred: 45.* spam/i)' $REMOVED $MQUEUE
$QTOOL -C HERE/sendmail.cf -e '(($msg{num_delivery_attempts} > 50) && ($msg{message}[0] =~ /Connection (timed out|refused)/))' \
	$REMOVED $MQUEUE
$QTOOL -C HERE/sendmail.cf -b -e '(($msg{num_delivery_attempts} > 10) && ($msg{message}[0] =~ /Network is unreachable/))' $MQUEUE
`, []string{"mqueue/Refused99", "mqueue/Relay45", "mqueue/Spam", "mqueue/TimedOut1", "mqueue/TimedOut99", "mqueue/Unreach11", "mqueue/Unreach51"}},
	{"loops, guards, quotes", `#!/bin/sh
PATH=$PATH:/usr/share/sendmail
export LC_ALL=C
Q="perl ` + qtoolPL + ` -C HERE/sendmail.cf"
BAD='Connection refused'
[ -d SPOOL/mqueue ] || { echo "no queue"; exit 1; }
cd SPOOL && for q in mqueue mqueue-client; do
	$Q -d -e "\$msg{message}[0] =~ /$BAD/" $q >/dev/null 2>&1; $Q -e "\$msg{num_delivery_attempts} >= 99" removed $q
done | cat
# $Q -d -e '$msg{id}' mqueue
`, []string{"mqueue-client/cRefused99", "mqueue-client/cTimedOut99", "mqueue/Refused99", "mqueue/TimedOut99"}},
	{"one queue of two, and the order", `
sweep() {
	` + qtoolPL + ` -C HERE/sendmail.cf $3 -e "$1" $2
}
sweep '$msg{message}[0] =~ /timed out/i' SPOOL/mqueue-client -d
sweep '$msg{headers}->{Subject} !~ /Returned/ && $msg{num_delivery_attempts} < 3' "SPOOL/removed SPOOL/mqueue"
`, []string{"mqueue-client/cTimedOut1", "mqueue-client/cTimedOut99", "mqueue/Relay45", "mqueue/Relay55", "mqueue/Spam"}},
	{"held messages, and old ones", `
HOUR=3600
` + qtoolPL + ` -C HERE/sendmail.cf -Q -d SPOOL/mqueue
nice -n 19 ` + qtoolPL + ` -C HERE/sendmail.cf -d -s $((2 * $HOUR)) SPOOL/mqueue-client/qf*
`, []string{"mqueue-client/cOld", "mqueue/Held"}},
}

// importWorld makes two queues with the same messages in them.
func importWorld(t *testing.T) (spool, here string) {
	t.Helper()
	dir := t.TempDir()
	spool, here = filepath.Join(dir, "spool"), filepath.Join(dir, "here")
	for _, d := range []string{spool + "/mqueue", spool + "/mqueue-client", spool + "/removed", here} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	put := func(path, text string, mode os.FileMode) {
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
	for q, mark := range map[string]string{"mqueue": "", "mqueue-client": "c"} {
		for _, m := range []struct {
			id, status, attempts, subject string
		}{
			{"TimedOut1", "Deferred: Connection timed out with a.example", "1", "Returned mail: see transcript for details"},
			{"TimedOut99", "Deferred: Connection timed out with a.example", "99", "Hello"},
			{"Refused99", "Deferred: Connection refused by a.example", "99", "Hello"},
			{"Relay45", "Deferred: 454 4.7.1 <a@b.example>: Relay access denied", "1", "Hello"},
			{"Relay55", "Deferred: 554 5.7.1 <a@b.example>: Relay access denied", "1", "Hello"},
			{"Spam", "Deferred: 451 4.7.1 looks like SPAM", "2", "Hello"},
			{"Unreach11", "Deferred: a.example.: Network is unreachable", "11", "Hello"},
			{"Unreach51", "Deferred: a.example.: Network is unreachable", "51", "Hello"},
			{"Mailbox", "Deferred: 452 4.2.2 Mailbox full", "9", "Hello"},
			{"Old", "Deferred: 452 4.2.2 Mailbox full", "9", "Hello"},
			{"Held", "", "9", "Hello"},
		} {
			prefix, reason := "qf", ""
			if m.id == "Held" {
				prefix, reason = "hf", "qlooked at\n"
			}
			put(filepath.Join(spool, q, prefix+mark+m.id), fmt.Sprintf("V8\nT%d\nK0\nN%s\nP30000\n%sM%s\nFs\nS<s@c.example>\nM%s\nrRFC822; a@b.example\nRPFD:<a@b.example>\nH??Subject: %s\nH??From: <s@c.example>\n.\n",
				time.Now().Add(-time.Hour).Unix(), m.attempts, reason, m.status, m.status, m.subject), 0o600)
			put(filepath.Join(spool, q, "df"+mark+m.id), "body\n", 0o600)
		}
		old := time.Now().Add(-3 * time.Hour)
		if err := os.Chtimes(filepath.Join(spool, q, "df"+mark+"Old"), old, old); err != nil {
			t.Fatal(err)
		}
	}
	put(here+"/sendmail.cf", "V10/Berkeley\nO QueueDirectory="+spool+"/mqueue\n", 0o644)
	// It delivers whatever it is told to.
	put(here+"/sendmail", "#!/bin/sh\nid=$(echo \"$*\" | sed 's/.*-qI\\([A-Za-z0-9]*\\).*/\\1/')\nrm -f "+spool+"/*/?f$id\n", 0o755)
	return spool, here
}

// gone are the messages that are no longer where they were.
func gone(t *testing.T, spool string) (ids []string) {
	t.Helper()
	other, _ := importWorld(t)
	for _, q := range []string{"mqueue", "mqueue-client"} {
		all, err := filepath.Glob(filepath.Join(other, q, "[qh]f*"))
		if err != nil || len(all) != 11 {
			t.Fatal(all, err)
		}
		for _, f := range all {
			if name := filepath.Base(f); !exists(filepath.Join(spool, q, name)) {
				ids = append(ids, q+"/"+name[2:])
			}
		}
	}
	slices.Sort(ids)
	return ids
}

// What a script does with the real qtool.pl to one copy of a spool, the rules
// that are made of it do to another.
func TestImportAgreesWithQtool(t *testing.T) {
	if _, err := os.Stat(qtoolPL); err != nil {
		t.Fatalf("qtool.pl is missing, which says what scripts do: install sendmail-base (%v)", err)
	}
	for _, tt := range importScripts {
		t.Run(tt.name, func(t *testing.T) {
			spool, here := importWorld(t)
			cmd := exec.Command("/bin/sh", "-c", strings.NewReplacer("SPOOL", spool, "HERE", here).Replace(tt.script))
			cmd.Env = append(os.Environ(), "PATH="+here+":"+os.Getenv("PATH"))
			said, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("the script: %v\n%s", err, said)
			}
			if theirs := gone(t, spool); !slices.Equal(theirs, tt.touched) {
				t.Fatalf("qtool.pl touches %q, want %q; it says\n%s", theirs, tt.touched, said)
			}

			spool, here = importWorld(t)
			script := filepath.Join(here, "script")
			if err := os.WriteFile(script, []byte(strings.NewReplacer("SPOOL", spool, "HERE", here).Replace(tt.script)), 0o600); err != nil {
				t.Fatal(err)
			}
			var out, errs bytes.Buffer
			if code := run(context.Background(), []string{"import", script}, strings.NewReader(""), &out, &errs); code != exitDone {
				t.Fatalf("import: exit status %d\n%s", code, errs.String())
			}
			text := strings.Replace(out.String(), "dry_run = true\n", "max_share = 1.0\n[store]\ndirectory = \""+here+"/store\"\n[audit]\nfile = \""+here+"/audit\"\n", 1)
			text = strings.Replace(text, "[queue]\n", "[queue]\nsendmail = \""+here+"/sendmail\"\n", 1)
			cfg := filepath.Join(here, "b.toml")
			if err := os.WriteFile(cfg, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			var swept bytes.Buffer
			if code := run(context.Background(), []string{"sweep", "-c", cfg}, strings.NewReader(""), &swept, &swept); code != exitDone {
				t.Fatalf("sweep: exit status %d\n%s\n%s", code, swept.String(), text)
			}
			if ours := gone(t, spool); !slices.Equal(ours, tt.touched) {
				t.Errorf("the rules touch %q, want %q; the configuration is\n%s\nit says\n%s", ours, tt.touched, text, swept.String())
			}
		})
	}
}
