package e2e

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net"
	"net/smtp"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/backscatterd/backscatterd/test/lab"
)

// unpackedPostfix unpacks the package that test/deps.sh keeps: installed, it
// would drive sendmail out. It fails where there is none.
func unpackedPostfix(t *testing.T) (root string) {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	packages, err := filepath.Glob(filepath.Join(cache, "backscatterd-test", "postfix_*.deb"))
	if err != nil || len(packages) == 0 {
		t.Fatalf("this test runs a real postfix, and there is no postfix_*.deb in %s/backscatterd-test; run test/deps.sh, which downloads it", cache)
	}
	// Not the test's TempDir, whose parent is closed to the user that postfix
	// becomes.
	root, err = os.MkdirTemp("", "postfix-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(root) })
	if err := os.Chmod(root, 0o755); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("dpkg", "-x", packages[len(packages)-1], filepath.Join(root, "package")).CombinedOutput(); err != nil {
		t.Fatalf("unpacking %s: %v\n%s", packages[len(packages)-1], err, out)
	}
	return root
}

// Ids that belong to nobody, for the user and the group that postfix asks for.
const postfixUID, postdropGID = 64801, 64802

// postfixScript runs as the first process of namespaces of its own, in which the
// machine has postfix's user and group. When it ends, the kernel ends master and
// all that master has started. It does not become master itself: the signal that
// ends it with the test binary is lost where a process changes its user, as
// master does.
const postfixScript = `set -e
hostname "$2"
mount --make-rslave /
for f in passwd group hosts nsswitch.conf; do mount --bind "$1/etc/$f" "/etc/$f"; done
export LD_LIBRARY_PATH="$1/package/usr/lib/postfix"
"$1/package/usr/lib/postfix/sbin/master" -d -c "$1/etc" &
wait
`

// startPostfix starts one that asks the filter at a port about each message,
// relays all mail to the next host, and listens at the address that it returns.
func startPostfix(t *testing.T, filterPort, next string) (addr string) {
	t.Helper()
	root := unpackedPostfix(t)
	at := freePort(t)
	host, port, err := net.SplitHostPort(next)
	if err != nil {
		t.Fatal(err)
	}
	writePostfix(t, root, map[string]string{
		"main.cf": fmt.Sprintf(`compatibility_level = 3.6
queue_directory = %[1]s/queue
data_directory = %[1]s/data
daemon_directory = %[1]s/package/usr/lib/postfix/sbin
command_directory = %[1]s/package/usr/sbin
shlib_directory = %[1]s/package/usr/lib/postfix
meta_directory = %[1]s/package/etc/postfix
import_environment = MAIL_CONFIG LD_LIBRARY_PATH TZ LANG=C
mail_owner = postfix
setgid_group = postdrop
maillog_file = %[1]s/log
maillog_file_prefixes = %[1]s
myhostname = %[2]s
mydestination =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.1/32
alias_maps =
alias_database =
smtp_host_lookup = native
relay_domains = %[3]s
relay_transport = smtp:[%[4]s]:%[5]s
default_transport = smtp:[%[4]s]:%[5]s
smtpd_milters = inet:127.0.0.1:%[6]s
milter_default_action = accept
milter_protocol = 6
`, root, lab.Host, ourDomain, host, port, filterPort),
		"master.cf": fmt.Sprintf(`127.0.0.1:%d inet n - n - - smtpd
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
error unix - - n - - error
retry unix - - n - - error
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
`, at),
		"hosts":         "127.0.0.1 localhost " + lab.Host + "\n",
		"nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\n",
	})
	runPostfix(t, root)
	addr = fmt.Sprintf("127.0.0.1:%d", at)
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if greets(addr) {
			return addr
		}
	}
	t.Fatalf("postfix does not answer on %s", addr)
	return ""
}

