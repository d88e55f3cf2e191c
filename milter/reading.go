package milter

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"runtime/debug"

	"github.com/backscatterd/backscatterd/dsn"
)

var (
	errAborted = errors.New("the message was aborted")
	errEnough  = errors.New("nothing more is read of it")
)

// reading is a body being read as it comes. One that comes in one piece, as most
// bounces do, is kept until its end; a longer one is read, chunk by chunk, in a
// goroutine of its own, so that no more than one chunk is held. It ends with
// finish or abandon, one of which must be called.
type reading struct {
	header []dsn.Field
	first  []byte // the first chunk, while there is no second

	body   *io.PipeWriter // to the goroutine; nil while there is none
	done   chan struct{}
	report dsn.Report
	err    error
	panic  error
}

// feed gives it a chunk, and reports whether it wants more. The chunk is kept.
func (r *reading) feed(chunk []byte) (more bool) {
	if r.first == nil {
		r.first = chunk
		return true
	}
	if r.body == nil {
		r.start()
	}
	_, err := r.body.Write(chunk)
	return err == nil
}

func (r *reading) start() {
	from, body := io.Pipe()
	r.body, r.done = body, make(chan struct{})
	go func() {
		defer close(r.done)
		defer from.CloseWithError(errEnough)
		defer func() {
			if p := recover(); p != nil {
				r.panic = fmt.Errorf("reading the body: %v\n%s", p, debug.Stack())
			}
		}()
		r.report, r.err = dsn.ReadBody(r.header, io.MultiReader(bytes.NewReader(r.first), from), dsn.Limits{})
	}()
}

// finish tells it that the body is over, and returns what it said. A panic of the
// reader's comes up here, in the session, where it is caught and counted.
func (r *reading) finish() (dsn.Report, error) {
	if r.body == nil {
		return dsn.ReadBody(r.header, bytes.NewReader(r.first), dsn.Limits{})
	}
	r.body.Close()
	<-r.done
	if r.panic != nil {
		panic(r.panic)
	}
	return r.report, r.err
}

// abandon ends it.
func (r *reading) abandon() {
	if r.body != nil {
		r.body.CloseWithError(errAborted)
		<-r.done
	}
}
