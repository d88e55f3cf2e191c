package e2e

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// The passwords of the administrator, and of the user that docs/fleet.md makes.
const (
	adminPassword = "of-the-administrator"
	userPassword  = "of-backscatterd"
)

// secureRedis is a real server on loopback that is reached by TLS alone, by those
// who show a certificate and have a password.
type secureRedis struct {
	t    *testing.T
	dir  string
	addr string
	args []string
	tls  *tls.Config
	cmd  *exec.Cmd
}

func startSecure(t *testing.T, c certificates, args ...string) *secureRedis {
	t.Helper()
	if _, err := exec.LookPath("redis-server"); err != nil {
		t.Fatalf("the real server is needed: %v; `make test` installs it", err)
	}
	r := &secureRedis{t: t, dir: t.TempDir(), addr: fmt.Sprintf("127.0.0.1:%d", freePort(t)), tls: c.config}
	r.args = append(args, "--port", "0", "--tls-port", r.port(), "--bind", "127.0.0.1", "--dir", r.dir, "--daemonize", "no",
		"--tls-cert-file", c.file, "--tls-key-file", c.key, "--tls-ca-cert-file", c.file, "--tls-auth-clients", "yes",
		"--tls-replication", "yes")
	t.Cleanup(r.kill)
	r.start()
	return r
}

func (r *secureRedis) port() string { return r.addr[strings.LastIndexByte(r.addr, ':')+1:] }

func (r *secureRedis) start() {
	r.t.Helper()
	log, err := os.OpenFile(filepath.Join(r.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		r.t.Fatal(err)
	}
	defer log.Close()
	r.cmd = exec.Command("redis-server", r.args...)
	r.cmd.Stdout, r.cmd.Stderr = log, log
	if err := r.cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	for range 6000 {
		if conn, err := net.Dial("tcp4", r.addr); err == nil {
			conn.Close()
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	text, _ := os.ReadFile(log.Name())
	r.t.Fatalf("redis-server does not listen: %s", text)
}

// kill ends it as a power cut would; a frozen one ends too.
func (r *secureRedis) kill() {
	if r.cmd == nil {
		return
	}
	_ = r.cmd.Process.Kill()
	_ = r.cmd.Wait()
	r.cmd = nil
}

// try sends a command as the administrator.
func (r *secureRedis) try(args ...any) (any, error) {
	c := redis.NewClient(&redis.Options{Addr: r.addr, Password: adminPassword, TLSConfig: r.tls, DisableIdentity: true})
	defer c.Close()
	ctx, cancel := context.WithTimeout(r.t.Context(), 30*time.Second)
	defer cancel()
	return c.Do(ctx, args...).Result()
}

func (r *secureRedis) do(args ...any) any {
	r.t.Helper()
	v, err := r.try(args...)
	if err != nil {
		r.t.Fatalf("%v: %v", args, err)
	}
	return v
}

// certificates are one that signs itself, which is shown by both sides.
type certificates struct {
	file, key string
	config    *tls.Config
}

func newCertificates(t *testing.T) certificates {
	t.Helper()
	dir := t.TempDir()
	c := certificates{file: filepath.Join(dir, "cert.pem"), key: filepath.Join(dir, "key.pem")}
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "redis.example.com"}, DNSNames: []string{"redis.example.com"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der := must(x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key))(t)
	secret := must(x509.MarshalECPrivateKey(key))(t)
	for file, block := range map[string]*pem.Block{c.file: {Type: "CERTIFICATE", Bytes: der}, c.key: {Type: "EC PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	own := must(tls.LoadX509KeyPair(c.file, c.key))(t)
	roots := x509.NewCertPool()
	roots.AddCert(must(x509.ParseCertificate(der))(t))
	c.config = &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{own}, ServerName: "redis.example.com"}
	return c
}

// aclLines are the lines of docs/fleet.md that make the user, and that let it use
// a cluster and Sentinels, as the words of a command each.
func aclLines(t *testing.T) (user, cluster, sentinel []string) {
	t.Helper()
	page := string(must(os.ReadFile(filepath.Join("..", "..", "docs", "fleet.md")))(t))
	lines := regexp.MustCompile(`(?m)^ACL SETUSER backscatterd .*$`).FindAllString(page, -1)
	if len(lines) != 3 {
		t.Fatalf("docs/fleet.md has %d lines that begin with ACL SETUSER backscatterd; 3 are tried here: %q", len(lines), lines)
	}
	words := func(line string) []string { return strings.Fields(strings.Replace(line, "PASSWORD", userPassword, 1)) }
	return words(lines[0]), words(lines[1]), words(lines[2])
}

// obey sends a line of the documentation.
func (r *secureRedis) obey(words []string) {
	r.t.Helper()
	args := make([]any, len(words))
	for i, w := range words {
		args[i] = w
	}
	r.do(args...)
}

// leastRights: of what lines of the documentation allow, everything was used on
// one of the servers, and nothing was refused.
func leastRights(t *testing.T, servers []*secureRedis, lines ...[]string) {
	t.Helper()
	used := map[string]bool{}
	for _, r := range servers {
		for line := range strings.Lines(r.do("INFO", "commandstats").(string)) {
			name, _, _ := strings.Cut(strings.TrimPrefix(line, "cmdstat_"), ":")
			used["+"+name] = true
		}
		r.nothingRefused()
	}
	for _, line := range lines {
		for _, word := range line {
			if strings.HasPrefix(word, "+") && !used[word] {
				t.Errorf("docs/fleet.md allows %s, which nothing uses", word)
			}
		}
	}
}

func (r *secureRedis) refused() []any { r.t.Helper(); return r.do("ACL", "LOG").([]any) }

func (r *secureRedis) nothingRefused() {
	r.t.Helper()
	if refused := r.refused(); len(refused) > 0 {
		r.t.Errorf("refused: %v", refused)
	}
}