// writePostfix writes its configuration and makes its queue, with the owners that
// it asks for.
func writePostfix(t *testing.T, root string, files map[string]string) {
	t.Helper()
	for name, line := range map[string]string{
		"passwd": fmt.Sprintf("postfix:x:%d:%d::/nonexistent:/bin/false\n", postfixUID, postfixUID),
		"group":  fmt.Sprintf("postfix:x:%d:\npostdrop:x:%d:\n", postfixUID, postdropGID),
	} {
		machine, err := os.ReadFile("/etc/" + name)
		if err != nil {
			t.Fatal(err)
		}
		files[name] = string(machine) + line
	}
	owned := map[string]int{"etc": 0, "queue": 0, "queue/pid": 0, "data": postfixUID}
	for _, name := range strings.Fields("active bounce corrupt defer deferred flush hold incoming maildrop private public saved trace") {
		owned["queue/"+name] = postfixUID
	}
	for name, uid := range owned {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(path, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(path, uid, 0); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(root, "etc", name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// runPostfix runs it until the test ends.
func runPostfix(t *testing.T, root string) {
	t.Helper()
	said := &logged{}
	cmd := exec.Command("/bin/sh", "-c", postfixScript, "postfix", root, lab.Host)
	cmd.Stdout, cmd.Stderr = said, said
	cmd.SysProcAttr = &unix.SysProcAttr{
		Cloneflags: unix.CLONE_NEWUTS | unix.CLONE_NEWPID | unix.CLONE_NEWNS,
		Setsid:     true,
	}
	ended, err := lab.StartTied(cmd)
	if err != nil {
		t.Fatalf("starting postfix in namespaces of its own (needs root; in a container, start it privileged): %v", err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill() // an error says that it has ended already
		<-ended
		if t.Failed() {
			log, _ := os.ReadFile(filepath.Join(root, "log"))
			t.Logf("postfix printed:\n%s\nand logged:\n%s", said, log)
		}
	})
}

func greets(addr string) bool {
	conn, err := net.DialTimeout("tcp4", addr, time.Second)
	if err != nil {
		return false
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(5 * time.Second))
	line, _ := bufio.NewReader(conn).ReadString('\n')
	return strings.HasPrefix(line, "220 ")
}

// postfixSite is our filter, with a postfix in front of it in place of sendmail.
type postfixSite struct {
	*mailSite
	addr string
}

func newPostfixSite(t *testing.T, milter string) *postfixSite {
	t.Helper()
	// The site's sendmail is not started; its stub takes what postfix sends.
	s := setUpMailSite(t, mailOptions{tcp: true, milter: milter})
	s.startFilter("milter")
	port, _, _ := strings.Cut(strings.TrimPrefix(s.listen, "inet:"), "@")
	return &postfixSite{s, startPostfix(t, port, s.Stub.Addr())}
}

// pass hands a message to postfix from an address of loopback, and returns it as
// it went on.
func (s *postfixSite) pass(ctx context.Context, client string, e lab.Envelope) lab.Delivery {
	s.t.Helper()
	before := len(s.Stub.Deliveries())
	if err := handIn(ctx, client, s.addr, e); err != nil {
		s.t.Fatal(err)
	}
	if err := s.Stub.Await(ctx, before+1); err != nil {
		s.t.Fatalf("postfix sent nothing on: %v", err)
	}
	return s.Stub.Deliveries()[before]
}

func handIn(ctx context.Context, client, addr string, e lab.Envelope) error {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(client)}, Timeout: 10 * time.Second}
	conn, err := d.DialContext(ctx, "tcp4", addr)
	if err != nil {
		return err
	}
	conn.SetDeadline(time.Now().Add(time.Minute))
	c, err := smtp.NewClient(conn, "127.0.0.1")
	if err != nil {
		conn.Close()
		return err
	}
	defer c.Close()
	if err := c.Mail(e.From); err != nil {
		return fmt.Errorf("MAIL FROM:<%s>: %w", e.From, err)
	}
	for _, to := range e.To {
		if err := c.Rcpt(to.Address); err != nil {
			return fmt.Errorf("RCPT TO:<%s>: %w", to.Address, err)
		}
	}
	w, err := c.Data()
	if err != nil {
		return fmt.Errorf("DATA: %w", err)
	}
	if _, err := w.Write(e.Data); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return fmt.Errorf("the end of the message: %w", err)
	}
	return c.Quit()
}

// The whole story with postfix as the MTA that asks the filter, over TCP: mail
// of ours goes out with a token, a remote sendmail bounces it, and its bounce is
// known for ours; the bounce of a forged message is not, and says so.
func TestMilterStoryWithPostfix(t *testing.T) {
	for _, c := range []struct {
		name, milter, proof string
		batv                bool
	}{
		{"plain", "", "token", false},
		{"BATV", fmt.Sprintf("batv_domains = [%q]", ourDomain), "batv", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newPostfixSite(t, c.milter)
			ctx := s.context()
			remote := newRemote(t)

			out := s.pass(ctx, "127.0.0.1", lab.Envelope{
				From: "joe@" + ourDomain, To: lab.To("ann@remote.example"),
				Data: letter("joe@"+ourDomain, "ann@remote.example", "1@"+ourDomain, "X-Backscatter-Token: v1 of somebody else's"),
			})
			if tokens := header(t, out)["X-Backscatter-Token"]; len(tokens) != 1 || !strings.HasPrefix(tokens[0], "v1 k=") {
				t.Errorf("it left with the tokens %q", tokens)
			}
			if !bytes.Contains(out.Data, []byte("(Postfix")) {
				t.Errorf("postfix did not send it:\n%s", out.Data)
			}
			if tagged := strings.HasPrefix(out.From, "prvs="); tagged != c.batv || !strings.HasSuffix(out.From, "joe@"+ourDomain) {
				t.Errorf("it left with the sender %q", out.From)
			}

			back := bounced(t, ctx, remote, out)
			in := s.pass(ctx, outside, lab.Envelope{To: lab.To(back.To[0]), Data: back.Data})
			h := header(t, in)
			status := h.Get("X-Backscatter-Status")
			if !strings.HasPrefix(status, "legit kind=failed reasons=") || !strings.Contains(status, c.proof) || h.Get("X-Backscatter-Flag") != "" {
				t.Errorf("our bounce is %q, flag %q", status, h.Get("X-Backscatter-Flag"))
			}
			if len(in.To) != 1 || in.To[0] != "joe@"+ourDomain {
				t.Errorf("our bounce went to %q", in.To)
			}

			time.Sleep(time.Second) // the warm-up
			forged := bounced(t, ctx, remote, lab.Delivery{From: "info@" + ourDomain, To: []string{"nobody@remote.example"},
				Data: letter("info@"+ourDomain, "nobody@remote.example", "forged@"+ourDomain)})
			h = header(t, s.pass(ctx, outside, lab.Envelope{To: lab.To(forged.To[0]), Data: forged.Data}))
			if !strings.HasPrefix(h.Get("X-Backscatter-Status"), "suspect kind=failed reasons=no-proof") || h.Get("X-Backscatter-Flag") != "YES" {
				t.Errorf("the forged one's bounce is %q, flag %q", h.Get("X-Backscatter-Status"), h.Get("X-Backscatter-Flag"))
			}
			s.says("verdict=suspect")
		})
	}
}
