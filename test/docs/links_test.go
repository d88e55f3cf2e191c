package docs

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	link       = regexp.MustCompile(`\[[^\]]*\]\(([^)\s]+)[^)]*\)`)
	source     = regexp.MustCompile(`(?:src|srcset|href)="([^"]+)"`)
	inlineCode = regexp.MustCompile("`+([^`]+)`+")
)

// Every link within the repository points at a file that is there, and at a
// heading of it.
func TestLinks(t *testing.T) {
	all := pages(t)
	byPath := make(map[string]*page)
	for _, p := range all {
		byPath[p.path] = p
	}
	n := 0
	for _, p := range all {
		for _, l := range p.prose {
			for _, target := range targets(l.text) {
				n++
				if problem := follow(byPath, p, target); problem != "" {
					t.Errorf("%s:%d: the link to %s: %s", p.path, l.line, target, problem)
				}
			}
		}
	}
	if n < 30 {
		t.Errorf("only %d links were found", n)
	}
}

func targets(line string) (out []string) {
	line = inlineCode.ReplaceAllStringFunc(line, func(s string) string { return strings.Repeat("x", len(s)) })
	for _, m := range append(link.FindAllStringSubmatch(line, -1), source.FindAllStringSubmatch(line, -1)...) {
		out = append(out, m[1])
	}
	return out
}

// follow says what is wrong with a link, "" if nothing is. Links to elsewhere
// are not followed: a test has no network.
func follow(byPath map[string]*page, from *page, target string) string {
	if scheme, _, ok := strings.Cut(target, ":"); ok && !strings.Contains(scheme, "/") {
		if scheme != "https" {
			return "it is not https"
		}
		return ""
	}
	path, anchor, _ := strings.Cut(target, "#")
	to := from
	if path != "" {
		path = filepath.Join(filepath.Dir(from.path), path)
		if strings.HasPrefix(path, "..") || filepath.IsAbs(path) {
			return "it leads out of the repository"
		}
		if _, err := os.Stat(filepath.Join(root, path)); err != nil {
			return "there is no such file"
		}
		to = byPath[path]
	}
	switch {
	case anchor == "":
	case to == nil:
		return "the file is no page, and has no headings"
	case !to.anchors[anchor]:
		return "the page has no such heading"
	}
	return ""
}

// Every page is reached from README.md, and every picture in docs is shown.
func TestEveryPageIsLinked(t *testing.T) {
	linked := map[string]bool{"README.md": true}
	for _, p := range pages(t) {
		for _, l := range p.prose {
			for _, target := range targets(l.text) {
				path, _, _ := strings.Cut(target, "#")
				linked[filepath.Join(filepath.Dir(p.path), path)] = true
			}
		}
	}
	err := filepath.WalkDir(filepath.Join(root, "docs"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err == nil && !linked[name] {
			t.Errorf("no page links to %s", name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestFollow(t *testing.T) {
	p, err := readPage("docs/x.md", "# Here\n")
	if err != nil {
		t.Fatal(err)
	}
	for target, good := range map[string]bool{
		"#here": true, "#there": false, "start.md": true, "../README.md": true, "nowhere.md": false, "../../etc": false,
		"start.md#1-install": true, "start.md#no": false, "https://example.com/": true, "http://example.com/": false, "../Makefile#x": false,
	} {
		other, err := readPage("docs/start.md", "## 1. Install\n")
		if err != nil {
			t.Fatal(err)
		}
		if got := follow(map[string]*page{"docs/start.md": other}, p, target); (got == "") != good {
			t.Errorf("%s: %q", target, got)
		}
	}
}
