package config

import (
	"fmt"
	"net"
	"net/mail"
	"regexp"
	"strings"
)

// Bounce is how rules bounce.
type Bounce struct {
	Host        string   `toml:"host"`         // this mail system's name; "" for the machine's
	From        string   `toml:"from"`         // "" for Mail Delivery Subsystem <MAILER-DAEMON@host>
	Template    string   `toml:"template"`     // path of the letter's template, "" for the built-in one
	NeverBounce []string `toml:"never_bounce"` // RE2 patterns of senders that are told nothing
	PerHour     int      `toml:"per_hour"`     // bounces to one domain; 0 is no limit
	Submit      string   `toml:"submit"`       // "sendmail" or "smtp:host:port"
}

func defaultBounce() Bounce { return Bounce{PerHour: 20, Submit: "sendmail"} }

// SMTP is the address of the server that bounces are handed to, "" where the
// sendmail command takes them.
func (b Bounce) SMTP() string {
	address, _ := strings.CutPrefix(b.Submit, "smtp:")
	if address == b.Submit {
		return ""
	}
	return address
}

func (c *checker) bounce() {
	b := c.cfg.Bounce
	if b.Host != "" && !isDomain(b.Host) {
		c.fail("bounce.host", `the full name of this mail system, such as "mail.example.org"`, fmt.Sprintf("%q is no host name", b.Host))
	}
	if b.From != "" {
		if _, err := mail.ParseAddress(b.From); err != nil {
			c.fail("bounce.from", `for example "Mail Delivery Subsystem <MAILER-DAEMON@example.org>"`, fmt.Sprintf("%q is no address", b.From))
		}
	}
	if b.Template != "" {
		c.absolute("bounce.template", b.Template)
	}
	for i, p := range b.NeverBounce {
		if _, err := regexp.Compile(p); err != nil {
			c.fail(element("bounce.never_bounce", i), "patterns are RE2, such as '@lists\\.example\\.org$'", "bad pattern: "+strings.TrimPrefix(err.Error(), "error parsing regexp: "))
		}
	}
	c.atLeast("bounce.per_hour", b.PerHour, 0, "0 is no limit")
	if b.Submit == "sendmail" {
		return
	}
	address, isSMTP := strings.CutPrefix(b.Submit, "smtp:")
	host, port, err := net.SplitHostPort(address)
	if !isSMTP || err != nil || host == "" || !isPort(port) {
		c.fail("bounce.submit", `write "sendmail" or "smtp:127.0.0.1:25"`, fmt.Sprintf("%q is no way to submit a message", b.Submit))
	}
}
