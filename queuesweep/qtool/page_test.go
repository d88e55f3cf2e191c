package qtool_test

import "testing"

// bounce is a bounce of this sendmail's that cannot be delivered, with the given
// status and number of attempts.
func bounce(status, attempts, subject string) message {
	return message{
		id: "tAE9QVHl018335",
		lines: map[string][]string{
			"V": {"8"}, "N": {attempts}, "M": {status, status}, "S": {"MAILER-DAEMON"}, "R": {"PF:<spammer@forged.example>"},
		},
		headers: []header{
			{"P", "Return-Path", " <\x81g>"},
			{"", "Received", " from localhost"},
			{"", "Subject", " " + subject},
			{"", "X-Spam-Flag", " YES"},
		},
	}
}

const transcript = "Returned mail: see transcript for details"

// Every expression in the article that showed the world how to sweep a queue
// with qtool.pl, in the form for the qtool.pl of its day and for the patched one.
var pageExpressions = []struct {
	perl, condition string
	matches         message
	not             message
}{
	{
		`(($msg{message}[0] =~ /Connection timed out/) && ($msg{headers}->{ubject} =~ /Returned mail: see transcript for details/))`,
		`status matches "Connection timed out" && any(old_headers("ubject"), # matches "Returned mail: see transcript for details")`,
		bounce("Deferred: Connection timed out with a.example", "2", transcript),
		bounce("Deferred: Connection timed out with a.example", "2", "Hello"),
	},
	{
		`(($msg{message}[0] =~ /Connection timed out/) && ($msg{headers}->{Subject} =~ /Returned mail: see transcript for details/))`,
		`status matches "Connection timed out" && any(raw_headers("Subject"), # matches "Returned mail: see transcript for details")`,
		bounce("Deferred: Connection timed out with a.example", "2", transcript),
		bounce("Deferred: Connection refused by a.example", "2", transcript),
	},
	{
		// "in combination": the lines broken as in a shell script
		"($msg{message}[0] =~ /Connection timed out/) \\\n&& \\\n($msg{headers}->{ubject} =~ /Returned mail: see transcript for details/)",
		`status matches "Connection timed out" && any(old_headers("ubject"), # matches "Returned mail: see transcript for details")`,
		bounce("Deferred: Connection timed out with a.example", "2", transcript),
		bounce("Deferred: Connection timed out with a.example", "2", "Hello"),
	},
	{
		`($msg{message}[0] =~ /Deferred: 45.* Relay access denied/)`,
		`status matches "Deferred: 45.* Relay access denied"`,
		bounce("Deferred: 454 4.7.1 <a@b.example>: Relay access denied", "1", ""),
		bounce("Deferred: 554 5.7.1 <a@b.example>: Relay access denied", "1", ""),
	},
	{
		`($msg{message}[0] =~ /Deferred: 45.* Domain of sender address .* does not (resolve|exist)/)`,
		`status matches "Deferred: 45.* Domain of sender address .* does not (resolve|exist)"`,
		bounce("Deferred: 451 4.1.8 Domain of sender address a@b.example does not exist", "1", ""),
		bounce("Deferred: 451 4.1.8 Domain of sender address a@b.example does not matter", "1", ""),
	},
	{
		`($msg{message}[0] =~ /Deferred: 45.* Sender address rejected: Domain not found/)`,
		`status matches "Deferred: 45.* Sender address rejected: Domain not found"`,
		bounce("Deferred: 450 4.1.8 <a@b.example>: Sender address rejected: Domain not found", "1", ""),
		bounce("Deferred: 450 4.1.8 <a@b.example>: Sender address rejected", "1", ""),
	},
	{
		`($msg{message}[0] =~ /Deferred: 45.* spam/i)`,
		`status matches "(?i)Deferred: 45.* spam"`,
		bounce("Deferred: 451 looks like SPAM to us", "1", ""),
		bounce("Deferred: 421 looks like SPAM to us", "1", ""),
	},
	{
		`(($msg{num_delivery_attempts} > 50) && ($msg{message}[0] =~ /Network is unreachable/))`,
		`attempts > 50 && status matches "Network is unreachable"`,
		bounce("Deferred: a.example.: Network is unreachable", "51", ""),
		bounce("Deferred: a.example.: Network is unreachable", "50", ""),
	},
	{
		`(($msg{num_delivery_attempts} > 50) && ($msg{message}[0] =~ /Connection (timed out|refused)/))`,
		`attempts > 50 && status matches "Connection (timed out|refused)"`,
		bounce("Deferred: Connection refused by a.example.", "143", ""),
		bounce("Deferred: Connection reset by a.example.", "143", ""),
	},
	{
		`(($msg{num_delivery_attempts} > 10) && ($msg{message}[0] =~ /Network is unreachable/))`,
		`attempts > 10 && status matches "Network is unreachable"`,
		bounce("Deferred: a.example.: Network is unreachable", "11", ""),
		bounce("Deferred: a.example.: Network is unreachable", "9", ""),
	},
	{
		`(($msg{sender} eq "MAILER-DAEMON") && ($msg{message}[0] =~ /^Deferred/) && ($msg{headers}->{Subject} =~ /Returned mail|could not send message/))`,
		`line("S") == "MAILER-DAEMON" && status matches "^Deferred" && any(raw_headers("Subject"), # matches "Returned mail|could not send message")`,
		bounce("Deferred: Connection refused by a.example.", "1", "Warning: could not send message for past 4 hours"),
		bounce("User unknown", "1", transcript),
	},
	{
		`(($msg{message}[0] =~ /^Deferred/) && ($msg{headers}->{"X-Spam-Flag"} =~ /YES/))`,
		`status matches "^Deferred" && any(raw_headers("X-Spam-Flag"), # matches "YES")`,
		bounce("Deferred: Connection refused by a.example.", "1", ""),
		bounce("sent", "1", ""),
	},
	{
		`(($msg{sender} eq "MAILER-DAEMON") && ($msg{message}[0] =~ /^Deferred/) && ($msg{headers}->{ubject} =~ /Returned mail|could not send message/))`,
		`line("S") == "MAILER-DAEMON" && status matches "^Deferred" && any(old_headers("ubject"), # matches "Returned mail|could not send message")`,
		bounce("Deferred: Connection refused by a.example.", "1", transcript),
		bounce("Deferred: Connection refused by a.example.", "1", "Hello"),
	},
	{
		`(($msg{message}[0] =~ /^Deferred/) && ($msg{headers}->{"-Spam-Flag"} =~ /YES/))`,
		`status matches "^Deferred" && any(old_headers("-Spam-Flag"), # matches "YES")`,
		bounce("Deferred: Connection refused by a.example.", "1", ""),
		bounce("sent", "1", ""),
	},
	{
		`$msg{num_delivery_attempts} >= 2`, // from the comment in qtool.pl itself
		`attempts >= 2`,
		bounce("", "2", ""),
		bounce("", "1", ""),
	},
}

func TestPage(t *testing.T) {
	for _, tt := range pageExpressions {
		got := translated(t, tt.perl)
		if got != tt.condition {
			t.Errorf("%s\nbecame %s\nnot    %s", tt.perl, got, tt.condition)
		}
		if !holds(t, got, tt.matches) {
			t.Errorf("%s\ndoes not hold for %v", got, tt.matches)
		}
		if holds(t, got, tt.not) {
			t.Errorf("%s\nholds for %v", got, tt.not)
		}
	}
}
