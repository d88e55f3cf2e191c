package dsn

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/mail"
	"strings"
	"time"

	"github.com/emersion/go-message"
	"github.com/emersion/go-message/textproto"
)

// Notice is a delivery status notification to be written: RFC 3464 in the
// multipart/report of RFC 6522, marked as RFC 3834 asks, in the forms of RFC
// 6533 where it has to be. The same Notice is written as the same bytes.
type Notice struct {
	// Report is what it says: Recipients with Action, Status, Diagnostic,
	// RemoteMTA and LastAttempt; ReportingMTA, ReceivedFrom, ArrivalDate,
	// EnvelopeID, and the MessageID of the message reported on. Other fields
	// are not looked at. What is empty is left out. Addresses may have a type
	// other than rfc822 before them, as in ORCPT: "x400;...".
	Report Report
	// From is the header's, such as "Mail Delivery Subsystem <MAILER-DAEMON@x>";
	// To is the address it goes to. The envelope sender is the null one.
	From, To string
	// Subject is text: UTF-8, not yet encoded.
	Subject string
	Date    time.Time
	// MessageID has no angle brackets. Sent twice, a notice keeps it.
	MessageID string
	// Text is for people: UTF-8, lines ending in LF.
	Text string
	// Header is that of the message reported on, as it is.
	Header []byte
	// Body opens its body, as it is. It is called at least twice, since how
	// the body has to be encoded is known only once all of it was read, and is
	// never held in memory. nil returns the header alone.
	Body func() (io.ReadCloser, error)
	// UTF8 tells that the message needed SMTPUTF8: addresses stay as they are,
	// and the notice needs it too.
	UTF8 bool
}

// Write writes the notice. Whatever the message reported on holds, what is
// written has CRLF line ends and no other CR or LF, no NUL, lines of at most 998
// bytes, no line that looks like a boundary of its own, and no byte beyond ASCII
// in what is declared to be 7bit; and nothing breaks out of its header field.
// Safe for concurrent use on different notices.
func (n *Notice) Write(w io.Writer) error {
	parts, boundary, err := n.plan()
	if err == nil {
		err = n.write(w, parts, boundary)
	}
	if err != nil {
		return fmt.Errorf("compose a bounce: %w", err)
	}
	return nil
}

// part is one part of the report, with the encoding that its content needs.
type part struct {
	typ, encoding, description string
	content                    func() (io.ReadCloser, error)
}

// plan looks at everything that is to be written and decides how.
func (n *Notice) plan() ([]part, string, error) {
	switch {
	case n.To == "":
		return nil, "", errors.New("there is nobody to send it to (null sender)")
	case !ascii(n.To) && !n.UTF8:
		return nil, "", fmt.Errorf("the address %q needs SMTPUTF8", n.To)
	case n.Report.ReportingMTA == "":
		return nil, "", errors.New("it has no reporting MTA")
	case len(n.Report.Recipients) == 0:
		return nil, "", errors.New("it has no recipient to report on")
	}
	status := n.status()
	text := cleanText(n.Text)
	parts := []part{
		{typ: "text/plain; charset=utf-8", description: "Notification", content: fromString(text)},
		{typ: n.form("message/delivery-status", "message/global-delivery-status"), description: "Delivery report", content: fromString(status)},
		{typ: n.form("text/rfc822-headers", "message/global-headers"), description: "Undelivered message headers", content: fromString(string(n.Header))},
	}
	if n.Body != nil {
		parts[2].typ, parts[2].description = n.form("message/rfc822", "message/global"), "Undelivered message"
		parts[2].content = n.returned
	}
	// The boundary comes from the Message-ID, so that a notice that is sent
	// twice is the same; a message made to hold it gets another.
	for try := 0; ; try++ {
		boundary := fmt.Sprintf("=_%x", sha256.Sum256(fmt.Appendf(nil, "%s %d", n.MessageID, try)))[:40]
		collides := false
		for i := range parts {
			found, err := survey(parts[i].content, boundary)
			if err != nil {
				return nil, "", err
			}
			parts[i].encode(found)
			collides = collides || found.boundary
		}
		if !collides {
			return parts, boundary, nil
		}
	}
}

