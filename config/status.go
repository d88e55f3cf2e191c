package config

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"
)

// Status is where the daemon shows what it does.
type Status struct {
	Listen       string   `toml:"listen"`        // host:port; "" for none
	ListenMilter string   `toml:"listen_milter"` // of serve --only milter; "" for Listen
	Public       bool     `toml:"public"`        // listen may be an address that others reach
	Hosts        []string `toml:"hosts"`         // further names that requests may be for
	Refresh      Duration `toml:"refresh"`       // a look has the queues read again no more often
}

func defaultStatus() Status { return Status{Refresh: Duration(time.Minute)} }

func (c *checker) status() {
	s := c.cfg.Status
	c.statusListen("status.listen", s.Listen)
	c.statusListen("status.listen_milter", s.ListenMilter)
	for i, h := range s.Hosts {
		if _, err := netip.ParseAddr(h); err != nil && !isDomain(h) {
			c.fail(element("status.hosts", i), `a name or address alone, such as "mx.example.com" or "192.0.2.7"`, fmt.Sprintf("%q is no host", h))
		}
	}
	if s.Refresh < Duration(time.Second) {
		c.fail("status.refresh", `for example "1m"; each one reads the whole queue`, fmt.Sprintf("refresh is %q, less than a second", s.Refresh))
	}
}

func (c *checker) statusListen(key, listen string) {
	if listen == "" {
		return
	}
	host, port, err := net.SplitHostPort(listen)
	switch {
	case err != nil || !isPort(port):
		c.fail(key, `write host and port, such as "127.0.0.1:9780", or "" for no endpoint`, fmt.Sprintf("%q is no address to listen on", listen))
	case !c.cfg.Status.Public && !isLoopback(host):
		c.fail(key, "write \"127.0.0.1:"+port+"\"; or, where a firewall or a proxy with a password stands before it, public = true as well", fmt.Sprintf("%q can be reached from other hosts, and the page tells whose mail is stuck", listen))
	}
}

func isLoopback(host string) bool {
	a, err := netip.ParseAddr(host)
	return err == nil && a.IsLoopback() || strings.EqualFold(host, "localhost")
}
