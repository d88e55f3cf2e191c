package docs

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// checkCall says what is wrong with a call of a program, "" if nothing is, by
// what the repository has of what it names.
func checkCall(m *manual, call []string) string {
	switch call[0] {
	case "backscatterd", "./backscatterd":
		return m.check(call[1:])
	case "make":
		return checkMake(call[1:])
	case "systemctl", "journalctl":
		return checkUnits(call[1:])
	case "go":
		return checkGo(call[1:])
	}
	return ""
}

func checkMake(args []string) string {
	makefile, err := os.ReadFile(filepath.Join(root, "Makefile"))
	if err != nil {
		return err.Error()
	}
	for i, a := range args {
		switch {
		case a == "-C":
			return "" // another makefile
		case strings.Contains(a, "="):
			name, _, _ := strings.Cut(a, "=")
			if !regexp.MustCompile(`(?m)^` + name + ` \?=`).Match(makefile) {
				return "the Makefile has no variable " + name
			}
		case !regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(a) + `:`).Match(makefile):
			return fmt.Sprintf("the Makefile has no target %s", args[i])
		}
	}
	return ""
}

var unitName = regexp.MustCompile(`^backscatterd[-@a-z.]*$`)

func checkUnits(args []string) string {
	for _, a := range args {
		if !unitName.MatchString(a) {
			continue
		}
		if filepath.Ext(a) == "" {
			a += ".service"
		}
		if _, err := os.Stat(filepath.Join(root, "config/dist/systemd", a)); err != nil {
			return "there is no unit " + a
		}
	}
	return ""
}

// checkGo looks whether the packages and tests that are named exist.
func checkGo(args []string) string {
	for i, a := range args {
		switch {
		case strings.HasPrefix(a, "./"):
			dir := strings.TrimSuffix(strings.TrimSuffix(a, "..."), "/")
			if _, err := os.Stat(filepath.Join(root, dir)); err != nil {
				return "there is no package " + a
			}
		case a == "-run" && i+1 < len(args):
			if problem := hasTest(args, args[i+1]); problem != "" {
				return problem
			}
		}
	}
	return ""
}

func hasTest(args []string, pattern string) string {
	first, _, _ := strings.Cut(strings.Trim(pattern, "'\""), "/")
	for _, a := range args {
		if !strings.HasPrefix(a, "./") {
			continue
		}
		files, err := filepath.Glob(filepath.Join(root, a, "*_test.go"))
		if err != nil {
			return err.Error()
		}
		for _, f := range files {
			data, err := os.ReadFile(f)
			if err != nil {
				return err.Error()
			}
			for _, name := range regexp.MustCompile(`(?m)^func (Test\w+|Fuzz\w+|Benchmark\w+)\(`).FindAllSubmatch(data, -1) {
				if ok, err := regexp.MatchString(first, string(name[1])); err == nil && ok {
					return ""
				}
			}
		}
		return fmt.Sprintf("%s has no test %s", a, pattern)
	}
	return ""
}
