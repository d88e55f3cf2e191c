package privilege

import (
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// runs are the calls of the program, in the sources, that start another one or
// turn into one, and what that is. All others are forbidden, here by name.
var runs = map[string]string{
	"cmd/backscatterd/bounce.go: exec.CommandContext(ctx, path)":                       "sendmail, to take a bounce",
	"queuesweep/expire.go: exec.CommandContext(ctx, sendmail)":                         "sendmail, to run the queue for one message",
	"cmd/backscatterd/internal/doctor/sendmail.go: exec.CommandContext(ctx, path)":     "sendmail, asked for its version and configuration",
	"cmd/backscatterd/internal/doctor/units.go: exec.CommandContext(ctx, x.Systemctl)": "systemctl, asked about the units",
	"cmd/backscatterd/serve_confine.go: exec.Command(self)":                            "this program, as the deputy",
	"cmd/backscatterd/internal/confine/confine.go: unix.Exec(self)":                    "this program, confined",
}

// starters are the functions of each package that start a program.
var starters = map[string][]string{
	"os/exec":               {"Command", "CommandContext"},
	"os":                    {"StartProcess"},
	"syscall":               {"Exec", "ForkExec", "StartProcess", "SYS_EXECVE", "SYS_EXECVEAT", "SYS_FORK", "SYS_VFORK"},
	"golang.org/x/sys/unix": {"Exec", "Execveat", "SYS_EXECVE", "SYS_EXECVEAT", "SYS_FORK", "SYS_VFORK"},
}

// named may be named without being called: to be forbidden.
var named = map[string]bool{"cmd/backscatterd/internal/confine/seccomp.go": true, "cmd/backscatterd/internal/confine/arch_amd64.go": true}

// reads is the package that reads other people's scripts, and knows shells by name.
const reads = "queuesweep/qtool/script/"

// shells are what no program is called.
var shells = []string{"sh", "bash", "dash", "ash", "ksh", "zsh", "csh", "perl", "python", "env", "xargs", "system"}

// No shell is ever run: what starts a program is known, call for call, takes it by
// its path and with arguments one by one, and is none of the names of a shell. All
// sources of the module but the tests and their tools are read.
func TestNoShell(t *testing.T) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	found := make(map[string]bool)
	files := 0
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		rel, _ := filepath.Rel(root, path)
		switch {
		case err != nil:
			return err
		case d.IsDir() && (rel == "test" || d.Name() == "testdata" || strings.HasPrefix(d.Name(), ".") && rel != "."):
			return filepath.SkipDir
		case d.IsDir() || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go"):
			return nil
		}
		files++
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		for _, problem := range inspect(rel, file, found) {
			t.Errorf("%s: %s", rel, problem)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for call := range runs {
		if !found[call] {
			t.Errorf("%q is listed, and not there any more", call)
		}
	}
	if files < 100 {
		t.Errorf("only %d sources were read", files)
	}
	t.Logf("%d sources; what is run: %q", files, slices.Sorted(maps.Values(runs)))
}

// inspect finds in one source what starts a program, and complains of what is not
// listed.
func inspect(rel string, file *ast.File, found map[string]bool) (problems []string) {
	imported := make(map[string]string) // by the name that it has here
	for _, i := range file.Imports {
		path, _ := strconv.Unquote(i.Path.Value)
		name := filepath.Base(path)
		if i.Name != nil {
			name = i.Name.Name
		}
		if starters[path] != nil && (name == "." || name == "_") {
			problems = append(problems, "imports "+path+" without a name")
		}
		imported[name] = path
	}
	called := make(map[*ast.SelectorExpr]bool)
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.CallExpr:
			if sel, ok := n.Fun.(*ast.SelectorExpr); ok && starts(sel, imported) {
				called[sel] = true
				call := rel + ": " + started(sel, n)
				if found[call] = true; runs[call] == "" {
					problems = append(problems, "runs something that is not listed: "+call)
				}
			}
		case *ast.SelectorExpr:
			if starts(n, imported) && !called[n] && !named[rel] {
				problems = append(problems, "names "+types.ExprString(n)+" without calling it")
			}
		case *ast.CompositeLit:
			if sel, ok := n.Type.(*ast.SelectorExpr); ok && types.ExprString(sel) == "exec.Cmd" {
				problems = append(problems, "makes an exec.Cmd by itself")
			}
		case *ast.BasicLit:
			if text, err := strconv.Unquote(n.Value); n.Kind == token.STRING && err == nil && isShell(text) && !strings.HasPrefix(rel, reads) {
				problems = append(problems, "has the name of a shell: "+n.Value)
			}
		}
		return true
	})
	for _, group := range file.Comments {
		for _, c := range group.List {
			if strings.HasPrefix(c.Text, "//go:linkname") {
				problems = append(problems, c.Text)
			}
		}
	}
	if imported["C"] == "C" {
		problems = append(problems, "calls C")
	}
	return problems
}

// started is a call up to the program that it starts.
func started(sel *ast.SelectorExpr, call *ast.CallExpr) string {
	n := 1
	if sel.Sel.Name == "CommandContext" {
		n = 2
	}
	var args []string
	for _, arg := range call.Args[:min(n, len(call.Args))] {
		args = append(args, types.ExprString(arg))
	}
	return types.ExprString(sel) + "(" + strings.Join(args, ", ") + ")"
}

func starts(sel *ast.SelectorExpr, imported map[string]string) bool {
	of, ok := sel.X.(*ast.Ident)
	return ok && slices.Contains(starters[imported[of.Name]], sel.Sel.Name)
}

// isShell tells whether a text is a path of a shell, or its name. The names alone
// are ordinary words too: "system", "env".
func isShell(text string) bool {
	dir, name := filepath.Split(text)
	return strings.HasPrefix(dir, "/") && strings.HasSuffix(dir, "bin/") && slices.Contains(shells, name) || slices.Contains(shells[:7], text)
}

// What it is to find, it finds.
func TestInspect(t *testing.T) {
	for source, want := range map[string]string{
		`import "os/exec"; var _ = exec.Command("sendmail")`:                            "not listed",
		`import run "os/exec"; func f() { run.CommandContext(nil, "x").Run() }`:         "not listed",
		`import "os/exec"; var f = exec.Command`:                                        "without calling it",
		`import "os/exec"; var f = &exec.Cmd{Path: "x"}`:                                "exec.Cmd by itself",
		`import . "os/exec"; var _ = Command("x")`:                                      "without a name",
		`import "os"; var _, _ = os.StartProcess("x", nil, nil)`:                        "not listed",
		`import "syscall"; func f() { syscall.Exec("x", nil, nil) }`:                    "not listed",
		`import "golang.org/x/sys/unix"; func f() { unix.Syscall(unix.SYS_EXECVE, 0) }`: "without calling it",
		`var shell = "/bin/sh"`:                                                         "name of a shell",
		`var shell = "bash"`:                                                            "name of a shell",
		`var shell = "/usr/bin/env"`:                                                    "name of a shell",
		"//go:linkname forkExec syscall.forkExec\nfunc forkExec()":                      "linkname",
		"import \"C\"": "calls C",
	} {
		file, err := parser.ParseFile(token.NewFileSet(), "x.go", "package x\n"+source, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		if got := inspect("x.go", file, make(map[string]bool)); len(got) != 1 || !strings.Contains(got[0], want) {
			t.Errorf("%s: %q, want one that says %q", source, got, want)
		}
	}
}
