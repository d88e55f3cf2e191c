//go:build browser

package browser

import (
	"fmt"
	"image/png"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

func freePort(t *testing.T) int {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().(*net.TCPAddr).Port
}

// picturesTo in the environment names a folder that screenshots are written to.
const picturesTo = "BACKSCATTERD_PICTURES"

// chromium runs the browser with a profile of its own, and nothing that it does
// by itself.
func chromium(t *testing.T, args ...string) (stdout, stderr string) {
	t.Helper()
	return run(t, "chromium", append([]string{
		"--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
		"--disable-component-update", "--disable-sync", "--hide-scrollbars", "--enable-logging=stderr", "--user-data-dir=" + t.TempDir(),
	}, args...)...)
}

// said are the lines that a page has caused in the browser's console, and what
// the policy has kept it from.
var said = regexp.MustCompile(`(?m)^.*(CONSOLE|Content Security Policy|Refused to).*$`)

// The page in a browser: as wide as a phone and a desk, on light and dark
// ground. It is never wider than the window, loads all that it names, and says
// nothing in the console.
func TestPage(t *testing.T) {
	s := serve(t)
	s.settled(t)
	pictures := os.Getenv(picturesTo)
	if pictures == "" {
		pictures = t.TempDir()
	}
	for _, w := range []struct {
		name          string
		width, height int
	}{{"phone", 390, 3300}, {"desk", 1280, 2100}} {
		for _, ground := range []string{"light", "dark"} {
			t.Run(w.name+" "+ground, func(t *testing.T) {
				file := filepath.Join(pictures, "status-"+w.name+"-"+ground+".png")
				args := []string{fmt.Sprintf("--window-size=%d,%d", w.width, w.height), "--screenshot=" + file}
				if ground == "dark" {
					args = append(args, "--blink-settings=preferredColorScheme=0")
				} else {
					args = append(args, "--blink-settings=preferredColorScheme=1")
				}
				_, stderr := chromium(t, append(args, s.url)...)
				for _, line := range said.FindAllString(stderr, -1) {
					t.Errorf("the browser says: %s", line)
				}
				f, err := os.Open(file)
				if err != nil {
					t.Fatal(err)
				}
				defer f.Close()
				picture, err := png.Decode(f)
				if err != nil {
					t.Fatal(err)
				}
				if size := picture.Bounds().Size(); size.X != w.width || size.Y != w.height {
					t.Errorf("the picture is %v", size)
				}
				// Nothing reaches into the margin at the right: what is too
				// wide for the window would.
				margin := picture.At(w.width-1, 0)
				for y := range w.height {
					for x := w.width - 12; x < w.width; x++ {
						if picture.At(x, y) != margin {
							t.Fatalf("something reaches into the margin at %d,%d", x, y)
						}
					}
				}
			})
		}
	}
}

// A browser for terminals shows the same in words.
func TestTerminal(t *testing.T) {
	s := serve(t)
	s.settled(t)
	text, _ := run(t, "w3m", "-dump", "-cols", "100", s.url)
	for _, want := range []string{"all is well", "What waits, by destination and age", "bigmail.example", "Why it waits", "Mailbox full",
		"Bounces by verdict", "suspect", "What was done", "sender-domain-not-found", "move, done", "The way back", "backscatterd queue restore ID", "sweep with 3 rules"} {
		if !strings.Contains(text, want) {
			t.Errorf("there is no %q in\n%s", want, text)
		}
	}
}
