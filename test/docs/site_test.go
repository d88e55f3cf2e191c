package docs

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// ownFolders are those of which a machine sees nothing of this one's. They lie on
// a file system in memory, not on an overlay: there a file may be on another
// device than its folder.
var ownFolders = map[string]os.FileMode{
	"etc/backscatterd": 0o755, "etc/mail": 0o755, "etc/cron.d": 0o755, "var/spool": 0o755, "var/log": 0o755, "var/lib/backscatterd": 0o700,
	"run": 0o755, "root": 0o700, "tmp": 0o777 | os.ModeSticky, "usr/local": 0o755,
}

// bounceName is a bounce in a mailbox. There is a copy of it in the folder where
// commands begin, as bounce.eml.
const bounceName = "1795599600.M1P1.mx"

// cronScript is what people have who clean their queue with qtool.pl.
const cronScript = `#!/bin/sh
# Moves away what will never be delivered.
qtool.pl -e '($msg{num_delivery_attempts} > 50) && ($msg{message}[0] =~ /Network is unreachable/)' /var/spool/removed /var/spool/mqueue
`

var site struct {
	sync.Once
	dir string
	err error
}

// siteFiles makes, once, the files of a mail server on which the program is
// installed, and nothing is configured.
func siteFiles(t *testing.T) string {
	t.Helper()
	program, dir := build(t), filepath.Join(ground(t), "site")
	site.Do(func() { site.dir, site.err = dir, makeSite(dir, program) })
	if site.err != nil {
		t.Fatal(site.err)
	}
	return site.dir
}

func makeSite(dir, program string) error {
	for name, mode := range ownFolders {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(path, 0o755); err != nil {
			return err
		}
		if err := os.Chmod(path, mode); err != nil {
			return err
		}
	}
	const crontab = "*/10 * * * * root /usr/local/sbin/clean-queue\n30 3 * * * root /usr/local/bin/qtool.pl -s 2592000 -d /var/spool/removed\n"
	for _, f := range []struct {
		to, text string
		mode     os.FileMode
	}{
		{"etc/hosts", "127.0.0.1 localhost mx.example.com mx\n", 0o644},
		{"etc/cron.d/clean-queue", crontab, 0o644},
		{"var/spool/cron/crontabs/README", "", 0o600},
		{"var/log/backscatterd/audit.jsonl", "", 0o640},
		{"usr/local/sbin/clean-queue", cronScript, 0o755},
	} {
		if err := put(filepath.Join(dir, f.to), f.mode, []byte(f.text)); err != nil {
			return err
		}
	}
	if err := makeMailbox(dir); err != nil {
		return err
	}
	for _, name := range []string{"root/Maildir/tmp", "root/Maildir/cur", "root/Maildir/new", "var/spool/removed", "var/log/backscatterd", "var/lib/sendmail/host_status"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o700); err != nil {
			return err
		}
	}
	for from, to := range map[string]string{
		program: "usr/bin/backscatterd",
		filepath.Join(root, "config/dist/m4/backscatterd.m4"): "usr/share/sendmail/cf/feature/backscatterd.m4",
	} {
		if err := install(from, filepath.Join(dir, to)); err != nil {
			return err
		}
	}
	if err := os.Chmod(filepath.Join(dir, "usr/bin/backscatterd"), 0o755); err != nil {
		return err
	}
	// The package may be installed on this machine.
	for name, mode := range map[string]os.FileMode{"etc/passwd": 0o644, "etc/group": 0o644, "etc/shadow": 0o640, "etc/gshadow": 0o640} {
		data, err := os.ReadFile(filepath.Join("/", name))
		if err != nil {
			return err
		}
		data = regexp.MustCompile(`(?m)^backscatterd:.*\n`).ReplaceAll(data, nil)
		if err := put(filepath.Join(dir, name), mode, data); err != nil {
			return err
		}
	}
	if err := makeQueues(dir); err != nil {
		return err
	}
	for name, mc := range map[string]string{
		"sendmail.cf": "OSTYPE(`debian')dnl\nDOMAIN(`debian-mta')dnl\n" +
			// A loaded machine must not change what is delivered.
			"define(`confQUEUE_LA', `10000')dnl\ndefine(`confDELAY_LA', `10000')dnl\nMAILER(`local')dnl\nMAILER(`smtp')dnl\n",
		"submit.cf": "OSTYPE(`debian')dnl\nDOMAIN(`debian-msp')dnl\nFEATURE(`msp', `[127.0.0.1]')dnl\n",
	} {
		cf, err := m4(mc)
		if err != nil {
			return err
		}
		if err := put(filepath.Join(dir, "etc/mail", name), 0o644, cf); err != nil {
			return err
		}
	}
	return nil
}

