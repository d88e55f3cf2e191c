package packaging

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// deb is the package as make deb builds it, but for its compression.
var deb string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "backscatterd-package-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		cmd := exec.Command("../../config/dist/deb.sh", dir, "1.0")
		cmd.Env = append(os.Environ(), "DEB_COMPRESSION=none")
		if out, err := cmd.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "building the package: %v\n%s", err, out)
			return 1
		}
		found, err := filepath.Glob(filepath.Join(dir, "backscatterd_1.0_*.deb"))
		if err != nil || len(found) != 1 {
			fmt.Fprintln(os.Stderr, "building the package:", found, err)
			return 1
		}
		deb = found[0]
		return m.Run()
	}())
}

// successor is the package as a later version, with another default of the
// configuration.
func successor(t *testing.T, version string) string {
	t.Helper()
	dir := t.TempDir()
	tree := filepath.Join(dir, "tree")
	dpkgDeb(t, "-R", deb, tree)
	edit(t, filepath.Join(tree, "DEBIAN/control"), "Version: 1.0\n", "Version: "+version+"\n")
	edit(t, filepath.Join(tree, "etc/backscatterd/backscatterd.toml"), "# The configuration of backscatterd", "# The configuration of version "+version+" of backscatterd")
	out := filepath.Join(dir, "backscatterd_"+version+".deb")
	dpkgDeb(t, "--root-owner-group", "-Znone", "--build", tree, out)
	return out
}

func dpkgDeb(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command("dpkg-deb", args...).CombinedOutput(); err != nil {
		t.Fatalf("dpkg-deb %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

func edit(t *testing.T, path, old, text string) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(data), old) {
		t.Fatalf("%s: no %q in it", path, old)
	}
	if err := os.WriteFile(path, []byte(strings.Replace(string(data), old, text, 1)), 0o644); err != nil {
		t.Fatal(err)
	}
}
