package config

import (
	"fmt"
	"net"
)

// Status is the endpoint for health checks.
type Status struct {
	Listen string `toml:"listen"` // host:port; "" for none
}

func defaultStatus() Status { return Status{} }

func (c *checker) status() {
	listen := c.cfg.Status.Listen
	if listen == "" {
		return
	}
	if _, port, err := net.SplitHostPort(listen); err != nil || !isPort(port) {
		c.fail("status.listen", `write host and port, such as "127.0.0.1:9780", or "" for no endpoint`, fmt.Sprintf("%q is no address to listen on", listen))
	}
}
