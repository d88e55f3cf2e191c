package lab

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// writeConfiguration writes the m4 sources and has m4 make sendmail.cf and
// submit.cf of them.
func (l *Lab) writeConfiguration() error {
	files := map[string]string{
		"aliases":        "",
		"service.switch": "hosts files\naliases files\n",
		"nsswitch.conf":  "passwd: files\ngroup: files\nhosts: files\n",
		"hosts":          "127.0.0.1 localhost\n127.0.0.1 " + Host + " mx\n",
		"lab.mc":         l.mc(),
		"client.mc":      l.clientMC(),
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(l.Dir, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	l.CF = filepath.Join(l.Dir, "sendmail.cf")
	l.ClientCF = filepath.Join(l.Dir, "submit.cf")
	if err := runM4(filepath.Join(l.Dir, "lab.mc"), l.CF); err != nil {
		return err
	}
	return runM4(filepath.Join(l.Dir, "client.mc"), l.ClientCF)
}

// runM4 makes a cf of an mc. m4 reports errors in a macro on stderr and goes
// on, with status 0, so that any word there is taken for a failure.
func runM4(source, target string) error {
	cmd := exec.Command("m4", source)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil || stderr.Len() > 0 {
		return fmt.Errorf("m4 on %s: %v %s", source, err, strings.TrimSpace(stderr.String()))
	}
	return os.WriteFile(target, stdout.Bytes(), 0o644)
}

// define is a line of m4 that sets a macro.
func define(name, value string) string {
	return fmt.Sprintf("define(`%s', `%s')dnl", name, value)
}

// common are the lines that both configurations begin with.
func (l *Lab) common(status string) []string {
	return []string{
		"divert(0)dnl",
		"include(`" + cfSources + "')dnl",
		"VERSIONID(`sendmail lab')dnl",
		"OSTYPE(`debian')dnl",
		// A host that was down is asked again by the next run, and the state
		// of hosts does not land in the machine's folder.
		"undefine(`confHOST_STATUS_DIRECTORY')dnl",
		define("confDOMAIN_NAME", Host),
		define("confSERVICE_SWITCH_FILE", filepath.Join(l.Dir, "service.switch")),
		define("confDEAD_LETTER_DROP", filepath.Join(l.Dir, "dead.letter")),
		define("STATUS_FILE", filepath.Join(l.Dir, status)),
		define("confCR_FILE", "-o "+filepath.Join(l.Dir, "relay-domains")),
		// The temporary folder above the lab is writable for all, but sticky.
		define("confDONT_BLAME_SENDMAIL", "GroupWritableDirPathSafe,TrustStickyBit"),
		// The machine's mail log is not the lab's to write in.
		define("confLOG_LEVEL", "0"),
		define("confTO_IDENT", "0"),
		define("confMIN_QUEUE_AGE", "0"),
		// A loaded machine must not change what is delivered when.
		define("confREFUSE_LA", "10000"),
		define("confQUEUE_LA", "10000"),
		define("confDELAY_LA", "0"),
	}
}

// mc is the source of sendmail.cf.
func (l *Lab) mc() string {
	stub := fmt.Sprintf("TCP $h %d", l.Stub.port())
	wait := fmt.Sprintf("%ds", max(1, int(l.options.ConnectTimeout/time.Second)))
	mode := "queue"
	if l.options.Background {
		mode = "background"
	}
	lines := append(l.common("statistics"),
		define("ALIAS_FILE", l.Aliases),
		define("confPID_FILE", l.pidFile()),
		define("confDELIVERY_MODE", mode),
		define("confTO_CONNECT", wait),
		define("confTO_ICONNECT", wait),
		// All mail goes to the stub, that for this host itself too (there for
		// user@[127.0.0.1], as is the way of MAIL_HUB): nothing
		// is ever put into a mailbox, and where it would be, it bounces.
		define("LOCAL_MAILER_PATH", "/bin/false"),
		define("SMART_HOST", "esmtp:[127.0.0.1]"),
		define("MAIL_HUB", "esmtp:[127.0.0.1]"),
		define("ESMTP_MAILER_ARGS", stub),
		define("RELAY_MAILER_ARGS", stub),
		define("SMTP_MAILER_ARGS", stub),
		"FEATURE(`no_default_msa')dnl",
		"FEATURE(`nocanonify')dnl",
		"FEATURE(`accept_unresolvable_domains')dnl",
		"FEATURE(`accept_unqualified_senders')dnl",
		fmt.Sprintf("DAEMON_OPTIONS(`Family=inet, Name=MTA, Port=%d, Addr=127.0.0.1')dnl", l.port),
	)
	lines = append(lines, l.queueLines()...)
	lines = append(lines, l.options.MC...)
	lines = append(lines,
		"MAILER(`local')dnl",
		"MAILER(`smtp')dnl",
		"LOCAL_RULE_0",
	)
	for _, route := range [][2]string{
		{RefusedDomain, refusedAddr}, {UnreachableDomain, unreachableAddr}, {TimeoutDomain, timeoutAddr},
	} {
		// With nocanonify the domain may come with or without its last dot.
		for _, dot := range []string{"", "."} {
			lines = append(lines, fmt.Sprintf("R$+ < @ %s%s >\t\t$#esmtp $@ [%s] $: $1 < @ %s >", route[0], dot, route[1], route[0]))
		}
	}
	return strings.Join(lines, "\n") + "\n"
}

// queueLines say where the queues lie.
func (l *Lab) queueLines() []string {
	path := func(name string) string { return filepath.Join(l.QueueRoot, name) }
	switch l.options.Layout {
	case Split:
		return []string{define("QUEUE_DIR", path("q*"))}
	case Groups:
		return []string{
			define("QUEUE_DIR", path("main*")),
			"QUEUE_GROUP(`other', `P=" + path("other") + ", F=f')dnl",
			"LOCAL_RULESETS",
			"Squeuegroup",
			"R$+ @ " + OtherDomain + "\t\t$# other",
			"R< $+ @ " + OtherDomain + " >\t\t$# other",
			"divert(0)dnl",
		}
	default:
		return []string{define("QUEUE_DIR", path("mqueue"))}
	}
}

// clientMC is the source of submit.cf: mail of programs on this host is kept in
// the client queue until the daemon takes it.
func (l *Lab) clientMC() string {
	lines := append(l.common("client-statistics"),
		define("MSP_QUEUE_DIR", l.ClientQueue),
		define("confPID_FILE", filepath.Join(l.ClientQueue, "client.pid")),
		define("confRUN_AS_USER", clientUser+":"+clientUser),
		define("RELAY_MAILER_ARGS", fmt.Sprintf("TCP $h %d", l.port)),
		"FEATURE(`nocanonify')dnl",
		"FEATURE(`msp', `[127.0.0.1]')dnl",
	)
	return strings.Join(lines, "\n") + "\n"
}

func (l *Lab) pidFile() string { return filepath.Join(l.Dir, "daemon.pid") }
