package main

import (
	"fmt"
	"strings"

	"github.com/backscatterd/backscatterd/dsn"
	"github.com/backscatterd/backscatterd/milter/evidence"
)

var verdictInks = map[evidence.Verdict]ink{evidence.Legit: cyan, evidence.Suspect: red, evidence.Unknown: yellow}

// print explains a judgement: what the message is about, then each piece of
// evidence and what it said.
func (c *classifier) print(file string, j *evidence.Judgement) {
	out := c.app.out
	if j.Kind == dsn.None {
		fmt.Fprintf(out, "%s: ordinary mail, no bounce\n", clean(file))
		return
	}
	fmt.Fprintf(out, "%s: %s %s\n", clean(file), out.paint(verdictInks[j.Verdict], string(j.Verdict)), clean(j.Status().String()[len(j.Verdict)+1:]))
	line := func(label, text string) {
		if text != "" {
			fmt.Fprintf(out, "  %s %s\n", pad(label, 8), fit(clean(text), max(0, out.width-11)))
		}
	}
	r := &j.Report.Returned
	line("failed", strings.Join(j.Report.FailedRecipients(), ", "))
	line("status", j.Report.Status)
	line("about", j.Report.MessageID)
	line("from", r.Header("From"))
	line("to", r.Header("To"))
	line("of", r.Header("Date"))
	for _, part := range []struct {
		role  evidence.Role
		title string
	}{
		{evidence.Proof, "proofs"}, {evidence.Note, "uses"}, {evidence.Support, "support"}, {evidence.Contra, "against"}, {evidence.Brake, "brakes"},
	} {
		c.printRole(part.role, part.title, j.Findings)
	}
}

func (c *classifier) printRole(role evidence.Role, title string, findings []evidence.Finding) {
	out := c.app.out
	for _, f := range findings {
		if f.Role != role {
			continue
		}
		answer, colour := f.Outcome.String(), faint
		switch f.Outcome {
		case evidence.Yes:
			colour = roleInk(role)
		case evidence.Errored:
			colour = red
		case evidence.NotLooked:
			answer = "-"
		}
		text := fmt.Sprintf("%s %s %s", pad(string(f.Name), 18), pad(answer, 5), clean(f.Detail))
		fmt.Fprintf(out, "  %s %s\n", pad(title, 8), out.paint(colour, text))
		title = ""
	}
}

func roleInk(r evidence.Role) ink {
	switch r {
	case evidence.Proof, evidence.Support:
		return cyan
	case evidence.Contra:
		return red
	}
	return yellow
}

// summary counts, where there was more than one message.
func (c *classifier) summary() {
	n := 0
	for _, x := range c.counts {
		n += x
	}
	if c.json || n+c.failed < 2 {
		return
	}
	fmt.Fprintf(c.app.out, "%s: %d legit, %d suspect, %d unknown, %d no bounce", plural(n, "message"),
		c.counts[evidence.Legit], c.counts[evidence.Suspect], c.counts[evidence.Unknown], c.counts[""])
	if c.failed > 0 {
		fmt.Fprintf(c.app.out, ", %d could not be read", c.failed)
	}
	fmt.Fprintln(c.app.out)
}
