package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/backscatterd/backscatterd/test/lab"
)

// serverSite is a mail host whose ledger is on such servers, and which has no
// signing key: the ledger alone tells what is ours.
type serverSite struct {
	*mailSite
	ctx  context.Context
	sent []string // Message-IDs
	at   []time.Time
}

func newServerSite(t *testing.T, c certificates, lines string, servers ...*secureRedis) *serverSite {
	t.Helper()
	password := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(password, []byte(userPassword+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var addresses []string
	for _, r := range servers {
		addresses = append(addresses, r.addr)
	}
	s := &serverSite{}
	s.mailSite = setUpMailSite(t, mailOptions{noKey: true, lab: lab.Options{Background: true}, other: fmt.Sprintf(`[milter.ledger_server]
addresses = ["%s"]
username = "backscatterd"
password_file = %q
tls = true
tls_ca = %q
tls_certificate = %q
tls_key = %q
tls_name = "redis.example.com"
host = "a.fleet.example"
%s
`, strings.Join(addresses, `", "`), password, c.file, c.file, c.key, strings.ReplaceAll(lines, "PASSWORD_FILE", password))})
	// None of its names is known to it.
	text := must(os.ReadFile(s.config))(t)
	if err := os.WriteFile(s.config, []byte(strings.Replace(string(text), "our_hosts", "# our_hosts", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	s.startFilter("milter")
	s.ctx = s.start()
	s.soon("the host can be trusted", func() string { return s.fails("ledger", "trust", "A.fleet.example") })
	return s
}

// fails runs the program, and tells what went wrong.
func (s *serverSite) fails(args ...string) string {
	out, err := exec.Command(program, append([]string{"-c", s.config}, args...)...).CombinedOutput()
	if err != nil {
		return fmt.Sprintf("%v: %s", err, out)
	}
	return ""
}

// soon waits until nothing is wrong.
func (s *serverSite) soon(what string, wrong func() string) {
	s.t.Helper()
	said := ""
	for range 1200 {
		if said = wrong(); said == "" {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	s.t.Fatalf("it does not come about that %s: %s", what, said)
}

// send sends a message of somebody who never sent one before.
func (s *serverSite) send() {
	s.t.Helper()
	id := fmt.Sprintf("m%d@%s", len(s.sent), ourDomain)
	if _, err := s.Submit(s.ctx, lab.Envelope{From: id, To: lab.To("r-" + id), Data: letter(id, "r-"+id, id)}); err != nil {
		s.t.Fatal(err)
	}
	s.sent, s.at = append(s.sent, id), append(s.at, time.Now())
}

// verdict shows the bounce of a message that was sent, and returns the verdict.
func (s *serverSite) verdict(id string) string {
	s.t.Helper()
	return s.shown(bounceOf(letter(id, "r-"+id, id), id, "r-"+id, fmt.Sprintf("b%d-%s", time.Now().UnixNano(), id)))
}

// settled is the verdict when look-ups do not fail: on a busy machine they may.
func (s *serverSite) settled(id string) (got string) {
	s.t.Helper()
	for range 50 {
		if got = s.verdict(id); !strings.Contains(got, "lookup-failed") {
			break
		}
	}
	return got
}

// forged shows a forged bounce.
func (s *serverSite) forged() string {
	s.t.Helper()
	returned, sender, recipient := forgery(int(time.Now().UnixNano()))
	return s.shown(bounceOf(returned, sender, recipient, fmt.Sprintf("f%d@mx.remote.example", time.Now().UnixNano())))
}

func (s *serverSite) shown(bounce lab.Envelope) string {
	s.t.Helper()
	id := regexp.MustCompile(`(?m)^Message-ID: (<.*>)$`).FindStringSubmatch(string(bounce.Data))[1]
	if answer := fromOutside(s.t, s.Lab, bounce); !strings.HasPrefix(answer, "250") {
		s.t.Fatal(answer)
	}
	for n := 0; ; {
		all := s.Stub.Deliveries()
		if i := slices.IndexFunc(all, func(d lab.Delivery) bool { return d.MessageID == id }); i >= 0 {
			return header(s.t, all[i]).Get("X-Backscatter-Status")
		}
		if n = len(all); s.Stub.Await(s.ctx, n+1) != nil {
			s.t.Fatalf("the bounce %s does not come", id)
		}
	}
}

// flow sends and shows bounces for a time. None of ours may be called suspect.
func (s *serverSite) flow(what string, long time.Duration) {
	s.t.Helper()
	counts, began := map[string]int{}, time.Now()
	for n := 0; time.Since(began) < long || n < 3; n++ {
		s.send()
		for _, id := range []string{s.sent[len(s.sent)-1], s.sent[len(s.sent)/2]} {
			verdict, _, _ := strings.Cut(s.verdict(id), " ")
			counts["ours "+verdict]++
		}
		verdict, _, _ := strings.Cut(s.forged(), " ")
		counts["forged "+verdict]++
	}
	s.t.Logf("%s: %v", what, counts)
	if counts["ours suspect"]+counts["forged legit"] > 0 {
		s.t.Errorf("%s: %v\n%s", what, counts, s.log)
	}
}

// wellAgain waits until what is ours and what is not are told apart.
func (s *serverSite) wellAgain() {
	s.t.Helper()
	const suspect = "suspect kind=failed reasons=no-proof,not-in-ledger"
	s.soon("a forged bounce is suspect", func() string {
		if got := s.forged(); !strings.HasPrefix(got, suspect) {
			return got
		}
		return ""
	})
	for _, id := range s.sent {
		if got := s.settled(id); !strings.HasPrefix(got, "legit kind=failed reasons=ledger-message") {
			s.t.Errorf("the bounce of %s is %q in the end", id, got)
		}
	}
}

// missed: each of the rights that a line of the documentation gives on a Sentinel
// is asked for, as a Sentinel that takes it away again says. Sentinels do not count
// commands.
func (s *serverSite) missed(sentinel *secureRedis, line []string) {
	s.t.Helper()
	for _, word := range line {
		if !strings.HasPrefix(word, "+") {
			continue
		}
		sentinel.do("ACL", "SETUSER", "backscatterd", "-"+word[1:])
		sentinel.do("ACL", "LOG", "RESET")
		s.soon(word+" is missed", func() string {
			ctx, cancel := context.WithTimeout(s.ctx, time.Second)
			defer cancel()
			_ = exec.CommandContext(ctx, program, "-c", s.config, "ledger", "status").Run() // it may get on without
			if len(sentinel.refused()) == 0 {
				return "nothing was refused"
			}
			return ""
		})
		sentinel.do("ACL", "SETUSER", "backscatterd", word)
	}
}

// A cluster of three, by TLS with certificates on both sides, as the user that the
// documentation makes: what it allows is enough, and no more than enough. A node is
// frozen while mail flows.
func TestFleetCluster(t *testing.T) {
	user, cluster, _ := aclLines(t)
	c := newCertificates(t)
	nodes := startSecureCluster(t, c)
	for _, r := range nodes {
		r.obey(user)
		r.obey(cluster)
		r.do("CONFIG", "RESETSTAT")
	}
	s := newServerSite(t, c, "cluster = true", nodes...)
	s.wellAgain()
	s.flow("all is well", 2*time.Second)
	if err := nodes[1].cmd.Process.Signal(unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	s.flow("a node is frozen", 4*time.Second)
	if err := nodes[1].cmd.Process.Signal(unix.SIGCONT); err != nil {
		t.Fatal(err)
	}
	s.flow("it goes on", time.Second)
	s.wellAgain()
	if said := s.fails("ledger", "forget", "nobody.example"); !strings.Contains(said, "no host nobody.example has reported") {
		t.Errorf("forget: %s", said)
	}
	if said := s.fails("ledger", "forget", "a.fleet.example"); said != "" {
		t.Errorf("forget: %s", said)
	}
	s.stopFilter()
	leastRights(t, nodes, user, cluster)
}

func startSecureCluster(t *testing.T, c certificates) (nodes []*secureRedis) {
	t.Helper()
	const count = 3
	bus := map[*secureRedis]string{}
	for range count {
		port := fmt.Sprint(freePort(t))
		r := startSecure(t, c, "--cluster-enabled", "yes", "--cluster-port", port, "--tls-cluster", "yes", "--save", "",
			"--cluster-node-timeout", "15000", "--requirepass", adminPassword)
		nodes, bus[r] = append(nodes, r), port
	}
	for i, r := range nodes {
		r.do("CLUSTER", "ADDSLOTSRANGE", 16384*i/count, 16384*(i+1)/count-1)
		for _, other := range nodes {
			if other != r {
				r.do("CLUSTER", "MEET", "127.0.0.1", other.port(), bus[other])
			}
		}
	}
	complete := func(r *secureRedis) bool {
		info, err := r.try("CLUSTER", "INFO")
		slots, slotsErr := r.try("CLUSTER", "SLOTS")
		return err == nil && slotsErr == nil && strings.Contains(info.(string), "cluster_state:ok") && len(slots.([]any)) == count
	}
	for range 600 {
		if !slices.ContainsFunc(nodes, func(r *secureRedis) bool { return !complete(r) }) {
			return nodes
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatal("the cluster does not come together")
	return nil
}

// Sentinels name the server. It is killed while mail flows, and a replica takes
// its place.
func TestFleetSentinel(t *testing.T) {
	user, _, sentinelUser := aclLines(t)
	c := newCertificates(t)
	replicated := []string{"--requirepass", adminPassword, "--masterauth", adminPassword, "--save", "", "--repl-diskless-sync-delay", "0"}
	master := startSecure(t, c, replicated...)
	replica := startSecure(t, c, append(replicated, "--replicaof", "127.0.0.1 "+master.port())...)
	for _, r := range []*secureRedis{master, replica} {
		r.obey(user)
	}
	conf := filepath.Join(t.TempDir(), "sentinel.conf")
	text := fmt.Sprintf("sentinel monitor mail 127.0.0.1 %s 1\nsentinel auth-pass mail %s\nsentinel down-after-milliseconds mail 1000\nsentinel failover-timeout mail 5000\n",
		master.port(), adminPassword)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	sentinel := startSecure(t, c, conf, "--sentinel", "--requirepass", adminPassword)
	sentinel.obey(sentinelUser)
	s := newServerSite(t, c, "sentinel_master = \"mail\"\nsentinel_username = \"backscatterd\"\nsentinel_password_file = \"PASSWORD_FILE\"", sentinel)
	s.wellAgain()
	s.flow("all is well", 2*time.Second)
	s.soon("the sentinel knows the replica", func() string {
		if said := fmt.Sprint(sentinel.do("SENTINEL", "REPLICAS", "mail")); !strings.Contains(said, replica.port()) {
			return said
		}
		return ""
	})
	s.soon("the replica has it all", func() string {
		if a, b := master.do("DBSIZE"), replica.do("DBSIZE"); a != b {
			return fmt.Sprint(a, b)
		}
		return ""
	})
	killed := make(chan time.Time, 1)
	timer := time.AfterFunc(time.Second, func() {
		_ = master.cmd.Process.Kill()
		killed <- time.Now()
	})
	defer timer.Stop()
	s.flow("the server is killed", 8*time.Second)
	end := <-killed
	s.soon("the replica is the master", func() string {
		if said := replica.do("INFO", "replication").(string); !strings.Contains(said, "role:master") {
			return said
		}
		return ""
	})
	s.soon("what leaves now is known", func() string {
		s.send()
		time.Sleep(200 * time.Millisecond)
		if got := s.verdict(s.sent[len(s.sent)-1]); !strings.HasPrefix(got, "legit kind=failed reasons=ledger-message") {
			return got
		}
		return ""
	})
	lost := 0
	for i, id := range s.sent {
		got := s.settled(id)
		// What the server had taken and not yet handed on is lost with it.
		if since := end.Sub(s.at[i]); since > -time.Second && since < time.Second && strings.HasPrefix(got, "unknown") {
			lost++
		} else if !strings.HasPrefix(got, "legit") {
			t.Errorf("message %d, sent %v before the server was killed, is %q", i, since, got)
		}
	}
	t.Logf("of %d messages, %d were lost with the server", len(s.sent), lost)
	replica.nothingRefused()
	sentinel.nothingRefused()
	s.missed(sentinel, sentinelUser)
}
