package main

import (
	"fmt"
	"html"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// The pictures of README.md are what the program writes to a terminal, as SVG.
// BACKSCATTERD_WRITE=1 in the environment draws them anew.
func TestPicturesAreUpToDate(t *testing.T) {
	queue := pictureQueue(t)
	for _, p := range []struct {
		file string
		args []string
	}{
		{"terminal-list.svg", []string{"queue", "list"}},
		{"terminal-summary.svg", []string{"queue", "summary"}},
	} {
		o := startOnTerminal(t, pictureWidth, 60, nil, nil, append(p.args, "--queue", queue)...)
		if code := o.end(); code != exitDone || o.screen.wrapped > 0 {
			t.Fatalf("%v: exit status %d, %d lines are too long:\n%s", p.args, code, o.screen.wrapped, o.shown())
		}
		golden(t, filepath.Join("../../docs", p.file), drawTerminal("backscatterd "+strings.Join(p.args, " "), o.written()))
	}
}

const pictureWidth = 100

// pictureQueue is a queue as it is on a bad morning.
func pictureQueue(t *testing.T) string {
	t.Helper()
	queue := filepath.Join(t.TempDir(), "mqueue")
	if err := os.Mkdir(queue, 0o700); err != nil {
		t.Fatal(err)
	}
	n := 0
	put := func(kind, sender, to, status string, attempts int, age time.Duration) {
		n++
		text := fmt.Sprintf("V8\nT%d\nK0\nN%d\nP30000\n", time.Now().Add(-age-20*time.Second).Unix(), attempts)
		if kind == "hf" {
			text += "qasked the customer\n"
		}
		if status != "" {
			text += "M" + status + "\n"
		}
		text += fmt.Sprintf("S<%s>\nRPFD:<%s>\nH??Subject: x\n.\n", sender, to)
		id := fmt.Sprintf("6APAt0%02d%06d", n, 4000+7*n)
		for name, data := range map[string]string{kind + id: text, "df" + id: strings.Repeat("x", 1200+n*311)} {
			if err := os.WriteFile(filepath.Join(queue, name), []byte(data), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	const (
		full   = "Deferred: 452 4.2.2 Mailbox full"
		silent = "Deferred: Connection timed out with mx.forged.example."
		spam   = "Deferred: 451 4.7.1 This looks like spam to us, try again later"
	)
	put("qf", "", "victim1@forged.example", silent, 212, 97*time.Hour)
	put("qf", "", "victim2@forged.example", silent, 140, 51*time.Hour)
	put("qf", "", "office@victim.example", full, 61, 26*time.Hour)
	put("hf", "orders@customer.example", "sales@shop.example", "", 3, 7*time.Hour)
	put("qf", "newsletter@customer.example", "jo@bigmail.example", spam, 12, 3*time.Hour)
	put("qf", "ann@customer.example", "ben@university.example", "Deferred: 450 4.2.0 Greylisted, try again in 300 seconds", 1, 4*time.Minute)
	put("qf", "", "victim3@forged.example", silent, 1, 2*time.Minute)
	return queue
}

const (
	cellWidth  = 8.4 // of a character of 14 pixels, as monospace fonts have it
	lineHeight = 19
	margin     = 14
)

var sequence = regexp.MustCompile("\x1b\\[([0-9;]*)m")

// drawTerminal draws what was written to a terminal: each run of characters of
// one colour at its column, so that it stands right in any font.
func drawTerminal(command, written string) string {
	lines := append([]string{"\x1b[1m$ " + command + "\x1b[0m", ""}, strings.Split(strings.TrimRight(strings.ReplaceAll(written, "\r", ""), "\n"), "\n")...)
	width, height := int(pictureWidth*cellWidth)+2*margin, len(lines)*lineHeight+2*margin
	var b strings.Builder
	fmt.Fprintf(&b, "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" width=\"%d\" height=\"%d\" role=\"img\" aria-label=\"%s\">\n",
		width, height, width, height, html.EscapeString(command))
	b.WriteString(terminalStyle)
	fmt.Fprintf(&b, "<rect class=\"ground\" x=\"0.5\" y=\"0.5\" width=\"%d\" height=\"%d\" rx=\"6\"/>\n", width-1, height-1)
	for i, line := range lines {
		y := margin + lineHeight*i + 14
		column, class := 0, ""
		for line != "" {
			text := line
			at := sequence.FindStringSubmatchIndex(line)
			if at != nil {
				text = line[:at[0]]
			}
			if strings.TrimSpace(text) != "" {
				lead := len(text) - len(strings.TrimLeft(text, " "))
				shown := strings.TrimRight(text[lead:], " ")
				fmt.Fprintf(&b, "<text%s x=\"%.1f\" y=\"%d\" textLength=\"%.1f\" lengthAdjust=\"spacingAndGlyphs\">%s</text>\n", class,
					margin+cellWidth*float64(column+lead), y, cellWidth*float64(columns(shown)), html.EscapeString(shown))
			}
			column += columns(text)
			if at == nil {
				break
			}
			class = inkClass[line[at[2]:at[3]]]
			line = line[at[1]:]
		}
	}
	b.WriteString("</svg>\n")
	return b.String()
}

var inkClass = map[string]string{
	string(red): ` class="red"`, string(cyan): ` class="cyan"`, string(yellow): ` class="yellow"`, string(faint): ` class="faint"`, string(bold): ` class="bold"`,
}

const terminalStyle = `<style>
text { font: 14px ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; white-space: pre; fill: #1c2430 }
.ground { fill: #f7f8fa; stroke: #d3d9e2 }
.bold { font-weight: 700 } .faint { fill: #5c6675 } .red { fill: #b3261e; font-weight: 700 } .cyan { fill: #0b6b7f } .yellow { fill: #8a5a00 }
@media (prefers-color-scheme: dark) {
text { fill: #e4e8ee } .ground { fill: #12161c; stroke: #2e3742 }
.faint { fill: #98a3b3 } .red { fill: #ff8a80 } .cyan { fill: #5fd0e6 } .yellow { fill: #e8c15a }
}
</style>
`
