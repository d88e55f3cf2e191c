package qtool_test

import (
	"bufio"
	"encoding/hex"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/backscatterd/backscatterd/queuesweep/qtool"
)

// oracle is a Perl that is asked one question after the other.
type oracle struct {
	in  io.Writer
	out *bufio.Reader
}

func newOracle(f *testing.F) *oracle {
	path, err := exec.LookPath("perl")
	if err != nil {
		f.Fatal("perl is missing, which says what expressions mean: install perl-base")
	}
	cmd := exec.Command(path, "-e", `use strict; $| = 1; my (%msg, $result);
		while (my $line = <STDIN>) {
			my ($m, $e) = map { pack 'H*', $_ } split ' ', $line;
			eval "%msg = ($m); 1" or die $@;
			local $SIG{ALRM} = sub { die "slow" }; local $SIG{__WARN__} = sub {};
			alarm 10; $result = eval $e; alarm 0;
			if ($@) { $@ =~ s/\n/ /g; print "error $@\n" } else { print $result ? 1 : 0, "\n" }
		}`)
	in, err := cmd.StdinPipe()
	if err != nil {
		f.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		f.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() {
		in.Close()
		_ = cmd.Wait()
	})
	return &oracle{in, bufio.NewReader(out)}
}

func (o *oracle) ask(t *testing.T, q asked) string {
	if _, err := fmt.Fprintf(o.in, "%s %s\n", hex.EncodeToString([]byte(q.m.literal())), hex.EncodeToString([]byte(q.perl))); err != nil {
		t.Fatalf("perl: %v", err)
	}
	line, err := o.out.ReadString('\n')
	if err != nil {
		t.Fatalf("perl does not answer to %q: %v", q.perl, err)
	}
	return strings.TrimSuffix(line, "\n")
}

// safePattern tells whether Perl may be asked about a pattern that a fuzzer has
// made up: it must not be able to call anything, nor end where it is written.
// And nothing in it writes a newline, which to us, and on purpose not to Perl,
// is the end of a value too.
func safePattern(p string) bool {
	for i := range len(p) {
		switch c := p[i]; {
		case c < ' ', c >= 0x7f, c == '/', c == '`', c == '@', c == '#':
			return false
		case c == '$' && i+1 < len(p) && p[i+1] != ')' && p[i+1] != '|':
			return false
		case c == '\\' && i+1 < len(p) && strings.IndexByte("nxoc01NvRK", p[i+1]) >= 0:
			return false
		case c == '(' && i+1 < len(p) && p[i+1] == '*', c == '{' && i > 0 && p[i-1] == '?':
			return false
		}
	}
	return true
}

// FuzzPerlAgrees looks for an expression that we take and that Perl understands
// otherwise: generated ones, whose number is seed, and a pattern, on the values
// of the same message.
func FuzzPerlAgrees(f *testing.F) {
	o := newOracle(f)
	generated := rapid.Custom(func(t *rapid.T) asked { return asked{genCondition(t, 4), genMessage(t)} })
	for i, p := range oraclePatterns {
		p = strings.TrimPrefix(p, "m")
		f.Add(i, strings.Trim(p[1:], "/}!)'#imsx"), "i")
	}
	f.Fuzz(func(t *testing.T, seed int, pattern, flags string) {
		q := generated.Example(seed & 0xffffff)
		o.compare(t, q)
		if !safePattern(pattern) || strings.Trim(flags, "imsx") != "" {
			return
		}
		for _, v := range []string{oracleValues[seed&0xff%len(oracleValues)], pattern} {
			if !isASCII(v) { // Perl sees bytes and RE2 characters, and so another \B or \W
				continue
			}
			o.compare(t, asked{"$msg{sender} =~ /" + pattern + "/" + flags, message{lines: map[string][]string{"S": {v}}}})
		}
	})
}

func isASCII(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r >= utf8.RuneSelf }) < 0
}

// compare asks both, where we take the expression. That Perl takes more is no
// secret.
func (o *oracle) compare(t *testing.T, q asked) {
	t.Helper()
	condition, err := qtool.Translate(q.perl)
	if err != nil {
		return
	}
	answer, ours := o.ask(t, q), "0"
	if strings.HasPrefix(answer, "error Unescaped left brace in regex is illegal") {
		return // versions of Perl before 5.26 take it, as the character that it is to us
	}
	if holds(t, condition, q.m) {
		ours = "1"
	}
	if ours != answer {
		t.Fatalf("%q\nbecame %s\nPerl says %s of %+v", q.perl, condition, answer, q.m)
	}
}
