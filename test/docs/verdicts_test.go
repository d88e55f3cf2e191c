package docs

import (
	"fmt"
	"html"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// question is a step on the way to a verdict, as milter/evidence takes them.
type question struct {
	asks    string
	names   []string // of evidence
	more    string
	verdict string // where the answer is yes
}

// ladder are the questions in their order. Where all are answered with no, the
// verdict is unknown.
var ladder = []question{
	{"Is there any proof that we sent it?", []string{"batv", "token", "ledger-message", "ledger-recipient", "envelope-id"}, "", "legit"},
	{"Does anything support that we did?", []string{"expired-signature", "our-relay", "our-address", "our-message-id", "wrote-to-domain"}, "", "unknown"},
	{"Do we know too little of it to judge?", []string{"kind-never-suspect", "exempt", "cut", "lookup-failed"}, "", "unknown"},
	{"Does its recipient never send mail?", []string{"never-sends"}, "", "suspect"},
	{"May the mail have left without our knowing?", []string{"not-covered", "gap"}, "", "unknown"},
	{"Would the ledger know of it, and does not?", []string{"not-in-ledger"}, "not asked during the warm-up", "suspect"},
	{"Are there two signs against it, of different kinds?", []string{"first-hop-not-ours", "helo-our-domain", "forged-signature", "not-seen-sending", "many-recipients", "listed"},
		"one of them has to be among the first three", "suspect"},
}

// The picture in docs/verdicts.md has all evidence that the code has, and is drawn
// from the questions above. BACKSCATTERD_WRITE=1 draws it anew.
func TestVerdictsPicture(t *testing.T) {
	known := evidence(t)
	asked := []string{"warm-up"}
	for i, q := range ladder {
		asked = append(asked, q.names...)
		for _, name := range q.names {
			if role := known[name]; (role == "Proofs") != (i == 0) || (role == "Support") != (i == 1) {
				t.Errorf("%s, of the %s, is asked for at step %d", name, role, i+1)
			}
		}
	}
	for name := range known {
		if !slices.Contains(asked, name) {
			t.Errorf("no question of the picture asks for %s", name)
		}
	}
	for _, name := range asked {
		if known[name] == "" {
			t.Errorf("the code has no evidence %s", name)
		}
	}
	path := filepath.Join(root, "docs/verdicts.svg")
	want := drawLadder()
	if writing() {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Error("docs/verdicts.svg is stale: BACKSCATTERD_WRITE=1 go test ./test/docs -run TestVerdictsPicture draws it")
	}
}

// evidence are the names that the code has, with the comment above each group.
func evidence(t *testing.T) map[string]string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(root, "milter/evidence/finding.go"))
	if err != nil {
		t.Fatal(err)
	}
	out := make(map[string]string)
	role := ""
	for line := range strings.Lines(string(data)) {
		if m := regexp.MustCompile(`^// (Proofs|Support|Contras|Brakes): `).FindStringSubmatch(line); m != nil {
			role = m[1]
		} else if strings.HasPrefix(line, "// ") {
			role = ""
		}
		if m := regexp.MustCompile(`^\t\w+ +Name = "([a-z-]+)"`).FindStringSubmatch(line); m != nil && role != "" {
			out[m[1]] = role
		}
	}
	if len(out) < 20 {
		t.Fatalf("only %d pieces of evidence were found", len(out))
	}
	return out
}

const (
	ladderWidth = 820
	boxLeft     = 20
	boxWidth    = 600
	verdictLeft = 690
	chipHeight  = 24
)

