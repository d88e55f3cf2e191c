package mailbox

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// watching runs Watch until the test ends; messages come from the channel.
func watching(t *testing.T, dir string) (<-chan Message, func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	messages := make(chan Message, 100)
	ended := make(chan error, 1)
	go func() {
		ended <- Watch(ctx, dir, func(m Message) error { messages <- m; return nil })
	}()
	var done bool
	stop := func() error {
		cancel()
		done = true
		return <-ended
	}
	t.Cleanup(func() {
		if !done {
			stop()
		}
	})
	return messages, stop
}

func next(t *testing.T, messages <-chan Message) string {
	t.Helper()
	select {
	case m := <-messages:
		return fmt.Sprintf("%s: %s %v", filepath.Base(m.Name), m.Data, m.Err)
	case <-time.After(20 * time.Second):
		t.Fatal("no message comes")
	}
	return ""
}

func maildir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, sub := range []string{"new", "cur", "tmp"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestWatchGivesWhatIsNewAndWhatComes(t *testing.T) {
	dir := maildir(t)
	write(t, dir+"/new/1.host", "first")
	write(t, dir+"/cur/0.host:2,S", "old")
	messages, stop := watching(t, dir)
	if got := next(t, messages); got != "1.host: first <nil>" {
		t.Error(got)
	}
	// As delivery agents do it: by rename, and by link.
	write(t, dir+"/tmp/2.host", "second")
	if err := os.Rename(dir+"/tmp/2.host", dir+"/new/2.host"); err != nil {
		t.Fatal(err)
	}
	if got := next(t, messages); got != "2.host: second <nil>" {
		t.Error(got)
	}
	write(t, dir+"/tmp/3.host", "third")
	if err := os.Link(dir+"/tmp/3.host", dir+"/new/3.host"); err != nil {
		t.Fatal(err)
	}
	if got := next(t, messages); got != "3.host: third <nil>" {
		t.Error(got)
	}
	// As people do it: by writing in place.
	write(t, dir+"/new/4.host", "fourth")
	if got := next(t, messages); got != "4.host: fourth <nil>" {
		t.Error(got)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	if len(messages) > 0 {
		t.Errorf("given twice: %s", next(t, messages))
	}
}

// A mail reader moves new mail to cur at once.
func TestAMessageThatWasMovedIsFound(t *testing.T) {
	dir := maildir(t)
	w, err := newWatcher(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer w.events.Close()
	write(t, dir+"/tmp/1.host", "text")
	if err := os.Rename(dir+"/tmp/1.host", dir+"/new/1.host"); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(dir+"/new/1.host", dir+"/cur/1.host:2,S"); err != nil {
		t.Fatal(err)
	}
	names, err := w.next(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	got := ""
	if err := w.give(names, func(m Message) error { got += string(m.Data); return nil }); err != nil || got != "text" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestWatchSaysWhatIsWrong(t *testing.T) {
	if err := Watch(context.Background(), t.TempDir(), nil); err == nil || !strings.Contains(err.Error(), "no Maildir") {
		t.Error(err)
	}
	dir := maildir(t)
	ended := make(chan error, 1)
	messages := make(chan Message, 1)
	write(t, dir+"/new/1", "x")
	go func() {
		ended <- Watch(context.Background(), dir, func(m Message) error { messages <- m; return nil })
	}()
	next(t, messages)
	if err := os.RemoveAll(filepath.Join(dir, "new")); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-ended:
		if err == nil || !strings.Contains(err.Error(), "it was removed") {
			t.Error(err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("it goes on")
	}
}

func TestEventsThatWereLost(t *testing.T) {
	overflow := make([]byte, 16)
	overflow[5] = 0x40 // IN_Q_OVERFLOW is 0x4000
	_, lost, _, err := readEvents(overflow)
	if !lost || err != nil {
		t.Errorf("%v, %v", lost, err)
	}
	if names, _, _, err := readEvents([]byte{1, 2, 3}); names != nil || err != nil {
		t.Errorf("%v, %v", names, err)
	}
}
