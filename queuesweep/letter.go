package queuesweep

import (
	_ "embed"
	"fmt"
	"mime"
	"strings"
	"text/template"
	"time"

	"github.com/backscatterd/backscatterd/dsn"
	"github.com/backscatterd/backscatterd/queuesweep/qf"
)

//go:embed letter.tmpl
var defaultLetter string

// Letter is the part of a bounce that people read, and its subject: a template
// that an administrator can replace and translate. Safe for concurrent use.
type Letter struct {
	template *template.Template
}

// LetterData is what a letter's template can use.
type LetterData struct {
	To         string    // the sender of the message, who reads this
	Host       string    // this mail system
	Subject    string    // of the message, decoded; "" if it has none
	Arrived    time.Time // zero if it is not known; then Waited is "" too
	Waited     string    // how long it was tried, in English: "2 days", "5 hours"
	Hours      int       // the same in whole hours
	Attempts   int
	Recipients []LetterRecipient
	HeaderOnly bool // the body does not come back
}

// LetterRecipient is one address that could not be reached.
type LetterRecipient struct {
	Address string
	Status  string // "4.2.2"
	Meaning string // in English: "the mailbox is full", "" where the code says nothing
	Said    string // what the other mail system answered, "" if nothing
}

// subjectTemplate is the template within the template that the subject is of.
const subjectTemplate = "subject"

// NewLetter reads a template, "" being the built-in one, and tries it out on
// what it will meet, so that a mistake is found when the configuration is read.
// One that defines no "subject" has the built-in one.
func NewLetter(text string) (*Letter, error) {
	t, err := template.New("letter").Parse(defaultLetter)
	if err == nil && text != "" {
		t, err = t.Parse(text)
	}
	if err != nil {
		return nil, fmt.Errorf("template of the bounce's text: %w", err)
	}
	l := &Letter{t}
	for _, sample := range letterSamples() {
		letter, subject, err := l.execute(sample)
		switch {
		case err != nil:
			return nil, err
		case strings.TrimSpace(letter) == "":
			return nil, fmt.Errorf("template of the bounce's text: it writes nothing")
		case strings.TrimSpace(subject) == "":
			return nil, fmt.Errorf("template of the bounce's text: its %q writes nothing", subjectTemplate)
		}
	}
	return l, nil
}

func letterSamples() []LetterData {
	full := LetterRecipient{"friend@example.com", "4.2.2", dsn.InWords("4.2.2"), "452 4.2.2 Mailbox full"}
	dead := LetterRecipient{Address: "friend@example.net", Status: "4.9.9"}
	return []LetterData{
		{To: "user@example.org", Host: "mx.example.org", Subject: "Hello", Arrived: time.Unix(0, 0), Waited: "5 days", Hours: 120, Attempts: 42, Recipients: []LetterRecipient{full}},
		{To: "user@example.org", Host: "mx.example.org", HeaderOnly: true, Recipients: []LetterRecipient{dead, full}},
	}
}

func (l *Letter) execute(d LetterData) (text, subject string, err error) {
	var b, s strings.Builder
	if err = l.template.Execute(&b, d); err == nil {
		err = l.template.ExecuteTemplate(&s, subjectTemplate, d)
	}
	if err != nil {
		return "", "", fmt.Errorf("template of the bounce's text: %w", err)
	}
	return b.String(), s.String(), nil
}

// write fills in a notice's text and subject.
func (l *Letter) write(n *dsn.Notice, f *qf.File) error {
	d := LetterData{
		To: n.To, Host: n.Report.ReportingMTA, Subject: readable(f.Header("Subject")), Arrived: n.Report.ArrivalDate,
		Attempts: f.Attempts(), HeaderOnly: n.Body == nil,
	}
	if created := f.Created(); !created.IsZero() {
		waited := n.Date.Sub(created)
		d.Waited, d.Hours = longTime(waited), int(waited.Hours())
	}
	for _, r := range n.Report.Recipients {
		address := r.Final
		if _, original, ok := strings.Cut(r.Original, ";"); !ok && r.Original != "" {
			address = r.Original
		} else if original != "" && strings.Contains(original, "@") {
			address = original
		}
		d.Recipients = append(d.Recipients, LetterRecipient{address, r.Status, dsn.InWords(r.Status), r.Diagnostic})
	}
	var err error
	n.Text, n.Subject, err = l.execute(d)
	return err
}

// readable decodes a header's RFC 2047 words, as far as their charset is known,
// and takes what could lead a reader astray out of it.
func readable(value string) string {
	if text, err := new(mime.WordDecoder).DecodeHeader(value); err == nil {
		value = text
	}
	return strings.Map(func(r rune) rune {
		if r != '�' && unprintable(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(value, "?"))
}

// longTime says a duration in whole words.
func longTime(d time.Duration) string {
	n, unit := int(d.Hours()/24), "day"
	if d < 48*time.Hour {
		n, unit = int(d.Hours()), "hour"
	}
	if d < 2*time.Hour {
		n, unit = max(int(d.Minutes()), 1), "minute"
	}
	if n == 1 {
		return "1 " + unit
	}
	return fmt.Sprintf("%d %ss", n, unit)
}
