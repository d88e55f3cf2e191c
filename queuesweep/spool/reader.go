package spool

import "github.com/backscatterd/backscatterd/queuesweep/spool/internal/uring"

// Reader reads control files into the same memory, one after the other. Of
// files that it is told of ahead it reads many with one system call, where the
// system has io_uring; all others, and all of which that says nothing, by plain
// calls. What is read, and what is refused, is the same. One goroutine uses it.
type Reader struct {
	limit int64
	buf   []byte

	ring  *uring.Ring
	plain bool    // there is no ring, or none is wanted
	ahead []Entry // that it was told of and has not read
	batch []Entry // that the ring has read
	next  int     // of batch, not yet asked for
	name  []byte
}

// NewReader makes a Reader. limit bounds the size of a file; plain has it make
// no use of io_uring.
func NewReader(limit int64, plain bool) *Reader { return &Reader{limit: limit, plain: plain} }

// Close gives the memory of the ring back.
func (r *Reader) Close() {
	if r.ring != nil {
		r.ring.Close()
		r.ring = nil
	}
	r.plain, r.batch, r.ahead = true, nil, nil
}

// fewAhead is how many files are not worth a ring.
const fewAhead = 16

// Ahead tells which entries are going to be read next, in that order; some may
// be left out. The slice is used until the next call.
func (r *Reader) Ahead(entries []Entry) {
	r.batch, r.next, r.ahead = r.batch[:0], 0, nil
	if r.plain || len(entries) == 0 || r.ring == nil && len(entries) < fewAhead {
		return
	}
	// The ring is the system's own, a Disk of a test is not.
	if _, ok := entries[0].Folder.spool.disk.(System); !ok {
		return
	}
	if r.ring == nil {
		ring, err := uring.New()
		if err != nil {
			r.plain = true
			return
		}
		r.ring = ring
	}
	r.ahead = entries
}

// Read reads a control file. The bytes hold until the next call of Read or
// Ahead. Errors are those of Entry.Read.
func (r *Reader) Read(e Entry) ([]byte, error) {
	if data, ok := r.readAhead(e); ok && int64(len(data)) <= r.limit {
		return data, nil
	}
	data, err := e.Read(r.buf, r.limit)
	if err == nil {
		r.buf = data
	}
	return data, err
}

// readAhead finds what was read of e, and reads the next entries where it comes
// to their end.
func (r *Reader) readAhead(e Entry) ([]byte, bool) {
	if !e.ordinary() {
		return nil, false
	}
	for {
		for r.next < len(r.batch) {
			i := r.next
			r.next++
			if b := &r.batch[i]; b.ID == e.ID && b.Kind == e.Kind && b.Folder == e.Folder {
				return r.ring.Data(i)
			}
		}
		if len(r.ahead) == 0 || !r.fill() {
			return nil, false
		}
	}
}

// ordinary tells of an entry that the folder itself says is a regular file. At
// others the plain calls look before they open them.
func (e Entry) ordinary() bool { return e.Odd == "" && e.regular }

// fill has the ring read the next entries.
func (r *Reader) fill() bool {
	r.ring.Reset()
	r.batch, r.next = r.batch[:0], 0
	for len(r.ahead) > 0 && len(r.batch) < uring.Depth {
		e := r.ahead[0]
		r.ahead = r.ahead[1:]
		if !e.ordinary() {
			continue
		}
		r.name = append(append(r.name[:0], byte(e.Kind), 'f'), e.ID...)
		if r.ring.Add(e.Folder.qf.fd, r.name) {
			r.batch = append(r.batch, e)
		}
	}
	read, err := r.ring.Run()
	if err != nil || read == 0 && len(r.batch) >= fewAhead {
		// Not worth asking again: it cannot, or is not allowed to.
		r.Close()
	}
	return !r.plain
}
