package dsn

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// split gives a message as the queue has it: header fields, and body.
func split(t testing.TB, data []byte) ([]Field, []byte) {
	t.Helper()
	var b block
	s := newSource(bytes.NewReader(data), 1<<20)
	b.scan(s, 1<<20)
	_, body, ok := bytes.Cut(data, []byte("\n\n"))
	if !ok {
		t.Fatal("no body")
	}
	return b.fields(), body
}

func mustRead(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// typicalReport is a sendmail report of about 5 kB, the size met most in queues.
func typicalReport(t testing.TB) []byte {
	data := mustRead(t, "01-sendmail-user-unknown.eml")
	pad := bytes.Repeat([]byte("A line of the message that came back to its sender.\n"), (5<<10-len(data))/52)
	return bytes.Replace(data, []byte("See you there.\n"), pad, 1)
}

// What one message costs in allocations: the same on every machine.
func TestAllocations(t *testing.T) {
	fields, body := split(t, typicalReport(t))
	for _, c := range []struct {
		name string
		most float64
		run  func() (Report, error)
	}{
		{"ordinary message", 10, reading(mustRead(t, "41-ordinary.eml"))},
		{"sendmail report, whole", 30, reading(typicalReport(t))},
		{"sendmail report, body only", 30, func() (Report, error) { return ReadBody(fields, bytes.NewReader(body), Limits{}) }},
		{"qmail text", 40, reading(mustRead(t, "08-qmail.eml"))},
	} {
		got := testing.AllocsPerRun(100, func() { c.run() })
		t.Logf("%s: %.0f allocations", c.name, got)
		if got > c.most {
			t.Errorf("%s: %.0f allocations, at most %.0f allowed", c.name, got, c.most)
		}
	}
}

func reading(data []byte) func() (Report, error) {
	return func() (Report, error) { return Read(bytes.NewReader(data), Limits{}) }
}

func BenchmarkOrdinary(b *testing.B) {
	run(b, len(mustRead(b, "41-ordinary.eml")), reading(mustRead(b, "41-ordinary.eml")))
}

// The sweeper's case.
func BenchmarkSendmailReportBody(b *testing.B) {
	fields, body := split(b, typicalReport(b))
	run(b, len(body), func() (Report, error) { return ReadBody(fields, bytes.NewReader(body), Limits{}) })
}

func BenchmarkText(b *testing.B) {
	run(b, len(mustRead(b, "08-qmail.eml")), reading(mustRead(b, "08-qmail.eml")))
}

func run(b *testing.B, size int, f func() (Report, error)) {
	b.Helper()
	b.SetBytes(int64(size))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := f(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkCorpus reads the bounces of the corpus where it is, else those of
// testdata, one after the other.
func BenchmarkCorpus(b *testing.B) {
	pattern := filepath.Join("testdata", "*.eml")
	if dir := corpusDir(); dir != "" {
		pattern = filepath.Join(dir, "sisimai", "*.eml")
	} else {
		b.Log("the corpus is not here: reading the bundled messages")
	}
	names, _ := filepath.Glob(pattern)
	var all [][]byte
	size := 0
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			b.Fatal(err)
		}
		all = append(all, data)
		size += len(data)
	}
	b.SetBytes(int64(size))
	b.ReportAllocs()
	for b.Loop() {
		for _, data := range all {
			if _, err := Read(bytes.NewReader(data), Limits{}); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(all)), "ns/message")
}
