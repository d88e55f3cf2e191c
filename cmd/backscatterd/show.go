package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/backscatterd/backscatterd/queuesweep"
)

// showMessage prints all of one message.
func showMessage(out terminal, m queuesweep.Listed, now time.Time) {
	field := func(name, value string) {
		if value != "" {
			fmt.Fprintf(out, "%s %s\n", out.paint(bold, pad(name, 13)), value)
		}
	}
	field("id", clean(m.ID))
	field("queue", clean(m.Queue))
	field("state", out.paint(stateInk(m.State), string(m.State)))
	field("error", clean(m.Error))
	if m.Created != nil {
		field("created", fmt.Sprintf("%s (%s ago)", m.Created.Local().Format("2006-01-02 15:04:05"), age(now.Sub(*m.Created))))
	}
	if m.LastAttempt != nil {
		field("last attempt", fmt.Sprintf("%s (%s ago), %d so far", m.LastAttempt.Local().Format("2006-01-02 15:04:05"), age(now.Sub(*m.LastAttempt)), m.Attempts))
	}
	field("size", size(m.Size)+" bytes")
	field("priority", fmt.Sprint(m.Priority))
	field("flags", clean(m.Flags))
	field("sender", sender(m))
	field("status", clean(m.Status))
	field("held", clean(m.Quarantine))
	for _, r := range m.Recipients {
		text := clean(r.Address)
		if r.Notify != "" {
			text += " (NOTIFY=" + r.Notify + ")"
		}
		if r.Status != "" && r.Status != m.Status {
			text += ": " + clean(r.Status)
		}
		field("recipient", text)
	}
	rules := "none matches"
	if len(m.Rules) > 0 {
		rules = m.Rules[0] + " decides"
		if len(m.Rules) > 1 {
			rules += "; would match too: " + strings.Join(m.Rules[1:], ", ")
		}
	}
	field("rules", rules)
	for _, h := range m.Headers {
		fmt.Fprintf(out, "  %s: %s\n", clean(h[0]), clean(h[1]))
	}
	fmt.Fprintln(out)
}