func drawLadder() string {
	var b strings.Builder
	y := 20
	fmt.Fprintf(&b, "<text class=\"soft\" x=\"%d\" y=\"%d\">A bounce comes in. The first question that is answered with yes decides.</text>\n", boxLeft, y+4)
	y += 30
	for i, q := range ladder {
		rows := chips(q.names)
		height := 40 + len(rows)*(chipHeight+6) + 8
		if q.more != "" {
			height += 18
		}
		fmt.Fprintf(&b, "<rect class=\"box\" x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" rx=\"8\"/>\n", boxLeft, y, boxWidth, height)
		fmt.Fprintf(&b, "<text class=\"asks\" x=\"%d\" y=\"%d\">%d. %s</text>\n", boxLeft+16, y+26, i+1, html.EscapeString(q.asks))
		for j, row := range rows {
			for _, c := range row {
				top := y + 40 + j*(chipHeight+6)
				fmt.Fprintf(&b, "<rect class=\"chip\" x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" rx=\"12\"/><text class=\"name\" x=\"%d\" y=\"%d\">%s</text>\n",
					c.left, top, c.width, chipHeight, c.left+c.width/2, top+16, c.name)
			}
		}
		if q.more != "" {
			fmt.Fprintf(&b, "<text class=\"soft\" x=\"%d\" y=\"%d\">%s</text>\n", boxLeft+16, y+height-12, html.EscapeString(q.more))
		}
		middle := y + height/2
		arrow(&b, boxLeft+boxWidth, middle, verdictLeft, middle)
		fmt.Fprintf(&b, "<text class=\"soft mid\" x=\"%d\" y=\"%d\">yes</text>\n", (boxLeft+boxWidth+verdictLeft)/2, middle-7)
		verdict(&b, q.verdict, middle)
		y += height
		arrow(&b, boxLeft+60, y, boxLeft+60, y+30)
		fmt.Fprintf(&b, "<text class=\"soft\" x=\"%d\" y=\"%d\">no</text>\n", boxLeft+72, y+19)
		y += 30
	}
	fmt.Fprintf(&b, "<rect class=\"unknown\" x=\"%d\" y=\"%d\" width=\"120\" height=\"36\" rx=\"8\"/><text class=\"verdict mid onunknown\" x=\"%d\" y=\"%d\">unknown</text>\n", boxLeft, y, boxLeft+60, y+23)
	y += 36 + 20
	return fmt.Sprintf("<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" width=\"%d\" height=\"%d\" role=\"img\" aria-labelledby=\"t d\">\n"+
		"<title id=\"t\">How a verdict is made</title>\n<desc id=\"d\">%s</desc>\n%s<rect class=\"ground\" x=\"0.5\" y=\"0.5\" width=\"%d\" height=\"%d\" rx=\"8\"/>\n%s</svg>\n",
		ladderWidth, y, ladderWidth, y, html.EscapeString(inWords()), ladderStyle, ladderWidth-1, y-1, b.String())
}

// inWords is the picture for those who do not see it.
func inWords() string {
	var b strings.Builder
	for i, q := range ladder {
		fmt.Fprintf(&b, "%d. %s (%s) Then %s. ", i+1, q.asks, strings.Join(q.names, ", "), q.verdict)
	}
	return b.String() + "Else unknown."
}

type chip struct {
	name        string
	left, width int
}

// chips lays names out in rows that fit into a box.
func chips(names []string) (rows [][]chip) {
	x := boxLeft + boxWidth
	for _, name := range names {
		width := len(name)*7 + 24
		if x+width > boxLeft+boxWidth-16 {
			rows = append(rows, nil)
			x = boxLeft + 16
		}
		last := len(rows) - 1
		rows[last] = append(rows[last], chip{name, x, width})
		x += width + 8
	}
	return rows
}

func verdict(b *strings.Builder, name string, middle int) {
	fmt.Fprintf(b, "<rect class=\"%s\" x=\"%d\" y=\"%d\" width=\"110\" height=\"36\" rx=\"8\"/><text class=\"verdict mid on%s\" x=\"%d\" y=\"%d\">%s</text>\n",
		name, verdictLeft, middle-18, name, verdictLeft+55, middle+5, name)
}

// arrow draws one that goes to the right or down.
func arrow(b *strings.Builder, x1, y1, x2, y2 int) {
	head := fmt.Sprintf("%d,%d %d,%d %d,%d", x2, y2, x2-8, y2-5, x2-8, y2+5)
	if x1 == x2 {
		head = fmt.Sprintf("%d,%d %d,%d %d,%d", x2, y2, x2-5, y2-8, x2+5, y2-8)
	}
	fmt.Fprintf(b, "<line x1=\"%d\" y1=\"%d\" x2=\"%d\" y2=\"%d\"/><polygon points=\"%s\"/>\n", x1, y1, x2, y2, head)
}

const ladderStyle = `<style>
text { font: 14px system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; fill: #1d2733 }
.ground { fill: #fff; stroke: #dfe4e9 } .box { fill: #f7f8fa; stroke: #dfe4e9 } .chip { fill: #fff; stroke: #c3ccd6 }
.asks { font-weight: 600; font-size: 15px } .name { font: 12px ui-monospace, "DejaVu Sans Mono", Menlo, monospace; text-anchor: middle }
.soft { fill: #5a6673; font-size: 13px } .mid { text-anchor: middle } .verdict { font-weight: 600 }
line { stroke: #5a6673; stroke-width: 1.5 } polygon { fill: #5a6673 }
.legit { fill: #0072b2 } .suspect { fill: #c25500 } .unknown { fill: #d5dae0 } .onlegit, .onsuspect { fill: #fff }
@media (prefers-color-scheme: dark) {
text { fill: #e3e8ed } .ground { fill: #12171c; stroke: #2b343d } .box { fill: #181f26; stroke: #2b343d } .chip { fill: #12171c; stroke: #3c4753 }
.soft { fill: #9aa6b2 } line { stroke: #9aa6b2 } polygon { fill: #9aa6b2 }
.legit { fill: #56a8dc } .suspect { fill: #f08a3c } .unknown { fill: #3c4753 } .onlegit, .onsuspect { fill: #12171c }
}
</style>
`
