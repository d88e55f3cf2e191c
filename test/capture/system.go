package main

import (
	"slices"
	"strings"

	"github.com/backscatterd/backscatterd/dsn"
	"github.com/backscatterd/backscatterd/test/capture/expect"
)

// A system is a mail system that makes notices, and how it is run.
type system struct {
	name     string
	packages []string
	files    map[string]string       // configuration, by path
	setup    []string                // commands before the start
	start    []string                // commands that start daemons; they go on in the background
	submit   string                  // command that takes a message from its standard input, -f and recipients after it; "" for SMTP
	retry    string                  // command, given again and again, that makes it try its queue now
	prepare  func(root string) error // what no command of the system can do, before each retry

	plain  bool                  // knows nothing of RFC 3461
	silent bool                  // sends no delay warnings
	apart  bool                  // sends a notice for each recipient
	kinds  map[dsn.Kind]dsn.Kind // what it reports instead of a kind
	lapses bool                  // sends, when it gives a deferred message up, a notice that calls it delayed
	whole  bool                  // gives a message up for all recipients if one is refused
	coarse bool                  // tells of a status code the class alone (5.0.0)
	quotes bool                  // ... but beside it the server's answer, which says more
	status map[string]string     // of a notice, by its name, where the system has words of its own
	cannot map[string]string     // stories, by name, that it cannot be told, and why
}

// localUser is the one with a mailbox in the systems that this program installs.
const localUser = "bob"

// stories are those that a system can be told.
func (s *system) stories(user string) []story {
	return slices.DeleteFunc(stories(user), func(t story) bool { return s.cannot[t.name] != "" })
}

// An expected is a notice that has to come, and what it says.
type expected struct {
	name   string
	expect expect.Expectation
}

// expectations are the notices that a story ends in, in the order in which they
// are made.
func (s *system) expectations(st story) []expected {
	var out []expected
	for _, n := range st.notices {
		if n.kind == dsn.Delayed && s.silent {
			continue
		}
		if kind, ok := s.kinds[n.kind]; ok {
			n.kind = kind
		}
		if s.lapses && strings.HasSuffix(n.name, "-expired") {
			n.kind = dsn.Delayed
		}
		e := expect.Expectation{Kind: n.kind, MessageID: st.messageID()}
		if !s.plain {
			e.EnvelopeID = st.envelopeID()
		}
		for _, r := range s.fates(st) {
			e.Recipients = append(e.Recipients, expect.Recipient{Address: r.address, Action: n.kind, Status: s.statusOf(n, r)})
		}
		if !s.apart || len(e.Recipients) == 1 {
			out = append(out, expected{n.name, e})
			continue
		}
		for _, r := range e.Recipients {
			one := e
			one.Recipients = []expect.Recipient{r}
			local, _, _ := strings.Cut(r.Address, "@")
			out = append(out, expected{n.name + "-" + local, one})
		}
	}
	return out
}

// fates are the recipients that a notice names, with what is said of them.
func (s *system) fates(st story) []recipient {
	var out []recipient
	refused := slices.IndexFunc(st.to, func(r recipient) bool { return r.reply != "" })
	for _, r := range st.to {
		if s.whole && refused >= 0 {
			r.reply, r.silent = st.to[refused].reply, false
		}
		if !r.silent {
			out = append(out, r)
		}
	}
	return out
}

// statusOf is the enhanced status code that a notice gives: what the refusing
// server said, but for a system that has its own.
func (s *system) statusOf(n notice, r recipient) string {
	status := "4.4.1" // RFC 3463: no answer from host
	words := strings.Fields(r.reply)
	own, ok := s.status[n.name]
	switch {
	case ok:
		return strings.TrimPrefix(own, "-")
	case r.status != "":
		status = r.status
	case len(words) > 1:
		status = words[1]
	}
	class := map[dsn.Kind]string{dsn.Failed: "5", dsn.Delayed: "4"}[n.kind]
	if class == "" {
		class = "2"
	}
	if s.coarse && !(s.quotes && r.reply != "" && strings.HasPrefix(status, class+".")) {
		return class + ".0.0"
	}
	return status
}

// parameters are those that this system is given with MAIL. Of RFC 3461 it gets
// none if it knows none.
func (s *system) parameters(st story) []string {
	var out []string
	for _, p := range st.mail {
		if s.plain && (strings.HasPrefix(p, "RET=") || strings.HasPrefix(p, "ENVID=")) {
			continue
		}
		out = append(out, p)
	}
	return out
}
