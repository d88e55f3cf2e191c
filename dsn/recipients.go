package dsn

import (
	"bytes"
	"strings"
)

// A finding is what the text for people says.
type finding struct {
	form      *form
	failed    bool // phrases of failure
	delayed   bool
	challenge bool
	first     bool // the text begins with such a phrase: nobody wrote around it
}

// A candidate is an address in the text that may be a failed recipient.
type candidate struct {
	addr  string
	orig  string // "expanded from"
	tier  int    // how it is written; less is better
	from  int    // where it stands, and where its explanation begins
	after int
}

// readNote finds out what the text says, as far as its phrases go.
func (p *parser) readNote() finding {
	p.low = lower(p.note)
	folded := fold(p.note)
	f := finding{
		form:      p.formOf(folded),
		failed:    containsAny(folded, sayFailed),
		delayed:   containsAny(folded, sayDelayed),
		challenge: containsAny(folded, sayChallenge),
	}
	head := folded[:min(len(folded), 300)]
	f.first = containsAny(head, sayFailed) || containsAny(head, sayDelayed) || f.form != nil && containsAll(head, f.form.says)
	return f
}

// recipients reads the failed recipients out of the text. Everything that
// looks like one is collected with a tier for how it is written, and the best
// tier that occurs is taken.
func (p *parser) recipients(f finding) {
	found := p.candidates(f.form)
	best := 99
	for _, c := range found {
		best = min(best, c.tier)
	}
	var chosen []candidate
	for _, c := range found {
		if c.tier == best && !(len(found) > 1 && p.unlikely(c.addr, best)) {
			chosen = append(chosen, c)
		}
	}
	action := p.fate(f)
	for i, c := range chosen {
		stop := len(p.note)
		if i+1 < len(chosen) {
			stop = max(chosen[i+1].from, c.after)
		}
		diag := p.explanation(c.after, stop)
		status := statusIn(diag)
		if status == "" {
			status = statusIn(p.note[c.from:c.after])
		}
		if action == Delivered || action == Relayed || action == Expanded {
			status = succeeded(status)
		}
		p.addRecipient(Recipient{Final: c.addr, Original: c.orig, Action: action, Status: status, Diagnostic: p.words(diag)})
	}
	if len(chosen) == 0 {
		p.inferred(action)
	}
}

// inferred takes the recipient from the returned header, where the text names
// none and there can only be one.
func (p *parser) inferred(action Kind) {
	var addr string
	for _, name := range []string{"X-Envelope-To", "Envelope-To", "Delivered-To", "X-Original-To", "To"} {
		value := []byte(p.report.Returned.Header(name))
		one, rest, ok := findAddress(value)
		if !ok {
			continue
		}
		if name == "To" {
			// A display name may look like an address as well.
			if next, _, more := findAddress(rest); more && next != one && bytes.IndexByte(rest, ',') >= 0 {
				continue
			}
		}
		addr = one
		break
	}
	if addr == "" {
		return
	}
	status := p.unnamed.Status
	diag := p.unnamed.Diagnostic
	if p.unnamed.Action != "" {
		action = p.unnamed.Action
	}
	if status == "" {
		status = statusIn(p.note)
	}
	p.addRecipient(Recipient{Final: addr, Action: action, Status: status, Diagnostic: diag})
}

// unlikely are the reporting system's own addresses, and the address that the
// bounce was sent to, where there are others.
func (p *parser) unlikely(addr string, tier int) bool {
	local := strings.ToLower(string(localOf([]byte(addr))))
	if local == "mailer-daemon" || local == "postmaster" && tier > 1 {
		return true
	}
	to, _, ok := findAddress(p.outer.get("To"))
	return tier > 1 && ok && strings.EqualFold(addr, to)
}

// candidates are the addresses in the text that may be recipients; they are
// looked for once.
func (p *parser) candidates(f *form) []candidate {
	if p.searched {
		return p.found
	}
	p.searched = true
	p.found = p.search(f, p.found[:0])
	return p.found
}

