package status

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html"
	"math"
	"net/http"
	"strings"
	"time"

	"github.com/backscatterd/backscatterd/queuesweep"
)

// pictureStyle is that of the pictures; they stand alone, so that they can be
// opened by themselves, and a browser for terminals shows their description.
//
//go:embed picture.css
var pictureStyle string

// picture writes an SVG. Places are in percent of the width and in pixels of the
// height, so that it can be as wide as the page and its letters stay readable.
type picture struct{ bytes.Buffer }

func newPicture(height int, title, description string) *picture {
	p := new(picture)
	fmt.Fprintf(p, `<svg xmlns="http://www.w3.org/2000/svg" width="100%%" height="%d" role="img" aria-labelledby="t d"><title id="t">%s</title><desc id="d">%s</desc><style>%s</style>`,
		height, html.EscapeString(title), html.EscapeString(description), pictureStyle)
	return p
}

func (p *picture) rect(class string, x, y, w, h float64, title string) {
	fmt.Fprintf(p, `<rect class="%s" x="%.3f%%" y="%.1f" width="%.3f%%" height="%.1f" rx="2">`, class, x, y, w, h)
	if title != "" {
		fmt.Fprintf(p, `<title>%s</title>`, html.EscapeString(title))
	}
	p.WriteString(`</rect>`)
}

func (p *picture) text(class string, x, y float64, text string) {
	fmt.Fprintf(p, `<text class="%s" x="%.3f%%" y="%.1f">%s</text>`, class, x, y, html.EscapeString(text))
}

// clipped is a text that ends where its width does. Of one that has more
// characters than most, the middle is left out: names of hosts differ at the front,
// and tell whose they are at the end.
func (p *picture) clipped(class string, x, y, w, h float64, text string, most int) {
	shown := []rune(text)
	if len(shown) > most {
		end := most / 2
		shown = append(append(shown[:most-end-1:most-end-1], '…'), shown[len(shown)-end:]...)
	}
	fmt.Fprintf(p, `<svg x="%.3f%%" y="%.1f" width="%.3f%%" height="%.1f"><text class="%s" x="0" y="%.1f">%s<title>%s</title></text></svg>`,
		x, y, w, h, class, h-6, html.EscapeString(string(shown)), html.EscapeString(text))
}

func (p *picture) serve(w http.ResponseWriter) {
	p.WriteString(`</svg>`)
	sum := sha256.Sum256([]byte(pictureStyle))
	w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'sha256-"+base64.StdEncoding.EncodeToString(sum[:])+"'; frame-ancestors 'none'")
	w.Header().Set("Content-Type", "image/svg+xml; charset=utf-8")
	w.Write(p.Bytes())
}

// heat is a table of counts by destination and age.
type heat struct {
	Columns []string
	Rows    []heatRow
	most    int
}

type heatRow struct {
	Domain string
	Total  int
	Cells  []int
}

const shownDomains = 15

func newHeat(s queuesweep.Survey) heat {
	h := heat{Columns: ageColumns()}
	rest := heatRow{Domain: "all others", Cells: make([]int, len(h.Columns))}
	for i, c := range s.Domains {
		if i >= shownDomains || c.Key == queuesweep.OtherKeys {
			rest.Total += c.Total
			for j, n := range c.Ages {
				rest.Cells[j] += n
			}
			continue
		}
		h.Rows = append(h.Rows, heatRow{Short(c.Key, 120), c.Total, c.Ages[:]})
	}
	if rest.Total > 0 {
		h.Rows = append(h.Rows, rest)
	}
	for _, r := range h.Rows {
		for _, n := range r.Cells {
			h.most = max(h.most, n)
		}
	}
	return h
}

// level is how dark a count is, from 0 to 6, on the scale of logarithms: queues
// have a few large counts and many small ones.
func (h heat) level(n int) int {
	if n == 0 || h.most == 0 {
		return 0
	}
	if h.most == 1 {
		return 3
	}
	return 1 + int(math.Round(5*math.Log(float64(n))/math.Log(float64(h.most))))
}

const (
	heatRowHeight   = 26.0
	narrowRowHeight = 52.0
	heatTop         = 44.0
	shownName       = 36 // characters of a name that there is room for
)

func (h heat) height() int { return int(heatTop + heatRowHeight*float64(len(h.Rows))) }

// narrowHeight is that of the picture for phones.
func (h heat) narrowHeight() int { return int(heatTop + narrowRowHeight*float64(len(h.Rows))) }

// heading are a picture's head and the labels of its columns.
func (h heat) heading(height int, first float64) (p *picture, cell float64) {
	p = newPicture(max(height, 60), "Messages that wait, by destination and age",
		"A table: a row for each destination, a column for each span of age; the more messages, the stronger the colour. The page has the same numbers as text.")
	cell = (100 - first) / float64(len(h.Columns))
	p.text("label", first, 12, "up to so many minutes old")
	for i, c := range []string{"5", "10", "20", "40", "80", "160", "320", "640", "1280", "∞"} {
		p.text("label mid", first+cell*(float64(i)+0.5), 32, c)
	}
	return p, cell
}

