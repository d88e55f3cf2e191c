package mailbox

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"time"
)

// fromLine begins each message of an mbox.
const fromLine = "From "

// readMbox reads an mbox: a line that begins with "From " begins a message if it
// is the first, or comes after an empty line and ends in a date. Programs that do
// not quote such lines of a text with ">" are too common to do without the date.
func readMbox(ctx context.Context, name string, in *bufio.Reader, f func(Message) error) error {
	var m Message
	n, empty, begun := 0, true, false
	end := func() error {
		if !begun {
			return nil
		}
		m.Data = bytes.TrimSuffix(bytes.TrimSuffix(m.Data, []byte("\n")), []byte("\r"))
		return f(m)
	}
	for whole := true; ; {
		line, err := in.ReadSlice('\n')
		if err != nil && err != bufio.ErrBufferFull && err != io.EOF {
			return fmt.Errorf("read %s: %w", name, err)
		}
		var stored time.Time
		dated := false
		if whole && empty && bytes.HasPrefix(line, []byte(fromLine)) {
			stored, dated = fromDate(line)
			dated = dated || n == 0
		}
		switch {
		case dated:
			if err := end(); err != nil {
				return err
			}
			if err := ctx.Err(); err != nil {
				return err
			}
			n++
			begun = true
			m = Message{Name: fmt.Sprintf("%s#%d", name, n), Stored: stored}
		case whole && bytes.HasPrefix(line, []byte(">")) && bytes.HasPrefix(bytes.TrimLeft(line, ">"), []byte(fromLine)):
			m.keep(line[1:])
		default:
			m.keep(line)
		}
		empty = whole && len(bytes.TrimRight(line, "\r\n")) == 0
		whole = err == nil
		if err == io.EOF {
			return end()
		}
	}
}

func (m *Message) keep(line []byte) {
	m.Data = append(m.Data, line[:min(len(line), MaxMessage-len(m.Data))]...)
}

// fromDate reads the date of a From line, which delivery agents write in the
// time of their host, some with a zone.
func fromDate(line []byte) (time.Time, bool) {
	words := strings.Fields(string(line[:min(len(line), 300)]))
	for from := 1; from < len(words); from++ {
		rest := words[from:]
		if len(rest) < 5 || len(rest[0]) != 3 {
			continue
		}
		for n := min(6, len(rest)); n >= 5; n-- {
			text := strings.Join(rest[:n], " ")
			for _, layout := range []string{"Mon Jan 2 15:04:05 2006", "Mon Jan 2 15:04:05 MST 2006", "Mon Jan 2 15:04:05 2006 -0700", "Mon Jan 2 15:04:05 -0700 2006"} {
				if t, err := time.ParseInLocation(layout, text, time.Local); err == nil {
					return t, true
				}
			}
		}
	}
	return time.Time{}, false
}
