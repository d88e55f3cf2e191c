package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sync/errgroup"
)

// statuses are what keeps the messages of the queue stuck: one in ten matches a
// default rule.
var statuses = []string{
	"Deferred: 452 4.2.2 Mailbox size limit exceeded",
	"Deferred: 450 4.1.1 Recipient address rejected: User unknown in local recipient table",
	"Deferred: Connection reset by mx%d.dest.example.",
	"Deferred: 421 4.7.0 Try again later, closing connection (%d)",
	"Deferred: 451 4.3.0 Temporary lookup failure",
	"Deferred: Name server: mx%d.dest.example.: host name lookup failure",
	"Deferred: 450 4.2.0 Greylisted, try again in %d seconds",
	"Deferred: 403 4.7.0 TLS handshake failed.",
	"Deferred: 452 4.3.1 Insufficient system storage",
	"Deferred: 450 4.7.1 Relay access denied",
}

// makeQueue writes a flat queue of messages of about 1 kB, in the shape that
// sendmail 8.17 writes them, and configurations beside it.
func makeQueue(queue string, messages int, control func(id string, i int) []byte) (string, error) {
	if err := os.MkdirAll(queue, 0o700); err != nil {
		return "", err
	}
	if err := writeMessages(context.Background(), queue, queue, 0, messages, control); err != nil {
		return "", err
	}
	// One in ten matches: a tenth of the queue is less than the limits.
	toml := fmt.Sprintf("[queue]\ndirectories = [%q]\n[store]\ndirectory = %q\n[sweep]\nmax_messages = 1000000\n", queue, queue+".store")
	for suffix, more := range map[string]string{
		".toml": "", ".plain.toml": "io_uring = false\n",
		".returned.toml": "[[rule]]\nname = \"spam\"\nwhen = 'returned.header(\"X-Spam-Flag\") startsWith \"YES\"'\n",
	} {
		if err := os.WriteFile(queue+suffix, []byte(toml+more), 0o600); err != nil {
			return "", err
		}
	}
	return queue, nil
}

