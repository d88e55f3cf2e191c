package evidence_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/backscatterd/backscatterd/dsn"
	"github.com/backscatterd/backscatterd/milter/evidence"
)

func TestEnvelopeOfAMessageInAFile(t *testing.T) {
	for _, c := range []struct {
		name, header string
		sender       string
		known        bool
		want         []string
	}{
		{"delivered", "Return-Path: <>\nDelivered-To: alice@ours.example\nTo: somebody@else.example", "", true, []string{"alice@ours.example"}},
		{"postfix", "X-Original-To: prvs=0123456789=alice@ours.example\nDelivered-To: alice@ours.example", "", false, []string{"prvs=0123456789=alice@ours.example"}},
		{"for", "Received: from a by b id 1 for <alice@ours.example>; date\nReceived: from x by a for <evil@else.example>\nTo: x@y.example", "", false, []string{"alice@ours.example"}},
		{"to and cc", "To: Alice <alice@ours.example>, Bob <bob@ours.example>\nCc: alice@ours.example", "", false, []string{"alice@ours.example", "bob@ours.example"}},
		{"malformed", "To: \"Alice <alice@ours.example>, undisclosed", "", false, []string{"alice@ours.example"}},
		{"a tag that was stripped", "Delivered-To: Alice@ours.example\nTo: <prvs=3345ABCDEF=alice@ours.example>, prvs=3345abcdef=eve@ours.example", "", false, []string{"prvs=3345ABCDEF=alice@ours.example"}},
		{"a sender", "Return-Path: <a@b.example>\nTo: undisclosed-recipients:;", "a@b.example", true, nil},
	} {
		e := evidence.EnvelopeOf(fieldsOf(c.header))
		if !e.Offline || e.Sender != c.sender || e.SenderKnown != c.known || !cmp.Equal(e.Recipients, c.want) {
			t.Errorf("%s: %+v", c.name, e)
		}
	}
}

func fieldsOf(header string) []dsn.Field {
	var out []dsn.Field
	for line := range strings.SplitSeq(header, "\n") {
		name, value, _ := strings.Cut(line, ":")
		out = append(out, dsn.Field{Name: name, Value: strings.TrimSpace(value)})
	}
	return out
}

// A message in a file is judged as of when it came.
func TestAStoredMessageIsJudgedAsOfWhenItCame(t *testing.T) {
	w := newWorld(t)
	w.sign(t, "alice@ours.example", "spam@ours.example", now)
	e, err := evidence.New(w.opts)
	if err != nil {
		t.Fatal(err)
	}
	later := now.AddDate(1, 0, 0)
	for _, c := range []struct {
		name, received string
		stored         time.Time
		want           evidence.Verdict
	}{
		{"by its newest Received", "Received: from mx by mail.ours.example id 1;\r\n\tTue, 24 Nov 2026 12:00:00 +0000\r\nReceived: from x by mx; Tue, 24 Nov 2020 12:00:00 +0000\r\n", later, evidence.Legit},
		{"a Received of the future", "Received: from mx by mail.ours.example id 1; Thu, 24 Nov 2033 12:00:00 +0000\r\n", now, evidence.Legit},
		{"a Received without a date", "Received: from mx by mail.ours.example id 1\r\n", now, evidence.Legit},
		{"by the mailbox", "", now, evidence.Legit},
		{"stored in the future", "", later.AddDate(0, 0, 1), evidence.Unknown},
		{"not known", "", time.Time{}, evidence.Unknown},
	} {
		for _, end := range []string{"\r\n", "\n", "\r"} {
			data := strings.ReplaceAll(c.received+strings.Join(w.header, "\r\n")+"\r\n\r\n"+w.body(), "\r\n", end)
			if j := e.JudgeStored(context.Background(), []byte(data), c.stored, later); j.Verdict != c.want || j.Kind != dsn.Failed {
				t.Errorf("%s, %q: %s %s because of %s; want %s", c.name, end, j.Kind, j.Verdict, words(j.Reasons), c.want)
			}
		}
	}
}

func TestOrdinaryMailCostsNoBody(t *testing.T) {
	ordinary := fieldsOf("From: bob@there.example\nSubject: hello\nReturn-Path: <>")
	with := evidence.Envelope{Sender: "bob@there.example", SenderKnown: true}
	if evidence.NeedsBody(ordinary, with) {
		t.Error("the Return-Path of a stranger was believed")
	}
	with.Sender = ""
	if !evidence.NeedsBody(ordinary, with) {
		t.Error("null sender: its body has to be read")
	}
}

// The Return-Path is the envelope's: a forged one changes no verdict.
func TestAForgedReturnPathIsPassedOver(t *testing.T) {
	w := newWorld(t)
	want := w.judge(t)
	w.header = append([]string{"Return-Path: <somebody@there.example>"}, w.header...)
	if got := w.judge(t); got.Kind != want.Kind || got.Verdict != want.Verdict {
		t.Errorf("%s %s, want %s %s", got.Kind, got.Verdict, want.Kind, want.Verdict)
	}
}

// A body that breaks off makes unknown.
func TestABodyThatCannotBeRead(t *testing.T) {
	w := newWorld(t)
	e, err := evidence.New(w.opts)
	if err != nil {
		t.Fatal(err)
	}
	broken := errors.New("connection reset")
	// Behind the returned header: all that is needed has been read.
	body := io.MultiReader(strings.NewReader(w.body()[:200]), failing{broken})
	j, err := e.Judge(context.Background(), evidence.Message{Header: w.fields(), Body: body, Envelope: w.envelope, Now: now})
	if !errors.Is(err, broken) || j.Verdict == evidence.Suspect {
		t.Errorf("%s, %v", j.Verdict, err)
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func TestOptionsThatMakeNoSense(t *testing.T) {
	for _, o := range []evidence.Options{{WarmUp: -1}, {Lately: -1}, {MaxUses: -1}, {BlocklistTimeout: -1}, {Hosts: []string{""}}, {Hosts: []string{"."}}} {
		if _, err := evidence.New(o); err == nil {
			t.Errorf("%+v was taken", o)
		}
	}
}

// With no knowledge of ourselves, no bounce is legit or suspect, and each piece
// of evidence says why it was not looked at.
func TestWithoutKnowledgeAllIsUnknown(t *testing.T) {
	w := newWorld(t)
	w.sign(t, "alice@ours.example", "spam@ours.example", now)
	w.tag(t, "alice@ours.example", now)
	w.opts = evidence.Options{}
	j := w.judge(t)
	if j.Verdict != evidence.Unknown {
		t.Errorf("%s because of %s", j.Verdict, words(j.Reasons))
	}
	for _, f := range j.Findings {
		if f.Role == evidence.Proof && (f.Outcome != evidence.NotLooked || f.Detail == "") {
			t.Errorf("%+v", f)
		}
	}
}
