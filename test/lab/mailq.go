package lab

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Listed is one message as `mailq -v` lists it. sendmail cuts what it prints:
// senders after 78 bytes, recipients after 71, statuses and quarantine reasons
// after 100.
type Listed struct {
	Folder     string // as printed: the folder of the df files
	ID         string
	State      byte  // '*' locked, 'X' load too high for it, '-' too young, '?' lost, ' ' none of these
	Size       int64 // of the df in bytes, -1 if there is none
	Priority   int64
	Warned     bool   // a delay warning was sent
	Time       string // of creation, local time: "Nov 24 00:47"
	Sender     string // as in the queue file: "<a@b>", "<>", "MAILER-DAEMON"
	BodyType   string
	Status     string // of the envelope, "" if none
	Quarantine string
	Recipients []ListedRecipient
	// Note is what stands in place of all the rest where sendmail could not
	// read the file: "job completed", "no control file", "permission denied".
	Note string
}

// ListedRecipient is one recipient of a message.
type ListedRecipient struct {
	Address    string // as in the queue file: "<a@b>"
	Controller string // the controlling user, "" if none
	Status     string // of this recipient, "" if none
}

// Mailq lists the queue, or the quarantined part of it, as sendmail does.
func (l *Lab) Mailq(ctx context.Context, quarantined bool) ([]Listed, error) {
	args := []string{"-bp", "-v"}
	if quarantined {
		args = append(args, "-qQ")
	}
	text, err := l.Sendmail(ctx, args...)
	if err != nil {
		return nil, err
	}
	return ParseMailq(text)
}

// ParseMailq reads what `sendmail -bp -v` printed (print_single_queue in
// sendmail's queue.c). A line that it does not know is an error that quotes it.
func ParseMailq(text string) ([]Listed, error) {
	var p mailqParser
	for n, line := range strings.Split(text, "\n") {
		if err := p.line(line); err != nil {
			return nil, fmt.Errorf("mailq, line %d: %w: %q", n+1, err, line)
		}
	}
	return p.listed, nil
}

type mailqParser struct {
	folder     string
	controller string
	listed     []Listed
}

const (
	recipientIndent  = "\t\t\t\t\t\t"
	statusIndent     = "\t\t ("
	quarantinePrefix = "     QUARANTINE: "
)

func (p *mailqParser) line(line string) error {
	switch {
	case strings.TrimSpace(line) == "", strings.HasPrefix(line, "-----Q-ID-----"),
		strings.HasPrefix(line, "\t\tTotal requests: "), strings.HasSuffix(line, " is empty"):
		return nil
	case strings.HasPrefix(line, recipientIndent):
		return p.recipient(line[len(recipientIndent):])
	case strings.HasPrefix(line, statusIndent):
		return p.recipientStatus(line)
	case strings.HasPrefix(line, "\t\t"):
		return p.folderLine(line[2:])
	case strings.HasPrefix(line, quarantinePrefix):
		m, err := p.last()
		if err == nil {
			m.Quarantine = line[len(quarantinePrefix):]
		}
		return err
	case strings.HasPrefix(line, "    "):
		return p.envelopeLine(line[4:])
	default:
		return p.message(line)
	}
}

func (p *mailqParser) last() (*Listed, error) {
	if len(p.listed) == 0 {
		return nil, errors.New("belongs to a message, and there is none before it")
	}
	return &p.listed[len(p.listed)-1], nil
}

// folderLine reads "/var/spool/mqueue (3 requests)".
func (p *mailqParser) folderLine(line string) error {
	folder, count, ok := cutLast(line, " (")
	if !ok || !strings.Contains(count, " request") {
		return errors.New("not a folder and its number of requests")
	}
	p.folder = folder
	return nil
}

// message reads "6AO0lZ09014487     1571      30000 Nov 24 00:47 MAILER-DAEMON":
// id, state, then "%8ld %10ld%c%.12s ", then the sender.
func (p *mailqParser) message(line string) error {
	p.controller = ""
	end := idLength(line)
	if end == 0 || end == len(line) {
		return errors.New("not a line of mailq -v")
	}
	m := Listed{Folder: p.folder, ID: line[:end], State: line[end]}
	if note, ok := strings.CutPrefix(strings.TrimLeft(line[end:], " *X-?"), "("); ok {
		m.State, m.Note = ' ', strings.TrimSuffix(note, ")")
		p.listed = append(p.listed, m)
		return nil
	}
	if !strings.ContainsRune(" *X-?", rune(m.State)) {
		return fmt.Errorf("unknown state %q", m.State)
	}
	if err := m.figures(line[end+1:]); err != nil {
		return err
	}
	p.listed = append(p.listed, m)
	return nil
}

// idLength is the length of the queue id that a line begins with, 0 if it
// begins with none: YMDhmsNN, then at least 5 digits of a pid. What follows may
// be an X and, where the size has 8 digits or more, these at once.
func idLength(line string) int {
	const stamp = len("YMDhmsNN")
	n := 0
	for n < len(line) && ('0' <= line[n] && line[n] <= '9' ||
		n < stamp && ('A' <= line[n] && line[n] <= 'Z' || 'a' <= line[n] && line[n] <= 'z')) {
		n++
	}
	if n < stamp+5 {
		return 0
	}
	return n
}

// figures reads size, priority, warning mark, time and sender.
func (m *Listed) figures(rest string) error {
	size, rest, _ := strings.Cut(strings.TrimLeft(rest, " "), " ")
	rest = strings.TrimLeft(rest, " ")
	end := strings.IndexAny(rest, " +")
	if end < 0 || len(rest) < end+len("+Jan  2 15:04 ") {
		return errors.New("too short for a message")
	}
	var err error
	if m.Size, err = strconv.ParseInt(size, 10, 64); err != nil {
		return fmt.Errorf("size: %w", err)
	}
	if m.Priority, err = strconv.ParseInt(rest[:end], 10, 64); err != nil {
		return fmt.Errorf("priority: %w", err)
	}
	m.Warned = rest[end] == '+'
	rest = rest[end+1:]
	m.Time, m.Sender = rest[:12], printed(rest[13:])
	return nil
}

// envelopeLine reads body type and status: "%10.10s   (%.100s)".
func (p *mailqParser) envelopeLine(line string) error {
	m, err := p.last()
	if err != nil {
		return err
	}
	kind, status, ok := strings.Cut(line, "   (")
	if ok {
		m.Status = strings.TrimSuffix(status, ")")
	}
	m.BodyType = strings.TrimSpace(kind)
	return nil
}

func (p *mailqParser) recipient(text string) error {
	m, err := p.last()
	if err != nil {
		return err
	}
	if name, ok := strings.CutPrefix(text, "(---"); ok {
		p.controller = strings.TrimSuffix(name, "---)")
		return nil
	}
	m.Recipients = append(m.Recipients, ListedRecipient{Address: printed(text), Controller: p.controller})
	return nil
}

func (p *mailqParser) recipientStatus(line string) error {
	m, err := p.last()
	if err != nil {
		return err
	}
	if len(m.Recipients) == 0 {
		return errors.New("belongs to a recipient, and there is none before it")
	}
	m.Recipients[len(m.Recipients)-1].Status = strings.TrimSuffix(line[len(statusIndent):], ")")
	return nil
}

// printed undoes sendmail's prtstr: a doubled backslash, and \ooo for a byte
// that is not printable ASCII.
func printed(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			if s[i+1] == '\\' {
				i++
			} else if i+3 < len(s) {
				if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
					b.WriteByte(byte(n))
					i += 3
					continue
				}
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// cutLast is strings.Cut at the last separator.
func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}
