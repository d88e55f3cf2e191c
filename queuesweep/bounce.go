package queuesweep

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/backscatterd/backscatterd/dsn"
	"github.com/backscatterd/backscatterd/queuesweep/qf"
	"github.com/backscatterd/backscatterd/queuesweep/spool"
)

// BounceOptions are what the bounce action needs.
type BounceOptions struct {
	// Host is this mail system's name, for the Reporting-MTA and Message-IDs.
	Host string
	// From is the From header, such as "Mail Delivery Subsystem <MAILER-DAEMON@x>".
	From string
	// Letter is what people are told.
	Letter *Letter
	// Never matches addresses that are not sent bounces.
	Never []*regexp.Regexp
	// PerHour is how many bounces a domain is sent an hour; 0 is no limit.
	PerHour int
	// Submit hands a message over: from the null sender, to one address. It
	// returns nil only once somebody else has taken the responsibility for all
	// of the message.
	Submit func(ctx context.Context, to string, utf8 bool, message io.Reader) error
}

// notice makes a bounce of a message that leaves the queue at this time.
// Recipients that asked for no report of failures are left out (RFC 3461
// section 4.1). All that it says comes from the queue file and from when, so
// that a bounce which has to be sent again is the same.
func (o *BounceOptions) notice(id string, f *qf.File, body func() (io.ReadCloser, error), when time.Time) (*dsn.Notice, error) {
	in := func(t time.Time) time.Time { return t.In(when.Location()) }
	n := &dsn.Notice{
		From: o.From, To: f.Sender(), Date: when,
		MessageID: "bounce." + id + "." + strconv.FormatInt(when.Unix(), 36) + "@" + o.Host,
		UTF8:      f.SMTPUTF8() || !isASCII(f.Sender()),
		Header:    returnedHeader(f),
		Report: dsn.Report{
			Kind: dsn.Failed, ReportingMTA: o.Host, ReceivedFrom: f.Macro("s"),
			ArrivalDate: in(f.Created()), EnvelopeID: xtextDecode(f.EnvelopeID()),
			MessageID: strings.Trim(f.Header("Message-ID"), "<> "),
		},
	}
	if !f.ReturnHeadersOnly() {
		n.Body = body
	}
	for rcpt := range f.Recipients() {
		if reported(rcpt) {
			n.Report.Recipients = append(n.Report.Recipients, failedRecipient(rcpt, f, in))
		}
	}
	if f.Created().IsZero() {
		n.Report.ArrivalDate = time.Time{}
	}
	return n, o.Letter.write(n, f)
}

// reported tells whether a recipient's failure is to be told: where NOTIFY was
// not given, it is (RFC 3461 section 4.1).
func reported(r qf.Recipient) bool {
	return r.Notify() == "" || strings.Contains(r.Notify(), "FAILURE")
}

// bodyOf opens the df of a message, as often as it is asked for. Where there is
// none any more, the header has to do.
func bodyOf(e spool.Entry, f *qf.File) (func() (io.ReadCloser, error), error) {
	data, err := e.Body(f)
	if errors.Is(err, spool.ErrNoBody) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return func() (io.ReadCloser, error) { return data.Open() }, nil
}

// returnedHeader is the message's header, less what sendmail would only have
// filled in on sending.
func returnedHeader(f *qf.File) []byte {
	var b bytes.Buffer
	for h := range f.Headers() {
		if !h.Template() {
			fmt.Fprintf(&b, "%s:%s\n", h.Name, h.Raw())
		}
	}
	return b.Bytes()
}

// failedRecipient is one recipient's block of the report, as its own status
// message tells it.
func failedRecipient(r qf.Recipient, f *qf.File, in func(time.Time) time.Time) dsn.Recipient {
	status := r.Status
	if status == "" {
		status = f.Status()
	}
	out := dsn.Recipient{
		Action: dsn.Failed, Final: typedAddress(r.Final), Original: originalAddress(r.Original),
		Status: statusCode(status), RemoteMTA: remoteMTA(status), Diagnostic: reply(status),
	}
	if out.Final == "" {
		out.Final = r.Address
	}
	if last := f.LastAttempt(); !last.IsZero() {
		out.LastAttempt = in(last)
	}
	return out
}

func isASCII(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r >= 0x80 }) < 0
}
