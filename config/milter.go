package config

import (
	"fmt"
	"io/fs"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/backscatterd/backscatterd/milter/socket"
)

// Milter is the filter that sendmail asks about each message.
type Milter struct {
	Listen      string `toml:"listen"`       // as sendmail writes it: unix:PATH, inet:PORT@HOST, inet6:PORT@HOST
	SocketMode  string `toml:"socket_mode"`  // octal, of a unix socket
	SocketOwner string `toml:"socket_owner"` // name or number, "" for the daemon's user
	SocketGroup string `toml:"socket_group"`

	OurDomains  []string `toml:"our_domains"` // none: there is no filter
	OurNetworks []string `toml:"our_networks"`
	OurHosts    []string `toml:"our_hosts"`   // as Received fields name them; ".example.com" is all below
	NotCovered  []string `toml:"not_covered"` // of our_domains: mail leaves elsewhere too
	NeverSends  []string `toml:"never_sends"` // addresses, or "@domain"

	Keys          string   `toml:"keys"` // folder
	SignatureLife Duration `toml:"signature_lifetime"`
	BATVDomains   []string `toml:"batv_domains"` // of our_domains
	Ledger        string   `toml:"ledger"`       // file
	LedgerKeep    Duration `toml:"ledger_keep"`
	WarmUp        Duration `toml:"warm_up"`
	MaxUses       int      `toml:"max_uses"`    // of one proof
	MaxBounces    int      `toml:"max_bounces"` // to one address in a day

	DNSList    string   `toml:"dns_list"` // zone, "" for none
	DNSTimeout Duration `toml:"dns_timeout"`

	LedgerServer LedgerServer `toml:"ledger_server"`

	Verdict    Verdict `toml:"verdict"`
	Listed     Listed  `toml:"listed"`
	RejectText string  `toml:"reject_text"`
	OnError    string  `toml:"on_error"` // accept or tempfail

	NullSpamSenders bool `toml:"null_spam_senders"`

	IdleTimeout    Duration `toml:"idle_timeout"`
	MaxConnections int      `toml:"max_connections"`
	StopTimeout    Duration `toml:"stop_timeout"`
}

// On reports whether there is a filter: without a domain of ours, there is no
// mail to tell from others.
func (m Milter) On() bool { return len(m.OurDomains) > 0 }

// Verdict says what is done with a bounce by what it is found to be: tag,
// quarantine, reject, discard or accept.
type Verdict struct {
	Suspect string `toml:"suspect"`
	Legit   string `toml:"legit"`
	Unknown string `toml:"unknown"`
}

// Listed are recipients whose bounces are treated in ways of their own.
type Listed struct {
	Recipients []string `toml:"recipients"` // addresses, or "@domain"
	Suspect    string   `toml:"suspect"`
	Legit      string   `toml:"legit"`
	Unknown    string   `toml:"unknown"`
}

func defaultMilter() Milter {
	const day = Duration(24 * time.Hour)
	return Milter{
		Listen: "unix:/run/backscatterd/milter.sock", SocketMode: "0660",
		OurNetworks: []string{"127.0.0.0/8", "::1/128"},
		Keys:        "/etc/backscatterd/keys", SignatureLife: 14 * day,
		Ledger: "/var/lib/backscatterd/ledger.db", LedgerKeep: 30 * day, WarmUp: 12 * day, MaxUses: 100, MaxBounces: 200,
		LedgerServer: defaultLedgerServer(),
		DNSTimeout:   Duration(2 * time.Second),
		Verdict:      Verdict{Suspect: "tag", Legit: "tag", Unknown: "tag"},
		Listed:       Listed{Suspect: "tag", Legit: "tag", Unknown: "tag"},
		RejectText:   "This bounce is not about mail that was sent from here", OnError: "accept",
		IdleTimeout: Duration(2 * time.Hour), MaxConnections: 1000, StopTimeout: Duration(20 * time.Second),
	}
}

// Address is where to listen.
func (m Milter) Address() (socket.Address, error) { return socket.Parse(m.Listen) }

// Mode is SocketMode as a number.
func (m Milter) Mode() fs.FileMode {
	mode, _ := strconv.ParseUint(m.SocketMode, 8, 9)
	return fs.FileMode(mode)
}

// Networks are OurNetworks parsed; a single address is a network of one.
func (m Milter) Networks() []netip.Prefix {
	var out []netip.Prefix
	for _, n := range m.OurNetworks {
		if p, err := parseNetwork(n); err == nil {
			out = append(out, p)
		}
	}
	return out
}