// writeMessages writes those from one number to another, less the last.
func writeMessages(ctx context.Context, controls, data string, from, to int, control func(id string, i int) []byte) error {
	g, _ := errgroup.WithContext(ctx)
	g.SetLimit(runtime.NumCPU())
	const some = 1000
	for first := from; first < to; first += some {
		g.Go(func() error {
			for i := first; i < min(first+some, to); i++ {
				id := fmt.Sprintf("6AO0l%c%c%c%06d", 'A'+i%26, 'a'+i/26%26, 'A'+i/676%26, i)
				qf, df := control(id, i), []byte("Hello\n")
				if bytes.Contains(qf, []byte("multipart/report")) {
					df = report(i)
				}
				if err := os.WriteFile(filepath.Join(controls, "qf"+id), qf, 0o600); err != nil {
					return err
				}
				if err := os.WriteFile(filepath.Join(data, "df"+id), df, 0o600); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return g.Wait()
}

// bounce is the control file of a DSN that this sendmail has made.
func bounce(id string, i int) []byte {
	return fmt.Appendf(nil, `V8
T%d
K%d
N%d
P%d
MDeferred: Connection refused by mx%d.dest.example.
Frs
$_localhost
$rinternal
$slocalhost
${daemon_flags}
SMAILER-DAEMON
rRFC822; user%d@forged.example
RPFD:<user%d@forged.example>
H?P?Return-Path: <`+"\x81"+`g>
H??Received: from localhost (localhost)
	by mx.lab.example (8.17.1.9/8.17.1.9) id %s;
	Tue, 24 Nov 2026 00:47:35 GMT
H??Date: Tue, 24 Nov 2026 00:47:35 GMT
H??From: Mail Delivery Subsystem <MAILER-DAEMON>
H??Message-Id: <%d.%s@mx.lab.example>
H??To: <user%d@forged.example>
H??MIME-Version: 1.0
H??Content-Type: multipart/report; report-type=delivery-status;
	boundary="%d.1795481255/mx.lab.example"
H??Subject: Returned mail: see transcript for details
H??Auto-Submitted: auto-generated (failure)
.
`, 1795481254+i%100000, 1795485254, 1+i%60, 30000+i, i%500, i, i, id, i, id, i, i)
}

// report is the body of that DSN, of about 5 kB; one in ten returns spam.
func report(i int) []byte {
	spam := ""
	if i%10 == 0 {
		spam = "X-Spam-Flag: YES\n"
	}
	text := strings.Repeat("A line of the message that nobody has asked for, and that comes back.\n", 50)
	return fmt.Appendf(nil, `This is a MIME-encapsulated message

--%d.1795481255/mx.lab.example

The original message was received at Tue, 24 Nov 2026 00:47:34 GMT
from localhost [127.0.0.1]

   ----- The following addresses had permanent fatal errors -----
<rcpt%d@dest.example>
    (reason: 550 5.1.1 User unknown)

--%d.1795481255/mx.lab.example
Content-Type: message/delivery-status

Reporting-MTA: dns; mx.lab.example
Received-From-MTA: DNS; localhost
Arrival-Date: Tue, 24 Nov 2026 00:47:34 GMT

Final-Recipient: RFC822; rcpt%d@dest.example
Action: failed
Status: 5.1.1
Remote-MTA: DNS; mx.dest.example
Diagnostic-Code: SMTP; 550 5.1.1 User unknown
Last-Attempt-Date: Tue, 24 Nov 2026 00:47:35 GMT

--%d.1795481255/mx.lab.example
Content-Type: message/rfc822

Return-Path: <user%d@forged.example>
Received: from client%d.example (client%d.example [192.0.2.7])
	by mx.lab.example (8.17.1.9/8.17.1.9) with ESMTP id 6AO0lY000001
	for <rcpt%d@dest.example>; Tue, 24 Nov 2026 00:47:34 GMT
%sDate: Tue, 24 Nov 2026 01:00:00 +0000
From: User <user%d@forged.example>
To: rcpt%d@dest.example
Subject: Message number %d
Message-ID: <%d@forged.example>

%s
--%d.1795481255/mx.lab.example--

`, i, i, i, i, i, i, i, i, i, spam, i, i, i, i, text, i)
}

func control(id string, i int) []byte {
	status := statuses[i%len(statuses)]
	if strings.Contains(status, "%d") {
		status = fmt.Sprintf(status, i%500)
	}
	return fmt.Appendf(nil, `V8
T%d
K%d
N%d
P%d
I254/0/%d
M%s
Fs
$_client%d.example [192.0.2.%d]
$rESMTP
$sclient%d.example
${daemon_flags}
S<user%d@lab.example>
M%s
rRFC822; rcpt%d@dest.example
RPFD:<rcpt%d@dest.example>
H?P?Return-Path: <`+"\x81"+`g>
H??Received: from client%d.example (client%d.example [192.0.2.%d])
	by mx.lab.example (8.17.1.9/8.17.1.9/Debian-2+deb12u2) with ESMTP id %s
	for <rcpt%d@dest.example>; Tue, 24 Nov 2026 00:47:34 GMT
H??Date: Tue, 24 Nov 2026 01:00:00 +0000
H??From: User <user%d@lab.example>
H??To: Receiver <rcpt%d@dest.example>
H??Subject: Message number %d about the things that one writes about
H??Message-ID: <%d.%s@lab.example>
H??MIME-Version: 1.0
H??Content-Type: text/plain; charset=utf-8
.
`, 1795481254+i%100000, 1795485254, 1+i%60, 30000+i, 10000000+i, status, i%97, i%250, i%97, i, status, i, i, i%97, i%97, i%250, id, i, i, i, i, i, id)
}
