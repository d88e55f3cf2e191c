package config

import (
	"fmt"
	"net/mail"
	"strings"
)

// Digest is the mail that tells people what was done.
type Digest struct {
	To       []string `toml:"to"`   // addresses; none for no digest
	From     string   `toml:"from"` // "" for backscatterd <backscatterd@host>
	Schedule string   `toml:"schedule"`
	State    string   `toml:"state"` // file that remembers up to when it was sent
}

func defaultDigest() Digest {
	return Digest{Schedule: "0 7 * * *", State: "/var/lib/backscatterd/digest.json"}
}

// On reports whether anybody is to be told.
func (d Digest) On() bool { return len(d.To) > 0 }

func (c *checker) digest() {
	d := c.cfg.Digest
	seen := make(map[string]bool)
	for i, a := range d.To {
		key := element("digest.to", i)
		at := strings.LastIndexByte(a, '@')
		switch {
		case strings.ContainsAny(a, "<>\"(), \t\r\n") || strings.HasPrefix(a, "-") || at == 0 || a == "" || at > 0 && !isDomain(a[at+1:]):
			c.fail(key, `an address alone, such as "postmaster@example.com", or a user of this host, such as "root"`, fmt.Sprintf("%q is no address", a))
		case seen[strings.ToLower(a)]:
			c.fail(key, "leave one of them out", fmt.Sprintf("%q is named twice", a))
		}
		seen[strings.ToLower(a)] = true
	}
	if d.From != "" {
		if _, err := mail.ParseAddress(d.From); err != nil {
			c.fail("digest.from", `for example "backscatterd <postmaster@example.org>"`, fmt.Sprintf("%q is no address", d.From))
		}
	}
	c.schedule("digest.schedule", d.Schedule)
	c.absolute("digest.state", d.State)
}
