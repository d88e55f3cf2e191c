package dnslist

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"
)

// server answers DNS questions on loopback from a table of names; a name that
// is not there does not exist, "silent" is never answered, "refused" is.
func server(t *testing.T, answers map[string]string) *net.Resolver {
	t.Helper()
	conn, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		buf := make([]byte, 1500)
		for {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			if reply := answer(buf[:n], answers); reply != nil {
				conn.WriteTo(reply, from)
			}
		}
	})
	t.Cleanup(func() { conn.Close(); wg.Wait() })
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp4", conn.LocalAddr().String())
	}}
}

// answer makes the reply to a question (RFC 1035, section 4.1).
func answer(question []byte, answers map[string]string) []byte {
	var labels []string
	at := 12
	for question[at] != 0 {
		n := int(question[at])
		labels = append(labels, string(question[at+1:at+1+n]))
		at += n + 1
	}
	value := answers[strings.Join(labels, ".")]
	if value == "silent" {
		return nil
	}
	reply := append([]byte(nil), question[:at+5]...)
	binary.BigEndian.PutUint16(reply[2:], 0x8180)
	for i := 6; i < 12; i++ {
		reply[i] = 0
	}
	switch value {
	case "":
		reply[3] |= 3 // NXDOMAIN
	case "refused":
		reply[3] |= 5
	default:
		reply[7] = 1
		reply = append(reply, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4)
		reply = append(reply, netip.MustParseAddr(value).AsSlice()...)
	}
	return reply
}

func TestListed(t *testing.T) {
	resolver := server(t, map[string]string{
		"9.113.0.203.list.example":                                       "127.0.0.2",
		"10.113.0.203.list.example":                                      "silent",
		"11.113.0.203.list.example":                                      "refused",
		"12.113.0.203.list.example":                                      "198.51.100.1",
		"13.113.0.203.list.example":                                      "127.255.255.254",
		"14.113.0.203.list.example":                                      "127.0.0.1",
		"1." + strings.Repeat("0.", 23) + "8.b.d.0.1.0.0.2.list.example": "127.0.0.4",
	})
	for _, c := range []struct {
		addr   string
		listed bool
		want   string // of the error
	}{
		{"203.0.113.9", true, ""},
		{"::ffff:203.0.113.9", true, ""},
		{"203.0.113.8", false, ""},
		{"2001:db8::1", true, ""},
		{"2001:db8::2", false, ""},
		{"203.0.113.10", false, "timeout"},
		{"203.0.113.11", false, "list.example"},
		{"203.0.113.12", false, "still in service"},
		{"203.0.113.13", false, "refuses our resolver"},
		{"203.0.113.14", false, "still in service"},
	} {
		limit := time.Minute
		if c.want == "timeout" {
			limit = 300 * time.Millisecond
		}
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		listed, err := List{Zone: ".list.example.", Resolver: resolver}.Listed(ctx, netip.MustParseAddr(c.addr))
		cancel()
		if listed != c.listed || (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, %v; want %v, %q", c.addr, listed, err, c.listed, c.want)
		}
	}
}

func TestACancelledQuestionEnds(t *testing.T) {
	resolver := server(t, map[string]string{"10.113.0.203.list.example": "silent"})
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := (List{Zone: "list.example", Resolver: resolver}).Listed(ctx, netip.MustParseAddr("203.0.113.10")); !errors.Is(err, context.Canceled) && err == nil {
		t.Errorf("%v", err)
	}
}
