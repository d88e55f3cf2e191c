// Package qtool reads what is written for sendmail's qtool.pl, its command
// lines and its Perl expressions, and turns it into rules of ours.
//
// It is pure: text in, text out, nothing is evaluated and no file is touched.
// Only a small part of Perl is taken, the part that asks about a message; all
// the rest is refused with a [SyntaxError] that points at it. Nothing is
// guessed: an expression becomes a condition of the same meaning, or an error.
//
// # What the values are
//
// A condition does what people meant, which is not always what qtool.pl did:
//
//   - A value is the line's own text less its newline, where qtool.pl kept the
//     newline. So $msg{sender} eq "MAILER-DAEMON" matches, an attempt count of 0
//     is false, and a pattern or a text that was written with the newline in
//     mind ("MAILER-DAEMON\n", /DAEMON\n$/) still matches: its newline stands
//     for the end of the value. A header keeps its leading blank (" YES").
//   - Header names match in any case.
//   - [0] is the first line of a name, also where there is only one; qtool.pl
//     wanted an index exactly where there were more. $msg{message} without an
//     index is the first M line too: the status of the envelope.
//   - Recipients, headers and other names that stand more than once, without an
//     index: =~, eq, == and the orderings hold when they hold for any of them;
//     !~, ne and != hold when none of them is equal or matches. qtool.pl
//     compared the text "ARRAY(0x...)" there. Where both sides of a comparison
//     are such, a header counts with its first value.
//   - What is absent is "" and 0, as in Perl.
//
// Two things that Perl takes are refused, because they match mail that nobody
// meant: a number's operator on a text (sender == "MAILER-DAEMON" is true of
// every message), and ! before the left side of an operator (!$x =~ /y/).
//
// All functions may be called concurrently.
package qtool

// Translate turns a Perl expression, as qtool.pl's -e takes it, into a condition
// of ours that holds for the same messages. The error is a *[SyntaxError].
//
// Beside the documented names of rules a condition may use line, lines,
// raw_header, raw_headers, old_headers, number, and of the expression
// language itself any, none, len, ?: and an index into a list.
func Translate(expr string) (string, error) {
	t, err := translate(expr)
	if err != nil {
		return "", err
	}
	return t.cond.String(), nil
}

// translation is a condition and the constants that its expression named, in
// their order, from which the name of a rule is made.
type translation struct {
	cond  cond
	words []string
}

func translate(expr string) (translation, error) {
	root, err := parse(expr)
	if err != nil {
		return translation{}, err
	}
	t := translator{src: expr}
	c, err := t.truth(root)
	if err != nil {
		return translation{}, err
	}
	if text := c.String(); len(text) > maxCondition || nodes(text) > maxNodes {
		return translation{}, t.errorAt(0, "make several rules of it", "the expression is too long for one rule")
	}
	return translation{cond: c, words: t.words}, nil
}
