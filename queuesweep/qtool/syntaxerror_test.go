package qtool_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/backscatterd/backscatterd/queuesweep/qtool"
)

// Each expression has a caret under the place that its error must point at, then
// words of what is said, and of the hint.
var refused = []struct{ perl, caret, msg, hint string }{
	{`lc($msg{sender}) eq "a"`,
		`^`, `function lc is not supported`, `/i`},
	{`$msg{priority} > rand(5)`,
		`                 ^`, `functions are not supported: rand`, ``},
	{`time - $msg{creation_time} > 3600`,
		`^`, `time is not supported`, `-s SECONDS`},
	{`$msg{sender} eq MAILER`,
		`                ^`, `MAILER is neither a value nor an operator`, `"MAILER"`},
	{`$msg{sender} = "a"`,
		`             ^`, `would change a value`, `eq`},
	{`$msg{priority} += 1`,
		`               ^`, `+= would change a value`, ``},
	{"`rm -rf /`",
		`^`, `backticks run a command`, ``},
	{`system("rm")`,
		`^`, `running commands is not supported`, ``},
	{`$msg{sender} =~ s/a/b/`,
		`                ^`, `s changes a text`, `/.../`},
	{`$msg{sender} =~ tr/a-z//`,
		`                ^`, `tr changes a text`, ``},
	{`$msg{sender} =~ "a"`,
		`                ^`, `=~ wants a pattern, and this is a text`, `eq`},
	{`$msg{sender} !~ $msg{id}`,
		`                ^`, `!~ wants a pattern`, ``},
	{`$msg{sender} =~`,
		`               ^`, `a pattern is missing`, ``},
	{`/a/`,
		`^`, `a pattern stands here alone`, `$msg{message} =~`},
	{`$msg{sender} =~ /a/ && /b/`,
		`                       ^`, `a pattern stands here alone`, ``},
	{`$msg{sender} eq "$x"`,
		`                 ^`, `puts a variable into the text`, `\$`},
	{`$msg{sender} eq "a@b.example"`,
		`                  ^`, `puts a variable into the text`, `\@`},
	{`$msg{sender} =~ /a@b.example/`,
		`                  ^`, `puts a variable into the pattern`, `\@`},
	{`$msg{sender} =~ /a$x/`,
		`                  ^`, `puts a variable into the pattern`, `\$`},
	{`$msg{sender} =~ /[$]/`,
		`                  ^`, `puts a variable into the pattern`, `\$`},
	{`$sender eq "a"`,
		`^`, `$msg is the only variable`, `$msg{name}`},
	{`$_ eq "a"`,
		`^`, `$msg is the only variable`, ``},
	{`$msg eq "a"`,
		`     ^`, `$msg needs a name in braces`, ``},
	{`$msg->{sender} eq "a"`,
		`    ^`, `$msg is a hash`, `without the arrow`},
	{`@{$msg{recipient}} > 1`,
		`^`, `arrays`, `every recipient`},
	{`$msg{sendr} eq "a"`,
		`     ^`, `no name "sendr"`, `$msg{sender}?`},
	{`$msg{Sender} eq "a"`,
		`     ^`, `no name "Sender"`, ``},
	{`$msg{subject} eq "a"`,
		`     ^`, `no name "subject"`, `$msg{headers}->{subject}`},
	{`$msg{foo} eq "a"`,
		`     ^`, `no name "foo"`, `num_delivery_attempts`},
	{`$msg{file_name} =~ /a/`,
		`     ^`, `rules do not know the path`, `$msg{id}`},
	{`$msg{control_size} > 1`,
		`     ^`, `size of the control file`, `body_size`},
	{`$msg{control_last_mod_time} > 1`,
		`     ^`, `time of the control file`, `next_delivery_time`},
	{`$msg{body_last_mod_time} > 1`,
		`     ^`, `age of the body`, `-s SECONDS`},
	{`$msg{unknown} =~ /a/`,
		`     ^`, `no sound control file`, ``},
	{`$msg{headers} =~ /a/`,
		`     ^`, `a header's name is missing`, `{Subject}`},
	{`$msg{headers}[0] =~ /a/`,
		`             ^`, `a header's name is missing`, `{Subject}`},
	{`$msg{headers}{"Subject:"} =~ /a/`,
		`              ^`, `no header can have the name "Subject:"`, `without colon`},
	{`$msg{headers}->{X-Spam-Flag} =~ /YES/`,
		`                ^`, `needs quotes`, `{"X-Spam-Flag"}`},
	{`$msg{headers}->{$x} =~ /a/`,
		`                ^`, `only a name may stand in braces`, ``},
	{`$msg{sender}{x} eq "a"`,
		`             ^`, `$msg{sender} has no names`, `$msg{headers}->{x}`},
	{`$msg{message}[0][1] eq "a"`,
		`                ^`, `nothing that deep`, ``},
	{`$msg{message}[$i] eq "a"`,
		`              ^`, `whole number`, `[0]`},
	{`$msg{body_size}[0] > 1`,
		`               ^`, `single value`, ``},
	{`$msg{sender}->foo`,
		`            ^`, `only {Name} or [number]`, ``},
	{`$msg{sender`,
		`    ^`, `never closed`, `}`},
	{`$msg{} eq "a"`,
		`    ^`, `a name is missing`, ``},
	{`$msg{message}[0`,
		`             ^`, `never closed`, `]`},
	{`$msg{sender} == "MAILER-DAEMON"`,
		`                ^`, `compares numbers`, `eq`},
	{`!$msg{sender} =~ /a/`,
		`^`, `this negation belongs to the left side`, `A !~ B`},
	{`$msg{id} && !$msg{sender} eq "a"`,
		`            ^`, `this negation belongs to the left side`, `A ne B`},
	{`$msg{sender} eq ("a" || "b")`,
		`                     ^`, `no value to compare`, `A eq B || A eq C`},
	{`($msg{auth} || $msg{sender}) =~ /a/`,
		`                             ^`, `must be a single value`, ``},
	{`defined $msg{auth} =~ /a/`,
		`^`, `yes or no`, ``},
	{`defined lc`,
		`        ^`, `asks about a value of the message only`, ``},
	{`defined $msg{body_size}`,
		`        ^`, `cannot be asked`, ``},
	{`$msg{recipient} eq $msg{macro}`,
		`                ^`, `both sides of eq`, `[0]`},
	{`$msg{body_size} =~ /5/`,
		`^`, `no text to match`, `==`},
	{`$msg{body_size} eq "5"`,
		`^`, `no text to compare`, `==`},
	{`1 < (2 < 3) < 4`,
		`            ^`, `must be a single value`, `A < B && B < C`},
	{`$msg{priority} + 1 > 2`,
		`               ^`, `operator + is not supported`, ``},
	{`$msg{sender} . "a" eq "b"`,
		`             ^`, `operator . is not supported`, ``},
	{`$msg{priority} <=> 2`,
		`               ^`, `gives an order`, `==`},
	{`$msg{auth} ? 1 : 0`,
		`           ^`, `?: is not supported`, `&&`},
	{`$msg{auth} & 1`,
		`           ^`, `works on bits`, `&&`},
	{`$msg{auth} // 1`,
		`           ^`, `// is not supported`, `defined`},
	{`$msg{auth}; 1`,
		`          ^`, `semicolon`, `&&`},
	{`1 if $msg{auth}`,
		`  ^`, `if makes a statement`, `&&`},
	{`$msg{auth} $msg{sender}`,
		`           ^`, `an operator is expected`, `&&`},
	{`$msg{priority} > 010`,
		`                 ^`, `octal`, `decimal`},
	{`$msg{priority} > 0x10`,
		`                 ^`, `hexadecimal`, `decimal`},
	{`$msg{priority} > 1e999`,
		`                 ^`, `too large`, ``},
	{`-$msg{priority} > 1`,
		`^`, `a sign may stand before a number`, ``},
	{`($msg{auth}`,
		`^`, `never closed`, `)`},
	{`$msg{auth})`,
		`          ^`, `closes nothing`, ``},
	{`$msg{auth} &&`,
		`             ^`, `ends where a value is expected`, ``},
	{`&& $msg{auth}`,
		`^`, ``, ``},
	{`$msg{auth} || and 1`,
		`              ^`, `a value is missing before and`, ``},
	{`()`,
		` ^`, `a value is missing`, ``},
	{`$msg{sender} eq "a`,
		`                ^`, `never closed`, `"`},
	{`$msg{sender} =~ /a`,
		`                ^`, `never closed`, `/`},
	{``,
		`^`, `empty`, ``},
	{`  # nothing`,
		`           ^`, `empty`, ``},
	{`$msg{sender} =~ //`,
		`                ^`, `empty pattern`, `/^/`},
	{`$msg{sender} =~ m?a?`,
		`                ^`, `only once`, ``},
	{`$msg{sender} =~ m|a\|b|`,
		`                   ^`, `keeps its special meaning`, `m{...}`},
	{`$msg{sender} =~ /a/e`,
		`                   ^`, `flag e`, `i m s x`},
	{`$msg{sender} =~ /a/xx`,
		`                    ^`, `flag xx`, ``},
	{`$msg{sender} =~ /a/and $msg{auth}`,
		`                   ^`, `and is no flag`, `blank`},
	{`$msg{sender} =~ /\Qa.\Qb/`,
		`                     ^`, `\Q within \Q`, `\E`},
	{`$msg{sender} =~ /\Qa\Ub/`,
		`                    ^`, `\U within \Q`, `\E`},
	{`$msg{sender} =~ /\Qa@b.example/`,
		`                    ^`, `@ puts a variable`, `\E\@\Q`},
	{`$msg{sender} =~ /\Qa#b\Ec/x`,
		`                    ^`, `begin a comment`, `\#`},
	{`$msg{sender} =~ /\Q(?#b\E)/`,
		`                   ^`, `begin a comment`, `\(`},
	{`$msg{sender} =~ m'\Qa.b'`,
		`                  ^`, `\Q means nothing between single quotes`, `escape`},
	{`$msg{sender} =~ /(?=a)/`,
		`                 ^`, `lookahead is not in RE2`, `&&`},
	{`$msg{sender} =~ /b(?!a)/`,
		`                  ^`, `lookahead is not in RE2`, `!~`},
	{`$msg{sender} =~ m{/(?<=a)}`,
		`                   ^`, `lookbehind is not in RE2`, ``},
	{`$msg{sender} =~ m!\!(?<=a)!`,
		`                    ^`, `lookbehind is not in RE2`, ``},
	{`$msg{sender} =~ /(?>a)/`,
		`                 ^`, `atomic groups`, `(?:...)`},
	{`$msg{sender} =~ /(?{1})/`,
		`                 ^`, `code in a pattern`, ``},
	{`$msg{sender} =~ /(?x) a/`,
		`                   ^`, `flag x`, `/x`},
	{`$msg{sender} =~ /(?1)/`,
		`                 ^`, `not in RE2`, ``},
	{`$msg{sender} =~ /(a)\1/`,
		`                    ^`, `references to groups`, ``},
	{`$msg{sender} =~ /(?<n>a)\k<n>/`,
		`                        ^`, `references to groups`, ``},
	{`$msg{sender} =~ /a++/`,
		`                   ^`, `possessive`, ``},
	{`$msg{sender} =~ /a{2}+/`,
		`                     ^`, `possessive`, ``},
	{`$msg{sender} =~ /a{,2}/`,
		`                  ^`, `versions of Perl differ`, `{0,3}`},
	{`$msg{sender} =~ /a{1,02}/`,
		`                  ^`, `no zero in front`, `write 2`},
	{`$msg{sender} =~ /a{2000}/`,
		`                  ^`, `at most 1000`, ``},
	{`$msg{sender} =~ /a**/`,
		`                   ^`, `nothing here for * to repeat`, `\*`},
	{`$msg{sender} =~ /*a/`,
		`                 ^`, `nothing here for * to repeat`, `\*`},
	{`$msg{sender} =~ /a(b/`,
		`                  ^`, `never closed`, `\(`},
	{`$msg{sender} =~ /a)b/`,
		`                  ^`, `closes nothing`, `\)`},
	{`$msg{sender} =~ /a[b/`,
		`                  ^`, `never closed`, `\[`},
	{`$msg{sender} =~ /[z-a]/`,
		`                  ^`, `upside down`, `\-`},
	{`$msg{sender} =~ /[a-\d]/`,
		`                  ^`, `more than a character`, `\-`},
	{`$msg{sender} =~ /[[:foo:]]/`,
		`                  ^`, `no class [:foo:]`, `[[:alpha:]]`},
	{`$msg{sender} =~ /\p{IsFoo}/`,
		`                 ^`, `property`, ``},
	{`$msg{sender} =~ /a\yb/`,
		`                  ^`, `\y means nothing`, ``},
	{`$msg{sender} =~ /\xe9/`,
		`                 ^`, `past 0x7f`, `the character itself`},
	{"$msg{sender} =~ /\xe9/",
		`                 ^`, `0xe9`, `UTF-8`},
}

