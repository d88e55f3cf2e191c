package ledger

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
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// An ACL user with what docs/fleet.md gives it, over TLS, is enough; one who may
// not ask about the server's memory is told of.
func TestSharedTLSAndACL(t *testing.T) {
	dir := t.TempDir()
	roots := makeCertificate(t, dir)
	tlsAddress := freeAddress(t)
	_, port, _ := net.SplitHostPort(tlsAddress)
	server := startRedis(t, "--tls-port", port, "--tls-cert-file", filepath.Join(dir, "cert.pem"), "--tls-key-file", filepath.Join(dir, "key.pem"),
		"--tls-auth-clients", "no")
	server.do("ACL", "SETUSER", "mail", "on", ">word", "~t:*", "+get", "+set", "+incr", "+expireat", "+hset", "+hdel", "+hgetall", "+info", "+client|setname")
	at := Server{Addresses: []string{tlsAddress}, Username: "mail", Password: "word", TLS: &tls.Config{RootCAs: roots, ServerName: "localhost"}}
	a := join(t, "a", at, nil)
	a.send(1)
	a.waitCovered()
	if _, err := a.Use(t.Context(), "proof"); err != nil {
		t.Error(err)
	}
	server.do("ACL", "SETUSER", "mail", "-info")
	b := join(t, "b", at, nil)
	soon(t, "the missing right is told", func() bool { return strings.Contains(b.Coverage().Why, "allow +info") })
	if err := b.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	if found, err := b.knows(1); !found {
		t.Errorf("proofs are not known: %v", err)
	}
	wrong := join(t, "c", Server{Addresses: []string{tlsAddress}, Username: "mail", Password: "other", TLS: at.TLS}, nil)
	soon(t, "a wrong password is told", func() bool { return strings.Contains(wrong.reported(), "WRONGPASS") })
	clear := join(t, "d", Server{Addresses: []string{tlsAddress}}, nil)
	soon(t, "no TLS is told", func() bool { return clear.reported() != "" })
}

func makeCertificate(t *testing.T, dir string) *x509.CertPool {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{"cert.pem": {Type: "CERTIFICATE", Bytes: der}, "key.pem": {Type: "EC PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	roots := x509.NewCertPool()
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots.AddCert(cert)
	return roots
}

// Sentinels name the server. When it dies, the replica that they make the master
// has all that was replicated, and the ledger goes on with it.
func TestSharedSentinelFailover(t *testing.T) {
	master := startRedis(t)
	replica := startRedis(t, "--replicaof", "127.0.0.1 "+master.port(), "--repl-diskless-sync-delay", "0")
	sentinel := startSentinel(t, master)
	soon(t, "the replica follows", func() bool {
		return strings.Contains(replica.do("INFO", "replication").(string), "master_link_status:up")
	})
	a := join(t, "a", Server{Addresses: []string{sentinel.addr}, SentinelMaster: "mail"}, nil)
	a.send(1)
	a.written()
	a.waitCovered()
	soon(t, "the replica has it all", func() bool { return fmt.Sprint(replica.do("DBSIZE")) == fmt.Sprint(master.do("DBSIZE")) })
	soon(t, "the sentinel knows the replica", func() bool {
		return strings.Contains(fmt.Sprint(sentinel.do("SENTINEL", "REPLICAS", "mail")), replica.port())
	})
	master.kill()
	a.send(2)
	within(t, 30*time.Second, "the sentinel makes the replica the master", func() bool {
		return strings.Contains(replica.do("INFO", "replication").(string), "role:master")
	})
	a.written()
	a.waitNow(t)
	for n := 1; n <= 2; n++ {
		if found, err := a.knows(n); !found {
			t.Errorf("message %d is not known after the failover: %v", n, err)
		}
	}
}

func startSentinel(t *testing.T, master *redisServer) *redisServer {
	t.Helper()
	s := &redisServer{tb: t, dir: t.TempDir(), addr: freeAddress(t)}
	conf := fmt.Sprintf("sentinel monitor mail 127.0.0.1 %s 1\nsentinel down-after-milliseconds mail 500\nsentinel failover-timeout mail 3000\n", master.port())
	file := filepath.Join(s.dir, "sentinel.conf")
	if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	s.asSentinel = file
	s.start()
	t.Cleanup(s.kill)
	return s
}

// A cluster of three keeps parts of the ledger on each node. One that loses its
// part is noticed; while it is away, nothing is proved by its silence.
func TestSharedCluster(t *testing.T) {
	nodes := startCluster(t, 3)
	at := Server{Cluster: true}
	for _, n := range nodes {
		at.Addresses = append(at.Addresses, n.addr)
	}
	a, b := join(t, "a", at, nil), join(t, "b", at, nil)
	for n := range 300 {
		a.send(n)
	}
	a.written()
	b.waitCovered()
	for n := range 300 {
		if found, err := b.knows(n); !found {
			t.Fatalf("message %d is not known: %v", n, err)
		}
	}
	if found, err := b.knows(5000); found || err != nil {
		t.Errorf("what was not sent: %v, %v", found, err)
	}
	for _, n := range nodes {
		if n.do("DBSIZE").(int64) < 50 {
			t.Errorf("the node %s has next to nothing", n.addr)
		}
	}
	before := b.Coverage()
	nodes[1].do("FLUSHALL")
	soon(t, "one node's loss is noticed", func() bool { c := b.Coverage(); return c.Why == "" && c.Since.After(before.Since) })
	nodes[2].kill()
	soon(t, "one node's death is noticed", func() bool {
		_, err := b.knowsWithin(1, 50*time.Millisecond)
		return err != nil && time.Since(b.Coverage().Until) > time.Second
	})
}

func startCluster(t *testing.T, count int) []*redisServer {
	t.Helper()
	var nodes []*redisServer
	for range count {
		bus := freeAddress(t)
		nodes = append(nodes, startRedis(t, "--cluster-enabled", "yes", "--cluster-port", bus[strings.LastIndexByte(bus, ':')+1:],
			"--cluster-node-timeout", "2000", "--cluster-require-full-coverage", "no"))
	}
	for i, n := range nodes {
		n.do("CLUSTER", "ADDSLOTSRANGE", 16384*i/count, 16384*(i+1)/count-1)
	}
	for _, n := range nodes[1:] {
		n.do("CLUSTER", "MEET", "127.0.0.1", nodes[0].port(), n.args[3])
		nodes[0].do("CLUSTER", "MEET", "127.0.0.1", n.port(), n.args[3])
	}
	for _, n := range nodes {
		soon(t, "the cluster is complete", func() bool {
			c := redis.NewClient(&redis.Options{Addr: n.addr})
			defer c.Close()
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			info, err := c.ClusterInfo(ctx).Result()
			shards, shardsErr := c.ClusterShards(ctx).Result()
			return err == nil && shardsErr == nil && strings.Contains(info, "cluster_state:ok") && len(shards) == count
		})
	}
	return nodes
}
