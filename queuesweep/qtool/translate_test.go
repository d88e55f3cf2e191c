package qtool_test

import (
	"testing"
)

func TestTranslate(t *testing.T) {
	for _, group := range []struct {
		promise string
		table   [][2]string
	}{
		{"lines have readable names where they mean the same", [][2]string{
			{`$msg{num_delivery_attempts} > 5`, `attempts > 5`},
			{`$msg{num_delivery_attempts} eq "5"`, `line("N") == "5"`},
			{`$msg{num_delivery_attempts} =~ /^1/`, `line("N") matches "^1"`},
			{`$msg{num_delivery_attempts}[0] > 5`, `attempts > 5`},
			{`$msg{priority} <= 30000`, `priority <= 30000`},
			{`$msg{body_size} >= 1_000_000`, `size >= 1000000`},
			{`$msg{id} =~ /^tAE/`, `id matches "^tAE"`},
			{`$msg{flags} =~ /r/`, `flags matches "r"`},
			{`$msg{body_type} eq '8BITMIME'`, `body_type == "8BITMIME"`},
			{`$msg{quarantine_reason} =~ /virus/i`, `quarantine matches "(?i)virus"`},
			{`$msg{message} =~ /x/`, `status matches "x"`},
			{`$msg{sender} eq "<a\@b.example>"`, `line("S") == "<a@b.example>"`},
			{`$msg{creation_time} < 1447493191`, `number(line("T")) < 1447493191`},
			{`$msg{next_delivery_time} == 0`, `number(line("K")) == 0`},
			{`$msg{version} == 8`, `number(line("V")) == 8`},
			{`$msg{inode_number} =~ m{^202/}`, `line("I") matches "^202/"`},
			{`$msg{auth} eq "<>"`, `line("A") == "<>"`},
			{`$msg{envid} eq "x"`, `line("Z") == "x"`},
			{`$msg{deliver_by} =~ /N/`, `line("!") matches "N"`},
			{`$msg{data_file_directory} =~ /q2/`, `line("d") matches "q2"`},
			{`$msg{data_file_name} eq "x"`, `line("D") == "x"`},
			{`$msg{"content-length"} > 5`, `number(line("L")) > 5`},
			{`$msg{charset} eq "x"`, `line("X") == "x"`},
			{`$msg{current_delay} eq "x"`, `line("Y") == "x"`},
		}},
		{"what stands more than once is asked for any, and negated for none", [][2]string{
			{`$msg{recipient} =~ /x/`, `any(lines("R"), # matches "x")`},
			{`$msg{recipient} !~ /x/`, `none(lines("R"), # matches "x")`},
			{`!($msg{recipient} =~ /x/)`, `none(lines("R"), # matches "x")`},
			{`$msg{recipient} eq "PF:<a>"`, `any(lines("R"), # == "PF:<a>")`},
			{`$msg{recipient} ne "PF:<a>"`, `none(lines("R"), # == "PF:<a>")`},
			{`$msg{original_recipient} =~ /x/`, `any(lines("Q"), # matches "x")`},
			{`$msg{final_recipient} =~ /x/`, `any(lines("r"), # matches "x")`},
			{`$msg{controlling_user} =~ /x/`, `any(lines("C"), # matches "x")`},
			{`$msg{error_recipient} =~ /x/`, `any(lines("E"), # matches "x")`},
			{`$msg{macro} =~ /^{auth_authen}bob/`, "any(lines(\"$\"), # matches `^\\{auth_authen\\}bob`)"},
			{`$msg{parse_header} =~ /^\?P\?/`, "any(lines(\"H\"), # matches `^\\?P\\?`)"},
			{`$msg{headers}{Received} =~ /x/`, `any(raw_headers("Received"), # matches "x")`},
			{`$msg{headers}{"X-Spam-Score"} > 5.5`, `any(raw_headers("X-Spam-Score"), number(#) > 5.5)`},
			{`$msg{recipient}`, `any(lines("R"), # not in ["", "0"])`},
			{`$msg{headers}{From} ne $msg{headers}{"Reply-To"}`, `raw_header("From") != raw_header("Reply-To")`},
			{`$msg{recipient} lt $msg{headers}{To}`, `(len(lines("R")) == 0 && "" < raw_header("To")) || any(lines("R"), # < raw_header("To"))`},
			{`!$msg{recipient}`, `none(lines("R"), # not in ["", "0"])`},
		}},
		{"what is absent is empty, and 0", [][2]string{
			{`$msg{headers}{Subject} eq ""`, `len(raw_headers("Subject")) == 0 || any(raw_headers("Subject"), # == "")`},
			{`$msg{headers}{Subject} ne ""`, `len(raw_headers("Subject")) > 0 && none(raw_headers("Subject"), # == "")`},
			{`$msg{headers}{Subject} =~ /^$/`, `len(raw_headers("Subject")) == 0 || any(raw_headers("Subject"), # matches "^$")`},
			{`$msg{headers}{"X-Spam-Score"} < 5`, `len(raw_headers("X-Spam-Score")) == 0 || any(raw_headers("X-Spam-Score"), number(#) < 5)`},
			{`$msg{sender} eq $msg{headers}{From}`, `(len(raw_headers("From")) == 0 && line("S") == "") || any(raw_headers("From"), line("S") == #)`},
		}},
		{"an index takes one", [][2]string{
			{`$msg{message}[0] =~ /x/`, `status matches "x"`},
			{`$msg{message}->[0] =~ /x/`, `status matches "x"`},
			{`$msg{message}[1] =~ /x/`, `(len(lines("M")) >= 2 ? lines("M")[1] : "") matches "x"`},
			{`$msg{message}[-1] =~ /x/`, `(len(lines("M")) >= 1 ? lines("M")[-1] : "") matches "x"`},
			{`$msg{recipient}[0] =~ /x/`, `line("R") matches "x"`},
			{`$msg{recipient}[2] eq ''`, `(len(lines("R")) >= 3 ? lines("R")[2] : "") == ""`},
			{`$msg{recipient}[-2] eq ''`, `(len(lines("R")) >= 2 ? lines("R")[-2] : "") == ""`},
			{`$msg{sender}[0] eq 'x'`, `line("S") == "x"`},
			{`$msg{headers}->{Received}->[0] =~ /x/`, `raw_header("Received") matches "x"`},
			{`$msg{headers}{Received}[1] =~ /x/`, `(len(raw_headers("Received")) >= 2 ? raw_headers("Received")[1] : "") matches "x"`},
			{`$msg{headers}{ubject}[0] =~ /x/`, `(len(old_headers("ubject")) >= 1 ? old_headers("ubject")[0] : "") matches "x"`},
			{`$msg{headers}{"-Score"}[0] > 1`, `number((len(old_headers("-Score")) >= 1 ? old_headers("-Score")[0] : "")) > 1`},
		}},
		{"a header's name is a full name where it is known for one", [][2]string{
			{`$msg{headers}->{Subject} =~ /x/`, `any(raw_headers("Subject"), # matches "x")`},
			{`$msg{headers}->{subject} =~ /x/`, `any(raw_headers("subject"), # matches "x")`},
			{`$msg{headers}->{ubject} =~ /x/`, `any(old_headers("ubject"), # matches "x")`},
			{`$msg{headers}->{"IME-Version"} =~ /x/`, `any(old_headers("IME-Version"), # matches "x")`},
			{`$msg{headers}->{'X-Spam-Flag'} =~ /x/`, `any(raw_headers("X-Spam-Flag"), # matches "x")`},
			{`$msg{headers}->{"-Spam-Flag"} =~ /x/`, `any(old_headers("-Spam-Flag"), # matches "x")`},
			{`$msg{headers}->{"Return-Path"} =~ /x/`, `any(raw_headers("Return-Path"), # matches "x")`},
			{`$msg{headers}->{Flavour} =~ /x/`, `any(old_headers("Flavour"), # matches "x")`},
		}},
		{"blanks and comments may stand anywhere", [][2]string{
			{"  $msg { sender }\n eq # the sender\n 'x' ", `line("S") == "x"`},
			{`$ msg{ 'headers' } -> { "Subject" } -> [ 0 ]=~/x/`, `raw_header("Subject") matches "x"`},
			{`$msg{"sender"}eq"x"`, `line("S") == "x"`},
			{`$msg{num_delivery_attempts}>5&&$msg{priority}<7`, `attempts > 5 && priority < 7`},
		}},
		{"precedences are Perl's", [][2]string{
			{`$msg{priority} > 1 || $msg{priority} > 2 && $msg{priority} > 3`, `priority > 1 || (priority > 2 && priority > 3)`},
			{`$msg{priority} > 1 or $msg{priority} > 2 and $msg{priority} > 3`, `priority > 1 || (priority > 2 && priority > 3)`},
			{`$msg{priority} > 1 || $msg{priority} > 2 and $msg{priority} > 3`, `(priority > 1 || priority > 2) && priority > 3`},
			{`($msg{priority} > 1 or $msg{priority} > 2) && $msg{priority} > 3`, `(priority > 1 || priority > 2) && priority > 3`},
			{`not $msg{priority} > 1 && $msg{priority} > 2`, `!(priority > 1 && priority > 2)`},
			{`not($msg{priority} > 1) && $msg{priority} > 2`, `!(priority > 1) && priority > 2`},
			{`not $msg{priority} > 1 and $msg{priority} > 2`, `!(priority > 1) && priority > 2`},
			{`$msg{priority} > 1 && not $msg{priority} > 2 || $msg{priority} > 3`, `priority > 1 && !(priority > 2 || priority > 3)`},
			{`!$msg{auth} && $msg{priority} == 3`, `line("A") in ["", "0"] && priority == 3`},
			{`!!$msg{auth}`, `line("A") not in ["", "0"]`},
			{`!($msg{priority} > 1 || $msg{auth})`, `!(priority > 1 || line("A") not in ["", "0"])`},
			{`1 < $msg{priority} < 5`, `1 < priority && priority < 5`},
			{`((($msg{priority} == 1)))`, `priority == 1`},
			{`($msg{sender} eq "a") == 1`, `(line("S") == "a" ? 1 : 0) == 1`},
			{`defined $msg{auth} eq ""`, `(len(lines("A")) > 0 ? "1" : "") == ""`},
		}},
		{"truth is Perl's: all but the empty text and 0", [][2]string{
			{`$msg{quarantine_reason}`, `quarantine not in ["", "0"]`},
			{`$msg{num_delivery_attempts}`, `attempts != 0`},
			{`!$msg{body_size}`, `size == 0`},
			{`1`, `true`}, {`0`, `false`}, {`0.0`, `false`}, {`"0"`, `false`}, {`"0.0"`, `true`}, {`''`, `false`}, {`"\n"`, `true`},
			{`defined $msg{auth}`, `len(lines("A")) > 0`},
			{`!exists($msg{headers}->{Subject})`, `len(raw_headers("Subject")) == 0`},
			{`defined $msg{recipient}[2]`, `len(lines("R")) >= 3`},
			{`defined $msg{recipient}[-2]`, `len(lines("R")) >= 2`},
			{`defined $msg{headers}{ubject}`, `len(old_headers("ubject")) > 0`},
		}},
		{"constants are Perl's", [][2]string{
			{`$msg{priority} > -5`, `priority > -5`},
			{`$msg{priority} > - 5`, `priority > -5`},
			{`$msg{priority} > +.5e1`, `priority > 5`},
			{`$msg{priority} > 1.25`, `priority > 1.25`},
			{`$msg{priority} > "12abc"`, `priority > 12`},
			{`$msg{priority} > ""`, `priority > 0`},
			{`$msg{num_delivery_attempts} eq 5`, `line("N") == "5"`},
			{`$msg{sender} eq 1_000.50`, `line("S") == "1000.5"`},
			{`$msg{sender} eq 1e20`, `line("S") == "1e+20"`},
			{`$msg{sender} eq 'it\'s \n'`, "line(\"S\") == `it's \\n`"},
			{`$msg{sender} eq "a\tb\x41\x{42}\103\"\$\@"`, `line("S") == "a\tbABC\"$@"`},
			{`$msg{sender} eq q{a{b}c}`, `line("S") == "a{b}c"`},
			{`$msg{sender} eq qq(a\x29)`, `line("S") == "a)"`},
			{`"12abc" == 12`, `true`},
			{`"abc" lt "abd"`, `true`},
			{`"abc" =~ /^b/`, `false`},
			{`10 lt 9`, `true`},
		}},
		{"a newline that was written for qtool.pl's values is the end of ours", [][2]string{
			{`$msg{sender} eq "MAILER-DAEMON\n"`, `line("S") == "MAILER-DAEMON"`},
			{`$msg{sender} =~ /DAEMON\n$/`, "line(\"S\") matches `DAEMON(?:\\n|\\z)$`"},
			{`$msg{sender} =~ /DAEMON\n/`, "line(\"S\") matches `DAEMON(?:\\n|\\z)`"},
			{`$msg{sender} =~ /DAEMON\Z/`, "line(\"S\") matches `DAEMON\\z`"},
			{`$msg{sender} =~ /(a\n|b)c\nd/`, "line(\"S\") matches `(a(?:\\n|\\z)|b)c\\nd`"},
		}},
	} {
		t.Run(group.promise, func(t *testing.T) {
			for _, tt := range group.table {
				if got := translated(t, tt[0]); got != tt[1] {
					t.Errorf("%s\nbecame %s\nnot    %s", tt[0], got, tt[1])
				}
			}
		})
	}
}

