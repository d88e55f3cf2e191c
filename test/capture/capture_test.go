package main

import (
	"context"
	"net"
	"strings"
	"testing"

	"github.com/backscatterd/backscatterd/dsn"
)

// The resolver of Go understands what the systems are told of names.
func TestNames(t *testing.T) {
	conn, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- serveNames(conn) }()
	t.Cleanup(func() {
		_ = conn.Close()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	r := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp4", conn.LocalAddr().String())
	}}
	for domain, address := range map[string]string{
		homeDomain: hostAddr, destDomain: destAddr, oldDomain: oldAddr, fromDomain: fromAddr, downDomain: downAddr,
	} {
		mx, err := r.LookupMX(t.Context(), domain+".")
		if err != nil || len(mx) != 1 {
			t.Fatalf("%s: %v %v", domain, mx, err)
		}
		found, err := r.LookupHost(t.Context(), mx[0].Host)
		if err != nil || len(found) != 1 || found[0] != address {
			t.Errorf("%s is at %v, %v; want %s", mx[0].Host, found, err, address)
		}
	}
	_, err = r.LookupMX(t.Context(), noDomain+".")
	if missing, ok := err.(*net.DNSError); !ok || !missing.IsNotFound {
		t.Errorf("%s: %v, want that it does not exist", noDomain, err)
	}
	for _, packet := range []string{"", "short", strings.Repeat("\x00", 12), strings.Repeat("\x00\x01", 6) + "\x3fabc"} {
		if answer := resolve([]byte(packet)); answer != nil {
			t.Errorf("%q is answered with %q", packet, answer)
		}
	}
}

// What a system cannot be told, or tells in its own way, is named as the
// stories are.
func TestSystemsNameStories(t *testing.T) {
	names, notices := map[string]bool{}, map[string]bool{}
	for _, s := range stories(localUser) {
		if names[s.name] {
			t.Errorf("two stories are named %s", s.name)
		}
		names[s.name] = true
		for _, n := range s.notices {
			notices[n.name] = true
		}
	}
	for _, s := range append(systems(), sendmail()) {
		for name := range s.cannot {
			if !names[name] {
				t.Errorf("%s cannot be told %q, which is no story", s.name, name)
			}
		}
		for name := range s.status {
			if !notices[name] {
				t.Errorf("%s has a status for %q, which is no notice", s.name, name)
			}
		}
	}
}

// Expectations follow from the story, and from what is known of the system.
func TestExpectations(t *testing.T) {
	several := story{name: "several", notices: []notice{{"several", dsn.Failed}}, to: []recipient{
		failed("fine", "").quietly(), failed("gone", unknown), failed("stuffed", full),
	}}
	late := story{name: "late", to: []recipient{failed("slow", later)}, notices: []notice{{"late-delayed", dsn.Delayed}, {"late-expired", dsn.Failed}}}
	for _, test := range []struct {
		system *system
		story  story
		want   string
	}{
		{&system{}, several, "several: gone failed 5.1.1, stuffed failed 5.2.2"},
		{&system{apart: true}, several, "several-gone: gone failed 5.1.1; several-stuffed: stuffed failed 5.2.2"},
		{&system{whole: true}, several, "several: fine failed 5.1.1, gone failed 5.1.1, stuffed failed 5.1.1"},
		{&system{coarse: true}, several, "several: gone failed 5.0.0, stuffed failed 5.0.0"},
		{&system{coarse: true, quotes: true}, several, "several: gone failed 5.1.1, stuffed failed 5.2.2"},
		{&system{}, late, "late-delayed: slow delayed 4.2.2; late-expired: slow failed 4.2.2"},
		{&system{silent: true}, late, "late-expired: slow failed 4.2.2"},
		{&system{lapses: true}, late, "late-delayed: slow delayed 4.2.2; late-expired: slow delayed 4.2.2"},
		{&system{coarse: true, quotes: true}, late, "late-delayed: slow delayed 4.2.2; late-expired: slow failed 5.0.0"},
		{&system{status: map[string]string{"late-expired": "-"}}, late, "late-delayed: slow delayed 4.2.2; late-expired: slow failed "},
	} {
		var got []string
		for _, e := range test.system.expectations(test.story) {
			var all []string
			for _, r := range e.expect.Recipients {
				local, _, _ := strings.Cut(r.Address, "@")
				all = append(all, local+" "+string(r.Action)+" "+r.Status)
			}
			got = append(got, e.name+": "+strings.Join(all, ", "))
		}
		if have := strings.Join(got, "; "); have != test.want {
			t.Errorf("%+v\n got %s\nwant %s", test.system, have, test.want)
		}
	}
}
