package docs

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"mvdan.cc/sh/v3/syntax"
)

// What stands in `backticks` exists: commands and flags of the program, targets
// of make, tests, files of the repository, and keys of the configuration.
func TestProse(t *testing.T) {
	m := &manual{program: build(t)}
	keys := configurationKeys(t)
	commands := m.commands(nil)
	n := 0
	for _, p := range pages(t) {
		text := ""
		for _, l := range p.prose {
			text += l.text + "\n"
		}
		for _, code := range inlineCode.FindAllStringSubmatch(text, -1) {
			code := strings.Join(strings.Fields(code[1]), " ")
			problem, known := checkCode(m, commands, keys, code)
			if known {
				n++
			}
			if problem != "" {
				t.Errorf("%s: `%s`: %s", p.path, code, problem)
			}
		}
	}
	if n < 150 {
		t.Errorf("only %d pieces of code were understood", n)
	}
}

var (
	keyName  = regexp.MustCompile(`^([a-z_]+)\.([a-z_]+)$`)
	assigned = regexp.MustCompile(`^([a-z_]+(?:\.[a-z_]+)?) = `)
	fileName = regexp.MustCompile(`^(?:\./)?(?:cmd|config|docs|dsn|milter|queuesweep|test)/[\w./-]*$`)
)

// checkCode says what is wrong with a piece of code, and whether it is of a kind
// that can be checked.
func checkCode(m *manual, commands []string, keys map[string]bool, code string) (problem string, known bool) {
	words := shellWords(code)
	switch {
	case len(words) == 0:
		return "", false
	case words[0] == "backscatterd" && len(words) > 1, words[0] == "make" && len(words) > 1, words[0] == "go" && len(words) > 1,
		words[0] == "systemctl", words[0] == "journalctl":
		return checkCall(m, words), true
	case slices.Contains(commands, words[0]) && len(words) > 1 && isCommand(m, words):
		return m.check(words), true
	case keyName.MatchString(code) && !fileExists(code):
		section := keyName.FindStringSubmatch(code)[1]
		if !keys[section+"."] {
			return "", false // a name of the rules' language, or of somebody else
		}
		if !keys[code] {
			return "the configuration has no such key", true
		}
		return "", true
	case assigned.MatchString(code):
		name := assigned.FindStringSubmatch(code)[1]
		for key := range keys {
			if key == name || strings.HasSuffix(key, "."+name) {
				return "", true
			}
		}
		return "the configuration has no such key", true
	case fileName.MatchString(code):
		if !fileExists(code) && !fileExists(filepath.Join("milter", code)) {
			return "there is no such file or folder", true
		}
		return "", true
	}
	return "", false
}

// isCommand tells `queue list --removed` from `queue == "..."`.
func isCommand(m *manual, words []string) bool {
	return regexp.MustCompile(`^[a-z-]`).MatchString(words[1]) && (strings.HasPrefix(words[1], "--") || len(m.commands(words[:1])) > 0)
}

func fileExists(name string) bool {
	_, err := os.Stat(filepath.Join(root, name))
	return err == nil
}

// shellWords are the words of a command line; none where it is no such thing.
func shellWords(code string) []string {
	file, err := syntax.NewParser(syntax.Variant(syntax.LangPOSIX)).Parse(strings.NewReader(code), "")
	if err != nil || len(file.Stmts) == 0 {
		return nil
	}
	call, ok := file.Stmts[0].Cmd.(*syntax.CallExpr)
	if !ok {
		return nil
	}
	var out []string
	for _, w := range call.Args {
		out = append(out, word(w))
	}
	return out
}

// configurationKeys are "section.key", and "section." for each section.
func configurationKeys(t *testing.T) map[string]bool {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(root, "docs/configuration.md"))
	if err != nil {
		t.Fatal(err)
	}
	keys := make(map[string]bool)
	section := ""
	for line := range strings.Lines(string(data)) {
		if h := regexp.MustCompile(`^## \\?\[+([a-z_.]+)\\?\]+`).FindStringSubmatch(line); h != nil {
			section = h[1]
			keys[section+"."] = true
		}
		for _, k := range regexp.MustCompile("`([a-z_]+) = ").FindAllStringSubmatch(line, -1) {
			keys[section+"."+k[1]] = true
		}
	}
	if len(keys) < 60 {
		t.Fatalf("only %d keys in docs/configuration.md", len(keys))
	}
	return keys
}

func TestCheckCode(t *testing.T) {
	m := &manual{program: build(t)}
	keys := map[string]bool{"sweep.": true, "sweep.max_share": true}
	commands := m.commands(nil)
	for _, c := range []struct {
		code    string
		good    bool
		checked bool
	}{
		{"backscatterd queue list --removed", true, true}, {"backscatterd queue lst", false, true}, {"queue restore ID", true, true}, {"queue restre ID", false, true},
		{`queue == "..."`, true, false}, {"sweep.max_share", true, true}, {"sweep.max_shar", false, true}, {"returned.failed", true, false},
		{"max_share = 1.0", true, true}, {"max_shar = 1.0", false, true}, {"config/dist/m4", true, true}, {"config/dist/m5", false, true},
		{"make bench", true, true}, {"make bensh", false, true}, {"rule try", true, true}, {"ledger.db.bounces", true, false},
	} {
		problem, known := checkCode(m, commands, keys, c.code)
		if known != c.checked || (problem == "") != c.good {
			t.Errorf("%s: %q, checked %v", c.code, problem, known)
		}
	}
	if testing.Verbose() {
		fmt.Println(commands)
	}
}
