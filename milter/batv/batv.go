// Package batv signs and checks envelope senders by Bounce Address Tag
// Validation (draft-levine-smtp-batv-01): prvs=KDDDSSSSSS=user@example.com.
//
// A bounce that comes back to a tag of ours answers mail that we sent; nobody
// without the key can make one up. Tags are the ones that Exim and batv-tools
// make of the same key, so a host may change over with its tags in flight.
// Other systems' tags are recognised, so that mail to them still finds its
// mailbox, but they prove nothing.
//
// Everything here is safe for concurrent use; the time is always passed in.
package batv

import (
	"crypto/hmac"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

const (
	// MaxLocalPart is the longest local part that is signed: RFC 5321
	// §4.5.3.1.1 grants 64 octets and a tag takes 16 of them.
	MaxLocalPart = 64 - tagOverhead

	tagOverhead = len("prvs=KDDDSSSSSS=")
	maxAddress  = 254  // RFC 5321 §4.5.3.1.3, less the angle brackets
	dayCycle    = 1000 // DDD is a day counted modulo this
)

// Why an address is left as it is. None of them is a fault: such mail goes out
// unsigned, and a missing tag is never held against a bounce.
var (
	ErrTagged      = errors.New("address carries a tag already")
	ErrTooLong     = errors.New("address has no room for a tag")
	ErrNotSignable = errors.New("address is not of the form user@domain without quotes")
	ErrNoKey       = errors.New("no key to sign with")
)

// Key is one signing key. The number is a single digit, shown in the tag.
type Key struct {
	Number int
	Secret []byte
}

// Options of a Scheme.
type Options struct {
	// Keys: the first one signs, all of them check. Two keys may share a number.
	Keys []Key
	// Lifetime of a tag in days, 1 to 998.
	Lifetime int
	// Exact hashes the address as it was written, which Exim does. Such a tag
	// fails when a remote host folds the case of an address that was not all
	// lower case; set it only where an Exim shares the key. Tags made either
	// way are always accepted.
	Exact bool
}

// Scheme signs and checks with one set of keys.
type Scheme struct{ opts Options }

// New checks the options. Without keys, the scheme signs nothing and knows no
// tag.
func New(opts Options) (*Scheme, error) {
	if opts.Lifetime < 1 || opts.Lifetime > dayCycle-2 {
		return nil, fmt.Errorf("batv: lifetime of %d days: want 1 to %d", opts.Lifetime, dayCycle-2)
	}
	for _, k := range opts.Keys {
		if k.Number < 0 || k.Number > 9 {
			return nil, fmt.Errorf("batv: key number %d: want one digit, 0 to 9", k.Number)
		}
		if len(k.Secret) == 0 {
			return nil, fmt.Errorf("batv: key %d has an empty secret", k.Number)
		}
	}
	opts.Keys = slices.Clone(opts.Keys)
	return &Scheme{opts}, nil
}

// Sign returns the address, given without angle brackets, with a tag that
// expires after the lifetime. The error says why it was left alone.
func (s *Scheme) Sign(address string, now time.Time) (string, error) {
	if len(s.opts.Keys) == 0 {
		return "", ErrNoKey
	}
	local, domain, ok := split(address)
	if !ok || !signable(local) || !signable(domain) {
		return "", ErrNotSignable
	}
	if _, tagged := Parse(address); tagged {
		return "", ErrTagged
	}
	if len(local) > MaxLocalPart || len(address)+tagOverhead > maxAddress {
		return "", ErrTooLong
	}
	key := s.opts.Keys[0]
	prefix := fmt.Sprintf("%d%03d", key.Number, (day(now)+s.opts.Lifetime)%dayCycle)
	hashed := address
	if !s.opts.Exact {
		hashed = fold(address)
	}
	return "prvs=" + prefix + signature(key.Secret, prefix, hashed) + "=" + address, nil
}

// Result is what a recipient's tag proves.
type Result int

const (
	Untagged   Result = iota
	Valid             // made with one of our keys, and in its lifetime
	Expired           // made with one of our keys, and too old (or from the future)
	UnknownKey        // of our form, but no key has this number: says nothing
	Forged            // of our form and number, and the signature is wrong
	Foreign           // a tag of another system
)

func (r Result) String() string {
	return [...]string{"untagged", "valid", "expired", "unknown-key", "forged", "foreign"}[r]
}

// Check says what the tag of a recipient, given without angle brackets,
// proves. The case of the address, folded or not, makes no difference.
func (s *Scheme) Check(recipient string, now time.Time) Result {
	tag, ok := Parse(recipient)
	switch {
	case !ok:
		return Untagged
	case !tag.prvs():
		return Foreign
	}
	known, genuine := false, false
	for _, key := range s.opts.Keys {
		if key.Number != int(tag.Value[0]-'0') {
			continue
		}
		known = true
		prefix, got := tag.Value[:4], []byte(strings.ToLower(tag.Value[4:]))
		for _, address := range []string{tag.Address, fold(tag.Address)} {
			genuine = hmac.Equal([]byte(signature(key.Secret, prefix, address)), got) || genuine
		}
	}
	if !known {
		return UnknownKey
	}
	if !genuine {
		return Forged
	}
	// The counter wraps: 998 is two days before 000.
	left := (number(tag.Value[1:4]) - day(now)%dayCycle + dayCycle) % dayCycle
	if left > s.opts.Lifetime {
		return Expired
	}
	return Valid
}

// signature is the first three bytes of HMAC-SHA1 over K DDD address, in hex.
func signature(secret []byte, prefix, address string) string {
	mac := hmac.New(sha1.New, secret)
	mac.Write([]byte(prefix))
	mac.Write([]byte(address))
	return hex.EncodeToString(mac.Sum(nil)[:3])
}

// day counts the days since 1970 in UTC. A clock before that counts as day 0.
func day(now time.Time) int {
	return int(max(now.Unix(), 0) / (24 * 60 * 60))
}

func number(digits string) int {
	n := 0
	for _, c := range []byte(digits) {
		n = n*10 + int(c-'0')
	}
	return n
}

// fold lowers ASCII letters only: an address outside ASCII (RFC 6531) is
// compared by its octets.
func fold(s string) string {
	b := []byte(s)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}