func TestPatterns(t *testing.T) {
	for _, tt := range []struct{ perl, re2 string }{
		{`/a/`, `a`}, {`m/a/`, `a`}, {`m{a{2}}`, `a{2}`}, {`m!a/b!`, `a/b`}, {`m#a#`, `a`}, {`m (a|b)`, `a|b`}, {`qr/a/i`, `(?i)a`},
		{`/a\/b/`, `a/b`}, {`m!a\!b!`, `a!b`}, {`m{\{\}}`, `\{\}`}, {`m[[ab]]`, `[ab]`}, {`m'a$b@c'`, `a$b@c`},
		{`/a/i`, `(?i)a`}, {`/a/ms`, `(?ms)a`}, {`/a/smig`, `(?ims)a`}, {`/a/go`, `a`},
		{`/ a b # c
		   [ d]\ e\#/x`, `ab[ d] e#`},
		{`/a * ?/x`, `a*?`}, {`/\x4 1/x`, `\x{4}1`}, {`/a\n $/x`, `a(?:\n|\z)$`},
		{`/\d+\s*\w?\bx\B/`, `\d+\s*\w?\bx\B`}, {`/\A.*\z/`, `\A.*\z`}, {`/a\Z/`, `a\z`}, {`/^a$/m`, `(?m)^a$`},
		{`/\h\H/`, `[\t ][^\t ]`}, {`/\R/`, `(?:\r\n|[\n\x0b\f\r])`}, {`/\N/`, `[^\n]`}, {`/\e\cA\0\012b/`, `\x{1b}\x{1}\x{0}\nb`},
		{`/\x41\x{2e}\o{101}/`, `A\.A`}, {`/\@\"\'\-\_\%\:/`, `@"'-_%:`}, {`/\Qa.b\E.c/`, `a\.b.c`}, {`/\Qa.b/`, `a\.b`},
		{`/\Qa\\E.\t\E./`, `a\\\\E\.\\t.`}, {`/\Qa$|b c\E /x`, `a\$\|b c`},
		{`/a{b/`, `a\{b`}, {`/a}]/`, `a\}\]`}, {`/a{2,}b{2,3}?/`, `a{2,}b{2,3}?`},
		{`/(?:a)(?i)b(?i-s:c)(?#no)(?<n>d)(?'n'e)(?P<n>f)/`, `(?:a)(?i)b(?i-s:c)(d)(e)(f)`},
		{`/[]a]/`, `[\]a]`}, {`/[^]a]/`, `[^\]a]`}, {`/[\w.-]/`, `[\w.-]`}, {`/[a-c-e]/`, `[a-c\-e]`}, {`/[-a]/`, `[-a]`},
		{`/[[:alpha:]\-\]^]/`, `[[:alpha:]\-\]\^]`}, {`/[\b\h\v]/`, `[\x{8}\t \n\x0b\f\r]`}, {`/[\x41-\x{43}]/`, `[A-C]`}, {`/[[a]/`, `[\[a]`},
		{`/Zurück [ä-ü]/`, `Zurück [ä-ü]`}, {`/\p{Lu}\pL/`, `\p{Lu}\pL`},
		{`/a$|b$/`, `a$|b$`}, {`/(a$)/`, `(a$)`}, {`/@$/`, `@$`}, {`/a\@b\$c/`, `a@b\$c`},
	} {
		perl := `$msg{sender} =~ ` + tt.perl
		got := translated(t, perl)
		want := `line("S") matches "` + tt.re2 + `"`
		if got != want {
			want = "line(\"S\") matches `" + tt.re2 + "`"
		}
		if got != want {
			t.Errorf("%s\nbecame %s\nnot    %s", perl, got, want)
		}
	}
}

