// Package rule compiles and evaluates conditions over queued messages.
//
// A condition is an expression of github.com/expr-lang/expr, cut down to what
// a rule needs:
//
//   - Names: id, queue, state, sender, null_sender, recipients, status,
//     statuses, attempts, priority, size, age, since_attempt, df_age, flags,
//     body_type, envid, quarantine, is_dsn, verdict.
//   - Functions of the message: header, headers, raw_header, raw_headers,
//     old_headers, macro, line, lines; returned.header, returned.headers,
//     returned.failed and returned.status for the message inside a bounce.
//   - Literals: numbers, true, false, lists, and strings in double, single or
//     back quotes; duration("30d") and duration("1h30m"); number("12 items"),
//     which is 12 as it is in Perl.
//   - Operators: && || ! and or not, == != < <= > >=, in, contains,
//     startsWith, endsWith, matches (each also with "not" before it),
//   - - * / %, a ? b : c, list[0], list[-1], text[:10].
//   - Functions: len, lower, upper, trim, trimPrefix, trimSuffix, split,
//     indexOf, int, float, string, abs, min, max; and over lists any, all, none,
//     one, count, filter, map, where # is the element.
//
// There are no variables, no loops but those over lists, no clock, and nothing
// that reaches outside the message. Patterns of matches are RE2 and literal.
// Everything that can be wrong with a condition's text (a name, a type, a
// pattern, a duration) is found by Compile, with its place; what is left for
// the evaluation is an index out of range and its like.
//
// What evaluation promises: it never panics; an error makes a message match
// nothing; the df of a message is only asked for when a term that needs it is
// reached, once a message at most; the lists that a condition makes are bounded.
// A Set may be used by any number of goroutines, a Judge by one.
package rule
