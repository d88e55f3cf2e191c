package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/backscatterd/backscatterd/milter/keyring"
	"github.com/backscatterd/backscatterd/milter/ledger"
	"github.com/backscatterd/backscatterd/test/lab"
)

// fleetHost is a mail host on a machine of its own, whose ledger is the fleet's.
type fleetHost struct {
	*mailSite
	name    string
	machine int
	addr    string // where it takes mail from the internet
}

const (
	smtpPort   = "25"
	statusAddr = "127.0.0.1:9399" // of each machine
)

var fleetNames = []string{"a.fleet.example", "b.fleet.example", "c.fleet.example"}

// newFleetHost makes the host with this number. It knows no names of its hosts
// (our_hosts): the ledger and the keys alone tell what is ours.
func newFleetHost(t *testing.T, n *fleetNet, number int) *fleetHost {
	t.Helper()
	dir, err := os.MkdirTemp("", "bsd")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	h := &fleetHost{name: fleetNames[number], addr: fmt.Sprintf("198.51.100.%d", 11+number)}
	h.machine = n.machine(h.addr)
	h.mailSite = &mailSite{listen: "unix:" + filepath.Join(dir, "m"), keys: filepath.Join(dir, "keys"), log: &logged{}}
	h.site = newSite(t, lab.Options{InMemory: true, Background: true, Network: networkOf(h.machine), MC: []string{
		relayAll, "RELAY_DOMAIN(`" + ourDomain + "')dnl",
		"DAEMON_OPTIONS(`Family=inet, Name=OUTSIDE, Port=" + smtpPort + ", Addr=" + h.addr + "')dnl",
		fmt.Sprintf("INPUT_MAIL_FILTER(`backscatterd', `S=%s, T=S:20s;R:20s;E:1m')dnl", h.listen),
	}}, onlyBounces, fmt.Sprintf(`[milter]
listen = %q
our_domains = [%q]
our_networks = ["127.0.0.1"]
keys = %q
ledger = %q
max_uses = 2
[milter.ledger_server]
addresses = [%q]
host = %q
hosts = ["%s"]
[status]
listen = %q
`, h.listen, ourDomain, h.keys, filepath.Join(dir, "ledger.db"), redisAddr+":"+redisPort, h.name, strings.Join(fleetNames, `", "`), statusAddr))
	return h
}

// up starts both daemons, and ends them with the test.
func (h *fleetHost) up() {
	h.t.Helper()
	h.startMilter()
	h.start()
}

// startMilter is what an init script does on the host.
func (h *fleetHost) startMilter() {
	h.t.Helper()
	cmd := inNamespace(h.machine, program, "serve", "-c", h.config, "--only", "milter")
	cmd.Stderr = h.log
	if err := cmd.Start(); err != nil {
		h.t.Fatal(err)
	}
	h.serve = cmd
	h.t.Cleanup(h.stopFilter)
	h.says("the milter listens")
}

// there runs the program on the host, and wants exit status 0.
func (h *fleetHost) there(args ...string) (stdout string) {
	h.t.Helper()
	out, err := h.try(args...)
	if err != nil {
		h.t.Fatalf("backscatterd %s on %s: %v", strings.Join(args, " "), h.name, err)
	}
	return out
}

func (h *fleetHost) try(args ...string) (stdout string, err error) {
	cmd := inNamespace(h.machine, program, append([]string{"-c", h.config}, args...)...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("%w: %s", err, errs.String())
	}
	return out.String(), nil
}

func (h *fleetHost) status() (s ledger.Status, err error) {
	out, err := h.try("ledger", "status", "--json")
	if err == nil {
		err = json.Unmarshal([]byte(out), &s)
	}
	return s, err
}

// metrics are those of the daemon on the host that have no labels.
func (h *fleetHost) metrics(ctx context.Context) map[string]float64 {
	h.t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, addr string) (conn net.Conn, err error) {
		err = lab.InNetwork(networkOf(h.machine), func() (err error) {
			conn, err = new(net.Dialer).DialContext(ctx, "tcp4", addr)
			return err
		})
		return conn, err
	}}}
	request := must(http.NewRequestWithContext(ctx, "GET", "http://"+statusAddr+"/metrics", nil))(h.t)
	response := must(client.Do(request))(h.t)
	defer response.Body.Close()
	all := map[string]float64{}
	for line := range strings.Lines(string(must(io.ReadAll(response.Body))(h.t))) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), " "); ok && strings.HasPrefix(name, "backscatterd_") && !strings.Contains(name, "{") {
			all[strings.TrimPrefix(name, "backscatterd_")] = must(strconv.ParseFloat(value, 64))(h.t)
		}
	}
	return all
}

