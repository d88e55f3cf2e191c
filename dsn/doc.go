// Package dsn reads delivery status notifications ("bounces"), in whatever
// form they come: RFC 3464 reports, the plain texts of old and odd mail
// systems, and the malformed things in between. It also tells them apart from
// what only looks like them: automatic replies, disposition notifications,
// feedback reports, challenges, lists, and people who write about bounces.
//
// What is promised:
//   - Reading is total. No input makes it panic, hang, or hold more memory than
//     Limits allow; malformed input is read as far as it makes sense.
//   - Reading streams. It stops as soon as the answer is known, so an ordinary
//     message costs little more than its header.
//   - A limit that is reached ends in Report.Cut, never in an error.
//   - Everything is read, nothing is believed: whether a bounce is about mail
//     that was really sent from here is for the caller to find out.
//
// All functions may be called concurrently.
package dsn
