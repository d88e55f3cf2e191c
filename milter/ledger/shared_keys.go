package ledger

import (
	"encoding/hex"
	"strconv"
)

// marks is how many parts the keys are divided into. Each part has a hash tag of
// its own, so that a cluster keeps it on one node, with a mark of each host: as
// long as a node has a host's newest mark, it has what the host wrote before. A
// cluster of more nodes than this gains nothing.
const marks = 16

// part is the part that a key belongs to.
func (k key) part() int { return int(k[1] % marks) }

// name is the key of an entry on the server.
func (s *Shared) name(k key) string { return s.tag(k.part()) + string(k[:]) }

// mark is the key of this host's mark in a part.
func (s *Shared) mark(part int) string { return s.tag(part) + "host " + s.opts.Host }

func (s *Shared) tag(part int) string {
	return s.opts.Server.Prefix + "{" + strconv.Itoa(part) + "}"
}

// The records of all hosts, and what an administrator said of them, are one
// hash each: a field a host.
func (s *Shared) hostsKey() string { return s.opts.Server.Prefix + "{hosts}" }
func (s *Shared) trustKey() string { return s.opts.Server.Prefix + "{hosts}trusted" }

// checkKey holds what only the right secret makes.
func (s *Shared) checkKey() string { return s.opts.Server.Prefix + "{hosts}check" }

func (s *Shared) check() string {
	sum := s.hash.sum('C', "backscatterd shared ledger 1")
	return hex.EncodeToString(sum[:16])
}