func TestSyntaxErrors(t *testing.T) {
	for _, tt := range refused {
		condition, err := qtool.Translate(tt.perl)
		var syntax *qtool.SyntaxError
		if !errors.As(err, &syntax) {
			t.Errorf("%s\nbecame %s, error %v", tt.perl, condition, err)
			continue
		}
		said := strings.Split(err.Error(), "\n")
		if len(said) < 3 || !strings.HasPrefix(said[0], "perl expression, line 1, column ") {
			t.Errorf("%s\nwithout its place:\n%v", tt.perl, err)
			continue
		}
		if want := strings.ReplaceAll(tt.perl, "\xe9", "?"); said[1] != "    "+want || said[2] != "    "+tt.caret {
			t.Errorf("%s\n%s should be the place:\n%v", tt.perl, tt.caret, err)
		}
		if !strings.Contains(syntax.Msg, tt.msg) || !strings.Contains(syntax.Hint, tt.hint) {
			t.Errorf("%s\nshould say %q, and %q:\n%v", tt.perl, tt.msg, tt.hint, err)
		}
	}
}

func TestSyntaxErrorShows(t *testing.T) {
	for _, tt := range []struct{ perl, want string }{
		{"$msg{id} &&\n\t\x01$msg{sender}", "perl expression, line 2, column 2: '\\x01' cannot begin a value\n" +
			"     ?$msg{sender}\n" +
			"     ^\n" +
			"hint: values are $msg{name}, numbers, and texts in quotes"},
		{"$msg{sender} eq 'ä' && foo", "perl expression, line 1, column 24: foo is neither a value nor an operator known here\n" +
			"    $msg{sender} eq 'ä' && foo\n" +
			"                           ^\n" +
			`hint: a text needs quotes: "foo"; a value is $msg{name}`},
		{"$msg{sender} eq 'a'\n\t&& foo\n|| 1", "perl expression, line 2, column 5: foo is neither a value nor an operator known here\n" +
			"     && foo\n" +
			"        ^\n" +
			`hint: a text needs quotes: "foo"; a value is $msg{name}`},
		{strings.Repeat("$msg{id} && ", 20) + "foo && " + strings.Repeat("$msg{id} && ", 20) + "1", "perl expression, line 1, column 241: foo is neither a value nor an operator known here\n" +
			"    ... & $msg{id} && $msg{id} && $msg{id} && $msg{id} && foo && $msg{id} && $msg{id} && $msg{id} && $msg{id ...\n" +
			"                                                          ^\n" +
			`hint: a text needs quotes: "foo"; a value is $msg{name}`},
	} {
		_, err := qtool.Translate(tt.perl)
		if err == nil || err.Error() != tt.want {
			t.Errorf("%q\nsays\n%v\nnot\n%s", tt.perl, err, tt.want)
		}
	}
}

func TestLimits(t *testing.T) {
	for name, perl := range map[string]string{
		"bytes":       strings.Repeat(" ", 17<<10) + "1",
		"parentheses": strings.Repeat("(", 5000) + "1" + strings.Repeat(")", 5000),
		"negations":   strings.Repeat("!", 5000) + "1",
		"nots":        strings.Repeat("not ", 2000) + "1",
		"values":      "1" + strings.Repeat("||1", 2000),
		"condition":   "$msg{id}" + strings.Repeat(" lt $msg{recipient} lt $msg{headers}{To}[5]", 100),
	} {
		condition, err := qtool.Translate(perl)
		var syntax *qtool.SyntaxError
		if !errors.As(err, &syntax) || !strings.Contains(syntax.Hint, "several rules") {
			t.Errorf("%s: %.80s, error %v", name, condition, err)
		}
	}
	long := `$msg{sender} eq "<a@b.example>"`
	long = strings.Replace(long, "@", `\@`, 1)
	translated(t, long+strings.Repeat(" || "+long, 300))
}
