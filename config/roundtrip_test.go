package config_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/backscatterd/backscatterd/config"
	"github.com/backscatterd/backscatterd/queuesweep/rule"
)

// rewritten writes a configuration and reads it back.
func rewritten(t interface {
	Fatalf(string, ...any)
	Helper()
}, c *config.Config) (*config.Config, string) {
	t.Helper()
	var b strings.Builder
	if err := c.Write(&b); err != nil {
		t.Fatalf("%v", err)
	}
	again, err := config.Parse("written.toml", []byte(b.String()))
	if err != nil {
		t.Fatalf("%s\n%v", b.String(), err)
	}
	return again, b.String()
}

func TestDefaultIsWrittenAsItReads(t *testing.T) {
	again, text := rewritten(t, config.Default())
	if diff := cmp.Diff(config.Default(), again, sameValues); diff != "" {
		t.Errorf("%s\n%s", text, diff)
	}
	if !strings.Contains(text, "max_share = 0.5 # default\n") || !strings.Contains(text, "[[rule]] # built-in rule\n") {
		t.Errorf("no origins in\n%s", text)
	}
}

func TestWriteSaysWhereValuesAreFrom(t *testing.T) {
	c, err := config.Parse("/etc/x.toml", []byte("[sweep]\n\nmax_share = 0.25\n[[rule]]\nname = \"a\"\nwhen = \"status == 'it\\\\'s'\"\ndo = \"hold\"\n"))
	if err != nil {
		t.Fatal(err)
	}
	_, text := rewritten(t, c)
	for _, want := range []string{
		"# The configuration in effect, from \"/etc/x.toml\".\n", "max_share = 0.25 # line 3\n", "max_messages = 10000 # default\n",
		"[[rule]] # line 4\n", "when = \"status == 'it\\\\'s'\"\n", "reason = \"held by the rule a\"\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
}

func TestWrittenReadsBackTheSame(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringOfN(rapid.RuneFrom([]rune("ab \"'\\\n\t\r\u00e9\u0001\u007f#=[]{}\U0001F600")), 0, 12, -1)
		c := config.Default()
		c.Queue.Directories = rapid.SampledFrom([][]string{nil, {"/a"}, {"/a b'\"\\c", "/q*"}}).Draw(t, "directories")
		c.Queue.MaxControlFile = config.Size(rapid.Int64Range(1024, 1<<40).Draw(t, "size"))
		c.Queue.SubmitCF = rapid.SampledFrom([]string{"", "/etc/mail/submit.cf"}).Draw(t, "submit")
		c.Store.Keep = config.Duration(rapid.Int64Range(1, 1<<60).Draw(t, "keep"))
		c.Sweep.DryRun = rapid.Bool().Draw(t, "dry")
		c.Sweep.MaxShare = rapid.Float64Range(1e-9, 1).Draw(t, "share")
		c.Sweep.MaxMessages = rapid.IntRange(1, 1<<40).Draw(t, "messages")
		c.Milter.OurDomains = rapid.SampledFrom([][]string{nil, {"example.com", "xn--bcher-kva.example"}}).Draw(t, "domains")
		c.Milter.Verdict.Suspect = rapid.SampledFrom([]string{"tag", "reject"}).Draw(t, "suspect")
		c.Milter.SocketOwner = text.Draw(t, "owner")
		if rapid.Bool().Draw(t, "own rules") {
			c.Rules = nil
			for i := range rapid.IntRange(0, 3).Draw(t, "rules") {
				r := rule.Rule{Name: string(rune('a' + i)), When: "sender == `" + text.Draw(t, "when") + "`", Do: rapid.SampledFrom(rule.Actions()).Draw(t, "do")}
				if r.Do == rule.Hold {
					r.Reason = "r" + text.Draw(t, "reason")
				}
				r.Schedule = rapid.SampledFrom([]string{"", "@hourly"}).Draw(t, "schedule")
				c.Rules = append(c.Rules, r)
			}
		}
		again, written := rewritten(t, c)
		if diff := cmp.Diff(c, again, sameValues); diff != "" {
			t.Fatalf("%s\n%s", written, diff)
		}
	})
}

// FuzzParse: no input makes it panic, every problem has a place in the file,
// and what is read is written so that it reads back the same.
func FuzzParse(f *testing.F) {
	files, err := filepath.Glob(filepath.Join("..", "test", "badconfig", "*.toml"))
	if err != nil || len(files) == 0 {
		f.Fatalf("no seeds: %v", err)
	}
	for _, file := range append(files, "default.toml") {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add([]byte("queue.sendmail_cf.x = 1\nrule = [1, {name = 2}]\n[rule.x]\n[[rule.x]]\n[milter.verdict]\nsuspect = [[]]\n"))
	f.Add([]byte("verdict = 1979-05-27\n[store]\nkeep = inf\n[sweep]\nmax_share = nan\nmax_messages = 0xFFFFFFFFFFFFFFFF\nworkers = -0b1\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := config.Parse("fuzz.toml", data)
		if err == nil {
			again, written := rewritten(t, c)
			if diff := cmp.Diff(c, again, sameValues); diff != "" {
				t.Fatalf("%s\n%s", written, diff)
			}
			return
		}
		var problems config.Problems
		if !errors.As(err, &problems) || len(problems) == 0 {
			t.Fatalf("%T is no list of problems", err)
		}
		lines := 1 + strings.Count(string(data), "\n")
		for _, p := range problems {
			if p.Line < 1 || p.Line > lines || p.Column < 1 || p.Column > 1+utf8.RuneCountInString(p.Source)+1 || p.Message == "" {
				t.Fatalf("%+v lies outside of the file", p)
			}
		}
	})
}
