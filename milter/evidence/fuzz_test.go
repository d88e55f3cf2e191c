package evidence_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/backscatterd/backscatterd/dsn"
	"github.com/backscatterd/backscatterd/milter/evidence"
)

// FuzzJudge: whatever comes in, the judgement is sound: legit only with a proof
// that holds, never suspect for what is no delivery report, a status that reads
// back, every piece of evidence accounted for.
func FuzzJudge(f *testing.F) {
	names, err := filepath.Glob(filepath.Join("..", "..", "dsn", "testdata", "*.eml"))
	if err != nil || len(names) == 0 {
		f.Fatalf("no seeds: %v", err)
	}
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(data), "", "alice@ours.example")
	}
	w := newWorld(f)
	w.sign(f, "alice@ours.example", "spam@ours.example", now)
	w.tag(f, "alice@ours.example", now)
	f.Add(strings.Join(w.header, "\r\n")+"\r\n\r\n"+w.body(), "", w.envelope.Recipients[0])
	e, err := evidence.New(w.opts)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, raw, sender, recipient string) {
		report, err := dsn.Read(strings.NewReader(raw), dsn.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		c := evidence.Case{Report: report, From: raw[:min(len(raw), 80)], Now: now, Envelope: w.envelope}
		c.Envelope.Sender, c.Envelope.Recipients = sender, []string{recipient, "alice@ours.example"}
		j := e.Weigh(context.Background(), c)
		if stored := e.JudgeStored(context.Background(), []byte(raw), time.Time{}, now); stored.Kind != j.Kind {
			t.Fatalf("%s, and %s in a file", j.Kind, stored.Kind)
		}
		c.Terse = true
		terse := e.Weigh(context.Background(), c)
		if terse.Verdict != j.Verdict || len(terse.Findings) != len(j.Findings) {
			t.Fatalf("%s of %d findings, and %s of %d without their details", j.Verdict, len(j.Findings), terse.Verdict, len(terse.Findings))
		}
		for i, x := range terse.Findings {
			if x.Detail != "" || x.Name != j.Findings[i].Name || x.Role != evidence.Note && x.Outcome != j.Findings[i].Outcome {
				t.Fatalf("finding %d: %+v; with details %+v", i, x, j.Findings[i])
			}
		}
		if j.Kind == dsn.None {
			if j.Verdict != "" || len(j.Findings) > 0 {
				t.Fatalf("ordinary mail: %+v", j)
			}
			return
		}
		proved := false
		seen := map[evidence.Name]bool{}
		for _, x := range j.Findings {
			proved = proved || x.Role == evidence.Proof && x.Outcome == evidence.Yes
			seen[x.Name] = true
			if x.Detail == "" {
				t.Fatalf("%s says nothing", x.Name)
			}
		}
		if (j.Verdict == evidence.Legit) != proved || j.Verdict == evidence.Suspect && !j.Kind.IsBounce() {
			t.Fatalf("%s %s: %v", j.Kind, j.Verdict, j.Reasons)
		}
		for _, name := range []evidence.Name{evidence.BATV, evidence.Token, evidence.LedgerMessage, evidence.LedgerRecipient, evidence.EnvelopeID,
			evidence.ExpiredSignature, evidence.OurRelay, evidence.OurAddress, evidence.OurMessageID, evidence.WroteToDomain,
			evidence.NotInLedger, evidence.FirstHopNotOurs, evidence.HELOOurDomain, evidence.NeverSends, evidence.NotSeenSending,
			evidence.ManyRecipients, evidence.Listed, evidence.ForgedSignature,
			evidence.KindNeverSuspect, evidence.Exempt, evidence.Cut, evidence.NotCovered, evidence.WarmUp, evidence.Gap} {
			if !seen[name] {
				t.Fatalf("nothing is said of %s", name)
			}
		}
		if back, err := evidence.ParseStatus(j.Status().String()); err != nil || back.Verdict != j.Verdict || back.Kind != j.Kind {
			t.Fatalf("%s: %+v, %v", j.Status(), back, err)
		}
	})
}
