package main

import (
	"encoding/binary"
	"errors"
	"net"
	"strings"
)

// The addresses in the network namespace (RFC 5737: for examples). 127/8 would
// not do: a mail system that is to send mail to a loopback address takes it
// for a loop.
const (
	hostAddr = "192.0.2.1" // the mail system
	destAddr = "192.0.2.2"
	oldAddr  = "192.0.2.3"
	fromAddr = "192.0.2.4"
	downAddr = "192.0.2.9" // nobody listens there
	network  = "192.0.2.0/24"
)

// exchangers are the mail exchangers of the domains, and addresses theirs.
// Nothing else exists.
var (
	exchangers = map[string]string{
		homeDomain: hostName, destDomain: "mx." + destDomain, oldDomain: "mx." + oldDomain,
		fromDomain: "mx." + fromDomain, downDomain: "mx." + downDomain,
	}
	addresses = map[string]string{
		hostName: hostAddr, "mx." + destDomain: destAddr, "mx." + oldDomain: oldAddr,
		"mx." + fromDomain: fromAddr, "mx." + downDomain: downAddr, "localhost": "127.0.0.1",
	}
)

// serveNames answers DNS queries (RFC 1035) until the connection is closed.
func serveNames(conn net.PacketConn) error {
	buf := make([]byte, 1500)
	for {
		n, from, err := conn.ReadFrom(buf)
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		if answer := resolve(buf[:n]); answer != nil {
			if _, err := conn.WriteTo(answer, from); err != nil {
				return err
			}
		}
	}
}

const (
	typeA      = 1
	typeMX     = 15
	noSuchName = 3
)

// resolve makes the answer to a query, or nil if it is none.
func resolve(query []byte) []byte {
	name, end := question(query)
	if end < 0 {
		return nil
	}
	id, kind := query[:2], binary.BigEndian.Uint16(query[end-4:])
	exchanger, address := exchangers[name], addresses[name]
	var record []byte
	switch {
	case kind == typeMX && exchanger != "":
		record = append([]byte{0, 10}, encode(exchanger)...)
	case kind == typeA && address != "":
		record = net.ParseIP(address).To4()
	}
	code := byte(0)
	if exchanger == "" && address == "" {
		code = noSuchName
	}
	out := append([]byte{}, id...)
	out = append(out, 0x85, 0x80|code, 0, 1, 0, 0, 0, 0, 0, 0) // an authoritative answer to one question
	out = append(out, query[12:end]...)
	if record != nil {
		out[7] = 1
		out = append(out, 0xc0, 12, byte(kind>>8), byte(kind), 0, 1, 0, 0, 0, 60) // the question's name, for a minute
		out = binary.BigEndian.AppendUint16(out, uint16(len(record)))
		out = append(out, record...)
	}
	return out
}

// question gives the name asked for and where the question ends; -1 if the
// packet is no query of one question.
func question(packet []byte) (string, int) {
	if len(packet) < 12 || packet[2]&0x80 != 0 || binary.BigEndian.Uint16(packet[4:]) != 1 {
		return "", -1
	}
	var labels []string
	for at := 12; at < len(packet); {
		n := int(packet[at])
		at++
		if n == 0 {
			if at+4 > len(packet) {
				break
			}
			return strings.ToLower(strings.Join(labels, ".")), at + 4
		}
		if n > 63 || at+n > len(packet) {
			break
		}
		labels = append(labels, string(packet[at:at+n]))
		at += n
	}
	return "", -1
}

func encode(name string) []byte {
	var out []byte
	for label := range strings.SplitSeq(name, ".") {
		out = append(out, byte(len(label)))
		out = append(out, label...)
	}
	return append(out, 0)
}
