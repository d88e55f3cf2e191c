package lab

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"strings"
	"testing"
)

const (
	sendmailPath = "/usr/libexec/sendmail/sendmail"
	cfSources    = "/usr/share/sendmail/cf/m4/cf.m4"

	// clientUser is who Debian's sendmail becomes to write the client queue.
	clientUser = "smmsp"
)

// need is something of the machine that a lab cannot do without.
type need struct {
	what    string // as named in the message
	pkg     string // Debian package that brings it, "" if none does
	present func() error
}

func program(name string) func() error {
	return func() error { _, err := exec.LookPath(name); return err }
}

func file(name string) func() error {
	return func() error { _, err := os.Stat(name); return err }
}

func needs() []need {
	return []need{
		{sendmailPath, "sendmail-bin", file(sendmailPath)},
		{"sendmail's m4 sources (" + cfSources + ")", "sendmail-cf", file(cfSources)},
		{"the user " + clientUser, "sendmail-base", func() error { _, err := user.Lookup(clientUser); return err }},
		{"m4", "m4", program("m4")},
		{"nsenter", "util-linux", program("nsenter")},
		{"mount", "mount", program("mount")},
		{"hostname", "hostname", program("hostname")},
		{"root (run the tests as root: sendmail's queues belong to it, and namespaces are made)", "", func() error {
			if os.Geteuid() != 0 {
				return fs.ErrPermission
			}
			return nil
		}},
	}
}

// missing says what of needs the machine lacks and what to do about it; nil if
// it has everything.
func missing(needs []need) error {
	var lacks, packages []string
	for _, n := range needs {
		if n.present() == nil {
			continue
		}
		lacks = append(lacks, n.what)
		if n.pkg != "" {
			packages = append(packages, n.pkg)
		}
	}
	if len(lacks) == 0 {
		return nil
	}
	text := "this test runs a real sendmail, and the machine lacks " + strings.Join(lacks, ", ")
	if len(packages) > 0 {
		text += fmt.Sprintf("; install it with `apt-get install --no-install-recommends %s`, or run `make test`, which does",
			strings.Join(packages, " "))
	}
	return errors.New(text)
}

// Require fails the test, and says what to install, where the machine cannot
// run a lab. It never skips. [New] calls it.
func Require(tb testing.TB) {
	tb.Helper()
	require(tb, needs())
}

func require(tb testing.TB, needs []need) {
	tb.Helper()
	if err := missing(needs); err != nil {
		tb.Fatal(err)
	}
}