func parseNetwork(s string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(s); err == nil {
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	return p, err
}

func (c *checker) milter() {
	m := c.cfg.Milter
	if _, err := m.Address(); err != nil {
		c.fail("milter.listen", `write "unix:/run/backscatterd/milter.sock" or "inet:8890@127.0.0.1"`, strings.TrimPrefix(err.Error(), "milter address "))
	}
	if mode, err := strconv.ParseUint(m.SocketMode, 8, 9); err != nil || mode == 0 {
		c.fail("milter.socket_mode", `an octal number in quotes, such as "0660"`, fmt.Sprintf("%q is no file mode", m.SocketMode))
	}
	c.ourselves(m)
	c.absolute("milter.keys", m.Keys)
	c.absolute("milter.ledger", m.Ledger)
	c.wholeDays("milter.signature_lifetime", m.SignatureLife, 998)
	c.wholeDays("milter.ledger_keep", m.LedgerKeep, 3650)
	c.positive("milter.warm_up", m.WarmUp)
	if m.LedgerKeep > 0 && m.WarmUp > m.LedgerKeep {
		c.fail("milter.warm_up", "keep the ledger for longer than that", fmt.Sprintf("warm_up is %q, and the ledger keeps %q", m.WarmUp, m.LedgerKeep))
	}
	c.atLeast("milter.max_uses", m.MaxUses, 1, "how many bounces about one message are plausible")
	c.atLeast("milter.max_bounces", m.MaxBounces, 1, "how many bounces to one address in a day are plausible")
	c.ledgerServer()
	if m.DNSList != "" && !isDomain(m.DNSList) {
		c.fail("milter.dns_list", "the zone of a DNS list of hosts that send backscatter, without a dot at its end", fmt.Sprintf("%q is no zone", m.DNSList))
	}
	if m.DNSTimeout <= 0 || m.DNSTimeout > Duration(10*time.Second) {
		c.fail("milter.dns_timeout", `for example "2s"`, fmt.Sprintf("dns_timeout is %q: mail waits for it, so from above nothing to 10s", m.DNSTimeout))
	}
	c.verdict("milter.verdict", m.Verdict.Suspect, m.Verdict.Legit, m.Verdict.Unknown)
	c.verdict("milter.listed", m.Listed.Suspect, m.Listed.Legit, m.Listed.Unknown)
	c.addresses("milter.listed.recipients", m.Listed.Recipients)
	if t := m.RejectText; t == "" || len(t) > 400 || strings.ContainsFunc(t, func(r rune) bool { return r < ' ' || r > '~' }) {
		c.fail("milter.reject_text", "one line of plain ASCII text, without the codes before it", fmt.Sprintf("%q cannot be said in SMTP", t))
	}
	c.oneOf("milter.on_error", m.OnError, "accept", "tempfail")
	c.positive("milter.idle_timeout", m.IdleTimeout)
	c.positive("milter.stop_timeout", m.StopTimeout)
	c.atLeast("milter.max_connections", m.MaxConnections, 1, "sendmail opens one for each message that comes in at the same time")
}

// ourselves checks what the filter is told of our own hosts and domains.
func (c *checker) ourselves(m Milter) {
	for i, d := range m.OurDomains {
		if !isDomain(d) {
			c.fail(element("milter.our_domains", i), `a domain alone, such as "example.com"; other alphabets in their xn-- form`, fmt.Sprintf("%q is no domain", d))
		}
	}
	for i, n := range m.OurNetworks {
		key := element("milter.our_networks", i)
		switch p, err := parseNetwork(n); {
		case err != nil:
			c.fail(key, `for example "192.0.2.0/24" or "2001:db8::/32"`, fmt.Sprintf("%q is no network", n))
		case p != p.Masked():
			c.fail(key, fmt.Sprintf("the network is %q", p.Masked()), fmt.Sprintf("%q has bits set behind its length", n))
		case p.Bits() == 0:
			c.fail(key, "name the networks whose mail is signed and sent by this host", fmt.Sprintf("%q is the whole internet", n))
		}
	}
	for i, h := range m.OurHosts {
		if !isDomain(strings.TrimPrefix(h, ".")) {
			c.fail(element("milter.our_hosts", i), `a host's name, such as "mx.example.com", or ".example.com" for all below`, fmt.Sprintf("%q is no host", h))
		}
	}
	for key, list := range map[string][]string{"milter.batv_domains": m.BATVDomains, "milter.not_covered": m.NotCovered} {
		for i, d := range list {
			if !slices.ContainsFunc(m.OurDomains, func(o string) bool { return strings.EqualFold(o, d) }) {
				c.fail(element(key, i), "add it to our_domains too", fmt.Sprintf("%q is none of our_domains", d))
			}
		}
	}
	c.addresses("milter.never_sends", m.NeverSends)
}

// addresses checks a list of user@domain and @domain.
func (c *checker) addresses(key string, list []string) {
	for i, a := range list {
		if at := strings.LastIndexByte(a, '@'); at < 0 || !isDomain(a[at+1:]) || strings.ContainsAny(a, "<> \t") {
			c.fail(element(key, i), `write "user@example.com", or "@example.com" for all of a domain`, fmt.Sprintf("%q is no address", a))
		}
	}
}

func (c *checker) verdict(key, suspect, legit, unknown string) {
	all := []string{"tag", "quarantine", "reject", "discard", "accept"}
	c.oneOf(key+".suspect", suspect, all...)
	c.oneOf(key+".unknown", unknown, all...)
	if legit == "reject" || legit == "discard" {
		c.fail(key+".legit", `write "tag" or "accept"`, "a legitimate bounce tells somebody that his mail was lost: it is not to be lost in turn")
	} else {
		c.oneOf(key+".legit", legit, all...)
	}
}

func (c *checker) wholeDays(key string, d Duration, most int) {
	const day = Duration(24 * time.Hour)
	if d < day || d%day != 0 || d/day > Duration(most) {
		c.fail(key, fmt.Sprintf(`whole days, from "1d" to "%dd"`, most), fmt.Sprintf("%s cannot be %q", key[strings.LastIndexByte(key, '.')+1:], d))
	}
}

// isDomain follows RFC 1123 section 2.1 and the lengths of RFC 1035.
func isDomain(s string) bool {
	if s == "" || len(s) > 253 {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for _, c := range []byte(label) {
			if !(c == '-' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z') {
				return false
			}
		}
	}
	return true
}

func isPort(s string) bool {
	n, err := strconv.Atoi(s)
	return err == nil && n > 0 && n < 65536
}
