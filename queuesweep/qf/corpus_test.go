package qf_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/backscatterd/backscatterd/queuesweep/qf"
)

// listed is one message as "mailq -v" shows it.
type listed struct {
	Priority   string
	Sender     string
	Quarantine string
	Body       string // body type
	Status     string
	Recipients [][2]string // address and own status
}

// Files that a real sendmail wrote say what the same sendmail's mailq said.
func TestAgreesWithMailq(t *testing.T) {
	checkSpool(t, "testdata/flat", "testdata/flat.mailq-v.txt")
}

// The same for the whole corpus, where it is at hand.
func TestAgreesWithMailqOnCorpus(t *testing.T) {
	root := os.Getenv("BACKSCATTERD_CORPUS")
	if root == "" {
		root = "../../../shared/corpus"
	}
	lists, err := filepath.Glob(filepath.Join(root, "spool", "*.mailq-v.txt"))
	if err != nil {
		t.Fatal(err)
	}
	if len(lists) == 0 {
		t.Logf("no corpus at %s (BACKSCATTERD_CORPUS names another place): the files in testdata are all that was looked at", root)
		return
	}
	for _, list := range lists {
		checkSpool(t, strings.TrimSuffix(list, ".mailq-v.txt"), list)
	}
}

func checkSpool(t *testing.T, folder, list string) {
	t.Helper()
	text, err := os.ReadFile(list)
	if err != nil {
		t.Fatal(err)
	}
	want := parseMailq(t, string(text))
	got := make(map[string]listed)
	err = filepath.WalkDir(folder, func(path string, d os.DirEntry, err error) error {
		name := filepath.Base(path)
		if err != nil || d.IsDir() || name[0] != 'q' && name[0] != 'h' {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		f, err := qf.Parse(data)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		got[name[2:]] = asMailq(f)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(got) == 0 {
		t.Fatalf("no control file below %s", folder)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("%s: mailq (-) and the reader (+) do not agree:\n%s", folder, d)
	}
}

// asMailq says of a file what mailq would.
func asMailq(f *qf.File) listed {
	sender, _ := f.Line('S')
	l := listed{
		Priority: fmt.Sprint(f.Priority()), Sender: string(sender), Quarantine: f.Quarantine(), Body: f.BodyType(),
		Status: cut(f.Status()),
	}
	own := false
	for r := range f.Recipients() {
		l.Recipients = append(l.Recipients, [2]string{r.Address, cut(r.Status)})
		own = own || r.Status == f.Status()
	}
	if _, ok := f.Line('M'); ok && own && !strings.Contains(before(f, 'S'), "M") {
		l.Status = "" // taken from the first recipient, for want of one before S
	}
	return l
}

// before are the codes of the lines that stand before the first with this code.
func before(f *qf.File, code byte) string {
	data := string(f.WithoutQuarantine())
	var codes strings.Builder
	for line := range strings.SplitSeq(data, "\n") {
		if line == "" || line[0] == code {
			break
		}
		codes.WriteByte(line[0])
	}
	return codes.String()
}

func cut(status string) string { return status[:min(len(status), 100)] }

var (
	mailqFirst = regexp.MustCompile(`^\s*(\w{14})[* X?-]\s*(\d+)\s+(-?\d+)[ +]\w{3} [ \d]\d \d\d:\d\d (.*)$`)
	mailqOwn   = regexp.MustCompile(`^\t\t \((.*)\)$`)
	mailqBody  = regexp.MustCompile(`^    ([ \w]{10})(?:   \((.*)\))?$`)
)

// parseMailq reads the output of "sendmail -bp -v".
func parseMailq(t *testing.T, text string) map[string]listed {
	t.Helper()
	all := make(map[string]listed)
	var id string
	for line := range strings.SplitSeq(text, "\n") {
		l := all[id]
		last := len(l.Recipients) - 1
		switch m := mailqFirst.FindStringSubmatch(line); {
		case m != nil:
			id, l = m[1], listed{Priority: m[3], Sender: m[4]}
		case id == "" || line == "":
			continue
		case strings.HasPrefix(line, "     QUARANTINE: "):
			l.Quarantine = strings.TrimPrefix(line, "     QUARANTINE: ")
		case strings.HasPrefix(line, "\t\t\t\t\t\t(---"): // controlling user
			continue
		case strings.HasPrefix(line, "\t\t\t\t\t\t"):
			l.Recipients = append(l.Recipients, [2]string{strings.Trim(strings.TrimSpace(line), "<>"), ""})
		case mailqOwn.MatchString(line) && last >= 0:
			l.Recipients[last][1] = mailqOwn.FindStringSubmatch(line)[1]
		case mailqBody.MatchString(line):
			b := mailqBody.FindStringSubmatch(line)
			l.Body, l.Status = strings.TrimSpace(b[1]), b[2]
		case strings.Contains(line, "request"), strings.HasPrefix(line, "-----Q-ID"), strings.Contains(line, "Total requests"), strings.HasSuffix(line, "is empty"):
			id = ""
			continue
		default:
			t.Fatalf("a line of mailq that this test does not know: %q", line)
		}
		if id != "" {
			all[id] = l
		}
	}
	return all
}
