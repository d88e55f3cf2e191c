// Package token makes and checks the two signatures that go out with mail of
// ours, so that a bounce which returns them shows that we sent it:
//
//   - the header X-Backscatter-Token: v1 k=<key id> t=<day> h=<base64url>,
//     over the envelope sender and the Message-ID;
//   - an envelope id (RFC 3461 §4.4), which comes back as Original-Envelope-Id
//     in bounces that return no headers at all.
//
// A signature shows that the mail existed, not that the bounce about it is
// honest: whoever received the mail can show it again.
//
// Reading is total: any input gives a Result. Everything is safe for concurrent
// use; the time is always passed in.
package token

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/backscatterd/backscatterd/milter/internal/canonical"
)

// Header is the name of the header field that holds a token.
const Header = "X-Backscatter-Token"

// ErrNoKey says that nothing was signed for want of a key.
var ErrNoKey = errors.New("no key to sign with")

// Key is a secret and the name under which tokens refer to it: 1 to 32 ASCII
// letters and digits.
type Key struct {
	ID     string
	Secret []byte
}

// Signer signs and checks with one set of keys.
type Signer struct {
	lifetime int
	keys     []Key
}

// New returns a signer. The first key signs, all of them check. The lifetime is
// in days; it should outlast the queues of other hosts.
func New(lifetime int, keys ...Key) (*Signer, error) {
	if lifetime < 1 {
		return nil, fmt.Errorf("token: lifetime of %d days: want 1 or more", lifetime)
	}
	for _, k := range keys {
		if !isKeyID(k.ID) {
			return nil, fmt.Errorf("token: key id %q: want 1 to 32 letters and digits", k.ID)
		}
		if len(k.Secret) == 0 {
			return nil, fmt.Errorf("token: key %s has an empty secret", k.ID)
		}
	}
	return &Signer{lifetime, slices.Clone(keys)}, nil
}

// Result is what a signature proves.
type Result int

const (
	Absent     Result = iota // there is none, or it is not of ours by its form
	Valid                    // made with one of our keys, and in its lifetime
	Expired                  // made with one of our keys, and too old (or of a day to come)
	UnknownKey               // names a key that we do not have: says nothing
	Malformed                // begins as ours do and cannot be read, as when cut short
	Forged                   // names a key of ours, and the signature is wrong
)

func (r Result) String() string {
	return [...]string{"absent", "valid", "expired", "unknown-key", "malformed", "forged"}[r]
}

// Token is the content of the header.
type Token struct {
	KeyID string
	Day   int // since 1970, UTC
	MAC   [sha256.Size]byte
}

func (t Token) String() string {
	return fmt.Sprintf("v1 k=%s t=%d h=%s", t.KeyID, t.Day, base64.RawURLEncoding.EncodeToString(t.MAC[:]))
}

// Sign returns the value of the header for a message with this envelope sender,
// before any BATV tag, and this Message-ID, brackets or not.
func (s *Signer) Sign(sender, messageID string, now time.Time) (string, error) {
	if len(s.keys) == 0 {
		return "", ErrNoKey
	}
	key := s.keys[0]
	t := Token{KeyID: key.ID, Day: day(now)}
	t.MAC = t.mac(key, sender, messageID)
	return t.String(), nil
}

// Check says what a returned header proves about the message with the returned
// Message-ID. The senders are the addresses that may have been its envelope
// sender, BATV tags stripped: the recipient of the bounce, and, as an MTA may
// rewrite senders after the filter saw them, what the returned headers name.
func (s *Signer) Check(value, messageID string, now time.Time, senders ...string) Result {
	if strings.TrimSpace(value) == "" {
		return Absent
	}
	t, err := Parse(value)
	if err != nil {
		return Malformed
	}
	return s.check(t.KeyID, t.Day, now, func(key Key) bool {
		genuine := false
		for _, sender := range senders {
			mac := t.mac(key, sender, messageID)
			genuine = hmac.Equal(mac[:], t.MAC[:]) || genuine
		}
		return genuine
	})
}

// check looks the key up, asks for the signature, and only then for the day:
// an expired token is one that was ours.
func (s *Signer) check(keyID string, made int, now time.Time, genuine func(Key) bool) Result {
	result := UnknownKey
	for _, key := range s.keys {
		if key.ID != keyID {
			continue
		}
		if genuine(key) {
			// One day of grace for hosts whose clocks differ around midnight.
			if age := day(now) - made; age < -1 || age > s.lifetime {
				return Expired
			}
			return Valid
		}
		result = Forged
	}
	return result
}

func (t Token) mac(key Key, sender, messageID string) (sum [sha256.Size]byte) {
	seal(key.Secret, "backscatterd token v1", key.ID, strconv.Itoa(t.Day), canonical.Address(sender), canonical.MessageID(messageID)).Sum(sum[:0])
	return sum
}

// Parse reads the value of the header, folded or not, with the marks of quoting
// that a mail program put between its words.
func Parse(value string) (Token, error) {
	words := strings.FieldsFunc(value, func(r rune) bool {
		return r == ' ' || r == '\t' || r == '\r' || r == '\n' || r == '>'
	})
	if len(words) == 0 || words[0] != "v1" {
		return Token{}, errors.New("token: not of version v1")
	}
	if len(words) != 4 {
		return Token{}, fmt.Errorf("token: %d words, want 4", len(words))
	}
	id, okID := strings.CutPrefix(words[1], "k=")
	if !okID || !isKeyID(id) {
		return Token{}, errors.New("token: no key id")
	}
	digits, okDay := strings.CutPrefix(words[2], "t=")
	n, ok := parseDay(digits)
	if !okDay || !ok {
		return Token{}, errors.New("token: no day")
	}
	hash, okHash := strings.CutPrefix(words[3], "h=")
	t := Token{KeyID: id, Day: n}
	// Strict: one signature has one spelling.
	raw, err := base64.RawURLEncoding.Strict().DecodeString(hash)
	if !okHash || err != nil || len(raw) != len(t.MAC) {
		return Token{}, errors.New("token: no signature of 32 bytes")
	}
	copy(t.MAC[:], raw)
	return t, nil
}

// seal hashes its fields, each after its length, so that no two lists of fields
// look alike.
func seal(secret []byte, fields ...string) hash.Hash {
	mac := hmac.New(sha256.New, secret)
	var length [8]byte
	for _, f := range fields {
		binary.BigEndian.PutUint64(length[:], uint64(len(f)))
		mac.Write(length[:])
		mac.Write([]byte(f))
	}
	return mac
}

func isKeyID(s string) bool {
	for _, c := range []byte(s) {
		if !('0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z') {
			return false
		}
	}
	return s != "" && len(s) <= 32
}

// parseDay takes up to seven digits without a leading zero.
func parseDay(s string) (int, bool) {
	if s == "" || len(s) > 7 || s[0] == '0' && s != "0" || strings.Trim(s, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.Atoi(s)
	return n, err == nil
}

// day counts the days since 1970 in UTC, kept within what a token can say.
func day(now time.Time) int {
	return int(min(max(now.Unix(), 0)/(24*60*60), 9_999_999))
}
