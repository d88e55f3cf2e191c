// Package dsn reads and writes delivery status notifications ("bounces").
//
// Read takes them in whatever form they come: RFC 3464 reports, the plain texts
// of old and odd mail systems, and the malformed things in between. It also
// tells them apart from what only looks like them: automatic replies,
// disposition notifications, feedback reports, challenges, lists, and people
// who write about bounces. A Notice writes one: RFC 3464 in RFC 6522, so that
// what it wrote is what Read finds.
//
// What is promised:
//   - Reading is total. No input makes it panic, hang, or hold more memory than
//     Limits allow; malformed input is read as far as it makes sense.
//   - Reading streams. It stops as soon as the answer is known, so an ordinary
//     message costs little more than its header.
//   - A limit that is reached ends in Report.Cut, never in an error.
//   - Everything is read, nothing is believed: whether a bounce is about mail
//     that was really sent from here is for the caller to find out.
//   - Writing streams too, gives the same bytes for the same Notice, and nothing
//     in a Notice can break out of its field.
//
// All functions may be called concurrently.
package dsn
