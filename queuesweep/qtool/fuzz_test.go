package qtool_test

import (
	"errors"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/backscatterd/backscatterd/queuesweep/qtool"
)

// FuzzTranslate: whatever comes in, there is a condition that compiles and that
// can be evaluated, or an error that points into the expression.
func FuzzTranslate(f *testing.F) {
	for _, tt := range pageExpressions {
		f.Add(tt.perl)
	}
	for _, tt := range refused {
		f.Add(tt.perl)
	}
	for _, seed := range []string{
		`!$msg{auth} and not $msg{recipient}[2] =~ m{^PF?D?:<foo\@bar\.com>}i`,
		`defined $msg{headers}{"X-Spam-Flag"}[-1] or 1 < $msg{priority} <= 1e5`,
		`$msg{sender} =~ / a [b c-e] \x{41} (?i-s: x ){2,3}? # no
			\Q.*\E $/xm`,
		"q\x00", "$msg{sender} =~ m\x1b[2J", "$msg{sender} =~ /a/\u009b", "\u202e", `$msg{"` + "\x7f" + `"}`, "$msg{sender} =~ /[[:\x1b:]]/", "$msg{sender} =~ /(?<\x07/",
		`$msg{sender} eq "\x41\n" xor q{a{b}c} lt 'it\'s' ne qq(")`,
	} {
		f.Add(seed)
	}
	m := bounce("Deferred: Connection refused", "3", transcript)
	f.Fuzz(func(t *testing.T, perl string) {
		condition, err := qtool.Translate(perl)
		if err != nil {
			var syntax *qtool.SyntaxError
			if !errors.As(err, &syntax) || syntax.Expr != perl || syntax.Offset < 0 || syntax.Offset > len(perl) || syntax.Msg == "" {
				t.Fatalf("%q: %#v", perl, err)
			}
			said := err.Error()
			if strings.Count(said, "\n") < 2 || strings.IndexFunc(said, func(r rune) bool { return r != '\n' && !unicode.IsPrint(r) }) >= 0 {
				t.Fatalf("%q: %q", perl, said)
			}
			return
		}
		holds(t, condition, m)
		inv := qtool.Invocation{Action: qtool.Move, Expr: perl, OlderThan: time.Hour, Quarantined: true, Target: perl}
		rule, err := inv.Rule()
		if err != nil {
			t.Fatalf("%q: %v", perl, err)
		}
		checkRule(t, inv, rule)
	})
}