// cells draws the counts of a row.
func (h heat) cells(p *picture, r heatRow, first, cell, y, tall float64) {
	for j, n := range r.Cells {
		x, level := first+cell*float64(j), h.level(n)
		p.rect(fmt.Sprintf("h%d", level), x+0.15, y, cell-0.3, tall, fmt.Sprintf("%s, %s: %d", r.Domain, h.Columns[j], n))
		if n > 0 {
			p.text(fmt.Sprintf("cell mid on%d", level), x+cell/2, y+tall-7, compact(n))
		}
	}
}

func (b *Board) queuePicture(w http.ResponseWriter, _ *http.Request) {
	s, _, _ := b.snapshot()
	h := newHeat(s)
	const total, first = 33.5, 35.5
	p, cell := h.heading(h.height(), first)
	p.text("label end", total, 12, "all")
	for i, r := range h.Rows {
		y := heatTop + heatRowHeight*float64(i)
		p.clipped("name", 0, y, 28.5, heatRowHeight-4, r.Domain, shownName)
		p.text("num end", total, y+16, compact(r.Total))
		h.cells(p, r, first, cell, y, heatRowHeight-3)
	}
	p.serve(w)
}

// narrowQueuePicture is the same for phones: the name stands above its row.
func (b *Board) narrowQueuePicture(w http.ResponseWriter, _ *http.Request) {
	s, _, _ := b.snapshot()
	h := newHeat(s)
	p, cell := h.heading(h.narrowHeight(), 0)
	for i, r := range h.Rows {
		y := heatTop + narrowRowHeight*float64(i)
		p.clipped("name", 0, y, 86, 20, r.Domain, shownName)
		p.text("num end", 100, y+14, compact(r.Total))
		h.cells(p, r, 0, cell, y+20, heatRowHeight-3)
	}
	p.serve(w)
}

// compact writes a number in four characters. The steps of an axis stay apart: of
// 500, 1000 and 1500 none is written as another.
func compact(n int) string {
	short := func(v float64, unit string) string {
		if v < 9.95 {
			return strings.TrimSuffix(fmt.Sprintf("%.1f", v), ".0") + unit
		}
		return fmt.Sprintf("%.0f%s", v, unit)
	}
	switch {
	case n < 1000:
		return fmt.Sprint(n)
	case n < 999_500:
		return short(float64(n)/1000, "k")
	}
	return short(float64(n)/1e6, "M")
}

const shownHours = 48

func (b *Board) bouncesPicture(w http.ResponseWriter, _ *http.Request) {
	now := b.opts.Now()
	newest := hourOf(now)
	counts := make(map[int64]Hour)
	most := 1
	hours, _ := b.hours(now) // the page tells of the error
	for _, h := range hours {
		n := hourOf(h.Start)
		counts[n] = h
		if newest-n < shownHours {
			most = max(most, h.Of("suspect")+h.Of("unknown")+h.Of("legit"))
		}
	}
	const height, top, bottom, first = 190.0, 28.0, 160.0, 7.0
	p := newPicture(height, "Bounces by verdict in the last 48 hours", "A bar for each hour, divided by verdict. The page has the sums of each day as text.")
	p.legend()
	step := niceStep(most)
	scale := (bottom - top) / float64((most+step-1)/step*step)
	for n := 0; float64(n)*scale <= bottom-top+0.5; n += step {
		y := bottom - float64(n)*scale
		fmt.Fprintf(p, `<line class="grid" x1="%.1f%%" x2="100%%" y1="%.1f" y2="%.1f"/>`, first, y, y)
		p.text("label end", first-1, y+4, compact(n))
	}
	width := (100 - first) / shownHours
	for i := range int64(shownHours) {
		hour := newest - shownHours + 1 + i
		x, y := first+width*float64(i), bottom
		h := counts[hour]
		start := time.Unix(hour*3600, 0).In(now.Location())
		for _, verdict := range []string{"legit", "unknown", "suspect"} {
			if n := h.Of(verdict); n > 0 {
				y -= float64(n) * scale
				p.rect(verdict, x+0.15, y, width-0.3, float64(n)*scale, fmt.Sprintf("%s: %d %s", start.Format("Mon 15:04"), n, verdict))
			}
		}
		if start.Hour()%12 == 0 {
			text := start.Format("15:04")
			if start.Hour() == 0 {
				text = start.Format("Mon 2")
			}
			p.text("label mid", min(95, max(first+3, x)), bottom+18, text)
			fmt.Fprintf(p, `<line class="tick" x1="%.3f%%" x2="%.3f%%" y1="%.1f" y2="%.1f"/>`, x, x, bottom, bottom+5)
		}
	}
	p.serve(w)
}

func (p *picture) legend() {
	for i, verdict := range []string{"suspect", "unknown", "legit"} {
		x := 7 + float64(i)*24
		fmt.Fprintf(p, `<svg x="%.1f%%" y="0" width="24%%" height="20"><rect class="%s" x="0" y="4" width="10" height="10" rx="2"/><text class="label" x="15" y="13">%s</text></svg>`, x, verdict, verdict)
	}
}

// niceStep is a round number of which the largest count is some four times.
func niceStep(most int) int {
	for step := 1; ; step *= 10 {
		for _, k := range []int{1, 2, 5} {
			if step*k*4 >= most {
				return step * k
			}
		}
	}
}
