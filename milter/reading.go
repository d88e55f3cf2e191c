package milter

import (
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

// reading is a body being read, chunk by chunk as it comes, in a goroutine of its
// own. It ends with finish or abandon, one of which must be called.
type reading struct {
	body   *io.PipeWriter
	done   chan struct{}
	report dsn.Report
	err    error
	panic  error
}

func startReading(header []dsn.Field) *reading {
	from, body := io.Pipe()
	r := &reading{body: body, done: make(chan struct{})}
	go func() {
		defer close(r.done)
		defer from.CloseWithError(errEnough)
		defer func() {
			if p := recover(); p != nil {
				r.panic = fmt.Errorf("reading the body: %v\n%s", p, debug.Stack())
			}
		}()
		r.report, r.err = dsn.ReadBody(header, from, dsn.Limits{})
	}()
	return r
}

// feed gives it a chunk, and reports whether it wants more.
func (r *reading) feed(chunk []byte) (more bool) {
	_, err := r.body.Write(chunk)
	return err == nil
}

// finish tells it that the body is over, and returns what it said. A panic of the
// reader's comes up here, in the session, where it is caught and counted.
func (r *reading) finish() (dsn.Report, error) {
	r.body.Close()
	<-r.done
	if r.panic != nil {
		panic(r.panic)
	}
	return r.report, r.err
}

// abandon ends it.
func (r *reading) abandon() {
	r.body.CloseWithError(errAborted)
	<-r.done
}
