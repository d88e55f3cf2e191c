package spool_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/backscatterd/backscatterd/queuesweep/spool"
)

// With io_uring and without, a Reader gives what Entry.Read gives, errors
// included, whatever lies in the folder and whichever entries are left out.
func TestReaderReadsAlike(t *testing.T) {
	dir := t.TempDir()
	for i := range 200 {
		text := fmt.Appendf(nil, "V8\nN%d\n", i)
		if i%20 == 0 {
			text = bytes.Repeat(text, 5000) // larger than any buffer
		}
		if i%33 == 0 {
			text = nil
		}
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("qf6AOLt9%08d", i)), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, err := range []error{
		os.Symlink("qf6AOLt900000001", filepath.Join(dir, "qf6AOLt900001000")),
		unix.Mkfifo(filepath.Join(dir, "qf6AOLt900001001"), 0o600),
		os.Mkdir(filepath.Join(dir, "qf6AOLt900001002"), 0o700),
		os.WriteFile(filepath.Join(dir, "qf6AO-bad"), []byte("V8\n"), 0o600),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	places, err := spool.PlacesAt([]string{dir})
	if err != nil {
		t.Fatal(err)
	}
	sp, err := spool.Open(spool.System{}, places)
	if err != nil {
		t.Fatal(err)
	}
	defer sp.Close()
	var entries []spool.Entry
	if err := sp.Folders()[0].Entries(context.Background(), func(e spool.Entry) error { entries = append(entries, e); return nil }); err != nil {
		t.Fatal(err)
	}
	// Some are gone by the time they are read.
	for _, i := range []int{7, 8, 150} {
		if err := os.Remove(filepath.Join(dir, fmt.Sprintf("qf6AOLt9%08d", i))); err != nil {
			t.Fatal(err)
		}
	}
	for _, limit := range []int64{1 << 20, 30_000, 5} {
		for _, plain := range []bool{false, true} {
			r := spool.NewReader(limit, plain)
			for _, every := range []int{1, 3, 71} {
				r.Ahead(entries)
				for i, e := range entries {
					if i%every != 0 {
						continue
					}
					want, wantErr := e.Read(nil, limit)
					got, err := r.Read(e)
					if !bytes.Equal(got, want) || fmt.Sprint(err) != fmt.Sprint(wantErr) {
						t.Errorf("limit %d, plain %v, %s: %d bytes, error %v; want %d, %v", limit, plain, e.Path(), len(got), err, len(want), wantErr)
					}
				}
			}
			// One that was not announced.
			if data, err := r.Read(entries[0]); err == nil && int64(len(data)) > limit {
				t.Error("too large")
			}
			r.Close()
			if _, err := r.Read(entries[0]); err != nil && limit == 1<<20 && entries[0].Odd == "" {
				if _, err2 := entries[0].Read(nil, limit); fmt.Sprint(err) != fmt.Sprint(err2) {
					t.Errorf("after Close: %v", err)
				}
			}
		}
	}
}

// A chunk of which nothing is wanted comes after one that was read ahead.
func TestReaderToldOfNothing(t *testing.T) {
	w := flat(t, 40)
	var entries []spool.Entry
	w.must(w.open(spool.System{}).Folders()[0].Entries(t.Context(), func(e spool.Entry) error {
		entries = append(entries, e)
		return nil
	}))
	r := spool.NewReader(1<<20, false)
	defer r.Close()
	for _, ahead := range [][]spool.Entry{entries, nil, entries[:1]} {
		r.Ahead(ahead)
		for _, e := range ahead {
			if data, err := r.Read(e); err != nil || len(data) == 0 {
				t.Fatalf("%s: %q, %v", e.ID, data, err)
			}
		}
	}
}
