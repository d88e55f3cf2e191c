package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/backscatterd/backscatterd/queuesweep"
)

// showCounts prints a summary as qshape does: a row a key, a column an age. A
// terminal gets a bar in each row, and as many columns as fit.
func showCounts(out terminal, by string, counts []queuesweep.Count) {
	total := queuesweep.Count{Key: "TOTAL"}
	for _, c := range counts {
		total.Total += c.Total
		for i, n := range c.Ages {
			total.Ages[i] += n
		}
	}
	switch {
	case total.Total == 0 && out.width > 0:
		fmt.Fprintln(out, "no messages to count")
	case out.width == 0:
		pipeCounts(out, by, append([]queuesweep.Count{total}, counts...))
	case by == "age":
		showAges(out, total)
	default:
		newCountTable(out, by, total, counts).print(append([]queuesweep.Count{total}, counts...))
	}
}

// pipeCounts prints the whole table, whatever its width.
func pipeCounts(out terminal, by string, counts []queuesweep.Count) {
	width := len(by)
	for _, c := range counts {
		width = max(width, columns(clean(c.Key)))
	}
	width = min(width, 50) // a longer key moves its row, and is not cut
	fmt.Fprintf(out, "%s %6s", out.paint(bold, pad(by, width)), "T")
	for _, l := range queuesweep.AgeLabels() {
		fmt.Fprintf(out, " %6s", l)
	}
	fmt.Fprintln(out)
	for _, c := range counts {
		fmt.Fprintf(out, "%s %6d", pad(clean(c.Key), width), c.Total)
		for _, n := range c.Ages {
			fmt.Fprintf(out, " %6d", n)
		}
		fmt.Fprintln(out)
	}
	fmt.Fprintln(out, out.paint(faint, "columns: up to so many minutes old"))
}

// ageNames say queuesweep's bounds of age as people do.
func ageNames() []string {
	names := []string{}
	from := "0"
	for _, label := range queuesweep.AgeLabels() {
		minutes, err := strconv.Atoi(label)
		if err != nil {
			return append(names, from+" and more")
		}
		to := fmt.Sprintf("%d min", minutes)
		if minutes > 80 {
			to = fmt.Sprintf("%d h %02d", minutes/60, minutes%60)
		}
		names = append(names, from+" to "+to)
		from = to
	}
	return names
}

// showAges draws the ages, the youngest first.
func showAges(out terminal, total queuesweep.Count) {
	names := ageNames()
	wide := 0
	for _, n := range names {
		wide = max(wide, columns(n))
	}
	most, digits := slices.Max(total.Ages[:]), len(fmt.Sprint(total.Total))
	room := min(out.width-wide-digits-4, 60)
	fmt.Fprintf(out, "%s\n", out.paint(bold, pad("TOTAL", wide)+"  "+padLeft(fmt.Sprint(total.Total), digits)))
	for i, n := range total.Ages {
		fmt.Fprintf(out, "%s  %s  %s\n", pad(names[i], wide), out.count(n, digits), out.paint(cyan, out.bar(n, most, room)))
	}
}

// count is a number; none is but a dot, so that the others are seen.
func (t terminal) count(n, to int) string {
	if n == 0 {
		return t.paint(faint, padLeft("·", to))
	}
	return padLeft(fmt.Sprint(n), to)
}

// countTable is a summary by a key on a terminal.
type countTable struct {
	out    terminal
	by     string
	labels []string
	each   int   // columns of AgeLabels that one of the table stands for
	ages   []int // their widths
	key    int
	above  bool // keys stand in full above their rows
	total  int
	bar    int // 0 is none
	most   int
}

const (
	leastBar = 8
	mostBar  = 30
	mostKey  = 60
)

// newCountTable shares out the width. A status tells at its end what is wrong,
// and many begin alike: where there is no room for all of it beside its numbers,
// it stands above them.
func newCountTable(out terminal, by string, total queuesweep.Count, counts []queuesweep.Count) countTable {
	t := countTable{out: out, by: by, total: max(len(fmt.Sprint(total.Total)), len("ALL"))}
	least := max(columns(by), len("TOTAL"))
	need := least
	for _, c := range counts {
		need = max(need, columns(clean(c.Key)))
		t.most = max(t.most, c.Total)
	}
	t.share(need, total)
	if by == "status" && t.key < need {
		t.above = true
		t.share(least, total)
	}
	return t
}

// share gives the key what it needs as far as there is room beside a bar and all
// ages, else beside two or five of them together.
func (t *countTable) share(need int, total queuesweep.Count) {
	all := queuesweep.AgeLabels()
	for _, t.each = range []int{1, 2, 5} {
		t.labels, t.ages = nil, nil
		used := t.total + 2
		for i := t.each - 1; i < len(all); i += t.each {
			label := all[i]
			if i == len(all)-1 && t.each > 1 {
				label = all[i-t.each] + "+"
			}
			t.labels = append(t.labels, label)
			w := max(len(label), len(fmt.Sprint(t.merge(total.Ages[:])[i/t.each])))
			t.ages = append(t.ages, w)
			used += 2 + w
		}
		rest := t.out.width - used
		t.key = min(need, max(rest-leastBar-2, 1), mostKey)
		t.bar = min(rest-t.key-2, mostBar)
		if t.key >= min(need, 24) {
			break
		}
	}
	if t.bar < leastBar {
		t.bar = 0
	}
}

// merge adds up columns that stand together.
func (t countTable) merge(ages []int) (out []int) {
	for some := range slices.Chunk(ages, t.each) {
		sum := 0
		for _, n := range some {
			sum += n
		}
		out = append(out, sum)
	}
	return out
}

func (t countTable) print(counts []queuesweep.Count) {
	head := pad(t.by, t.key) + "  " + padLeft("ALL", t.total)
	if t.bar > 0 {
		head += "  " + strings.Repeat(" ", t.bar)
	}
	for i, l := range t.labels {
		head += "  " + padLeft(l, t.ages[i])
	}
	fmt.Fprintln(t.out, t.out.paint(bold, head))
	for i, c := range counts {
		key := clean(c.Key)
		if t.above && i > 0 {
			for j, line := range fold(key, t.out.width-2) {
				if j > 0 {
					line = "  " + line
				}
				fmt.Fprintln(t.out, line)
			}
			key = ""
		}
		fmt.Fprintln(t.out, t.row(key, c, i > 0))
	}
	fmt.Fprintln(t.out, t.out.paint(faint, fit("columns: up to so many minutes old", t.out.width)))
}

// row is a line of the table; that of the total has no bar.
func (t countTable) row(key string, c queuesweep.Count, drawn bool) string {
	line := pad(fitMiddle(key, t.key), t.key) + "  " + padLeft(fmt.Sprint(c.Total), t.total)
	if t.bar > 0 {
		bar := ""
		if drawn {
			bar = t.out.bar(c.Total, t.most, t.bar)
		}
		line += "  " + t.out.paint(cyan, bar) + strings.Repeat(" ", t.bar-columns(bar))
	}
	for i, n := range t.merge(c.Ages[:]) {
		line += "  " + t.out.count(n, t.ages[i])
	}
	return line
}
