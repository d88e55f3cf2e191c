package queuesweep

import (
	"time"
	"unicode/utf8"

	"github.com/backscatterd/backscatterd/queuesweep/qf"
	"github.com/backscatterd/backscatterd/queuesweep/rule"
	"github.com/backscatterd/backscatterd/queuesweep/spool"
)

// Verb is what can be done with a message: an action of a rule, or one of these.
type Verb string

const (
	// Restore brings a message back from the removed store.
	Restore Verb = "restore"
	// Read is all that was tried with a message whose control file the disk does
	// not give, so that no rule could be asked.
	Read Verb = "read"
)

// Code says how an action ended.
type Code string

// The codes.
const (
	Done    Code = "done"
	DryRun  Code = "dry-run" // would have been done
	Locked  Code = "locked"  // sendmail, or another tool, has it in hand
	Changed Code = "changed" // judged again under the lock, it no longer matched
	Gone    Code = "gone"    // delivered or removed meanwhile
	Limit   Code = "limit"   // max_share or max_messages was reached
	Failed  Code = "failed"
)

// Result is what became of one message: a line of --json, and with time, run
// and host of the audit log.
type Result struct {
	ID         string   `json:"id"`
	Queue      string   `json:"queue"`
	Rule       string   `json:"rule"`
	Action     Verb     `json:"action"`
	Result     Code     `json:"result"`
	Sender     string   `json:"sender"`
	Recipients []string `json:"recipients"`
	Status     string   `json:"status"`
	Attempts   int      `json:"attempts"`
	AgeSeconds int64    `json:"age_seconds"`
	Error      string   `json:"error"`
	// Note says what else a person should know, such as why another action
	// was taken than the rule's.
	Note string `json:"note,omitempty"`
}

// note adds to what a person should know.
func (r *Result) note(text string) {
	if r.Note != "" {
		text = r.Note + "; " + text
	}
	r.Note = text
}

// MaxRecipients is how many recipients a result names of a message to a crowd.
const MaxRecipients = 100

// describe fills in what the control file says.
func (r *Result) describe(f *qf.File, now time.Time) {
	r.Sender = brief(f.Sender())
	r.Recipients = r.Recipients[:0:0]
	for rcpt := range f.Recipients() {
		if len(r.Recipients) == MaxRecipients {
			break
		}
		r.Recipients = append(r.Recipients, brief(rcpt.Address))
	}
	r.Status = brief(f.Status())
	r.Attempts = f.Attempts()
	if created := f.Created(); !created.IsZero() {
		r.AgeSeconds = int64(now.Sub(created) / time.Second)
	}
}

// maxText bounds each text of a result, in bytes: a line of sendmail's own is no
// longer, and a plan keeps many results.
const maxText = 2048

func brief(s string) string { return cut(s, maxText) }

// cut cuts a text to about so many bytes, and shows that it did.
func cut(s string, size int) string {
	if len(s) <= size {
		return s
	}
	for end := size; end > size-utf8.UTFMax; end-- {
		if utf8.RuneStart(s[end]) {
			size = end
			break
		}
	}
	return s[:size] + "…"
}

func resultFor(e spool.Entry, r rule.Rule) Result {
	return Result{ID: e.ID, Queue: e.Folder.Path, Rule: r.Name, Action: Verb(r.Do), Recipients: []string{}}
}

// Summary closes a run.
type Summary struct {
	Summary bool    `json:"summary"` // always true: tells the line from a result
	Scanned int     `json:"scanned"`
	Matched int     `json:"matched"`
	Done    int     `json:"done"`
	Skipped int     `json:"skipped"` // locked, changed, gone, or past a limit
	Failed  int     `json:"failed"`
	Seconds float64 `json:"seconds"`
	DryRun  bool    `json:"dry_run,omitempty"`
	// Limit says which limit stopped the run, "" if none did.
	Limit string `json:"limit,omitempty"`
}

func (s *Summary) count(v Verb, c Code) {
	if v != Read { // else nobody knows
		s.Matched++
	}
	switch c {
	case Done, DryRun:
		s.Done++
	case Failed:
		s.Failed++
	default:
		s.Skipped++
	}
}