// Headers are found under their full names in any case, and under what is left
// of them without the first letter, as old versions of qtool.pl had them, but
// not where a one-letter condition had kept the name whole.
func TestHeaderNames(t *testing.T) {
	m := message{headers: []header{
		{"", "Subject", " one"}, {"", "SUBJECT", " two"}, {"P", "Return-Path", " <x>"}, {"", "X-Spam-Flag", " YES"}, {"", "Flavour", " mint"},
	}}
	for perl, want := range map[string]bool{
		`$msg{headers}{Subject} eq " one"`:          true,
		`$msg{headers}{subject} eq " two"`:          true,
		`$msg{headers}{ubject} eq " two"`:           true,
		`$msg{headers}{Subject}[1] eq " two"`:       true,
		`$msg{headers}{ubject}[1] eq " two"`:        true,
		`$msg{headers}{ubject}[2] eq ""`:            true,
		`$msg{headers}{ubject} eq " three"`:         false,
		`$msg{headers}{ubject} ne " two"`:           false,
		`defined $msg{headers}{"Return-Path"}`:      true,
		`defined $msg{headers}{"eturn-Path"}`:       false,
		`$msg{headers}{"X-Spam-Flag"} eq " YES"`:    true,
		`$msg{headers}{"X-Spam-Flag"} eq "YES"`:     false,
		`$msg{headers}{"-Spam-Flag"} =~ /^ YES$/`:   true,
		`$msg{headers}{Flavour} =~ /mint/`:          true,
		`$msg{headers}{lavour} =~ /mint/`:           true,
		`$msg{headers}{avour} =~ /mint/`:            false,
		`$msg{headers}{Cc} eq ""`:                   true,
		`$msg{headers}{Cc} !~ /x/`:                  true,
		`$msg{headers}{Cc} ne ""`:                   false,
		`$msg{headers}{Cc}`:                         false,
		`$msg{headers}{Cc} == 0`:                    true,
		`!$msg{headers}{Cc} && !defined $msg{auth}`: true,
	} {
		if got := holds(t, translated(t, perl), m); got != want {
			t.Errorf("%s is %v", perl, got)
		}
	}
}
