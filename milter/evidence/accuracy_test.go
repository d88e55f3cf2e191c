package evidence_test

import (
	"bytes"
	"cmp"
	"context"
	"net/mail"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/backscatterd/backscatterd/dsn"
	"github.com/backscatterd/backscatterd/milter/batv"
	"github.com/backscatterd/backscatterd/milter/evidence"
	"github.com/backscatterd/backscatterd/milter/ledger"
	"github.com/backscatterd/backscatterd/milter/token"
)

// The accuracy of the verdicts: every bounce is judged as the site that its
// mail really came from would judge it, and as a site that is only forged in
// its From. The truth about the returned message is what another parser read
// (labels.tsv), so that a bounce which dsn reads wrong counts against us.

// A specimen is a bounce, with what is known of the message that it returns.
type specimen struct {
	file, family string
	data         []byte
	report       dsn.Report

	sender     string   // the original sender
	recipients []string // the failed ones
	messageID  string
	sent, came time.Time
}

func (s *specimen) returned() bool { return len(s.report.Returned.Fields) > 0 }

// loadSpecimens gives the corpus, or the bundled messages where it is absent.
func loadSpecimens(t *testing.T) []*specimen {
	t.Helper()
	dir := cmp.Or(os.Getenv("BACKSCATTERD_CORPUS"), filepath.Join("..", "..", "..", "shared", "corpus"))
	dir = filepath.Join(dir, "bounces")
	var all []*specimen
	if labels, err := os.ReadFile(filepath.Join(dir, "labels.tsv")); err == nil {
		all = labelled(t, dir, string(labels))
	} else {
		t.Log("THE CORPUS IS NOT HERE (set BACKSCATTERD_CORPUS): judging the messages bundled with the dsn package, with the truth as dsn reads it")
		all = bundled(t)
	}
	var bounces []*specimen
	for _, s := range all {
		if s.read(t); s.report.Kind.IsBounce() {
			bounces = append(bounces, s)
		}
	}
	slices.SortStableFunc(bounces, func(a, b *specimen) int { return a.sent.Compare(b.sent) })
	return bounces
}

var numbered = regexp.MustCompile(`-\d+\.eml$`)

func labelled(t *testing.T, dir, labels string) []*specimen {
	byFile := map[string]*specimen{}
	var all []*specimen
	for _, line := range strings.Split(strings.TrimSpace(labels), "\n")[1:] {
		col := strings.Split(line, "\t")
		if !strings.HasPrefix(col[0], "sisimai/") {
			continue
		}
		s := byFile[col[0]]
		if s == nil {
			s = &specimen{file: col[0], family: numbered.ReplaceAllString(filepath.Base(col[0]), "")}
			byFile[col[0]], all = s, append(all, s)
			var err error
			if s.data, err = os.ReadFile(filepath.Join(dir, col[0])); err != nil {
				t.Fatal(err)
			}
		}
		if col[1] != "-" && col[1] != "" {
			s.recipients = append(s.recipients, col[1])
		}
		s.sender = cmp.Or(s.sender, strings.Trim(col[2], "-"))
		s.messageID = cmp.Or(s.messageID, strings.Trim(col[7], "-"))
	}
	return all
}

func bundled(t *testing.T) []*specimen {
	names, err := filepath.Glob(filepath.Join("..", "..", "dsn", "testdata", "*.eml"))
	if err != nil || len(names) == 0 {
		t.Fatalf("no bundled messages: %v", err)
	}
	var all []*specimen
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, &specimen{file: filepath.Base(name), family: strings.Trim(strings.TrimSuffix(filepath.Base(name), ".eml"), "0123456789-"), data: data})
	}
	return all
}

// read reads the bounce, and settles what the labels do not tell.
func (s *specimen) read(t *testing.T) {
	t.Helper()
	var err error
	if s.report, err = dsn.Read(bytes.NewReader(s.data), dsn.Limits{}); err != nil {
		t.Fatal(err)
	}
	r := &s.report.Returned
	if s.sender == "" {
		s.sender = firstAddress(r.Header("From"))
	}
	s.sender = cmp.Or(s.sender, "somebody@sender.example")
	if s.family != "" && len(s.recipients) == 0 {
		s.recipients = s.report.FailedRecipients()
	}
	s.messageID = cmp.Or(s.messageID, s.report.MessageID)
	// A corpus is judged as of when its mail was under way: an hour after the
	// message left, or at a fixed time where it has no date.
	if d, err := mail.ParseDate(r.Header("Date")); err == nil && d.Year() > 1990 && d.Year() < 2030 {
		s.sent = d
	} else {
		s.sent = time.Date(2015, 6, 1, 12, 0, 0, 0, time.UTC)
	}
	s.came = s.sent.Add(time.Hour)
}

func firstAddress(field string) string {
	if a, err := mail.ParseAddress(field); err == nil {
		return a.Address
	}
	return ""
}

func domain(address string) string {
	return strings.ToLower(address[strings.LastIndexByte(address, '@')+1:])
}

// withToken is the bounce with a token among its returned headers: a line
// before each that gives the Message-ID, quoted as that one is. Where no such
// line is to be seen, as in base64, or the header did not come back with it, the
// message stays as it is.
func (s *specimen) withToken(value string) []byte {
	if s.messageID == "" {
		return s.data
	}
	body := max(0, bytes.Index(bytes.ReplaceAll(s.data, []byte("\r\n"), []byte("\n\n")), []byte("\n\n")))
	line := regexp.MustCompile(`(?im)^([> \t|]*)message-id:\s*<?` + regexp.QuoteMeta(s.messageID))
	return append(s.data[:body:body], line.ReplaceAll(s.data[body:], []byte("${1}"+token.Header+": "+value+"\n$0"))...)
}

// A site judges, with a real ledger whose clock the test sets.
type site struct {
	signer *token.Signer
	tags   *batv.Scheme
	ledger *ledger.Embedded
	clock  *atomic.Int64
}

func newSite(t *testing.T, began time.Time) *site {
	t.Helper()
	s := &site{clock: new(atomic.Int64)}
	s.at(began)
	var err error
	if s.signer, err = token.New(14, token.Key{ID: "k1", Secret: []byte("a secret of the test")}); err != nil {
		t.Fatal(err)
	}
	if s.tags, err = batv.New(batv.Options{Lifetime: 14, Keys: []batv.Key{{Number: 1, Secret: []byte("a third secret of it")}}}); err != nil {
		t.Fatal(err)
	}
	s.ledger, err = ledger.Open(ledger.Options{
		File: filepath.Join(t.TempDir(), "ledger.db"), Secret: []byte("another secret of it"), Keep: 100 * 365,
		Report: func(err error) { t.Errorf("ledger: %v", err) }, Now: func() time.Time { return time.Unix(s.clock.Load(), 0) }, Heartbeat: 24 * time.Hour,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.ledger.Close() })
	return s
}

func (s *site) at(now time.Time) { s.clock.Store(now.Unix()) }

func judge(t *testing.T, data []byte, recipient string, opts evidence.Options, now time.Time) evidence.Judgement {
	t.Helper()
	e, err := evidence.New(opts)
	if err != nil {
		t.Fatal(err)
	}
	report, err := dsn.Read(bytes.NewReader(data), dsn.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	return e.Weigh(context.Background(), evidence.Case{Report: report, Now: now,
		Envelope: evidence.Envelope{SenderKnown: true, Recipients: []string{recipient}, Client: netip.MustParseAddr("198.51.100.25")}})
}
