package config_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/backscatterd/backscatterd/config"
)

// TestBadConfigs reads one file for each mistake people make and compares the
// whole of what is said of it, so that it fails for the reason it should.
func TestBadConfigs(t *testing.T) {
	dir := filepath.Join("..", "test", "badconfig")
	files, err := filepath.Glob(filepath.Join(dir, "*.toml"))
	if err != nil {
		t.Fatal(err)
	}
	expected, err := filepath.Glob(filepath.Join(dir, "*.expected-error"))
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 60 || len(files) != len(expected) {
		t.Fatalf("%s has %d files and %d expected errors", dir, len(files), len(expected))
	}
	for _, file := range files {
		name := filepath.Base(file)
		t.Run(strings.TrimSuffix(name, ".toml"), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			want, err := os.ReadFile(strings.TrimSuffix(file, ".toml") + ".expected-error")
			if err != nil {
				t.Fatal(err)
			}
			_, err = config.Parse(name, data)
			var problems config.Problems
			if !errors.As(err, &problems) {
				t.Fatalf("got %v, want Problems", err)
			}
			if diff := cmp.Diff(string(want), err.Error()+"\n"); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestConditionPlace marks the place of a fault with a bar in conditions
// written in all ways that TOML has for strings, and looks whether it is found.
func TestConditionPlace(t *testing.T) {
	for _, value := range []string{
		`'true && |x == ""'`,
		`"true && |x == ''"`,
		`"'\t\u00e9\U0001F600\\\\' == sender && |x == \"\""`,
		`"'\x41\e' == sender && |x == \"\""`,
		`"'é' == sender && |x == \"\""`,
		"'''true && |x == \"\"'''",
		"'''\ntrue &&\n  |x == \"\"'''",
		"'''\r\ntrue &&\r\n  |x == \"\"'''",
		"\"\"\"\ntrue \\\n   && \\\n\n  |x == \"\\u0022\\\n\"\"\"",
		"\"\"\"true && 'a\\\\nb' != \"\" &&\n\t|x == ''\"\"\"",
		`"|x"`,
		`"sender contains \"\\\\\" || |x"`,
	} {
		before, after, ok := strings.Cut(value, "|x")
		if strings.Count(value, "|x") != 1 || !ok {
			t.Fatalf("no place in %s", value)
		}
		text := "[[rule]]\nname = \"a\"\nwhen = " + before + "xyzzy" + after + "\n"
		upTo := "[[rule]]\nname = \"a\"\nwhen = " + before
		line := 1 + strings.Count(upTo, "\n")
		column := 1 + len([]rune(upTo[strings.LastIndexByte(upTo, '\n')+1:]))
		_, err := config.Parse("x", []byte(text))
		var problems config.Problems
		if !errors.As(err, &problems) || len(problems) != 1 {
			t.Errorf("%s\ngot %v", text, err)
			continue
		}
		if got, want := fmt.Sprint(problems[0].Line, problems[0].Column), fmt.Sprint(line, column); got != want {
			t.Errorf("%s\nplace %s, want %s\n%v", text, got, want, err)
		}
	}
}
