package queuesweep

import (
	"bufio"
	"bytes"
	"cmp"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// AuditEntry is a line of the audit log: a Result, or, where Summary.Summary is
// set, what closed a run.
type AuditEntry struct {
	stamp
	Result
	Summary
}

// maxAuditLine bounds a line of the audit log; Result bounds what it writes far
// below it.
const maxAuditLine = 1 << 20

// AuditTail reads the last entries of the audit log, the newest last: those in
// its last bytes. Lines that are damaged are passed over; a log that is not
// there has none.
func AuditTail(path string, bytesRead int64) ([]AuditEntry, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("audit log: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("audit log: %w", err)
	}
	from := max(0, info.Size()-bytesRead)
	data := make([]byte, info.Size()-from)
	n, err := f.ReadAt(data, from)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("audit log: %w", err)
	}
	data = data[:n]
	if from > 0 { // in the midst of a line
		_, data, _ = bytes.Cut(data, []byte{'\n'})
	}
	var entries []AuditEntry
	for line := range bytes.Lines(data) {
		var e AuditEntry
		if json.Unmarshal(line, &e) == nil && !e.Time.IsZero() {
			entries = append(entries, e)
		}
	}
	return entries, nil
}

// AuditBetween calls yield for the entries of a time, from (included) to until
// (not included), in the order in which they were written. Where the log begins
// later it goes on to those that logrotate has set aside, FILE.1, FILE-20261124
// and the like, packed by gzip or not. It returns how many lines it could not
// make sense of.
func AuditBetween(path string, from, until time.Time, yield func(AuditEntry)) (damaged int, err error) {
	var errs []error
	for _, file := range auditFiles(path, from) {
		n, err := auditFile(file, from, until, yield)
		damaged += n
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, fmt.Errorf("audit log: %s: %w", file, err))
		}
	}
	return damaged, errors.Join(errs...)
}

// auditFiles are the log's files that may have entries since a time, the oldest
// first: those last written to since.
func auditFiles(path string, since time.Time) []string {
	type aged struct {
		path string
		at   time.Time
	}
	var files []aged
	rotated, _ := filepath.Glob(globQuote(path) + "[.-]*")
	for _, p := range append(rotated, path) {
		if info, err := os.Stat(p); err == nil && info.Mode().IsRegular() && !info.ModTime().Before(since) {
			files = append(files, aged{p, info.ModTime()})
		}
	}
	slices.SortStableFunc(files, func(a, b aged) int {
		switch {
		case a.path == path: // written to at this moment
			return 1
		case b.path == path:
			return -1
		}
		return cmp.Or(a.at.Compare(b.at), strings.Compare(a.path, b.path))
	})
	out := make([]string, len(files))
	for i, f := range files {
		out[i] = f.path
	}
	return out
}

var globQuoter = strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`)

func globQuote(path string) string { return globQuoter.Replace(path) }

func auditFile(path string, from, until time.Time, yield func(AuditEntry)) (damaged int, err error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	var r io.Reader = f
	if strings.HasSuffix(path, ".gz") {
		if r, err = gzip.NewReader(f); err != nil {
			return 0, err
		}
	}
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 0, 64<<10), maxAuditLine)
	for lines.Scan() {
		line := lines.Bytes()
		if at, ok := timeOf(line); ok && (at.Before(from) || !at.Before(until)) {
			continue
		}
		var e AuditEntry
		switch err := json.Unmarshal(line, &e); {
		case err != nil || e.Time.IsZero():
			damaged++
		case !e.Time.Before(from) && e.Time.Before(until):
			yield(e)
		}
	}
	return damaged, lines.Err()
}

// timeOf reads the time at the beginning of a line, where it stands.
func timeOf(line []byte) (time.Time, bool) {
	rest, ok := bytes.CutPrefix(line, []byte(`{"time":"`))
	if !ok {
		return time.Time{}, false
	}
	text, _, ok := bytes.Cut(rest, []byte{'"'})
	if !ok {
		return time.Time{}, false
	}
	at, err := time.Parse(time.RFC3339Nano, string(text))
	return at, err == nil
}
