package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
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
// sendmail 8.17 writes them, and a configuration beside it.
func makeQueue(queue string, messages int) (string, error) {
	if err := os.MkdirAll(queue, 0o700); err != nil {
		return "", err
	}
	for i := range messages {
		id := fmt.Sprintf("6AO0l%c%c%c%06d", 'A'+i%26, 'a'+i/26%26, 'A'+i/676%26, i)
		if err := os.WriteFile(filepath.Join(queue, "qf"+id), control(id, i), 0o600); err != nil {
			return "", err
		}
		if err := os.WriteFile(filepath.Join(queue, "df"+id), []byte("Hello\n"), 0o600); err != nil {
			return "", err
		}
	}
	// One in ten matches: a tenth of the queue is less than the limits.
	toml := fmt.Sprintf("[queue]\ndirectories = [%q]\n[store]\ndirectory = %q\n[sweep]\nmax_messages = 1000000\n", queue, queue+".store")
	return queue, os.WriteFile(queue+".toml", []byte(toml), 0o600)
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
