package qtool

import (
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// classItem is a part of a class: one character, or RE2 for several.
type classItem struct {
	ch   rune
	many string
	at   int
}

func (c classItem) re2() string {
	if c.many != "" {
		return c.many
	}
	switch {
	case strings.ContainsRune(`\]^-[`, c.ch):
		return `\` + string(c.ch)
	case unicode.IsPrint(c.ch):
		return string(c.ch)
	}
	return unprintable(c.ch)
}

// class is [...]. It is taken apart and written anew: Perl takes a - for itself
// where RE2 sees a mistake.
func (r *rewriter) class() error {
	start := r.i
	var b strings.Builder
	b.WriteByte('[')
	r.i++
	if r.peek(0) == '^' {
		b.WriteByte('^')
		r.i++
	}
	for first := true; ; first = false {
		if r.i >= len(r.q.text) {
			return r.fail(start, `close it with ], or write \[ for the character`, "this class is never closed")
		}
		if r.peek(0) == ']' && !first {
			break
		}
		low, err := r.classItem()
		if err != nil {
			return err
		}
		if r.peek(0) != '-' || r.peek(1) == ']' || r.i+1 >= len(r.q.text) {
			b.WriteString(r.classText(low, first))
			continue
		}
		r.i++
		high, err := r.classItem()
		switch {
		case err != nil:
			return err
		case low.many != "" || high.many != "":
			return r.fail(low.at, `write \- for the character`, "this range has more than a character at its end")
		case low.ch > high.ch:
			return r.fail(low.at, `write \- for the character`, "this range is upside down")
		}
		b.WriteString(low.re2() + "-" + high.re2())
	}
	b.WriteByte(']')
	r.write(b.String(), 1)
	return nil
}

// classText leaves a - bare where it stands first or last.
func (r *rewriter) classText(c classItem, first bool) string {
	if c.many == "" && c.ch == '-' && (first || r.peek(0) == ']') {
		return "-"
	}
	return c.re2()
}

func (r *rewriter) classItem() (classItem, error) {
	item := classItem{at: r.i}
	c := r.peek(0)
	if !r.raw && interpolates(r.q.text, r.i, true) {
		return item, r.fail(r.i, `write \`+string(rune(c))+" for the character", "%c puts a variable into the pattern, which is not supported", c)
	}
	switch {
	case c == '[' && strings.IndexByte(":.=", r.peek(1)) >= 0 && r.peek(1) != 0:
		return r.namedClass()
	case c == '\\':
		return r.classEscape()
	}
	ch, n := utf8.DecodeRuneInString(r.rest())
	item.ch = ch
	r.i += n
	return item, nil
}

var posixClass = regexp.MustCompile(`^\[:\^?[a-z]+:\]`)

// namedClass is [:alpha:], or the character [ before another.
func (r *rewriter) namedClass() (classItem, error) {
	item := classItem{at: r.i, ch: '['}
	named := posixClass.FindString(r.rest())
	switch kind := r.peek(1); {
	case named != "" && validClass("["+named+"]"):
		item.many = named
		r.i += len(named)
		return item, nil
	case named != "":
		return item, r.fail(r.i, "use [[:alpha:]], [[:digit:]], [[:space:]] and the like", "there is no class %s", named)
	case strings.Contains(r.rest()[2:], string(rune(kind))+"]"):
		return item, r.fail(r.i, `write \[ for the character`, "this kind of class is %s", notInRE2)
	}
	r.i++
	return item, nil
}

func validClass(re2 string) bool {
	_, err := regexp.Compile(re2)
	return err == nil
}

// classEscape is a backslash within a class.
func (r *rewriter) classEscape() (classItem, error) {
	item := classItem{at: r.i}
	if r.i+1 >= len(r.q.text) {
		return item, r.fail(r.i, `write \\ for the character`, "a backslash cannot end a pattern")
	}
	switch c := r.peek(1); {
	case strings.IndexByte("dDwWsS", c) >= 0:
		item.many = r.rest()[:2]
	case c == 'h':
		item.many = `\t `
	case c == 'v':
		item.many = `\n\x0b\f\r`
	case c == 'p' || c == 'P':
		text, err := r.propertyText()
		if err != nil {
			return item, err
		}
		item.many = text
		r.i += len(text)
		return item, nil
	case strings.IndexByte("HVRNXQE", c) >= 0:
		return item, r.fail(r.i, "list the characters", `\%c is not supported within [ ]`, c)
	default:
		ch, n, err := r.escapedCharacter()
		item.ch = ch
		r.i += n
		return item, err
	}
	r.i += 2
	return item, nil
}
