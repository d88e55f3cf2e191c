package dsn

import "strings"

// subjects say in plain words what an enhanced status code means, by its
// subject and detail (RFC 3463 and the registry of RFC 5248).
var subjects = map[string]string{
	"1.0": "there is something wrong with the address",
	"1.1": "there is no such mailbox",
	"1.2": "there is no such mail domain",
	"1.3": "the address is not written as it has to be",
	"1.4": "the address stands for more than one mailbox",
	"1.6": "the mailbox has moved, and left no new address",
	"1.7": "the sender's address is not written as it has to be",
	"1.8": "the sender's mail domain is not known there",
	"1.9": "the message was passed to a system that takes no mail",
	"2.0": "there is something wrong with the mailbox",
	"2.1": "the mailbox takes no mail at the moment",
	"2.2": "the mailbox is full",
	"2.3": "the message is longer than the mailbox allows",
	"2.4": "there is something wrong with the mailing list",
	"3.0": "the receiving mail system has a problem",
	"3.1": "the receiving mail system is full",
	"3.2": "the receiving mail system takes no mail at the moment",
	"3.3": "the receiving mail system cannot do what the message needs",
	"3.4": "the message is larger than the receiving mail system takes",
	"3.5": "the receiving mail system is not set up correctly",
	"4.0": "something went wrong on the way",
	"4.1": "the receiving mail server does not answer",
	"4.2": "the connection to the receiving mail server broke",
	"4.3": "the name of the receiving mail server could not be found at the moment",
	"4.4": "there is no way to the receiving mail server",
	"4.5": "the mail system on the way is overloaded",
	"4.6": "the message went round in a circle",
	"4.7": "the message could not be delivered in the time allowed",
	"5.0": "the mail servers did not understand each other",
	"5.1": "the mail servers did not understand each other",
	"5.3": "the message has too many recipients",
	"6.0": "there is something wrong with the content of the message",
	"6.1": "the content is of a kind that is not taken there",
	"6.3": "the content would have to be converted, which cannot be done",
	"7.0": "the receiving mail system refuses the message by its policy",
	"7.1": "the receiving mail system does not take this message from this sender",
	"7.2": "the sender may not write to that mailing list",
	"7.5": "the message could not be decrypted",
	"7.8": "the credentials of the sender were not accepted",
}

// InWords says what an enhanced status code such as "4.2.2" means, as a clause
// without a capital or a full stop; "" where it says nothing.
func InWords(status string) string {
	_, rest, ok := strings.Cut(status, ".")
	if !ok {
		return ""
	}
	if words := subjects[rest]; words != "" {
		return words
	}
	subject, _, _ := strings.Cut(rest, ".")
	return subjects[subject+".0"]
}
