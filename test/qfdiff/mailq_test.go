package qfdiff

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/backscatterd/backscatterd/queuesweep/qf"
	"github.com/backscatterd/backscatterd/test/lab"
)

// mailq asks sendmail for its list of a queue. It is nil where sendmail prints
// a text of the message's own so that the list cannot be read.
func (m *mta) mailq(t *testing.T) ([]lab.Listed, string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "unshare", "--uts", "sh", "-c", `hostname mx.lab.example && exec "$0" "$@"`, sendmail, "-C", m.cf, "-bp", "-v")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("sendmail -bp -v: %v\n%s", err, out)
	}
	listed, err := lab.ParseMailq(string(out))
	if err != nil {
		return nil, string(out)
	}
	return listed, string(out)
}

// FuzzMailq looks for a control file that our reader takes and of which
// `sendmail -bp -v` says something else: another sender, other recipients,
// another size of its body, another priority.
func FuzzMailq(f *testing.F) {
	m := newMTA(f)
	for _, v := range variants() {
		if len(v.text) < 2000 && v.mode == 0 && v.dataIn == "" {
			f.Add([]byte(v.text))
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		file, err := qf.Parse(data)
		if err != nil || file.Quarantined() || len(data) > 50_000 {
			return // what we leave alone may be as it will; a held message is in another list
		}
		if len(slices.Collect(file.Lines('S'))) > 1 || strings.Contains(sender(file), "\n") ||
			slices.ContainsFunc(slices.Collect(file.Recipients()), func(r qf.Recipient) bool { return strings.Contains(r.Address, "\n") }) {
			return // the list has each sender, one behind the other, and a folded line over several
		}
		const id = "6AO0lZlY123456"
		path := filepath.Join(m.main, "qf"+id)
		must(t, os.WriteFile(filepath.Join(m.main, "df"+id), []byte("body\n"), 0o600), os.WriteFile(path, data, 0o600))
		listed, text := m.mailq(t)
		if listed == nil {
			return
		}
		if len(listed) == 0 {
			t.Fatalf("we take it, and sendmail does not list it: %q\n%s", data, text)
		}
		theirs := listed[0]
		if theirs.Note != "" || len(listed) > 1 {
			t.Fatalf("we take it, and sendmail says %+v of %q", listed, data)
		}
		// Its gatherq() takes a line with a NUL and the next for one, and of several
		// P lines the first.
		plainly := len(slices.Collect(file.Lines('P'))) == 1 && bytes.IndexByte(data, 0) < 0
		if n := int64(file.Priority()); plainly && theirs.Priority != n && n > -1<<31 && n < 1<<31 {
			t.Errorf("priority %d, sendmail says %d: %q", n, theirs.Priority, data)
		}
		if ours := sender(file); !alike(ours, theirs.Sender, 78) {
			t.Errorf("sender %q, sendmail says %q: %q", ours, theirs.Sender, data)
		}
		var ours, said []string
		for r := range file.Recipients() {
			ours = append(ours, r.Address)
		}
		for _, r := range theirs.Recipients {
			said = append(said, shown(r.Address))
		}
		if slices.ContainsFunc(ours, func(a string) bool { return columns(a) > 60 && columns(a) > len(a) }) {
			return // one may be cut to nothing
		}
		// An empty one is a line of blanks in the list, or none.
		empty := func(a string) bool { return plain(a) == "" }
		ours, said = slices.DeleteFunc(ours, empty), slices.DeleteFunc(said, empty)
		if !slices.EqualFunc(ours, said, func(a, b string) bool { return alike(a, b, 60) }) {
			t.Errorf("recipients %q, sendmail says %q: %q", ours, said, data)
		}
	})
}

// alike compares an address with what the list shows of it, which may be cut at
// a width, and where a byte that is not printed as it is takes several columns.
func alike(ours, listed string, width int) bool {
	a, b := plain(ours), shown(listed)
	if n := columns(ours); n > width && n > len(ours) {
		return strings.HasPrefix(a, b)
	}
	return a[:min(len(a), width)] == b[:min(len(b), width)]
}

// columns is how many an address takes in the list, at most: \377 is one byte.
func columns(address string) (n int) {
	for _, c := range []byte(address) {
		if n++; c < ' ' || c >= 0x7f {
			n += 3
		}
	}
	return n
}

// shown is an address of the list. Where the message's time is of 1970, there is
// a note behind the first.
func shown(listed string) string { return strings.TrimSuffix(plain(listed), "(nocontrolfile)") }

func sender(f *qf.File) string {
	v := ""
	for line := range f.Lines('S') {
		v = qf.Text(line)
	}
	return v
}

// plain keeps of an address what is printed alike everywhere.
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		if r <= ' ' || r >= 0x7f || strings.ContainsRune(`<>\`, r) {
			return -1
		}
		return r
	}, s)
}
