package digest

import (
	"bytes"
	"fmt"
	"mime"
	"net/mail"
	"strings"
	"time"

	"github.com/emersion/go-message"
	"github.com/emersion/go-message/textproto"
)

// Letter is a digest as a message.
type Letter struct {
	From, To string // of the header; To is one address
	Host     string // of the Message-ID
}

// Write makes the message: CRLF line ends, text/plain, marked as RFC 3834
// section 5 asks, so that no other program answers it.
func (l Letter) Write(r *Report) ([]byte, error) {
	from, err := mail.ParseAddress(l.From)
	if err != nil {
		return nil, fmt.Errorf("digest.from = %q: %w", l.From, err)
	}
	text := r.Text()
	var h message.Header
	// The fields come out with the last one added first.
	h.Header = textproto.Header{}
	for _, f := range [][2]string{
		{"Precedence", "bulk"},
		{"X-Auto-Response-Suppress", "All"},
		{"Auto-Submitted", "auto-generated"},
		{"Content-Transfer-Encoding", "quoted-printable"},
		{"Content-Type", `text/plain; charset="utf-8"`},
		{"Mime-Version", "1.0"},
		{"Message-Id", "<" + l.id(r) + ">"},
		{"Subject", mime.QEncoding.Encode("utf-8", r.Subject())},
		{"Date", r.Until.Format(time.RFC1123Z)},
		{"To", l.To},
		{"From", from.String()},
	} {
		h.Add(f[0], f[1])
	}
	var out bytes.Buffer
	w, err := message.CreateWriter(&out, h)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write([]byte(strings.ReplaceAll(text, "\n", "\r\n"))); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// id is the same for the same time, so that a digest that is sent again is known
// as the one it is.
func (l Letter) id(r *Report) string {
	return fmt.Sprintf("digest.%d.%d@%s", r.From.Unix(), r.Until.Unix(), l.Host)
}
