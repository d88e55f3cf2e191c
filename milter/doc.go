// Package milter is the filter that sendmail asks about each message. It marks
// mail of ours as it leaves, so that bounces of it can be known again, and tags
// the bounces that come in by what evidence says of them.
//
// What is promised:
//   - Mail is not lost. Whatever goes wrong here, a message is passed on as it
//     came, or deferred where Options ask for that; it is never refused for it.
//     The only mail that is refused or thrown away is a bounce whose verdict has
//     such an action in the Policy.
//   - Ordinary mail is answered at the end of its header, and its body is not
//     asked for.
//   - Nothing that a message holds is written into another one, into a header or
//     into a reply: what is written is made here.
//   - Mail of ours that leaves without being remembered makes a gap in the
//     ledger, so that its bounces are not held against it.
//
// The work is done in a session for each connection, of which package frame calls
// one callback at a time. What a message needs, it forgets with the message.
package milter
