package ledger

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"hash"
	"hash/crc32"
	"strings"
	"sync"
	"time"

	"github.com/backscatterd/backscatterd/milter/internal/canonical"
)

// What an entry is about. The kind is the first byte of its key.
const (
	kindMessage   = 'm' // Message-ID
	kindSender    = 's' // sender
	kindPair      = 'p' // sender and recipient
	kindDomain    = 'd' // recipient's domain
	kindSenderDom = 'e' // sender and recipient's domain
	kindUse       = 'u' // a proof; counts
	kindTotal     = 'n' // messages of the day; counts
)

// key is a kind and a keyed hash.
type key [17]byte

// entry is the value. Its fields are all there for every kind: the file is
// small enough, and one form is easier to trust.
type entry struct {
	at     uint32  // seconds since 1970
	sender [8]byte // keyed hash, of messages only
	count  uint32  // of the kinds that count
}

const entrySize = 4 + 8 + 4

// merge adds what is newer: counts sum up, times move on.
func (e entry) merge(newer entry) entry {
	newer.count += e.count
	newer.at = max(newer.at, e.at)
	return newer
}

func (e entry) encode() []byte {
	b := make([]byte, 0, entrySize)
	b = binary.BigEndian.AppendUint32(b, e.at)
	b = append(b, e.sender[:]...)
	return binary.BigEndian.AppendUint32(b, e.count)
}

func decodeEntry(b []byte) (e entry, err error) {
	if len(b) != entrySize {
		return e, errors.New("entry of a wrong size")
	}
	e.at = binary.BigEndian.Uint32(b)
	copy(e.sender[:], b[4:])
	e.count = binary.BigEndian.Uint32(b[12:])
	return e, nil
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// protect appends a checksum over key and value: bbolt has none over its pages,
// and an entry with a flipped bit would look like mail that was never sent.
func protect(key, value []byte) []byte {
	sum := crc32.Update(crc32.Checksum(key, castagnoli), castagnoli, value)
	return binary.BigEndian.AppendUint32(append([]byte(nil), value...), sum)
}

func unprotect(key, stored []byte) ([]byte, error) {
	n := len(stored) - 4
	if n < 0 {
		return nil, errors.New("value without a checksum")
	}
	sum := crc32.Update(crc32.Checksum(key, castagnoli), castagnoli, stored[:n])
	if binary.BigEndian.Uint32(stored[n:]) != sum {
		return nil, errors.New("value with a wrong checksum")
	}
	return stored[:n], nil
}

// hasher turns addresses into keys.
type hasher struct{ idle *sync.Pool }

// digest is one that can be used again: to set a keyed one up takes longer than
// to hash an address, and each message takes some ten of them.
type digest struct {
	mac   hash.Hash
	input []byte
	sum   []byte
}

func newHasher(secret []byte) hasher {
	secret = bytes.Clone(secret)
	return hasher{&sync.Pool{New: func() any { return &digest{mac: hmac.New(sha256.New, secret)} }}}
}

func (h hasher) sum(kind byte, fields ...string) (sum [sha256.Size]byte) {
	d := h.idle.Get().(*digest)
	defer h.idle.Put(d)
	d.input = append(d.input[:0], kind)
	for _, f := range fields {
		d.input = binary.BigEndian.AppendUint64(d.input, uint64(len(f)))
		d.input = append(d.input, f...)
	}
	d.mac.Reset()
	d.mac.Write(d.input)
	d.sum = d.mac.Sum(d.sum[:0])
	copy(sum[:], d.sum)
	if cap(d.input) > maxInput {
		d.input = nil
	}
	return sum
}

// maxInput is how much memory a digest keeps; addresses are shorter.
const maxInput = 4096

func (h hasher) key(kind byte, fields ...string) (k key) {
	k[0] = kind
	sum := h.sum(kind, fields...)
	copy(k[1:], sum[:])
	return k
}

func (h hasher) sender(address string) (s [8]byte) {
	sum := h.sum('S', canonical.Address(address))
	copy(s[:], sum[:])
	return s
}

// entries are all that is kept of a message.
func (h hasher) entries(m Message, now time.Time) map[key]entry {
	at := seconds(now)
	sender := canonical.Address(m.Sender)
	out := map[key]entry{
		h.key(kindTotal):          {at: at, count: 1},
		h.key(kindSender, sender): {at: at},
	}
	if id := canonical.MessageID(m.MessageID); id != "" {
		out[h.key(kindMessage, id)] = entry{at: at, sender: h.sender(m.Sender)}
	}
	for _, r := range m.Recipients {
		r = canonical.Address(r)
		out[h.key(kindPair, sender, r)] = entry{at: at}
		if domain := domainOf(r); domain != "" {
			out[h.key(kindSenderDom, sender, domain)] = entry{at: at}
			out[h.key(kindDomain, domain)] = entry{at: at}
		}
	}
	return out
}

// wrote is the key that answers Wrote.
func (h hasher) wrote(sender, recipient string) (key, error) {
	sender, recipient = canonical.Address(sender), canonical.Address(recipient)
	domain, anybody := strings.CutPrefix(recipient, "@")
	switch {
	case sender == "" && anybody:
		return h.key(kindDomain, domain), nil
	case sender == "":
		return key{}, errors.New("ledger: mail from anybody can be looked up by domain only")
	case recipient == "":
		return h.key(kindSender, sender), nil
	case anybody:
		return h.key(kindSenderDom, sender, domain), nil
	}
	return h.key(kindPair, sender, recipient), nil
}

func domainOf(address string) string {
	return strings.TrimSuffix(address[strings.LastIndexByte(address, '@')+1:], ".")
}

func seconds(t time.Time) uint32 {
	return uint32(min(max(t.Unix(), 0), 1<<32-1))
}
