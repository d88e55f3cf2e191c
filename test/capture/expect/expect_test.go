package expect

import (
	"reflect"
	"strings"
	"testing"

	"github.com/backscatterd/backscatterd/dsn"
)

func sample() (Expectation, dsn.Report) {
	e := Expectation{
		Kind: dsn.Failed, MessageID: "1@customer.example", EnvelopeID: "order-1", Complete: true,
		Recipients: []Recipient{{"a@dest.example", dsn.Failed, "5.1.1"}, {"b@dest.example", dsn.Failed, ""}},
	}
	r := dsn.Report{
		Kind: dsn.Failed, MessageID: "1@customer.example", EnvelopeID: "order-1", Returned: dsn.Returned{Complete: true},
		Recipients: []dsn.Recipient{{Final: "b@dest.example", Action: dsn.Failed}, {Final: "a@dest.example", Action: dsn.Failed, Status: "5.1.1"}},
	}
	return e, r
}

func TestWrittenAndRead(t *testing.T) {
	want, _ := sample()
	got, err := Parse([]byte(want.String()))
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("read %+v, %v; want %+v", got, err, want)
	}
}

func TestParseRefuses(t *testing.T) {
	whole, _ := sample()
	lines := strings.Split(strings.TrimSpace(whole.String()), "\n")
	for what, text := range map[string]string{
		"nothing":             "",
		"without a recipient": strings.Join(lines[:4], "\n"),
		"a word twice":        whole.String() + "kind failed\n",
		"an unknown word":     whole.String() + "colour red\n",
		"half a recipient":    whole.String() + "recipient c@dest.example\n",
		"no truth":            strings.Replace(whole.String(), "true", "maybe", 1),
	} {
		if _, err := Parse([]byte(text)); err == nil {
			t.Errorf("%s: accepted", what)
		}
	}
}

// Each point in which a reading is wrong is seen.
func TestDifferences(t *testing.T) {
	want, right := sample()
	if found := want.Differences(right); len(found) > 0 {
		t.Errorf("a right reading differs: %q", found)
	}
	for what, spoil := range map[string]func(*dsn.Report){
		"kind":        func(r *dsn.Report) { r.Kind = dsn.Delayed },
		"message-id":  func(r *dsn.Report) { r.MessageID = "" },
		"envelope-id": func(r *dsn.Report) { r.EnvelopeID = "order-2" },
		"complete":    func(r *dsn.Report) { r.Returned.Complete = false },
		"recipients":  func(r *dsn.Report) { r.Recipients = r.Recipients[:1] },
		"status":      func(r *dsn.Report) { r.Recipients[0].Status = "5.1.1" },
		"action":      func(r *dsn.Report) { r.Recipients[1].Action = dsn.Delayed },
		"one more":    func(r *dsn.Report) { r.Recipients = append(r.Recipients, dsn.Recipient{Final: "c@dest.example"}) },
	} {
		_, r := sample()
		spoil(&r)
		if found := want.Differences(r); len(found) != 1 {
			t.Errorf("%s: %q, want one difference", what, found)
		}
	}
}