func (p *parser) search(f *form, out []candidate) []candidate {
	if f != nil && f.shapes == inJSON {
		return p.searchJSON(f, out)
	}
	armed, rcptTo := 0, ""
	for pos := 0; pos < len(p.note); {
		end := pos + bytes.IndexByte(p.note[pos:], '\n')
		line := p.note[pos:end]
		text := bytes.TrimRight(unquote(line), " \t")
		off := pos + len(line) - len(unquote(line))
		low := p.low[off : off+len(text)]
		pos = end + 1
		if armed > 0 {
			armed--
		}
		if strings.HasPrefix(low, "rcpt to:") {
			rcptTo, _, _ = findAddress(text)
		}
		at := bytes.IndexByte(text, '@')
		if at < 0 {
			if containsAny(low, sayRecipients) {
				armed = 12
			}
			if rcptTo != "" && isReply(text) {
				out = append(out, candidate{addr: rcptTo, tier: 4, from: off, after: off})
				rcptTo = ""
			}
			continue
		}
		c, ok := lineCandidate(text, low, f, armed > 0)
		if !ok {
			if containsAny(low, sayRecipients) {
				armed = 12
			}
			continue
		}
		c.from, c.after = off, off+c.after
		out = append(out, c)
		if c.tier <= 2 {
			armed = max(armed, 12)
		}
	}
	return out
}

// searchJSON takes the addresses that stand right behind one of the labels.
func (p *parser) searchJSON(f *form, out []candidate) []candidate {
	for _, label := range f.labels {
		for from := 0; ; {
			i := strings.Index(p.low[from:], label)
			if i < 0 {
				break
			}
			from += i + len(label)
			if a, b := addressSpan(p.note[from:]); a == 0 {
				out = append(out, candidate{addr: string(p.note[from : from+b]), from: from, after: from + b})
			}
		}
	}
	return out
}

// lineCandidate judges one line that holds an @.
func lineCandidate(text []byte, low string, f *form, armed bool) (candidate, bool) {
	from, to := addressSpan(text)
	if from < 0 {
		return candidate{}, false
	}
	c := candidate{addr: string(text[from:to]), after: to}
	lead, rest := text[:from], text[to:]
	var is shape
	switch {
	case len(lead) > 0 && lead[len(lead)-1] == '<' && onlyBullets(lead[:len(lead)-1]) && len(rest) > 0 && rest[0] == '>':
		is, c.tier, rest = bracketed, 1, rest[1:]
		c.after++
		if len(rest) > 0 && rest[0] == ':' {
			c.tier = 0
		}
	case isReply(text) || bytes.HasPrefix(text, []byte("<<<")):
		is, c.tier, c.after = transcript, 4, 0
	case onlyBullets(lead) && endsAddress(rest, low[to:]):
		is, c.tier = bare, 2
		if armed {
			c.tier = 1
		}
	case f != nil && f.shapes&labelled != 0 && containsAny(low[:from], f.labels):
		is, c.tier = labelled, 0
	case recipientLabel(low[:from]):
		is, c.tier = labelled, 2
		if armed || f != nil && f.shapes&labelled != 0 {
			c.tier = 1
		}
	case containsAny(low, lineFailed):
		c.tier = 5
	default:
		return c, false
	}
	if i := bytes.Index(rest, []byte("expanded from")); i >= 0 {
		c.orig, _, _ = findAddress(rest[i:])
	}
	if f != nil && f.shapes&is == 0 {
		c.tier += 3 // not how this system writes them
	}
	return c, true
}

func onlyBullets(lead []byte) bool {
	return len(bytes.Trim(lead, " \t*-+.\"'[(<=")) == 0 || string(lead) == "\xe2\x80\xa2 "
}

// endsAddress reports whether what follows an address at the start of a line
// fits a list of recipients, rather than a sentence.
func endsAddress(rest []byte, low string) bool {
	rest = bytes.TrimLeft(rest, " \t\"'>]")
	return len(rest) == 0 || bytes.IndexByte([]byte(":;,.([<-"), rest[0]) >= 0 || statusIn(rest) != "" || containsAny(low, lineFailed) ||
		hasPrefixFold(rest, "on ") || hasPrefixFold(rest, "invalid") || hasPrefixFold(rest, "error")
}

