package packaging

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// bounce is one about mail that nobody here has sent.
const bounce = "From: MAILER-DAEMON@away.example\r\nTo: root@mx.lab.example\r\nSubject: Returned mail\r\nMessage-ID: <b1@away.example>\r\n" +
	"Date: Wed, 25 Nov 2026 01:00:00 +0000\r\nMIME-Version: 1.0\r\nContent-Type: multipart/report; report-type=delivery-status; boundary=x\r\n\r\n" +
	"--x\r\nContent-Type: text/plain\r\n\r\nIt could not be delivered.\r\n--x\r\nContent-Type: message/delivery-status\r\n\r\n" +
	"Reporting-MTA: dns; away.example\r\n\r\nFinal-Recipient: rfc822; nobody@away.example\r\nAction: failed\r\nStatus: 5.1.1\r\n\r\n" +
	"--x\r\nContent-Type: message/rfc822\r\n\r\nFrom: root@mx.lab.example\r\nTo: nobody@away.example\r\nSubject: buy\r\nMessage-ID: <s1@spam.example>\r\n\r\nnow\r\n--x--\r\n"

// The steps of docs/install.md on a Debian whose sendmail runs: after them it
// asks the milter, and doctor has nothing against it. The line in sendmail.mc
// goes through Debian's own make.
func TestGuard(t *testing.T) {
	m := boot(t)
	m.run("systemctl", "start", "sendmail")
	m.run("dpkg", "-i", m.put(deb))
	m.sh(`sed -i -e 's|^# our_domains = .*|our_domains = ["mx.lab.example"]|' -e 's|^# our_networks = .*|our_networks = ["127.0.0.1"]|' ` + configuration)
	m.run("backscatterd", "config", "check")
	m.run("backscatterd", "key", "new")
	m.run("systemctl", "enable", "--now", "backscatterd-sweep", "backscatterd-milter")
	m.until("the milter listens", "journalctl", "-o", "cat", "-u", "backscatterd-milter")

	m.sh("sed -i 's/^MAILER_DEFINITIONS/FEATURE(`backscatterd'\\'')dnl\\n&/' /etc/mail/sendmail.mc && make -C /etc/mail")
	if line := strings.TrimSpace(m.sh("grep ^Xbackscatterd /etc/mail/sendmail.cf")); line != "Xbackscatterd, S=unix:/run/backscatterd/milter.sock, T=C:10s;S:10s;R:10s;E:1m" {
		t.Errorf("sendmail.cf has %q", line)
	}
	m.run("service", "sendmail", "reload")

	t.Run("doctor", func(t *testing.T) {
		out, err := m.try("backscatterd", "doctor")
		if err != nil || strings.Contains(out, "fail ") {
			t.Errorf("doctor: %v\n%s", err, out)
		}
	})
	t.Run("bounce", func(t *testing.T) {
		m.fromOutside(t, "", "root@mx.lab.example", bounce)
		m.until("X-Backscatter-Status: ", "sh", "-c", "cat /var/mail/* /var/spool/mqueue/qf* 2>/dev/null")
	})
	t.Run("mail of ours", func(t *testing.T) {
		m.sh(`printf 'Subject: ours\n\nhello\n' | sendmail -f root@mx.lab.example somebody@away.example`)
		m.until("X-Backscatter-Token: v1", "sh", "-c", "cat /var/spool/mqueue/qf* 2>/dev/null")
	})
	t.Run("status", func(t *testing.T) { seen(t, m) })
	t.Run("milter away", func(t *testing.T) {
		m.run("systemctl", "stop", "backscatterd-milter")
		m.fromOutside(t, "somebody@away.example", "root@mx.lab.example", "Subject: it passes\r\n\r\nhello\r\n")
	})
}

// seen is the status page of both units: the sweeper's needs the drop-in that
// the package brings as an example, and doctor says so.
func seen(t *testing.T, m *machine) {
	m.sh(`sed -i -e 's|^# listen = ""|listen = "127.0.0.1:9780"|' -e 's|^# listen_milter = ""|listen_milter = "127.0.0.1:9781"|' ` + configuration)
	m.run("systemctl", "restart", "backscatterd-milter")
	m.get(t, "http://127.0.0.1:9781/healthz")
	out, _ := m.try("backscatterd", "doctor")
	if !strings.Contains(out, "examples/sweep-status.conf") {
		t.Errorf("doctor does not say that the sweeper's unit has no network for [status] listen:\n%s", out)
	}
	m.sh(`mkdir -p /etc/systemd/system/backscatterd-sweep.service.d
cp /usr/share/doc/backscatterd/examples/sweep-status.conf /etc/systemd/system/backscatterd-sweep.service.d/
systemctl daemon-reload
systemctl restart backscatterd-sweep`)
	for _, address := range []string{"127.0.0.1:9780", "127.0.0.1:9781"} {
		if text := m.get(t, "http://"+address+"/healthz"); !strings.HasPrefix(text, "ok") {
			t.Errorf("%s/healthz says %q", address, text)
		}
	}
	if out, _ := m.try("backscatterd", "doctor"); strings.Contains(out, "examples/sweep-status.conf") {
		t.Errorf("doctor goes on about it:\n%s", out)
	}
}

// dial opens a connection inside the machine. A socket belongs to the network
// of the thread that makes it.
func (m *machine) dial(from net.Addr, to string) (conn net.Conn, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // never unlocked: the thread ends with its network
		var fd int
		if fd, err = unix.Open(fmt.Sprintf("/proc/%d/ns/net", m.pid), unix.O_RDONLY|unix.O_CLOEXEC, 0); err != nil {
			return
		}
		defer unix.Close(fd)
		if err = unix.Setns(fd, unix.CLONE_NEWNET); err != nil {
			return
		}
		conn, err = (&net.Dialer{LocalAddr: from, Timeout: 10 * time.Second}).Dial("tcp4", to)
	}()
	<-done
	return conn, err
}

// fromOutside hands a message to sendmail as a host does that is not ours.
func (m *machine) fromOutside(t *testing.T, from, to, message string) {
	t.Helper()
	conn, err := m.dial(&net.TCPAddr{IP: net.IPv4(127, 0, 0, 5)}, "127.0.0.1:25")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if answer := converse(t, conn, from, to, message); !strings.HasPrefix(answer, "250") {
		t.Fatalf("sendmail answers %q\n%s", answer, m.journal("sendmail"))
	}
}

// get reads a page inside the machine, which may still be starting to serve it.
func (m *machine) get(t *testing.T, url string) string {
	t.Helper()
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext:       func(_ context.Context, _, address string) (net.Conn, error) { return m.dial(nil, address) },
	}}
	var last error
	for range 600 {
		answer, err := client.Get(url)
		if err != nil {
			last = err
			time.Sleep(100 * time.Millisecond)
			continue
		}
		defer answer.Body.Close()
		text, err := io.ReadAll(answer.Body)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	t.Fatalf("%s: %v", url, last)
	return ""
}
