package ledger

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"slices"
)

// The layout of a bbolt file (version 2 of its format). bbolt maps the file and
// trusts it: a damaged page ends in a panic, some of them in a goroutine of its
// own where nobody can catch it, or in a fault. So the file is read through once,
// with plain reads, before bbolt is let near it.
const (
	pageHeader    = 16
	elementSize   = 16 // of branches and leaves alike
	metaMagic     = 0xED0CDAED
	metaVersion   = 2
	metaChecked   = 56 // bytes before the checksum
	flagBranch    = 0x01
	flagLeaf      = 0x02
	flagFreelist  = 0x10
	elementBucket = 0x01
	bucketHeader  = 16
	noFreelist    = 1<<64 - 1
	maxPages      = 1 << 26
	maxDepth      = 64
)

var native = binary.NativeEndian

// verifier walks a file, and knows which pages it has seen.
type verifier struct {
	file     io.ReaderAt
	pageSize uint64
	high     uint64 // pages in use lie below
	seen     []uint64
}

// verify reports the first thing wrong with a ledger's file. It is total.
func verify(file io.ReaderAt, size int64) error {
	meta, err := newestMeta(file, size)
	if err != nil {
		return err
	}
	v := &verifier{file: file, pageSize: uint64(native.Uint32(meta[8:])), high: native.Uint64(meta[40:])}
	if v.high > maxPages || int64(v.high*v.pageSize) > size {
		return fmt.Errorf("file cut short: %d bytes, want %d pages of %d", size, v.high, v.pageSize)
	}
	v.seen = make([]uint64, v.high/64+1)
	v.mark(0)
	v.mark(1)
	if err := v.tree(native.Uint64(meta[16:]), bounds{}, 0, 0); err != nil {
		return err
	}
	return v.freelist(native.Uint64(meta[32:]))
}

func newestMeta(file io.ReaderAt, size int64) (newest []byte, err error) {
	var head [pageHeader + metaChecked + 8]byte
	if _, err := file.ReadAt(head[:], 0); err != nil {
		return nil, fmt.Errorf("no first page: %w", err)
	}
	sizes := []uint64{4096, 8192, 16384, 65536, 1024, 2048, 32768}
	if n := uint64(native.Uint32(head[pageHeader+8:])); slices.Contains(sizes, n) {
		sizes = []uint64{n}
	}
	for _, n := range sizes {
		for page := range uint64(2) {
			b := make([]byte, len(head))
			if _, err := file.ReadAt(b, int64(page*n)); err != nil {
				continue
			}
			m := b[pageHeader:]
			sum := fnv.New64a()
			sum.Write(m[:metaChecked])
			sound := native.Uint32(m) == metaMagic && native.Uint32(m[4:]) == metaVersion &&
				uint64(native.Uint32(m[8:])) == n && native.Uint64(m[metaChecked:]) == sum.Sum64()
			if sound && (newest == nil || native.Uint64(m[48:]) > native.Uint64(newest[48:])) {
				newest = m
			}
		}
	}
	if newest == nil {
		return nil, errors.New("neither of its two meta pages is sound")
	}
	return newest, nil
}

// mark reports whether a page was unseen.
func (v *verifier) mark(page uint64) bool {
	bit := uint64(1) << (page % 64)
	fresh := v.seen[page/64]&bit == 0
	v.seen[page/64] |= bit
	return fresh
}

// page reads a page with its overflow, each page once.
func (v *verifier) page(id uint64) ([]byte, error) {
	if id < 2 || id >= v.high {
		return nil, fmt.Errorf("page %d is outside of the file", id)
	}
	var head [pageHeader]byte
	if _, err := v.file.ReadAt(head[:], int64(id*v.pageSize)); err != nil {
		return nil, fmt.Errorf("page %d: %w", id, err)
	}
	overflow := uint64(native.Uint32(head[12:]))
	if native.Uint64(head[:]) != id || overflow >= v.high-id {
		return nil, fmt.Errorf("page %d has the header of another", id)
	}
	for n := id; n <= id+overflow; n++ {
		if !v.mark(n) {
			return nil, fmt.Errorf("page %d is used twice", n)
		}
	}
	b := make([]byte, (overflow+1)*v.pageSize)
	if _, err := v.file.ReadAt(b, int64(id*v.pageSize)); err != nil {
		return nil, fmt.Errorf("page %d: %w", id, err)
	}
	return b, nil
}

// bounds are what a branch says of the keys of its child: first <= key < next.
// A key outside of them is there and would not be found.
type bounds struct{ first, next []byte }

