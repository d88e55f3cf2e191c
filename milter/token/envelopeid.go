package token

import (
	"crypto/hmac"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/backscatterd/backscatterd/milter/internal/canonical"
)

// An envelope id is bsg1.<key id>.<day>.<mail>.<signature>: <mail> is a keyed
// hash of the Message-ID, 16 hexadecimal digits, so that each message has its
// own; the signature has 32. All of it is lower case apart from the key id and
// needs no xtext; it stays below the 100 octets of RFC 3461 §4.4.
const (
	envelopeMark = "bsg1"
	mailDigits   = 16
	sealDigits   = 32
)

// SignEnvelopeID returns an ENVID for a message. An id that the client asked
// for should be kept: it is his.
func (s *Signer) SignEnvelopeID(sender, messageID string, now time.Time) (string, error) {
	if len(s.keys) == 0 {
		return "", ErrNoKey
	}
	key := s.keys[0]
	mail := hex.EncodeToString(seal(key.Secret, "backscatterd envelope mail v1", canonical.MessageID(messageID)).Sum(nil))[:mailDigits]
	made := day(now)
	return fmt.Sprintf("%s.%s.%d.%s.%s", envelopeMark, key.ID, made, mail, sealEnvelope(key, made, mail, sender)), nil
}

// CheckEnvelopeID says what an Original-Envelope-Id proves. The senders are as
// for Check.
func (s *Signer) CheckEnvelopeID(envid string, now time.Time, senders ...string) Result {
	mark, rest, found := strings.Cut(strings.TrimSpace(envid), ".")
	if !found || !strings.EqualFold(mark, envelopeMark) {
		return Absent
	}
	parts := strings.Split(rest, ".")
	if len(parts) != 4 || !isKeyID(parts[0]) || len(parts[2]) != mailDigits || len(parts[3]) != sealDigits {
		return Malformed
	}
	made, ok := parseDay(parts[1])
	if !ok {
		return Malformed
	}
	mail, got := strings.ToLower(parts[2]), strings.ToLower(parts[3])
	return s.check(parts[0], made, now, func(key Key) bool {
		genuine := false
		for _, sender := range senders {
			genuine = hmac.Equal([]byte(sealEnvelope(key, made, mail, sender)), []byte(got)) || genuine
		}
		return genuine
	})
}

func sealEnvelope(key Key, made int, mail, sender string) string {
	sum := seal(key.Secret, "backscatterd envelope id v1", key.ID, strconv.Itoa(made), mail, canonical.Address(sender)).Sum(nil)
	return hex.EncodeToString(sum)[:sealDigits]
}
