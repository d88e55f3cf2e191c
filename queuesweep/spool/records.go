package spool

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"hash/maphash"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// Record says where a message in the store came from, and why it is there.
type Record struct {
	Time       time.Time `json:"time"`
	ID         string    `json:"id"`
	Queue      string    `json:"queue"`
	Action     string    `json:"action"`
	Rule       string    `json:"rule,omitempty"`
	Reason     string    `json:"reason,omitempty"`
	Run        string    `json:"run,omitempty"`
	Sender     string    `json:"sender"`
	Recipients []string  `json:"recipients"`
	Status     string    `json:"status"`
}

const (
	recordsName = "records.jsonl"
	// maxRecord bounds a line of the records that is made sense of, far above
	// what one of ours can have.
	maxRecord = 4 << 20
	// Bytes read at once: of one record, and of many.
	recordStep  = 2 << 10
	recordsStep = 64 << 10
)

// records are those of one day, read from its file when they are asked for. Of
// each message it keeps where its line begins, not the line: a day may have a
// million. Several goroutines must not use it at once.
type records struct {
	disk Disk
	fd   int // -1 where there is no file
	path string
	seed maphash.Seed
	at   map[uint64]int64 // by the id's hash, where the last line about it begins
	line []byte
}

// openRecords goes over the records of a day once. A line that is damaged is
// passed over: its message is then without a record, which whoever needs it
// reports. The caller must close them.
func openRecords(ctx context.Context, day *dir) (*records, error) {
	r := &records{disk: day.disk, path: day.path + "/" + recordsName, seed: maphash.MakeSeed(), at: make(map[uint64]int64)}
	var err error
	r.fd, err = day.disk.Openat(day.fd, recordsName, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err == unix.ENOENT {
		r.fd = -1
		return r, nil
	}
	if err != nil {
		return nil, fmt.Errorf("removed store: open %s: %w", r.path, err)
	}
	err = r.lines(ctx, 0, recordsStep, func(from int64, line []byte) (more bool) {
		var of struct {
			ID string `json:"id"`
		}
		if json.Unmarshal(line, &of) == nil {
			r.at[maphash.String(r.seed, of.ID)] = from
		}
		return true
	})
	if err != nil {
		r.close()
		return nil, err
	}
	return r, nil
}

func (r *records) close() {
	if r.fd >= 0 {
		r.disk.Close(r.fd)
		r.fd = -1
	}
}

// of is what is known of a message; of several lines about one the last counts.
// nil where there is none.
func (r *records) of(id string) (record *Record, err error) {
	from, known := r.at[maphash.String(r.seed, id)]
	if !known {
		return nil, nil
	}
	err = r.lines(context.Background(), from, recordStep, func(_ int64, line []byte) (more bool) {
		found := new(Record)
		if json.Unmarshal(line, found) == nil && found.ID == id {
			record = found
		}
		return false
	})
	return record, err
}

// each calls yield for the record of each message.
func (r *records) each(ctx context.Context, yield func(*Record)) error {
	return r.lines(ctx, 0, recordsStep, func(from int64, line []byte) (more bool) {
		found := new(Record)
		if json.Unmarshal(line, found) == nil && r.at[maphash.String(r.seed, found.ID)] == from {
			yield(found)
		}
		return true
	})
}

// lines calls yield for each line from an offset on, as long as it wants more. A
// line that is longer than maxRecord is passed over.
func (r *records) lines(ctx context.Context, from int64, step int, yield func(from int64, line []byte) (more bool)) error {
	if r.fd < 0 {
		return nil
	}
	buf, begins := r.line[:0], from // what is read of a line, and where that begins
	defer func() { r.line = buf }()
	skip := false
	for at := from; ; {
		if err := ctx.Err(); err != nil {
			return err
		}
		buf = slices.Grow(buf, step)
		n, err := r.disk.Pread(r.fd, buf[len(buf):len(buf)+step], at)
		if err != nil {
			return fmt.Errorf("removed store: read %s: %w", r.path, err)
		}
		end := n == 0
		seen := len(buf)
		buf, at = buf[:len(buf)+n], at+int64(n)
		rest := buf
		for {
			i := bytes.IndexByte(rest[seen:], '\n')
			if i < 0 {
				break
			}
			line := rest[:seen+i+1]
			if !skip && !yield(begins, line) {
				return nil
			}
			rest, begins, skip, seen = rest[len(line):], begins+int64(len(line)), false, 0
		}
		if end {
			if len(rest) > 0 && !skip {
				yield(begins, rest)
			}
			return nil
		}
		if len(rest) > maxRecord {
			skip, begins, rest = true, begins+int64(len(rest)), nil
		}
		buf = buf[:copy(buf, rest)]
	}
}

func (s *Store) writeRecords(day *Folder, records []Record) error {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	for _, r := range records {
		if err := enc.Encode(r); err != nil {
			return fmt.Errorf("record of message %s: %w", r.ID, err)
		}
	}
	whole, err := endsLine(day.qf, recordsName)
	if err == nil {
		data := buf.Bytes()
		if !whole { // the last record was cut short: it must not take the next one along
			data = slices.Insert(data, 0, '\n')
		}
		err = s.appendFile(day.qf, recordsName, unix.O_APPEND, data)
	}
	if err != nil {
		return fmt.Errorf("removed store: %w%s", err, hint(err))
	}
	return nil
}

// endsLine tells whether a file of ours is empty, not there, or ends a line.
func endsLine(d *dir, name string) (bool, error) {
	fd, err := d.disk.Openat(d.fd, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err == unix.ENOENT {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("open %s/%s: %w", d.path, name, err)
	}
	defer d.disk.Close(fd)
	st, err := d.disk.Fstat(fd)
	if err != nil || st.Size == 0 {
		return true, err
	}
	last := make([]byte, 1)
	if _, err := d.disk.Pread(fd, last, st.Size-1); err != nil {
		return false, fmt.Errorf("read %s/%s: %w", d.path, name, err)
	}
	return last[0] == '\n', nil
}
