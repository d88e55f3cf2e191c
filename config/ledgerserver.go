package config

import (
	"fmt"
	"net"
	"strings"
	"time"
)

// LedgerServer is where several hosts keep one ledger, in the place of the file
// of each.
type LedgerServer struct {
	Addresses      []string `toml:"addresses"` // host:port; none: the ledger is in a file
	Cluster        bool     `toml:"cluster"`
	SentinelMaster string   `toml:"sentinel_master"` // then addresses are those of Sentinels

	Username             string `toml:"username"`
	PasswordFile         string `toml:"password_file"`
	SentinelUsername     string `toml:"sentinel_username"`
	SentinelPasswordFile string `toml:"sentinel_password_file"`

	TLS            bool   `toml:"tls"`
	TLSCA          string `toml:"tls_ca"`          // file; "" for the system's
	TLSCertificate string `toml:"tls_certificate"` // file of the client's own, with tls_key
	TLSKey         string `toml:"tls_key"`
	TLSName        string `toml:"tls_name"` // in the server's certificate; "" for that of its address

	Database int    `toml:"database"`
	Prefix   string `toml:"prefix"` // of every key

	Host  string   `toml:"host"`  // this one's name among the others; "" for the machine's
	Hosts []string `toml:"hosts"` // that must have reported

	Budget Duration `toml:"budget"` // what look-ups about one message may take
}

func defaultLedgerServer() LedgerServer {
	return LedgerServer{Prefix: "bs:", Budget: Duration(50 * time.Millisecond)}
}

// On reports whether the ledger is on a server.
func (l LedgerServer) On() bool { return len(l.Addresses) > 0 }

func (c *checker) ledgerServer() {
	l := c.cfg.Milter.LedgerServer
	const section = "milter.ledger_server."
	for i, a := range l.Addresses {
		if host, port, err := net.SplitHostPort(a); err != nil || host == "" || !isPort(port) {
			c.fail(element(section+"addresses", i), `write host and port, such as "redis.example.com:6379"`, fmt.Sprintf("%q is no address of a server", a))
		}
	}
	if l.Cluster && l.SentinelMaster != "" {
		c.fail(section+"cluster", "a cluster has no Sentinels: leave sentinel_master out", "cluster and sentinel_master exclude each other")
	}
	for key, set := range map[string]bool{"sentinel_username": l.SentinelUsername != "", "sentinel_password_file": l.SentinelPasswordFile != ""} {
		if set && l.SentinelMaster == "" {
			c.fail(section+key, "name the master too, in sentinel_master, or leave this out", "it is of no use without sentinel_master")
		}
	}
	if l.Cluster && l.Database != 0 {
		c.fail(section+"database", "leave it out, and tell sites apart by prefix", "a cluster has one database only")
	}
	c.atLeast(section+"database", l.Database, 0, "servers have databases 0 to 15, unless told otherwise")
	for key, file := range map[string]string{
		"password_file": l.PasswordFile, "sentinel_password_file": l.SentinelPasswordFile,
		"tls_ca": l.TLSCA, "tls_certificate": l.TLSCertificate, "tls_key": l.TLSKey,
	} {
		if file != "" {
			c.absolute(section+key, file)
		}
	}
	if (l.TLSCertificate == "") != (l.TLSKey == "") {
		c.fail(section+"tls_certificate", "name both tls_certificate and tls_key", "a certificate without its key, or a key without its certificate, shows nothing")
	}
	if !l.TLS && l.TLSCA+l.TLSCertificate+l.TLSName != "" {
		c.fail(section+"tls", "add tls = true", "there are files for TLS, but it is off")
	}
	if l.Prefix == "" || len(l.Prefix) > 32 || strings.ContainsAny(l.Prefix, "{} \t\r\n") {
		c.fail(section+"prefix", `a short word, such as "bs:"`, fmt.Sprintf("%q cannot begin keys: it is empty, longer than 32 characters, or has blanks or braces", l.Prefix))
	}
	for i, h := range l.Hosts {
		if !isDomain(h) {
			c.fail(element(section+"hosts", i), `the names of the hosts that send, as each gives its own in "host"`, fmt.Sprintf("%q is no host", h))
		}
	}
	if l.Host != "" && !isDomain(l.Host) {
		c.fail(section+"host", `the name of this host, such as "mx1.example.com"`, fmt.Sprintf("%q is no host", l.Host))
	}
	if l.Budget <= 0 || l.Budget > Duration(5*time.Second) {
		c.fail(section+"budget", `for example "50ms"`, fmt.Sprintf("budget is %q: mail waits for it, so from above nothing to 5s", l.Budget))
	}
}