// recipientLabel reports whether the words before an address say that it is a
// recipient: "Recipient address: ", "Unknown user: ", "undeliverable to ".
func recipientLabel(lead string) bool {
	lead = strings.TrimRight(lead, " \t<\"'")
	if lead == "" || len(lead) > 90 || strings.Contains(lead, "sender") || strings.Contains(lead, "from") {
		return false
	}
	return (strings.HasSuffix(lead, ":") || strings.HasSuffix(lead, " to") || strings.HasSuffix(lead, "=")) && containsAny(lead, labelWords)
}

// isReply reports whether a line is an SMTP answer of refusal: "550 ...",
// "<<< 550 ...".
func isReply(text []byte) bool {
	text = bytes.TrimLeft(text, "< ")
	return len(text) > 3 && (text[0] == '4' || text[0] == '5') && digit(text[1]) && digit(text[2]) && (text[3] == ' ' || text[3] == '-')
}

// explanation is the text about a recipient: the rest of its line and those
// below to the next blank line; where no code is in it, the first paragraph
// below that has one.
func (p *parser) explanation(from, stop int) []byte {
	text := p.note[min(from, stop):stop]
	first := paragraph(text)
	if statusIn(first) != "" {
		return first
	}
	for rest := text[len(first):]; len(rest) > 0; {
		rest = bytes.TrimLeft(rest, "\r\n")
		next := paragraph(rest)
		if statusIn(next) != "" {
			return next
		}
		if len(next) == 0 {
			break
		}
		rest = rest[len(next):]
	}
	return first
}

func paragraph(text []byte) []byte {
	if i := bytes.Index(text, []byte("\n\n")); i >= 0 {
		return text[:i]
	}
	return text
}

// addRecipient keeps a recipient, once.
func (p *parser) addRecipient(rcpt Recipient) {
	r := p.report
	for i := range r.Recipients {
		if have := &r.Recipients[i]; strings.EqualFold(have.Final, rcpt.Final) {
			if have.Status == "" || graver(rcpt.Status, have.Status) {
				have.Status, have.Diagnostic = rcpt.Status, rcpt.Diagnostic
			}
			return
		}
	}
	if len(r.Recipients) >= p.limits.Recipients {
		r.Cut = true
		return
	}
	r.Recipients = append(r.Recipients, rcpt)
}

// words gives text as one line, bounded: what a diagnostic is shown as.
func (p *parser) words(text []byte) string {
	text = bytes.TrimLeft(text, " \t\r\n:;,>")
	text = bytes.TrimRight(text[:min(len(text), 2000)], " \t\r\n")
	plain := true
	for i, c := range text {
		plain = plain && c >= ' ' && !(c == ' ' && text[i-1] == ' ')
	}
	if plain {
		return string(text)
	}
	return strings.Join(strings.Fields(string(text)), " ")
}

// fold gives text in lower case, with one blank for each run of blanks, line
// ends and quote marks at the start of lines.
func fold(text []byte) string {
	out := make([]byte, 0, len(text))
	start := true
	for _, c := range text {
		switch {
		case c == '\n' || c == '\r':
			start = true
			c = ' '
		case start && (c == '>' || c == '|'):
			continue
		case c == '\t' || c == ' ':
			c = ' '
		default:
			start = false
		}
		if c == ' ' && (len(out) == 0 || out[len(out)-1] == ' ') {
			continue
		}
		if c >= 'A' && c <= 'Z' {
			c |= 0x20
		}
		out = append(out, c)
	}
	return string(out)
}

// lower gives text with A to Z in lower case, byte for byte.
func lower(text []byte) string {
	var b strings.Builder
	b.Grow(len(text))
	for _, c := range text {
		if c >= 'A' && c <= 'Z' {
			c |= 0x20
		}
		b.WriteByte(c)
	}
	return b.String()
}

func containsAny(s string, list []string) bool {
	for _, x := range list {
		if strings.Contains(s, x) {
			return true
		}
	}
	return false
}

func containsAll(s string, list []string) bool {
	for _, x := range list {
		if !strings.Contains(s, x) {
			return false
		}
	}
	return true
}
