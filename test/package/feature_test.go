package packaging

import (
	"bytes"
	"fmt"
	"net"
	"net/textproto"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/backscatterd/backscatterd/test/lab"
)

// feature are the lines of sendmail.mc that take the feature from a package's
// tree in place of /usr/share/sendmail/cf.
func feature(t *testing.T, tree string, args ...string) []string {
	t.Helper()
	folder := filepath.Join(tree, "usr/share/sendmail/cf") + "/"
	if _, err := os.Stat(folder + "feature/backscatterd.m4"); err != nil {
		t.Fatal(err)
	}
	call := "FEATURE(`backscatterd'"
	for _, a := range args {
		call += ", `" + a + "'"
	}
	return []string{"pushdef(`_CF_DIR_', `" + folder + "')dnl", call + ")dnl", "popdef(`_CF_DIR_')dnl"}
}

// unpacked is the package's tree.
func unpacked(t *testing.T) string {
	t.Helper()
	tree := filepath.Join(t.TempDir(), "tree")
	dpkgDeb(t, "-x", deb, tree)
	return tree
}

// The feature makes the X line that its arguments say, and has sendmail ask that
// filter last.
func TestFeature(t *testing.T) {
	lab.Require(t)
	tree := unpacked(t)
	for _, c := range []struct {
		args []string
		want string
	}{
		{nil, "Xbackscatterd, S=unix:/run/backscatterd/milter.sock, T=C:10s;S:10s;R:10s;E:1m"},
		{[]string{"inet:8890@192.0.2.10"}, "Xbackscatterd, S=inet:8890@192.0.2.10, T=C:10s;S:10s;R:10s;E:1m"},
		{[]string{"unix:/run/b.sock", "T"}, "Xbackscatterd, S=unix:/run/b.sock, F=T, T=C:10s;S:10s;R:10s;E:1m"},
		{[]string{"", "R"}, "Xbackscatterd, S=unix:/run/backscatterd/milter.sock, F=R, T=C:10s;S:10s;R:10s;E:1m"},
	} {
		lines := append([]string{"include(`/usr/share/sendmail/cf/m4/cf.m4')dnl", "OSTYPE(`debian')dnl", "INPUT_MAIL_FILTER(`spam', `S=unix:/run/spam')dnl"},
			feature(t, tree, c.args...)...)
		m4 := exec.Command("m4")
		m4.Stdin = strings.NewReader(strings.Join(append(lines, "MAILER(`local')dnl", "MAILER(`smtp')dnl"), "\n") + "\n")
		var complaints bytes.Buffer
		m4.Stderr = &complaints
		out, err := m4.Output()
		if err != nil || complaints.Len() > 0 {
			t.Fatalf("m4: %v\n%s", err, complaints.String())
		}
		for _, want := range []string{c.want, "O InputMailFilters=spam, backscatterd", "backscatterd.m4"} {
			if !strings.Contains("\n"+string(out), want) {
				t.Errorf("%q: no %q in sendmail.cf", c.args, want)
			}
		}
		if !strings.Contains("\n"+string(out), "\n"+c.want+"\n") {
			t.Errorf("%q: the X line is not alone in its line", c.args)
		}
	}
}

// A sendmail made with the feature asks the milter, which tags a bounce; with T
// it defers mail while the milter is away.
func TestFeatureAsks(t *testing.T) {
	tree, dir := unpacked(t), t.TempDir()
	for _, open := range []string{dir, filepath.Dir(dir)} {
		if err := os.Chmod(open, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	socket := filepath.Join(dir, "milter.sock")
	l := lab.New(t, lab.Options{MC: append([]string{"RELAY_DOMAIN(`127')dnl"}, feature(t, tree, "unix:"+socket, "T")...)})
	if err := l.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if answer := hand(t, l.Addr); !strings.HasPrefix(answer, "451") {
		t.Errorf("the milter is away, and sendmail answers %q, want 451", answer)
	}

	config := filepath.Join(dir, "b.toml")
	text := fmt.Sprintf("[queue]\nsendmail_cf = %q\n[milter]\nlisten = %q\nour_domains = [\"ours.example\"]\nour_networks = [\"127.0.0.1\"]\nkeys = %q\nledger = %q\n",
		l.CF, "unix:"+socket, dir+"/keys", dir+"/ledger.db")
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	milter := exec.Command(filepath.Join(tree, "usr/bin/backscatterd"), "serve", "--only", "milter", "-c", config)
	milter.Stderr = &said
	if err := milter.Start(); err != nil {
		t.Fatal(err)
	}
	stop := func() { _ = milter.Process.Signal(syscall.SIGTERM); _ = milter.Wait() }
	defer stop()
	for range 600 {
		if _, err := os.Stat(socket); err == nil {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	if answer := hand(t, l.Addr); !strings.HasPrefix(answer, "250") {
		stop()
		t.Fatalf("sendmail answers %q\n%s", answer, said.String())
	}
	if _, err := l.RunQueue(t.Context()); err != nil {
		t.Fatal(err)
	}
	if all := l.Stub.Deliveries(); len(all) != 1 || !strings.Contains(string(all[0].Data), "\nX-Backscatter-Status: ") {
		t.Errorf("the bounce was not tagged: %d deliveries", len(all))
	}
}

// hand gives sendmail a bounce from outside, and returns what it answers: to the
// message, or to what it does not take of it.
func hand(t *testing.T, address string) string {
	t.Helper()
	conn, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 5)}, Timeout: 10 * time.Second}).Dial("tcp4", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	return converse(t, conn, "", "joe@ours.example", bounce)
}

// converse hands a message over by SMTP.
func converse(t *testing.T, conn net.Conn, from, to, message string) string {
	t.Helper()
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	c := textproto.NewConn(conn)
	last := ""
	for _, command := range []string{"", "EHLO away.example", "MAIL FROM:<" + from + ">", "RCPT TO:<" + to + ">", "DATA", message} {
		var err error
		switch {
		case command == message:
			w := c.DotWriter()
			if _, err = w.Write([]byte(message)); err == nil {
				err = w.Close()
			}
		case command != "":
			err = c.PrintfLine("%s", command)
		}
		if err != nil {
			t.Fatal(err)
		}
		code, text, err := c.ReadResponse(0)
		if err != nil {
			t.Fatal(err)
		}
		if last = fmt.Sprintf("%d %s", code, text); code >= 400 {
			return last
		}
	}
	return last
}
