package docs

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// root is the repository.
const root = "../.."

// page is a Markdown file.
type page struct {
	path    string // from the repository's root
	lines   []string
	blocks  []block
	anchors map[string]bool
	prose   []proseLine
}

// block is fenced code.
type block struct {
	page    *page
	line    int    // of its first line, counted from 1
	kind    string // what stands behind the fence
	section string // the heading of the second level that it stands below
	indent  string // of a block in a list
	lines   []string
}

// proseLine is a line outside of blocks.
type proseLine struct {
	line int
	text string
}

func (b block) text() string  { return strings.Join(b.lines, "\n") + "\n" }
func (b block) place() string { return fmt.Sprintf("%s:%d", b.page.path, b.line) }

var (
	heading = regexp.MustCompile(`^(#{1,6})\s+(.*?)\s*#*$`)
	fence   = regexp.MustCompile("^(\\s*)(```+|~~~+)\\s*(\\S*)\\s*$")
)

// pages are README.md and all of docs.
func pages(t *testing.T) []*page {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	found = append([]string{filepath.Join(root, "README.md")}, found...)
	if len(found) < 10 {
		t.Fatalf("only %d pages: is this the repository?", len(found))
	}
	var out []*page
	for _, path := range found {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			t.Fatal(err)
		}
		p, err := readPage(name, string(data))
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, p)
	}
	return out
}

func readPage(path, text string) (*page, error) {
	p := &page{path: path, lines: strings.Split(text, "\n"), anchors: make(map[string]bool)}
	section, closing := "", ""
	var open block
	for i, line := range p.lines {
		f := fence.FindStringSubmatch(line)
		switch {
		case closing != "" && f != nil && f[2] == closing && f[3] == "":
			p.blocks, closing = append(p.blocks, open), ""
		case closing != "":
			open.lines = append(open.lines, strings.TrimPrefix(line, open.indent))
		case f != nil:
			open = block{page: p, line: i + 2, kind: f[3], section: section, indent: f[1]}
			closing = f[2]
		default:
			p.prose = append(p.prose, proseLine{i + 1, line})
			if h := heading.FindStringSubmatch(line); h != nil {
				p.anchor(h[2])
				if h[1] == "##" {
					section = h[2]
				}
			}
		}
	}
	if closing != "" {
		return nil, fmt.Errorf("%s: the block that begins above line %d has no end", path, open.line)
	}
	return p, nil
}

var (
	linkText = regexp.MustCompile(`\[([^\]]*)\]\([^)]*\)`)
	noAnchor = regexp.MustCompile(`[^\p{L}\p{N}\p{M}_ -]`)
)

// anchor adds the name that GitHub gives a heading.
func (p *page) anchor(title string) {
	name := linkText.ReplaceAllString(title, "$1")
	name = noAnchor.ReplaceAllString(strings.ToLower(name), "")
	name = strings.ReplaceAll(name, " ", "-")
	unique := name
	for n := 1; p.anchors[unique]; n++ {
		unique = fmt.Sprintf("%s-%d", name, n)
	}
	p.anchors[unique] = true
}

func TestReadPage(t *testing.T) {
	p, err := readPage("x.md", "# A title\n\n## One, `two`\n\n1. list\n\n   ```toml\n   [a]\n   ```\n\n````text\n```sh\n````\n## One, two\n```\nx\n```\n")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, b := range p.blocks {
		got = append(got, fmt.Sprintf("%d %s %q %q", b.line, b.kind, b.section, b.text()))
	}
	want := []string{"8 toml \"One, `two`\" \"[a]\\n\"", "12 text \"One, `two`\" \"```sh\\n\"", `16  "One, two" "x\n"`}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	for _, a := range []string{"a-title", "one-two", "one-two-1"} {
		if !p.anchors[a] {
			t.Errorf("no anchor %q in %v", a, p.anchors)
		}
	}
	if _, err := readPage("x.md", "```sh\nls\n"); err == nil {
		t.Error("a block without an end is taken")
	}
}
