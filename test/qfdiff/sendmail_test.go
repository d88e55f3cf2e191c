package qfdiff

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

const sendmail = "/usr/libexec/sendmail/sendmail"

// configuration has two queue groups, so that a d line can name a folder, and
// sends all mail to a port of loopback that nobody listens at: a message that
// is taken is tried, deferred and written anew.
const configuration = "divert(0)dnl\n" +
	"include(`/usr/share/sendmail/cf/m4/cf.m4')dnl\n" +
	"OSTYPE(`debian')dnl\n" +
	"undefine(`confHOST_STATUS_DIRECTORY')dnl\n" +
	"define(`confDOMAIN_NAME', `mx.lab.example')dnl\n" +
	"define(`confSERVICE_SWITCH_FILE', `@DIR@/service.switch')dnl\n" +
	"define(`confDEAD_LETTER_DROP', `@DIR@/dead.letter')dnl\n" +
	"define(`STATUS_FILE', `@DIR@/statistics')dnl\n" +
	"define(`ALIAS_FILE', `@DIR@/aliases')dnl\n" +
	"define(`confPID_FILE', `@DIR@/pid')dnl\n" +
	"define(`confLOG_LEVEL', `0')dnl\n" +
	"define(`confDONT_BLAME_SENDMAIL', `GroupWritableDirPathSafe')dnl\n" +
	"define(`confMIN_QUEUE_AGE', `0')dnl\n" +
	"define(`confQUEUE_LA', `10000')dnl\n" +
	"define(`QUEUE_DIR', `@DIR@/queues/main*')dnl\n" +
	"QUEUE_GROUP(`other', `P=@DIR@/queues/other, F=f')dnl\n" +
	"define(`SMART_HOST', `esmtp:[127.0.0.1]')dnl\n" +
	"define(`MAIL_HUB', `esmtp:[127.0.0.1]')dnl\n" +
	"define(`ESMTP_MAILER_ARGS', `TCP $h 1')dnl\n" +
	"define(`SMTP_MAILER_ARGS', `TCP $h 1')dnl\n" +
	"define(`RELAY_MAILER_ARGS', `TCP $h 1')dnl\n" +
	"FEATURE(`nocanonify')dnl\n" +
	"FEATURE(`accept_unresolvable_domains')dnl\n" +
	"FEATURE(`accept_unqualified_senders')dnl\n" +
	"MAILER(`local')dnl\n" +
	"MAILER(`smtp')dnl\n"

// mta is a sendmail that is never started but for runs of its queue.
type mta struct {
	t       testing.TB
	cf      string
	main, q string // queue folders
}

func newMTA(t testing.TB) *mta {
	t.Helper()
	for _, need := range []string{sendmail, "/usr/share/sendmail/cf/m4/cf.m4"} {
		if _, err := os.Stat(need); err != nil {
			t.Fatalf("this test asks a real sendmail, and the machine has none: %v; `apt-get install --no-install-recommends sendmail-bin sendmail-cf m4`, or run `make test`, which does", err)
		}
	}
	if os.Geteuid() != 0 {
		t.Fatal("this test runs a real sendmail under a host name of its own: run it as root")
	}
	dir, err := os.MkdirTemp("", "qfdiff-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	m := &mta{t: t, cf: filepath.Join(dir, "sendmail.cf"), main: filepath.Join(dir, "queues", "main1"), q: filepath.Join(dir, "queues", "other")}
	must(t, os.Chmod(dir, 0o755), os.Mkdir(filepath.Dir(m.main), 0o700), os.Mkdir(m.main, 0o700), os.Mkdir(m.q, 0o700))
	for name, text := range map[string]string{
		"lab.mc": strings.ReplaceAll(configuration, "@DIR@", dir), "aliases": "", "service.switch": "hosts files\naliases files\n",
	} {
		must(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
	}
	cf, err := exec.Command("m4", filepath.Join(dir, "lab.mc")).Output()
	if err != nil {
		t.Fatalf("m4: %v", err)
	}
	must(t, os.WriteFile(m.cf, cf, 0o644))
	return m
}

func must(t testing.TB, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

// run runs the queue once for each of these messages, so that one of which
// sendmail dies takes no other along, and returns what sendmail printed.
func (m *mta) run(ids []string) string {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	// "; true", since xargs gives up where a command dies of a signal.
	script := fmt.Sprintf("hostname mx.lab.example && xargs -P 8 -I ID sh -c '%s -C %s -v -qIID; true'", sendmail, m.cf)
	cmd := exec.CommandContext(ctx, "unshare", "--uts", "sh", "-c", script)
	cmd.Stdin = strings.NewReader(strings.Join(ids, "\n") + "\n")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 10 * time.Second
	out, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		m.t.Fatalf("sendmail's run of the queue did not end: %v\n%s", err, out)
	}
	return string(out)
}
