package spool_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/backscatterd/backscatterd/queuesweep/qf"
	"github.com/backscatterd/backscatterd/queuesweep/spool"
	"github.com/backscatterd/backscatterd/queuesweep/spool/internal/powerloss"
)

func (o *outage) findOn(fs *powerloss.FS, id string) (all []at) {
	for _, folder := range o.folders() {
		for _, kind := range []string{"qf", "hf", "Qf"} {
			if _, ok := fs.File(o.control(folder, kind, id)); ok {
				all = append(all, at{folder, kind})
			}
		}
	}
	return all
}

// safe checks what must hold before anything is recovered, since sendmail may
// be up first: no message can be delivered twice, none without its body or with
// a torn file.
func (o *outage) safe(fs *powerloss.FS) error {
	for _, l := range o.letters {
		found := o.findOn(fs, l.id)
		if len(found) > 1 {
			return fmt.Errorf("%s is at %v", l.id, found)
		}
		for _, where := range found {
			if err := o.wholeOn(fs, l, where); err != nil {
				return err
			}
		}
	}
	return nil
}

func (o *outage) wholeOn(fs *powerloss.FS, l letter, where at) error {
	body, ok := fs.File(o.data(where.folder, l.id))
	if !ok && o.op == "expire" && where.kind == "hf" {
		return nil // sendmail has returned it; no queue run takes what is held
	}
	if !ok || !bytes.Equal(body.Data, l.body) || body.Mode != 0o640 || body.UID != owner || body.GID != group || body.Mtime.Nano() != sent.UnixNano() {
		return fmt.Errorf("%s stands at %v and its df is not whole: %v %+v", l.id, where, ok, body)
	}
	control, _ := fs.File(o.control(where.folder, where.kind, l.id))
	if control.Mode != 0o640 || control.UID != owner || control.GID != group {
		return fmt.Errorf("%s at %v has another owner or mode: %+v", l.id, where, control)
	}
	f, err := qf.Parse(l.control)
	if err != nil {
		return err
	}
	allowed := [][]byte{l.control}
	switch {
	case (o.op == "hold" || o.op == "expire") && where.kind == "hf":
		allowed = [][]byte{f.WithQuarantine(reason)}
	case o.op == "hold" || o.op == "expire":
		allowed = append(allowed, f.WithQuarantine(reason))
	case o.op == "release" && where.kind == "qf":
		allowed = append(allowed, f.WithoutQuarantine())
	}
	if !slices.ContainsFunc(allowed, func(want []byte) bool { return bytes.Equal(control.Data, want) }) {
		return fmt.Errorf("%s at %v holds %q", l.id, where, control.Data)
	}
	return nil
}

// ended checks what must hold when a start is through: each message whole where
// it was or where it was to go, nothing left over, the store's books in order.
func (o *outage) ended(fs *powerloss.FS, what string) error {
	if err := o.safe(fs); err != nil {
		return err
	}
	for _, l := range o.letters {
		found := o.findOn(fs, l.id)
		if !at1(found, o.start()) && !at1(found, o.end()) {
			return fmt.Errorf("%s is at %v, should be at %v or %v", l.id, found, o.start(), o.end())
		}
		if what == "again" && !at1(found, o.end()) {
			return fmt.Errorf("%s is at %v after all was done again, should be at %v", l.id, found, o.end())
		}
		if at1(found, o.end()) && o.end().folder == o.world.queue {
			control, _ := fs.File(o.control(o.world.queue, o.end().kind, l.id))
			if f, err := qf.Parse(control.Data); err != nil || f.Quarantined() != (o.op == "hold") {
				return errors.Join(err, fmt.Errorf("%s is at %v and holds %q", l.id, found, control.Data))
			}
		}
		if err := o.booked(fs, l.id, found); err != nil {
			return err
		}
	}
	if o.op == "purge" && what == "recover" {
		return nil // the rest of a day goes with the next purge
	}
	return o.tidyOn(fs)
}

// booked checks that the store knows what it must of a message that it has.
func (o *outage) booked(fs *powerloss.FS, id string, found []at) error {
	if !at1(found, at{o.day(), "qf"}) {
		return nil
	}
	records, _ := fs.File(path.Join(o.day(), "records.jsonl"))
	known := false
	for line := range bytes.Lines(records.Data) {
		var r spool.Record
		known = known || json.Unmarshal(line, &r) == nil && r.ID == id && r.Queue == o.world.queue
	}
	if !known && o.op != "purge" {
		return fmt.Errorf("%s is in the store, and its record is not: %q", id, records.Data)
	}
	if o.op != "bounce" && o.op != "pay" || o.paid {
		return nil
	}
	note, _ := fs.File(path.Join(o.store, "owed", id))
	if !json.Valid(note.Data) {
		return fmt.Errorf("%s is in the store, and the note that a bounce is owed is not: %q", id, note.Data)
	}
	return nil
}

func (o *outage) tidyOn(fs *powerloss.FS) error {
	for _, folder := range o.folders() {
		for _, part := range []string{"", "qf", "df", "xf"} {
			for _, name := range fs.Names(path.Join(folder, part)) {
				id, isData := strings.CutPrefix(name, "df")
				owned := slices.ContainsFunc(o.findOn(fs, id), func(where at) bool { return o.data(where.folder, id) == path.Join(folder, part, name) })
				if strings.HasPrefix(name, ".") || isData && id != "" && !owned {
					return fmt.Errorf("%s was left over", path.Join(folder, part, name))
				}
			}
		}
	}
	if notes := fs.Names(path.Join(o.store, "expiring")); len(notes) > 0 {
		return fmt.Errorf("notes of messages that sendmail was to return are left: %v", notes)
	}
	journal, _ := fs.File(path.Join(o.store, "journal"))
	return leftover(journal.Data)
}

func leftover(journal []byte) error {
	if len(journal) > 0 {
		return fmt.Errorf("the journal is not empty: %s", journal)
	}
	return nil
}
