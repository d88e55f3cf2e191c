package evidence

import (
	"fmt"
	"strings"
	"testing"
)

func TestReceived(t *testing.T) {
	for _, c := range []struct{ value, want string }{
		{"from pc.example (pc [192.0.2.1]) by mail.Example. (8.17.1/8.17.1) with ESMTPSA id 6AOB0xyz012345 for <a@b>; Tue, 24 Nov 2026 10:59:01 +0000",
			"from=pc.example helo=pc.example [192.0.2.1] by=mail.example id=6AOB0xyz012345"},
		{"from ours.example (unknown [IPv6:2001:db8::1]) by mx.example (Postfix) with ESMTP id 4F2A9C0D11", "from=ours.example helo=ours.example [2001:db8::1] by=mx.example id=4F2A9C0D11"},
		{"from rdns.example ([192.0.2.1] helo=Ours.Example) by mx.example with esmtp (Exim 4.96) (envelope-from <a@b>) id 1pXa-0001-AB", "from=rdns.example helo=ours.example [192.0.2.1] by=mx.example id=1pXa-0001-AB"},
		{"from unknown (HELO ours.example) (192.0.2.1) by mx.example with SMTP; 1 Jan 2020", "from=unknown helo=ours.example [192.0.2.1] by=mx.example id="},
		{"from [192.0.2.1] (port=1234) by mx.example", "from=192.0.2.1 helo=192.0.2.1 [192.0.2.1] by=mx.example id="},
		{"from A.example (192.0.2.1) by B.example (192.0.2.2) with Microsoft SMTP Server id 15.1.2", "from=a.example helo=a.example [192.0.2.1] by=b.example id=15.1.2"},
		{"(from root@localhost) by host.example (8.8.8/8.8.8) id AAA11111", "from= helo= [] by=host.example id=AAA11111"},
		{"(qmail 1234 invoked by uid 89); 1 Jan 2020", "from= helo= [] by= id="},
		{"from a (nested (by evil.example) comment) by good.example", "from=a helo=a [] by=good.example id="},
		{"from a by b.example by c.example id 1 id 2", "from=a helo=a [] by=b.example id=1"},
		{"from by id", "from= helo= [] by= id="},
		{"", "from= helo= [] by= id="},
		{"from a (", "from=a helo=a [] by= id="},
	} {
		h := parseReceived(c.value)
		got := fmt.Sprintf("from=%s helo=%s %v by=%s id=%s", h.from, h.helo, h.addrs, h.by, h.id)
		if got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.value, got, c.want)
		}
	}
}

func TestHopsAreOldestFirst(t *testing.T) {
	got := hops([]string{"from b by c.example", "(qmail 1 invoked by uid 2)", "from a by b.example"})
	if len(got) != 2 || got[0].by != "b.example" || got[1].by != "c.example" {
		t.Errorf("%+v", got)
	}
}

func TestPlausibleID(t *testing.T) {
	for id, want := range map[string]bool{
		"6AOB0xyz012345": true, "4F2A9C0D11": true, "1pXa-0001-AB": true, "AAA11111": true,
		"": false, "12345": false, "abcdefgh": false, "a1 b2c3": false, "x/12345678": false, strings.Repeat("a1", 21): false,
	} {
		if plausibleID(id) != want {
			t.Errorf("%q: %v", id, !want)
		}
	}
}

func FuzzReceived(f *testing.F) {
	f.Add("from pc.example (pc [192.0.2.1]) by mail.example (8.17.1) with ESMTPSA id 6AOB0xyz012345; date")
	f.Add("from a ((((( by (by) id [IPv6:::1%eth0]")
	f.Fuzz(func(t *testing.T, value string) {
		h := parseReceived(value)
		for _, s := range []string{h.from, h.by, h.id, h.helo} {
			if strings.ContainsAny(s, " \t\r\n") {
				t.Fatalf("%q: a name with blanks: %q", value, s)
			}
		}
		for _, a := range h.addrs {
			if !a.IsValid() || a.Zone() != "" {
				t.Fatalf("%q: %v", value, a)
			}
		}
	})
}
