package dsn

// A form is the way in which one mail system words its bounces. The general
// rules of recipients.go understand most of them; a form is for recognising
// a system without doubt and for confining the search to how it names
// recipients, so that addresses in quoted answers of other hosts are no
// recipients. To add one, add an entry here and a message to testdata.
type form struct {
	name   string
	header string   // a header field that only this system writes, or
	says   []string // ... phrases of the text, in lower case; all must be there
	shapes shape    // how recipients are written
	labels []string // for labelled: what stands before the colon, in lower case
	kind   Kind     // what it reports, if that is always the same
}

// A shape is a way of writing a recipient in a text.
type shape uint8

const (
	bracketed  shape = 1 << iota // <a@b> at the start of a line
	bare                         // a@b at the start of a line, behind a bullet perhaps
	labelled                     // Some words: a@b
	transcript                   // an SMTP answer that names it
	inJSON                       // "key":"a@b"; the labels are what stands before the address
)

var forms = []form{
	{name: "qmail", says: []string{"this is the qmail-send program"}, shapes: bracketed},
	{name: "qmail", says: []string{"i'm afraid i wasn't able to deliver your message to the following addresses"}, shapes: bracketed},
	{name: "yahoo", says: []string{"sorry, we were unable to deliver your message to the following address"}, shapes: bracketed},
	{name: "postfix", says: []string{"this is the mail system at host"}, shapes: bracketed},
	{name: "postfix", says: []string{"this is the postfix program at host"}, shapes: bracketed},
	{name: "exim", says: []string{"this message was created automatically by mail delivery software"}, shapes: bare},
	{name: "exim", header: "X-Failed-Recipients", shapes: bare},
	{name: "sendmail", says: []string{"----- the following addresses had"}, shapes: bracketed | bare},
	{name: "sendmail", says: []string{"transcript of session follows", "unsent message follows"}, shapes: transcript},
	{name: "opensmtpd", says: []string{"this is the mailer-daemon, please do not reply to this e-mail"}, shapes: bare},
	{name: "dma", says: []string{"this is the dragonfly mail agent"}, shapes: bare | labelled, labels: []string{"undeliverable to"}},
	{name: "dma", says: []string{"this is the dma mail agent"}, shapes: bare},
	{name: "courier", says: []string{"this is a delivery status notification from", "running the courier mail server"}, shapes: bracketed},
	{name: "mdaemon", header: "X-MDDSN-Message", shapes: bare | labelled, labels: []string{"failed address", "failed recipient"}},
	{name: "imail", says: []string{"original message follows."}, shapes: labelled | bare, labels: []string{"unknown user", "user mailbox exceeds allowed size", "undeliverable to", "invalid final delivery userid", "delivery failed"}},
	{name: "domino", says: []string{"your message", "was not delivered to:", "because:"}, shapes: bare},
	{name: "notes", says: []string{"------- failure reasons"}, shapes: bare},
	{name: "exchange", says: []string{"did not reach the following recipient(s):"}, shapes: bare},
	{name: "exchange", says: []string{"delivery has failed to these recipients or"}, shapes: bare},
	{name: "groupwise", says: []string{"the message that you sent was undeliverable to the following"}, shapes: bare},
	{name: "gmail", says: []string{"delivery to the following recipient failed permanently"}, shapes: bare},
	{name: "gmail", says: []string{"delivery to the following recipient has been delayed"}, shapes: bare, kind: Delayed},
	{name: "iplanet", says: []string{"this report relates to a message you sent with the following header fields"}, shapes: labelled, labels: []string{"recipient address"}},
	{name: "mimecast", says: []string{"an email that you attempted to send to the following address could not be delivered"}, shapes: bare},
	{name: "mailfoundry", says: []string{"unable to deliver message to:", "delivery failed for the following reason:"}, shapes: labelled, labels: []string{"unable to deliver message to"}},
	{name: "nullmailer", says: []string{"your message could not be delivered to the following recipients", "nullmailer"}, shapes: bracketed | bare},
	{name: "amazon sns", says: []string{`"notificationtype":"bounce"`}, shapes: inJSON, labels: []string{`"emailaddress":"`}},
	{name: "amazon sns", says: []string{`"notificationtype":"complaint"`}, shapes: inJSON, kind: Feedback},
	{name: "amazon sns", says: []string{`"notificationtype":"delivery"`}, shapes: inJSON, labels: []string{`"recipients":["`}, kind: Delivered},
	{name: "james", says: []string{"this is an automated message from the apache mailer-daemon"}, shapes: bare},
}

// formOf gives the form of a text, folded to lower case and single blanks, or nil.
func (p *parser) formOf(folded string) *form {
	for i := range forms {
		f := &forms[i]
		if f.header != "" && p.outer.has(f.header) || f.header == "" && containsAll(folded, f.says) {
			return f
		}
	}
	return nil
}
