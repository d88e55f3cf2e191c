package queuesweep

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/backscatterd/backscatterd/queuesweep/spool"
)

// What a survey remembers of status messages is bounded, however long they are:
// they are a stranger's.
func TestSurveyKeepsNoLongTexts(t *testing.T) {
	c := newSurveyor(began).counter()
	rd := &reader{}
	const messages = 50
	for i := range messages {
		status := fmt.Sprintf("Deferred: %d ", i) + strings.Repeat("x", 1<<20)
		if i%2 == 0 { // short enough to be remembered, long beside what it is counted as
			status = status[:maxText]
		}
		data := fmt.Appendf(nil, "V8\nT%d\nK%d\nN1\nP1\nM%s\nS<a@b.example>\nRPFD:<c@d.example>\nH??Subject: s\n.\n", began.Unix(), began.Unix(), status)
		_, state, err := rd.parse(spool.Entry{Kind: spool.Active, ID: "6AOLt900000000", Folder: &spool.Folder{}}, data, began.Add(time.Hour))
		c.read(state, err, rd)
	}
	kept := 0
	for status, text := range c.generic {
		kept += len(status)
		if len(text) > maxKey+len("…") {
			t.Errorf("a text of %d bytes", len(text))
		}
	}
	if len(c.generic) != messages/2 || kept > messages/2*maxText {
		t.Errorf("%d texts of %d bytes are remembered", len(c.generic), kept)
	}
	if c.waiting.Total != messages || len(c.statuses) != messages {
		t.Errorf("counted: %d messages, %d statuses", c.waiting.Total, len(c.statuses))
	}
}