// takes hands a message in from the internet.
func (h *fleetHost) takes(ctx context.Context, n *fleetNet, e lab.Envelope) error {
	conn, err := n.dial(ctx, h.addr+":"+smtpPort)
	if err != nil {
		return err
	}
	defer conn.Close()
	answer, err := converse(conn, e)
	if err == nil && !strings.HasPrefix(answer, "250") {
		err = errors.New(answer)
	}
	return err
}

// delivered waits until a message with this Message-ID has left the host.
func (h *fleetHost) delivered(ctx context.Context, id string) (lab.Delivery, error) {
	seen := 0
	for {
		all := h.Stub.Deliveries()
		for _, d := range all[seen:] {
			if d.MessageID == "<"+id+">" {
				return d, nil
			}
		}
		seen = len(all)
		if err := h.Stub.Await(ctx, seen+1); err != nil {
			return lab.Delivery{}, fmt.Errorf("%s on %s: %w", id, h.name, err)
		}
	}
}

// fleet is three hosts that keep one ledger.
type fleet struct {
	t       *testing.T
	net     *fleetNet
	redis   *fleetRedis
	a, b, c *fleetHost
}

// newFleet starts one of which an administrator has said that nothing was sent
// before. The keys of the first host are copied to the third; the second has the
// secret of the ledger and a signing key of its own, and does not know the
// others'.
func newFleet(t *testing.T) *fleet {
	t.Helper()
	f := &fleet{t: t, net: newFleetNet(t)}
	f.redis = newFleetRedis(t, f.net)
	f.a, f.b, f.c = newFleetHost(t, f.net, 0), newFleetHost(t, f.net, 1), newFleetHost(t, f.net, 2)
	for _, h := range []*fleetHost{f.a, f.b} {
		if _, err := keyring.Open(h.keys).New(time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := keyring.Open(f.a.keys).Secret("ledger"); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"-a", f.a.keys, f.c.keys}, {"-p", filepath.Join(f.a.keys, "ledger.secret"), f.b.keys}} {
		if out, err := exec.Command("cp", args...).CombinedOutput(); err != nil {
			t.Fatalf("copying keys: %v: %s", err, out)
		}
	}
	for _, h := range []*fleetHost{f.a, f.b, f.c} {
		h.up()
	}
	for _, h := range fleetNames {
		f.soon("the host "+h+" can be trusted", func() error {
			_, err := f.c.try("ledger", "trust", h)
			return err
		})
	}
	return f
}

// soon waits until there is no error.
func (f *fleet) soon(what string, holds func() error) {
	f.t.Helper()
	var err error
	for range 1200 {
		if err = holds(); err == nil {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	f.t.Fatalf("it does not come about that %s: %v", what, err)
}

// bounceOf is the bounce of a message as it arrived somewhere, for its sender.
func bounceOf(returned []byte, sender, recipient, id string) lab.Envelope {
	text := strings.Join([]string{
		"--x", "Content-Type: text/plain", "", "Your message could not be delivered.", "",
		"--x", "Content-Type: message/delivery-status", "", "Reporting-MTA: dns; mx.remote.example", "",
		"Final-Recipient: rfc822; " + recipient, "Action: failed", "Status: 5.1.1", "",
		"--x", "Content-Type: message/rfc822", "",
		strings.ReplaceAll(string(returned), "\r\n", "\n"), "--x--", "",
	}, "\n")
	return lab.Envelope{To: lab.To(sender), Data: lab.Compose(text,
		"From: Mail Delivery Subsystem <MAILER-DAEMON@mx.remote.example>", "To: <"+sender+">", "Subject: Returned mail: see transcript for details",
		"Message-ID: <"+id+">", "Date: "+time.Now().Format(time.RFC1123Z), "Auto-Submitted: auto-generated (failure)",
		"MIME-Version: 1.0", "Content-Type: multipart/report; report-type=delivery-status; boundary=x")}
}

// forgery is a message of a spammer's in the name of a user who never wrote.
func forgery(number int) (returned []byte, sender, recipient string) {
	sender, recipient = fmt.Sprintf("victim%d@%s", number, ourDomain), fmt.Sprintf("nobody%d@remote.example", number)
	made := "Date: " + time.Now().Add(-time.Minute).Format(time.RFC1123Z)
	return lab.Compose("Buy!\n",
		"Received: from spammer.example (spammer.example [192.0.2.66]) by mx.remote.example with ESMTP id 6AOMSHAk000014; "+made[len("Date: "):],
		"From: <"+sender+">", "To: <"+recipient+">", "Subject: buy", fmt.Sprintf("Message-ID: <forged%d@%s>", number, ourDomain), made,
		"MIME-Version: 1.0"), sender, recipient
}
