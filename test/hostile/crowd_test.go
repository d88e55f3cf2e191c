package hostile

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// limit is what a queue of any length may cost in memory, in MiB.
const limit = 64

// peak runs the program, which is to end with this exit status, and returns the
// most memory that it had, in MiB. Lines of its output are given to each and not
// kept.
func (s *site) peak(code int, each func(line []byte), args ...string) (mib int) {
	s.t.Helper()
	cmd, cancel := s.command(args...)
	defer cancel()
	report := filepath.Join(s.dir, "peak")
	self, err := os.Executable()
	s.ok(err)
	cmd.Args = append([]string{self}, cmd.Args...)
	cmd.Path, cmd.Env = self, append(cmd.Env, measure+"="+report)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.StdoutPipe()
	s.ok(err, cmd.Start())
	lines := bufio.NewReaderSize(out, 1<<20)
	for {
		line, err := lines.ReadSlice('\n')
		if len(line) > 0 && each != nil {
			each(line)
		}
		if err != nil && err != bufio.ErrBufferFull {
			break
		}
	}
	if err := cmd.Wait(); cmd.ProcessState.ExitCode() != code {
		s.t.Errorf("%q: %v, want exit status %d\n%.2000s", args, err, code, errs.String())
	}
	kb, err := os.ReadFile(report)
	s.ok(err)
	n, err := strconv.Atoi(string(kb))
	s.ok(err)
	s.t.Logf("%q: %d MiB", args, n>>10)
	return n >> 10
}

