package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// What is shown can be run. The commands of a section are run one after the
// other on one machine, as somebody would type them who follows the page.
func TestCommands(t *testing.T) {
	m := &manual{program: build(t)}
	files := siteFiles(t)
	used := make(map[string]bool)
	all := true // sections have been run, and not those of -run alone
	for _, p := range pages(t) {
		for _, section := range sections(p) {
			ran := false
			t.Run(strings.Trim(p.path+"/"+section.name, "/"), func(t *testing.T) {
				ran = true
				section.run(t, m, newMachine(t, files), used)
			})
			all = all && ran
		}
	}
	for _, list := range [][]exception{notRun, endsOtherwise, runsOn} {
		for _, e := range list {
			if all && !used[e.command] {
				t.Errorf("%q is listed, but no page has it any more: take it out of lists_test.go", e.command)
			}
		}
	}
}

// section is what a page has below a heading of the second level.
type section struct {
	name   string
	blocks []block
}

func sections(p *page) (out []section) {
	for _, b := range p.blocks {
		if b.kind != "sh" && b.kind != "console" {
			continue
		}
		if n := len(out); n == 0 || out[n-1].name != b.section && !slices.Contains(stories, p.path) {
			out = append(out, section{name: b.section})
		}
		last := &out[len(out)-1]
		last.blocks = append(last.blocks, b)
	}
	return out
}

func (s section) run(t *testing.T, m *manual, machine *machine, used map[string]bool) {
	for _, b := range s.blocks {
		all, err := commands(b)
		if err != nil {
			t.Fatal(err)
		}
		var printed []string
		for _, c := range all {
			for _, call := range c.calls {
				if problem := checkCall(m, call); problem != "" {
					t.Errorf("%s: %s\n%s", c.place(), c.text, problem)
				}
			}
			if e := listed(notRun, c); e != nil {
				used[e.command] = true
				printed = append(printed, c.typed()...)
				continue
			}
			printed = append(printed, s.one(t, machine, c, used)...)
		}
		if b.kind == "console" && writing() {
			write(t, b, printed)
		}
	}
}

// one runs a command, and returns the lines that a console block should have.
func (s section) one(t *testing.T, machine *machine, c command, used map[string]bool) []string {
	t.Helper()
	until, want := "", 0
	if e := listed(runsOn, c); e != nil {
		until, used[e.command] = e.until, true
	}
	if e := listed(endsOtherwise, c); e != nil {
		want, used[e.command] = e.status, true
	}
	text := c.text
	if until != "" {
		text = "exec " + text // so that it gets the signal itself
	}
	got := machine.run(text, until)
	if got.status != want {
		t.Errorf("%s: %s\nended with status %d, and not %d; it said\n%s%s", c.place(), c.text, got.status, want, got.stdout, got.stderr)
	}
	if until != "" && !strings.Contains(got.stdout+got.stderr, until) {
		t.Errorf("%s: %s\nnever said %q, but\n%s%s", c.place(), c.text, until, got.stdout, got.stderr)
	}
	shown := strings.Split(strings.TrimRight(got.stdout+got.stderr, "\n"), "\n")
	if got.stdout+got.stderr == "" {
		shown = nil
	}
	if c.block.kind == "console" && !writing() && !alike(c.want, shown) {
		t.Errorf("%s: %s\nprints\n%s\nBACKSCATTERD_WRITE=1 writes that into the page", c.place(), c.text, strings.Join(shown, "\n"))
	}
	return append([]string{"$ " + c.text}, shown...)
}

func (c command) typed() []string { return append([]string{"$ " + c.text}, c.want...) }

// changing is what is different whenever a command is run: how long something
// took, how old it is, what day it is, and names that were made at random.
var changing = []struct{ what, with string }{
	{`\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d)?(\.\d+)?(Z| UTC)?`, "<time>"},
	{`\d+(\.\d+)? ?(ms|s|m|h|d)\b`, "<span>"},
	{`\b[A-Z0-9]{12}\b`, "<run>"},
	{`\b\d{6,}\.\d+\b`, "<seconds>"},
	{` {2,}`, "  "},
	{`^ +| +$`, ""},
}

// alike says whether lines differ in nothing but what changes each time. A line
// "..." of the page stands for any number of lines.
func alike(page, printed []string) bool {
	page, printed = steady(page), steady(printed)
	if len(page) == 0 {
		return len(printed) == 0
	}
	if page[0] != "..." {
		return len(printed) > 0 && page[0] == printed[0] && alike(page[1:], printed[1:])
	}
	for i := range len(printed) + 1 {
		if alike(page[1:], printed[i:]) {
			return true
		}
	}
	return false
}

func steady(lines []string) []string {
	out := slices.Clone(lines)
	for i := range out {
		for _, c := range changing {
			out[i] = regexp.MustCompile(c.what).ReplaceAllString(out[i], c.with)
		}
	}
	return out
}

func TestAlike(t *testing.T) {
	for _, c := range []struct {
		page, printed string
		want          bool
	}{
		{"2 messages (0.002 s)", "2 messages (0.017 s)", true},
		{"2 messages (0.002 s)", "3 messages (0.002 s)", false},
		{"a\n...\nz", "a\nb\nc\nz", true},
		{"a\n...\nz", "a\nz", true},
		{"a\n...\nz", "a\nb", false},
		{"ID    2 d", "ID  14 d", true},
		{"one", "one\ntwo", false},
	} {
		if got := alike(strings.Split(c.page, "\n"), strings.Split(c.printed, "\n")); got != c.want {
			t.Errorf("%q and %q: %v", c.page, c.printed, got)
		}
	}
}

// listed is the exception that a command falls under: one of the programs that
// it calls begins with the words of it.
func listed(list []exception, c command) *exception {
	for i, e := range list {
		if e.page != "" && e.page != c.block.page.path {
			continue
		}
		words := strings.Fields(e.command)
		for _, call := range c.calls {
			if len(call) >= len(words) && slices.Equal(call[:len(words)], words) {
				return &list[i]
			}
		}
	}
	return nil
}

func writing() bool { return os.Getenv("BACKSCATTERD_WRITE") != "" }

// write puts lines into a block of its page's file. Blocks are found by what they
// have, since those above may have grown.
func write(t *testing.T, b block, lines []string) {
	t.Helper()
	path := filepath.Join(root, b.page.path)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	indented := func(lines []string) string {
		var s strings.Builder
		for _, l := range lines {
			s.WriteString(strings.TrimRight(b.indent+l, " ") + "\n")
		}
		return s.String()
	}
	before, after := b.indent+"```console\n"+indented(b.lines), b.indent+"```console\n"+indented(lines)
	if strings.Count(string(data), before) != 1 {
		t.Fatalf("%s: the block is not there once", b.place())
	}
	if err := os.WriteFile(path, []byte(strings.Replace(string(data), before, after, 1)), 0o644); err != nil {
		t.Fatal(err)
	}
}