// form is the media type: that of RFC 6522, or its twin of RFC 6533.
func (n *Notice) form(plain, global string) string {
	if n.UTF8 {
		return global
	}
	return plain
}

// encode chooses an encoding that is lawful for the part's type and its content.
func (p *part) encode(c content) {
	text := strings.HasPrefix(p.typ, "text/") || p.typ == "message/global-headers"
	switch {
	case c.plain():
		p.encoding = "7bit"
	case c.lines() && !strings.HasPrefix(p.typ, "text/"):
		p.encoding = "8bit"
	case text:
		p.encoding = "quoted-printable" // as RFC 6522 section 4 has it for broken headers
	default:
		// What cannot be sent as lines could go into message/rfc822 as binary
		// only (RFC 2046 section 5.2.1), which hardly any server takes.
		// message/global (RFC 6532 section 3.7) takes any encoding, and those
		// who do not know it show an attachment.
		p.typ, p.encoding = "message/global", "base64"
	}
}

func (n *Notice) write(w io.Writer, parts []part, boundary string) error {
	out := bufio.NewWriter(w)
	whole := "7bit"
	for _, p := range parts {
		if p.encoding == "8bit" {
			whole = "8bit"
		}
	}
	if err := textproto.WriteHeader(out, n.header(boundary, whole)); err != nil {
		return err
	}
	// message.CreateWriter would take Content-Transfer-Encoding off a multipart,
	// which then claims to be 7bit.
	mw := textproto.NewMultipartWriter(out)
	if err := mw.SetBoundary(boundary); err != nil {
		return err
	}
	for _, p := range parts {
		var h textproto.Header
		h.Add("Content-Transfer-Encoding", p.encoding)
		h.Add("Content-Description", p.description)
		h.Add("Content-Type", p.typ)
		pw, err := mw.CreatePart(h)
		if err != nil {
			return err
		}
		if err := p.copyTo(pw); err != nil {
			return err
		}
	}
	if err := mw.Close(); err != nil {
		return err
	}
	return out.Flush()
}

// header is the notice's own. Add puts a field before the others, so the last
// one here is the first one there.
func (n *Notice) header(boundary, encoding string) textproto.Header {
	var h message.Header
	if id := messageID(n.Report.MessageID); id != "" && id == n.Report.MessageID {
		h.Add("References", "<"+id+">")
		h.Add("In-Reply-To", "<"+id+">")
	}
	h.Add("Auto-Submitted", "auto-replied (failure)")
	h.Add("Content-Transfer-Encoding", encoding)
	h.SetContentType("multipart/report", map[string]string{"report-type": "delivery-status", "boundary": boundary})
	h.Add("MIME-Version", "1.0")
	h.Add("Subject", mime.QEncoding.Encode("utf-8", shorten(oneLine(n.Subject))))
	h.Add("To", "<"+oneLine(n.To)+">")
	h.Add("From", n.from())
	h.Add("Message-ID", "<"+messageID(n.MessageID)+">")
	h.Add("Date", n.Date.Format(time.RFC1123Z))
	return h.Header
}

// from is the From header in ASCII, but for an address that needs more.
func (n *Notice) from() string {
	from := oneLine(n.From)
	if ascii(from) {
		return from
	}
	address, err := mail.ParseAddress(from)
	if err != nil || !n.UTF8 && !ascii(address.Address) {
		return toASCII(from)
	}
	return address.String()
}

// messageID keeps what may stand between the angle brackets.
func messageID(id string) string {
	return strings.Map(func(r rune) rune {
		if r <= ' ' || r >= 0x7f || r == '<' || r == '>' {
			return '_'
		}
		return r
	}, id[:min(len(id), 500)])
}

// maxSubject is in characters: a subject is to be read.
const maxSubject = 200

func shorten(s string) string {
	if runes := []rune(s); len(runes) > maxSubject {
		return string(runes[:maxSubject-1]) + "…"
	}
	return s
}

// returned is the whole message reported on.
func (n *Notice) returned() (io.ReadCloser, error) {
	body, err := n.Body()
	if err != nil {
		return nil, err
	}
	return struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(n.Header), strings.NewReader("\n"), body), body}, nil
}