func (w bounds) hold(k []byte) bool {
	return (w.first == nil || slices.Compare(w.first, k) <= 0) && (w.next == nil || slices.Compare(k, w.next) < 0)
}

// tree checks the pages of a bucket. Level counts buckets: 0 is the root.
func (v *verifier) tree(id uint64, within bounds, level, depth int) error {
	if depth > maxDepth {
		return errors.New("tree is too deep")
	}
	b, err := v.page(id)
	if err != nil {
		return err
	}
	if native.Uint16(b[8:]) != flagBranch {
		return v.leaf(b, id, within, level, depth)
	}
	count := int(native.Uint16(b[10:]))
	keys := make([][]byte, count+1)
	keys[count] = within.next
	for i := range count {
		at := pageHeader + i*elementSize
		if at+elementSize > len(b) {
			return fmt.Errorf("page %d: element outside", id)
		}
		k, _, err := span(b[at:], native.Uint32(b[at:]), native.Uint32(b[at+4:]), 0)
		if err != nil || i > 0 && slices.Compare(keys[i-1], k) >= 0 || !within.hold(k) {
			return fmt.Errorf("page %d: keys damaged", id)
		}
		keys[i] = k
	}
	if count == 0 {
		return fmt.Errorf("page %d: branch without children", id)
	}
	for i := range count {
		child := native.Uint64(b[pageHeader+i*elementSize+8:])
		if err := v.tree(child, bounds{keys[i], keys[i+1]}, level, depth+1); err != nil {
			return err
		}
	}
	return nil
}

func (v *verifier) leaf(b []byte, id uint64, within bounds, level, depth int) error {
	if native.Uint16(b[8:]) != flagLeaf {
		return fmt.Errorf("page %d: neither branch nor leaf", id)
	}
	var last []byte
	for i := range int(native.Uint16(b[10:])) {
		at := pageHeader + i*elementSize
		if at+elementSize > len(b) {
			return fmt.Errorf("page %d: element outside", id)
		}
		k, value, err := span(b[at:], native.Uint32(b[at+4:]), native.Uint32(b[at+8:]), native.Uint32(b[at+12:]))
		if err != nil || len(k) == 0 || i > 0 && slices.Compare(last, k) >= 0 || !within.hold(k) {
			return fmt.Errorf("page %d: keys damaged", id)
		}
		last = k
		isBucket := native.Uint32(b[at:]) == elementBucket
		switch {
		case isBucket != (level == 0):
			err = errors.New("entry where a bucket belongs, or the other way round")
		case isBucket:
			err = v.bucket(value, id, depth)
		default:
			_, err = unprotect(k, value)
		}
		if err != nil {
			return fmt.Errorf("page %d: %w", id, err)
		}
	}
	return nil
}

// bucket checks a bucket by its header; a small one lies within its parent.
func (v *verifier) bucket(value []byte, id uint64, depth int) error {
	if len(value) < bucketHeader {
		return errors.New("bucket without a header")
	}
	if root := native.Uint64(value); root != 0 {
		return v.tree(root, bounds{}, 1, depth+1)
	}
	if len(value) < bucketHeader+pageHeader {
		return errors.New("inline bucket cut short")
	}
	return v.leaf(value[bucketHeader:], id, bounds{}, 1, depth+1)
}

// span cuts key and value out of what begins at their element.
func span(b []byte, pos, keySize, valueSize uint32) (k, value []byte, err error) {
	start, middle := uint64(pos), uint64(pos)+uint64(keySize)
	end := middle + uint64(valueSize)
	if end > uint64(len(b)) {
		return nil, nil, errors.New("outside of its page")
	}
	return b[start:middle], b[middle:end], nil
}

// freelist checks that no page in use is said to be free: it would be written
// over.
func (v *verifier) freelist(id uint64) error {
	if id == noFreelist {
		return errors.New("no list of free pages")
	}
	b, err := v.page(id)
	if err != nil {
		return err
	}
	if native.Uint16(b[8:]) != flagFreelist {
		return fmt.Errorf("page %d: not the list of free pages", id)
	}
	count, at := uint64(native.Uint16(b[10:])), pageHeader
	if count == 0xFFFF {
		count, at = native.Uint64(b[at:]), at+8
	}
	if count > uint64(len(b)-at)/8 {
		return errors.New("list of free pages cut short")
	}
	for i := range int(count) {
		page := native.Uint64(b[at+8*i:])
		if page < 2 || page >= v.high || !v.mark(page) {
			return fmt.Errorf("page %d is free and in use", page)
		}
	}
	return nil
}