// makeMailbox makes a mailbox with a bounce for each of two users, of mail that
// they never sent, and with a letter.
func makeMailbox(dir string) error {
	bounce, err := os.ReadFile(filepath.Join(root, "dsn/testdata/captured/sendmail/01-user-unknown.eml"))
	if err != nil {
		return err
	}
	to := func(address string) []byte {
		return bytes.ReplaceAll(bounce, []byte("user-unknown@customer.example"), []byte(address))
	}
	for name, text := range map[string][]byte{
		bounceName:           to("info@example.com"),
		"1795599601.M1P1.mx": to("abuse@example.com"),
		"1795599602.M1P1.mx": []byte("From: a@friend.example\nTo: info@example.com\nSubject: The minutes\n\nHere they are.\n"),
	} {
		if err := put(filepath.Join(dir, "root/Maildir/new", name), 0o600, text); err != nil {
			return err
		}
	}
	return nil
}

const (
	plainMessages = 6
	plainSince    = 1795557600 // as old as the bundled queue
)

// makeQueues puts the bundled queue, which a real sendmail wrote, where sendmail
// has it.
func makeQueues(dir string) error {
	found, err := filepath.Glob(filepath.Join(root, "cmd/backscatterd/demo/*"))
	if err != nil || len(found) == 0 {
		return fmt.Errorf("no bundled queue: %w", err)
	}
	queue := filepath.Join(dir, "var/spool/mqueue")
	for _, from := range found {
		to := filepath.Join(queue, filepath.Base(from))
		if err := install(from, to); err != nil {
			return err
		}
		if err := os.Chmod(to, 0o600); err != nil {
			return err
		}
	}
	// A queue has more in it than what a rule takes.
	for i := range plainMessages {
		id := fmt.Sprintf("6AOLtA0m%06d", 100+i)
		text := fmt.Sprintf("V8\nT%d\nK%d\nN2\nP60000\nMDeferred: 421 4.3.2 Try again later\nS<sender%d@customer.example>\nRPFD:<user%d@busy.example>\nH??Subject: The minutes\n.\n",
			plainSince+i, plainSince+i, i, i)
		for name, data := range map[string]string{"qf" + id: text, "df" + id: "The minutes.\n"} {
			if err := put(filepath.Join(queue, name), 0o600, []byte(data)); err != nil {
				return err
			}
		}
	}
	client := filepath.Join(dir, "var/spool/mqueue-client")
	if err := os.Mkdir(client, 0o770); err != nil {
		return err
	}
	if u, err := user.Lookup("smmsp"); err == nil {
		uid, _ := strconv.Atoi(u.Uid)
		gid, _ := strconv.Atoi(u.Gid)
		if err := os.Chown(client, uid, gid); err != nil {
			return err
		}
	}
	return os.Chmod(queue, 0o700)
}

func install(from, to string) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return put(to, 0o644, data)
}

func put(path string, mode os.FileMode, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(path, data, mode); err != nil {
		return err
	}
	return os.Chmod(path, mode)
}

// m4 makes a sendmail.cf of its source.
func m4(mc string) ([]byte, error) {
	cmd := exec.Command("m4", "/usr/share/sendmail/cf/m4/cf.m4", "-")
	cmd.Stdin = strings.NewReader(mc)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil || stderr.Len() > 0 {
		return nil, fmt.Errorf("m4 with the sources of the package sendmail-cf (test/deps.sh installs both): %v: %s", err, stderr.String())
	}
	return out, nil
}
