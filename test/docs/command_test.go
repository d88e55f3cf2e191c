package docs

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"mvdan.cc/sh/v3/syntax"
)

// command is one statement of a shell.
type command struct {
	block block
	line  int
	text  string
	calls [][]string // the programs that it calls, with their arguments
	want  []string   // of a console block: what it prints
}

func (c command) place() string { return fmt.Sprintf("%s:%d", c.block.page.path, c.line) }

// commands are the statements of a sh or console block.
func commands(b block) ([]command, error) {
	if b.kind != "console" {
		return statements(b, b.text(), b.line)
	}
	var out []command
	for i, line := range b.lines {
		text, typed := strings.CutPrefix(line, "$ ")
		if !typed {
			if len(out) == 0 {
				return nil, fmt.Errorf("%s: a console block begins with a command behind \"$ \"", b.place())
			}
			last := &out[len(out)-1]
			last.want = append(last.want, line)
			continue
		}
		some, err := statements(b, text, b.line+i)
		if err != nil {
			return nil, err
		}
		if len(some) != 1 {
			return nil, fmt.Errorf("%s: %d commands in a line of a console block", b.place(), len(some))
		}
		out = append(out, some...)
	}
	return out, nil
}

func statements(b block, text string, line int) (out []command, err error) {
	parser := syntax.NewParser(syntax.Variant(syntax.LangPOSIX))
	file, err := parser.Parse(strings.NewReader(text), "")
	if err != nil {
		return nil, fmt.Errorf("%s: no shell would take this: %w", b.place(), err)
	}
	for _, s := range file.Stmts {
		c := command{block: b, line: line + int(s.Pos().Line()) - 1, text: text[s.Pos().Offset():s.End().Offset()]}
		syntax.Walk(s, func(n syntax.Node) bool {
			if call, ok := n.(*syntax.CallExpr); ok && len(call.Args) > 0 {
				var words []string
				for _, w := range call.Args {
					words = append(words, word(w))
				}
				c.calls = append(c.calls, words)
			}
			return true
		})
		out = append(out, c)
	}
	return out, nil
}

// word is what a word is to the program, where it says so itself; what a shell
// would expand is left as it stands.
func word(w *syntax.Word) string {
	var b strings.Builder
	for _, part := range w.Parts {
		switch part := part.(type) {
		case *syntax.Lit:
			b.WriteString(part.Value)
		case *syntax.SglQuoted:
			b.WriteString(part.Value)
		case *syntax.DblQuoted:
			b.WriteString(word(&syntax.Word{Parts: part.Parts}))
		default:
			syntax.NewPrinter().Print(&b, w)
			return b.String()
		}
	}
	return b.String()
}

// manual knows the commands and flags of the program, from the program itself.
type manual struct {
	program string

	mu    sync.Mutex
	known map[string]string // help by command
}

func (m *manual) help(path []string) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	key := strings.Join(path, " ")
	if text, ok := m.known[key]; ok {
		return text
	}
	cmd := exec.Command(m.program, append(slices.Clone(path), "--help")...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	timer := time.AfterFunc(time.Minute, func() { cmd.Process.Kill() })
	defer timer.Stop()
	text := ""
	if err := cmd.Run(); err == nil {
		text = out.String()
	}
	if m.known == nil {
		m.known = make(map[string]string)
	}
	m.known[key] = text
	return text
}

var (
	below    = regexp.MustCompile(`(?m)^  ([a-z]+) {2,}\S`)
	flagLine = regexp.MustCompile(`(?m)^ +(-\w)?(?:, )?(--[\w-]+)?(?: [^\s-]\S*)?(?: {2,}|$)`)
)

// check says what is wrong with a command line of the program, "" if nothing is.
// Words that are no command are arguments.
func (m *manual) check(args []string) string {
	var path []string
	flags := m.flags(path)
	for i := 0; i < len(args); i++ {
		a := args[i]
		switch {
		case a == "--":
			return ""
		case strings.HasPrefix(a, "-") && a != "-":
			name, _, _ := strings.Cut(a, "=")
			if !flags[name] {
				return fmt.Sprintf("backscatterd %s has no flag %s", strings.Join(path, " "), name)
			}
			// The value of a flag before the command is none.
			if len(path) == 0 && (name == "-c" || name == "--config") {
				i++
			}
		default:
			under := m.commands(path)
			if len(under) == 0 {
				continue
			}
			if !slices.Contains(under, a) {
				return fmt.Sprintf("backscatterd %s has no command %s", strings.Join(path, " "), a)
			}
			path = append(path, a)
			flags = m.flags(path)
		}
	}
	return ""
}

func (m *manual) commands(path []string) (out []string) {
	_, list, _ := strings.Cut(m.help(path), "Available Commands:\n")
	list, _, _ = strings.Cut(list, "\n\n")
	for _, c := range below.FindAllStringSubmatch(list, -1) {
		out = append(out, c[1])
	}
	return out
}

func (m *manual) flags(path []string) map[string]bool {
	out := map[string]bool{"--help": true, "-h": true, "--version": len(path) == 0}
	for _, f := range flagLine.FindAllStringSubmatch(m.help(path), -1) {
		out[f[1]], out[f[2]] = true, true
	}
	delete(out, "")
	return out
}

func TestManual(t *testing.T) {
	m := &manual{program: build(t)}
	for line, good := range map[string]bool{
		"queue list --json": true, "queue list --watch=5": true, "-c x.toml queue list": true, "sweep -c x.toml --dry-run": true,
		"queue lst": false, "queue list --jsn": false, "lst": false, "queue show 6AOLt5NW000012": true, "": true,
		"qtool -e x --print-rule -d a b": true, "qtool -x": false, "--version": true, "rule try - --color=never": true, "sweep --version": false,
	} {
		if got := m.check(strings.Fields(line)); (got == "") != good {
			t.Errorf("%q: %q", line, got)
		}
	}
}

var built struct {
	sync.Once
	dir string
	err error
}

// build makes the program as make build does, once.
func build(t *testing.T) string {
	t.Helper()
	built.Do(func() {
		if built.dir, built.err = os.MkdirTemp(os.Getenv(groundAt), "built-"); built.err != nil {
			return
		}
		cmd := exec.Command("make", "-s", "build", "BIN="+filepath.Join(built.dir, "backscatterd"))
		cmd.Dir = root
		if out, err := cmd.CombinedOutput(); err != nil {
			built.err = fmt.Errorf("building the program: %w\n%s", err, out)
		}
	})
	if built.err != nil {
		t.Fatal(built.err)
	}
	return filepath.Join(built.dir, "backscatterd")
}

func TestMain(m *testing.M) {
	if os.Getenv(insideMachine) != "" {
		fmt.Fprintln(os.Stderr, enterMachine())
		os.Exit(125)
	}
	dir := os.Getenv(groundAt)
	if dir == "" && os.Geteuid() == 0 {
		status, err := onGround()
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		os.Exit(status)
	}
	if dir != "" {
		if err := mountGround(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	code := m.Run()
	if built.dir != "" {
		os.RemoveAll(built.dir)
	}
	os.Exit(code)
}
