package lab

import (
	"fmt"
	"io/fs"
	"runtime"
	"strings"
	"testing"
)

// failing records what became of a test in the place of testing.T.
type failing struct {
	testing.TB
	fatal   string
	skipped bool
}

func (f *failing) Helper()           {}
func (f *failing) Fatal(args ...any) { f.fatal = fmt.Sprint(args...); runtime.Goexit() }
func (f *failing) Skip(...any)       { f.skipped = true }
func (f *failing) SkipNow()          { f.skipped = true }

func TestRequireFailsAndSaysWhatToInstall(t *testing.T) {
	here := func() error { return nil }
	gone := func() error { return fs.ErrNotExist }
	tb := &failing{TB: t}
	done := make(chan struct{})
	go func() {
		defer close(done)
		require(tb, []need{{"sendmail", "sendmail-bin", gone}, {"sh", "dash", here}, {"m4", "m4", gone}, {"root", "", gone}})
	}()
	<-done
	for _, word := range []string{"lacks sendmail, m4, root", "apt-get install --no-install-recommends sendmail-bin m4`", "make test"} {
		if !strings.Contains(tb.fatal, word) {
			t.Errorf("the message lacks %q: %s", word, tb.fatal)
		}
	}
	if tb.skipped || strings.Contains(tb.fatal, "dash") {
		t.Errorf("skipped=%v, message %q", tb.skipped, tb.fatal)
	}
}

func TestRequirePassesWhereNothingIsMissing(t *testing.T) {
	tb := &failing{TB: t}
	require(tb, []need{{"sh", "dash", func() error { return nil }}})
	if tb.fatal != "" || tb.skipped {
		t.Errorf("fatal %q, skipped %v", tb.fatal, tb.skipped)
	}
}