// A queue of very many messages: 50,000, or as many as HOSTILE_MESSAGES says
// (make hostile has a million of them). Each goes to another domain, has another
// sender and another status, so that nothing can be counted together; and
// more recipients and headers than is usual. Memory does not grow with it.
func TestCrowd(t *testing.T) {
	n := 50_000
	if text := os.Getenv("HOSTILE_MESSAGES"); text != "" {
		var err error
		if n, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	s := newSite(t, t.TempDir(), "[[rule]]\nname = \"all\"\nwhen = 'attempts >= 2 && header(\"X-Number\") matches \"7$\"'\n[[rule]]\nname = \"log\"\nwhen = 'status contains \"refused\"'\ndo = \"log\"\n")
	var pad strings.Builder
	for i := range 20 {
		fmt.Fprintf(&pad, "H??X-Pad-%d: a value of usual length, such as mail has in its headers %d\n", i, i)
	}
	// The body is one file of very many names, as that of split envelopes is.
	for i := range n {
		id := fmt.Sprintf("6AO%011d", i)
		s.write(s.in("qf"+id), fmt.Sprintf("V8\nT%d\nK0\nN2\nP1\nMDeferred: %d refused by mx%d.example\nS<s%d@sender%d.example>\n%sH??X-Number: %d\n%s.\n",
			1795557305+i, i, i, i, i, recipients(i), i, pad.String()))
		if i%30000 == 0 {
			s.write(s.in("df"+id), "x\n")
		} else {
			s.ok(os.Link(s.in(fmt.Sprintf("df6AO%011d", i/30000*30000)), s.in("df"+id)))
		}
	}
	valid := func(line []byte) {
		if !json.Valid(line) {
			t.Errorf("no JSON: %.200q", line)
		}
	}
	for _, args := range [][]string{
		{"queue", "list"}, {"queue", "list", "--json"}, {"queue", "list", "--where", "attempts > 5"},
		{"queue", "summary", "--by", "domain"}, {"queue", "summary", "--by", "sender"}, {"queue", "summary", "--by", "status"}, {"queue", "summary", "--by", "rule"},
		{"sweep", "--dry-run", "--json"}, {"queue", "move", "--where", `header("X-Number") matches "7$"`, "--dry-run", "--json"},
	} {
		counted := 0
		each := func([]byte) { counted++ }
		if args[len(args)-1] == "--json" {
			each = func(line []byte) { counted++; valid(line) }
		}
		code := 0
		if args[0] == "sweep" && n/10 > 10_000 { // a tenth of them is to be moved: more than max_messages
			code = 1
		}
		if peak := s.peak(code, each, args...); peak > limit {
			t.Errorf("%d messages: %q had %d MiB, want at most %d", n, args, peak, limit)
		}
		if args[1] == "list" && len(args) == 3 && counted != n {
			t.Errorf("%d messages are listed, want %d", counted, n)
		}
	}
}

// recipients are ten, each at a domain of its own.
func recipients(i int) string {
	var b strings.Builder
	for k := range 10 {
		fmt.Fprintf(&b, "RPFD:<recipient%d.%d@domain%d-%d.example>\n", i, k, i, k)
	}
	return b.String()
}

// Control files of 1 GB, all hole or all text, one line of that size, and a body
// of 10 GB: told of, left alone, and not read into memory.
func TestLarge(t *testing.T) {
	real := 64 << 20 // bytes that are written in earnest, unless HOSTILE_LARGE is set
	if os.Getenv("HOSTILE_LARGE") != "" {
		real = 1 << 30
	}
	s := newSite(t, t.TempDir(), "[[rule]]\nname = \"returned\"\nwhen = 'returned.header(\"X-Spam-Flag\") == \"YES\" || any(returned.failed, # == \"x\") || returned.status == \"5.9.9\"'\n[[rule]]\nname = \"size\"\nwhen = 'size > 5000000000'\ndo = \"log\"\n")
	sparse := func(name, begin string, size int64) {
		s.write(s.in(name), begin)
		s.ok(os.Truncate(s.in(name), size))
	}
	sparse("qfHOLE", strings.TrimSuffix(plainControl, ".\n"), 1<<30)
	s.fill("qfTEXT", strings.TrimSuffix(plainControl, ".\n"), "H??X-Header: a value of usual length\n", real)
	s.fill("qfLINE", strings.TrimSuffix(plainControl, ".\n")+"H??X-Long: ", strings.Repeat("y", 1000), real)
	s.fill("qfFOLDS", strings.TrimSuffix(plainControl, ".\n")+"H??X-Long: a\n", "\tb\n", real)
	for _, id := range []string{"HOLE", "TEXT", "LINE", "FOLDS"} {
		s.write(s.in("df"+id), "x\n")
	}
	bounce := strings.NewReplacer("S<a@b.example>", "SMAILER-DAEMON", "H??Subject: s\n", "H??Subject: Returned mail: see transcript for details\nH??MIME-Version: 1.0\nH??Content-Type: multipart/report; report-type=delivery-status; boundary=\"b\"\n").Replace(plainControl)
	parts := "--b\n\nfailed\n\n--b\nContent-Type: message/delivery-status\n\nReporting-MTA: dns; x.example\n\nFinal-Recipient: rfc822; u@x.example\nAction: failed\nStatus: 5.1.1\n\n--b\nContent-Type: message/rfc822\n\nSubject: x\n"
	for id, begin := range map[string]string{"BODY": parts, "BODYLINE": parts + "X-Long: ", "BODYHOLE": "", "PLAIN": "----- The following addresses had permanent fatal errors -----\n"} {
		s.write(s.in("qf"+id), bounce)
		sparse("df"+id, begin, 10<<30)
	}
	before := s.snapshot(s.outside)
	for _, args := range [][]string{{"queue", "list", "--json"}, {"queue", "summary"}, {"sweep", "--dry-run", "--json"}, {"sweep", "--json"}, {"queue", "show", "HOLE", "LINE", "BODY", "PLAIN", "BODYLINE"}} {
		if peak := s.peak(0, nil, args...); peak > limit {
			t.Errorf("%q had %d MiB, want at most %d", args, peak, limit)
		}
	}
	s.refused("HOLE", "TEXT", "LINE", "FOLDS")
	s.want(1, "queue.max_control_file", "queue", "move", "HOLE")
	s.want(0, "4 done", "queue", "move", "BODY", "BODYLINE", "BODYHOLE", "PLAIN") // a rename
	s.want(0, "4 done", "queue", "restore", "BODY", "BODYLINE", "BODYHOLE", "PLAIN")
	s.want(0, "4 done", "queue", "delete", "BODY", "BODYLINE", "BODYHOLE", "PLAIN")
	s.untouched(before)
}

// Control files just below the limit of queue.max_control_file, made of the
// shortest lines that there are: what they cost is bounded by that limit.
func TestManyLines(t *testing.T) {
	s := newSite(t, t.TempDir(), allMove)
	for id, line := range map[string]string{"EMPTY": "E\n", "HEADERS": "H??a:\n", "RCPTS": "RP:u@d\n", "MACROS": "$a\n", "STATUSES": "Mx\n"} {
		s.fill("qf"+id, strings.TrimSuffix(plainControl, ".\n"), line, 2<<20)
		f, err := os.OpenFile(s.in("qf"+id), os.O_WRONLY|os.O_APPEND, 0)
		s.ok(err)
		_, err = f.WriteString(".\n")
		s.ok(err, f.Close())
		s.write(s.in("df"+id), "body of "+id+"\n")
	}
	for _, args := range [][]string{{"queue", "list"}, {"queue", "summary"}, {"sweep", "--dry-run"}, {"sweep", "--json"}, {"queue", "restore", "--where", "true", "--yes"}} {
		// 2 MB of two-byte lines are a million; several are in hand at once.
		if peak := s.peak(0, nil, args...); peak > 512 {
			t.Errorf("%q had %d MiB", args, peak)
		}
	}
	s.want(0, "5 done", "queue", "move", "EMPTY", "HEADERS", "RCPTS", "MACROS", "STATUSES")
}

// fill writes a file of that size of one piece again and again.
func (s *site) fill(name, begin, piece string, size int) {
	s.t.Helper()
	f, err := os.OpenFile(s.in(name), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	s.ok(err)
	w := bufio.NewWriterSize(f, 1<<20)
	w.WriteString(begin)
	for written := 0; written < size; written += max(len(piece), 1) {
		w.WriteString(piece)
	}
	s.ok(w.Flush(), f.Close())
}
