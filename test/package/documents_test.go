package packaging

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	// A link to a file beside the document, with a place in it or without.
	relativeLink = regexp.MustCompile(`\]\(([^)#:\s]+)(?:#[^)]*)?\)`)
	documentPath = regexp.MustCompile(`/usr/share/doc/backscatterd/[\w./-]*\w`)
)

// The documents of the package link to files that are in it, and so do the paths
// that the program and the scripts of the package name.
func TestDocumentsAreWhereTheyAreSaidToBe(t *testing.T) {
	tree := unpacked(t)
	folder := filepath.Join(tree, "usr/share/doc/backscatterd")
	links, paths := 0, 0
	err := filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) != ".md" {
			return err
		}
		text, err := os.ReadFile(path)
		for _, link := range relativeLink.FindAllStringSubmatch(string(text), -1) {
			links++
			if _, err := os.Stat(filepath.Join(filepath.Dir(path), link[1])); err != nil {
				t.Errorf("%s: %v", strings.TrimPrefix(path, tree), err)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{"../../config/dist/debian/postinst", "../../cmd/backscatterd/internal/doctor/units.go", folder + "/docs/install.md", folder + "/docs/status.md"} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range documentPath.FindAllString(string(text), -1) {
			paths++
			if _, err := os.Stat(filepath.Join(tree, path)); err != nil {
				t.Errorf("%s: %v", file, err)
			}
		}
	}
	if links < 50 || paths < 3 {
		t.Errorf("only %d links and %d paths were found: the test looks for the wrong thing", links, paths)
	}
}
