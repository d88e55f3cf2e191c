// Package dnslist asks a DNS list whether a host is on it (RFC 5782): the
// address, reversed, under the zone of the list has an address in 127.0.0.0/8
// if it is.
//
// A List may be used concurrently. It answers or gives up before its context
// ends; any answer that is neither "no such name" nor an address that lists use
// is an error, for such answers come from lists that are closed, refuse us, or
// have been taken over.
package dnslist

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
)

// List is one DNS list.
type List struct {
	// Zone is the domain of the list.
	Zone string
	// Resolver is asked; nil is the machine's own.
	Resolver *net.Resolver
}

// Listed reports whether the list has a host.
func (l List) Listed(ctx context.Context, addr netip.Addr) (bool, error) {
	r := l.Resolver
	if r == nil {
		r = net.DefaultResolver
	}
	answers, err := r.LookupNetIP(ctx, "ip4", query(addr, l.Zone))
	var failure *net.DNSError
	switch {
	case errors.As(err, &failure) && failure.IsNotFound:
		return false, nil
	case err != nil:
		return false, fmt.Errorf("dns list %s: %w", l.Zone, err)
	}
	for _, a := range answers {
		a = a.Unmap()
		switch octets := a.As4(); {
		case octets[0] != 127 || octets == [4]byte{127, 0, 0, 1}:
			// RFC 5782, section 2.1, and section 5 of a list that answers for all.
			return false, fmt.Errorf("dns list %s: it answers %s, which means nothing; is it still in service?", l.Zone, a)
		case octets[1] == 255 && octets[2] == 255:
			return false, fmt.Errorf("dns list %s: it refuses our resolver (%s)", l.Zone, a)
		}
	}
	return len(answers) > 0, nil
}

// query is the name to ask for: the octets of an IPv4 address, or the nibbles of
// an IPv6 one, in reverse. It ends in a dot, so that no search list applies.
func query(addr netip.Addr, zone string) string {
	addr = addr.Unmap()
	var b strings.Builder
	bytes := addr.AsSlice()
	for i := len(bytes) - 1; i >= 0; i-- {
		if addr.Is4() {
			fmt.Fprintf(&b, "%d.", bytes[i])
		} else {
			fmt.Fprintf(&b, "%x.%x.", bytes[i]&15, bytes[i]>>4)
		}
	}
	return b.String() + strings.Trim(zone, ".") + "."
}
