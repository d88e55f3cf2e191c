package main

import (
	"bytes"
	"cmp"
	"fmt"
	"html"
	"math"
	"slices"
	"time"
)

// chart is one half of the picture.
type chart struct {
	title  string
	curves []curve
	peak   int64 // of the memory of a sweep of the largest queue, in bytes
}

// The picture's measures, in pixels.
const (
	chartWidth, chartHeight = 400, 300
	marginLeft, marginTop   = 56, 44
	labelWidth              = 70
)

// Axes of the picture: powers of ten, messages across, microseconds up.
const (
	fewest, largestQueue   = 3, 6
	fastestTime, slowest10 = 0, 3
)

// draw makes an SVG of all charts side by side, readable on light and on dark
// ground, with what it shows in words for those who do not see it.
func draw(charts []chart) []byte {
	var b bytes.Buffer
	width := len(charts)*(chartWidth+marginLeft+labelWidth) + 20
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" role="img" aria-labelledby="t d">`+"\n", width, chartHeight+marginTop+110)
	b.WriteString("<title id=\"t\">Time for a message by size of the queue</title>\n<desc id=\"d\">")
	for _, c := range charts {
		b.WriteString(html.EscapeString(c.words()))
	}
	b.WriteString("</desc>\n<style>" + drawingStyle + "</style>\n")
	for i, c := range charts {
		fmt.Fprintf(&b, `<g transform="translate(%d %d)">`+"\n", i*(chartWidth+marginLeft+labelWidth)+marginLeft, marginTop)
		c.draw(&b)
		b.WriteString("</g>\n")
	}
	legend(&b, charts[0])
	b.WriteString("</svg>\n")
	return b.Bytes()
}

const drawingStyle = `
text{font:13px system-ui,sans-serif;fill:#333}
.title{font-weight:600}
.grid{stroke:#ddd;stroke-width:1}
.line{fill:none;stroke-width:2;stroke-linejoin:round}
.c0{stroke:#777}.c1{stroke:#0b62c4;stroke-width:3}.c2{stroke:#23863a}.c3{stroke:#a4590a}.c4{stroke:#b3261e}
circle{fill:#fff;stroke-width:2}
@media (prefers-color-scheme:dark){
text{fill:#ddd}.grid{stroke:#444}circle{fill:#111}
.c0{stroke:#aaa}.c1{stroke:#6cb2ff}.c2{stroke:#6fd08c}.c3{stroke:#f0a55a}.c4{stroke:#ff8a80}}
`

func (c chart) draw(b *bytes.Buffer) {
	fmt.Fprintf(b, `<text class="title" x="0" y="-20">%s</text>`+"\n", html.EscapeString("µs a message, "+c.title))
	for p := fastestTime; p <= slowest10; p++ {
		y := height(time.Duration(math.Pow10(p)) * time.Microsecond)
		fmt.Fprintf(b, `<path class="grid" d="M0 %.1fH%d"/><text x="-8" y="%.1f" text-anchor="end">%.0f</text>`+"\n", y, chartWidth, y+4, math.Pow10(p))
	}
	for p := fewest; p <= largestQueue; p++ {
		x := across(int(math.Pow10(p)))
		fmt.Fprintf(b, `<path class="grid" d="M%.1f 0V%d"/><text x="%.1f" y="%d" text-anchor="middle">%s</text>`+"\n", x, chartHeight, x, chartHeight+20, thousands(p))
	}
	for i, cv := range c.curves {
		if len(cv.points) == 0 {
			continue
		}
		fmt.Fprintf(b, `<path class="line c%d" d="`, i)
		for k, p := range cv.points {
			fmt.Fprintf(b, "%c%.1f %.1f", "ML"[min(k, 1)], across(p.messages), height(p.each))
		}
		b.WriteString("\"/>\n")
		last := cv.points[len(cv.points)-1]
		fmt.Fprintf(b, `<circle class="c%d" cx="%.1f" cy="%.1f" r="4"/>`+"\n", i, across(last.messages), height(last.each))
	}
	c.ends(b)
}

// ends writes what each curve ends at, apart where they end close together.
func (c chart) ends(b *bytes.Buffer) {
	const apart = 16
	drawn := slices.DeleteFunc(slices.Clone(c.curves), func(cv curve) bool { return len(cv.points) == 0 })
	end := func(cv curve) point { return cv.points[len(cv.points)-1] }
	slices.SortStableFunc(drawn, func(a, b curve) int { return cmp.Compare(height(end(b).each), height(end(a).each)) })
	above := make(map[int]float64) // by size: where the last label is
	for _, cv := range drawn {
		p := end(cv)
		y := height(p.each) + 4
		if last, ok := above[p.messages]; ok {
			y = min(y, last-apart)
		}
		above[p.messages] = y
		fmt.Fprintf(b, `<text x="%.1f" y="%.1f">%s</text>`+"\n", across(p.messages)+9, y, microseconds(p.each))
	}
}

func legend(b *bytes.Buffer, c chart) {
	y := marginTop + chartHeight + 56
	x := marginLeft
	for i, cv := range c.curves {
		fmt.Fprintf(b, `<path class="line c%d" d="M%d %dh28"/><text x="%d" y="%d">%s</text>`+"\n", i, x, y, x+36, y+4, html.EscapeString(cv.name))
		x += 72 + 7*len(cv.name)
	}
	fmt.Fprintf(b, `<text x="%d" y="%d">across: messages in the queue; both axes by powers of ten; lower is faster</text>`+"\n", marginLeft, y+32)
}

func across(messages int) float64 {
	return (math.Log10(float64(messages)) - fewest) / (largestQueue - fewest) * chartWidth
}

func height(each time.Duration) float64 {
	us := math.Max(each.Seconds()*1e6, 1)
	return chartHeight * (1 - (math.Log10(us)-fastestTime)/(slowest10-fastestTime))
}

func thousands(power int) string {
	return map[int]string{3: "1,000", 4: "10,000", 5: "100,000", 6: "1,000,000"}[power]
}

func microseconds(d time.Duration) string {
	if us := d.Seconds() * 1e6; us >= 20 {
		return fmt.Sprintf("%.0f µs", us)
	}
	return fmt.Sprintf("%.1f µs", d.Seconds()*1e6)
}

// words say what the chart shows.
func (c chart) words() string {
	text := c.title + ": "
	for i, cv := range c.curves {
		if len(cv.points) == 0 {
			continue
		}
		first, last := cv.points[0], cv.points[len(cv.points)-1]
		if i > 0 {
			text += "; "
		}
		text += fmt.Sprintf("%s %s at %d messages, %s at %d", cv.name, microseconds(first.each), first.messages, microseconds(last.each), last.messages)
	}
	return text + ". "
}
