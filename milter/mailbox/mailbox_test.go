package mailbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// read gives what is in a mailbox as "name: text" lines.
func read(t *testing.T, path string, stdin io.Reader) (string, error) {
	t.Helper()
	var b strings.Builder
	err := Read(context.Background(), path, stdin, func(m Message) error {
		name := strings.TrimPrefix(m.Name, filepath.Dir(path)+"/")
		if m.Err != nil {
			fmt.Fprintf(&b, "%s: error\n", name)
			return nil
		}
		fmt.Fprintf(&b, "%s: %q\n", name, m.Data)
		return nil
	})
	return b.String(), err
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestMbox(t *testing.T) {
	for _, c := range []struct{ name, mbox, want string }{
		{"two", "From a@b Tue Nov 24 11:59:00 2026\nSubject: 1\n\none\n\nFrom MAILER-DAEMON Tue Nov  3 11:59:00 2026\nSubject: 2\n\ntwo\n\n",
			"-#1: \"Subject: 1\\n\\none\\n\"\n-#2: \"Subject: 2\\n\\ntwo\\n\"\n"},
		{"quoted", "From a Tue Nov 24 11:59:00 2026\n\n>From me\n>>From you\n> From us\n\n", "-#1: \"\\nFrom me\\n>From you\\n> From us\\n\"\n"},
		{"an unquoted From in the text", "From a Tue Nov 24 11:59:00 2026\nSubject: 1\n\n\nFrom here to there\n\n", "-#1: \"Subject: 1\\n\\n\\nFrom here to there\\n\"\n"},
		{"no empty line before", "From a Tue Nov 24 11:59:00 2026\nSubject: 1\n\nx\nFrom b Tue Nov 24 11:59:00 2026\n\n", "-#1: \"Subject: 1\\n\\nx\\nFrom b Tue Nov 24 11:59:00 2026\\n\"\n"},
		{"CRLF", "From a Tue Nov 24 11:59:00 2026\r\nS: 1\r\n\r\nx\r\n\r\nFrom b Tue Nov 24 11:59:00 2026 +0100\r\nS: 2\r\n", "-#1: \"S: 1\\r\\n\\r\\nx\\r\\n\"\n-#2: \"S: 2\"\n"},
		{"no date in the first", "From somebody\nS: 1\n", "-#1: \"S: 1\"\n"},
		{"no end", "From a Tue Nov 24 11:59:00 2026", "-#1: \"\"\n"},
		{"a single message", "Subject: 1\n\nFrom here\n", "-: \"Subject: 1\\n\\nFrom here\\n\"\n"},
		{"nothing", "", "-: \"\"\n"},
	} {
		if got, err := read(t, Stdin, strings.NewReader(c.mbox)); got != c.want || err != nil {
			t.Errorf("%s: got\n%swant\n%s%v", c.name, got, c.want, err)
		}
	}
}

func TestMboxTellsWhenMailWasStored(t *testing.T) {
	for line, want := range map[string]time.Time{
		"From a@b Tue Nov 24 11:59:00 2026":                    time.Date(2026, 11, 24, 11, 59, 0, 0, time.Local),
		"From \"a b\"@c Tue Nov  3 11:59:00 2026\r\n":          time.Date(2026, 11, 3, 11, 59, 0, 0, time.Local),
		"From - Tue Nov 24 11:59:00 +0100 2026":                time.Date(2026, 11, 24, 10, 59, 0, 0, time.UTC),
		"From a Tue Nov 24 11:59:00 2026 +0100 remote from mx": time.Date(2026, 11, 24, 10, 59, 0, 0, time.UTC),
		"From a Tue Nov 24 11:59 2026":                         {},
		"From now on":                                          {},
	} {
		if got, _ := fromDate([]byte(line)); !got.Equal(want) {
			t.Errorf("%q: %v, want %v", line, got, want)
		}
	}
}

func TestALargeMessageIsCut(t *testing.T) {
	line := strings.Repeat("x", 200_000) + "\n"
	mbox := "From a Tue Nov 24 11:59:00 2026\n" + strings.Repeat(line, 30) + "\nFrom b Tue Nov 24 11:59:00 2026\n\nsmall\n"
	var sizes []int
	err := Read(context.Background(), Stdin, strings.NewReader(mbox), func(m Message) error { sizes = append(sizes, len(m.Data)); return nil })
	if err != nil || len(sizes) != 2 || sizes[0] != MaxMessage || sizes[1] != len("\nsmall") {
		t.Errorf("%v, %v", sizes, err)
	}
}

func TestFoldersAndMaildirs(t *testing.T) {
	dir := t.TempDir()
	write(t, dir+"/mail/new/2.host", "new")
	write(t, dir+"/mail/cur/1.host:2,S", "cur")
	write(t, dir+"/mail/cur/.hidden", "hidden")
	write(t, dir+"/mail/tmp/3.host", "tmp")
	write(t, dir+"/eml/b.eml", "b")
	write(t, dir+"/eml/a.EML", "a")
	write(t, dir+"/eml/notes.txt", "no mail")
	write(t, dir+"/empty/notes.txt", "no mail")
	if err := syscall.Mkfifo(dir+"/eml/c.eml", 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"mail":      "mail/new/2.host: \"new\"\nmail/cur/1.host:2,S: \"cur\"\n",
		"eml":       "eml/a.EML: \"a\"\neml/b.eml: \"b\"\neml/c.eml: error\n",
		"eml/b.eml": "b.eml: \"b\"\n",
	} {
		if got, err := read(t, filepath.Join(dir, path), nil); got != want || err != nil {
			t.Errorf("%s: got\n%swant\n%s%v", path, got, want, err)
		}
	}
	for path, want := range map[string]string{"empty": "no .eml file", "absent": "no such file", "eml/c.eml": "not a regular file"} {
		if _, err := read(t, filepath.Join(dir, path), nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", path, err, want)
		}
	}
}

func TestReadEndsWithTheContextAndTheCaller(t *testing.T) {
	dir := t.TempDir()
	write(t, dir+"/new/1", "x")
	write(t, dir+"/cur/2", "x")
	ctx, cancel := context.WithCancel(context.Background())
	n := 0
	err := Read(ctx, dir, nil, func(Message) error { n++; cancel(); return nil })
	if !errors.Is(err, context.Canceled) || n != 1 {
		t.Errorf("%v after %d messages", err, n)
	}
	stop := errors.New("enough")
	if err := Read(context.Background(), dir, nil, func(Message) error { return stop }); !errors.Is(err, stop) {
		t.Error(err)
	}
}

func FuzzMbox(f *testing.F) {
	f.Add("From a@b Tue Nov 24 11:59:00 2026\nSubject: 1\n\n>From x\n\nFrom b Tue Nov 24 11:59:00 2026\n\ntwo\n")
	f.Add("From \n\n\nFrom \r\n")
	f.Fuzz(func(t *testing.T, text string) {
		size := 0
		err := Read(context.Background(), Stdin, strings.NewReader(text), func(m Message) error {
			size += len(m.Data)
			return nil
		})
		if err != nil || size > len(text) {
			t.Fatalf("%d bytes of %d, %v", size, len(text), err)
		}
	})
}
