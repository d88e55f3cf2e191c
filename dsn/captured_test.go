package dsn_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/backscatterd/backscatterd/dsn"
	"github.com/backscatterd/backscatterd/test/capture/expect"
)

// Real mail systems made the messages of testdata/captured, and their stories
// the expectations beside them (`make capture` makes both anew). Each is read
// as it came into the mailbox, and as a filter sees it that is not told the
// envelope sender.
func TestCaptured(t *testing.T) {
	names, err := filepath.Glob(filepath.Join("testdata", "captured", "*", "*.eml"))
	if err != nil || len(names) == 0 {
		t.Fatalf("no captured messages (make capture makes them): %v", err)
	}
	for _, name := range names {
		short := strings.TrimSuffix(filepath.Base(name), ".eml")
		t.Run(filepath.Base(filepath.Dir(name))+"/"+short, func(t *testing.T) {
			text, err := os.ReadFile(strings.TrimSuffix(name, ".eml") + ".expect")
			if err != nil {
				t.Fatal(err)
			}
			want, err := expect.Parse(text)
			if err != nil {
				t.Fatal(err)
			}
			data, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			path, bare, _ := bytes.Cut(data, []byte("\n"))
			if !bytes.HasPrefix(path, []byte("Return-Path:")) {
				t.Fatalf("begins with %q, want the Return-Path of a delivered message", path)
			}
			for how, message := range map[string][]byte{
				"as delivered": data, "without Return-Path": bare,
				"with CRLF": bytes.ReplaceAll(data, []byte("\n"), []byte("\r\n")),
			} {
				report, err := dsn.Read(bytes.NewReader(message), dsn.Limits{})
				if err != nil {
					t.Fatal(err)
				}
				for _, difference := range want.Differences(report) {
					t.Errorf("%s: %s", how, difference)
				}
			}
		})
	}
}

// Of an expectation without a message nothing would be tested.
func TestEveryExpectationHasItsMessage(t *testing.T) {
	names, err := filepath.Glob(filepath.Join("testdata", "captured", "*", "*.expect"))
	if err != nil || len(names) == 0 {
		t.Fatalf("no expectations: %v", err)
	}
	for _, name := range names {
		if _, err := os.Stat(strings.TrimSuffix(name, ".expect") + ".eml"); err != nil {
			t.Error(err)
		}
	}
}
