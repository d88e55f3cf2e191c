package queuesweep

import (
	"context"
	"errors"

	"golang.org/x/sync/errgroup"

	"github.com/backscatterd/backscatterd/queuesweep/spool"
)

// chunk is how many names go to a worker at once.
const chunk = 256

// scan goes over the control files of all folders, some at a time, from several
// workers at once, each with a reader of its own, for which start makes what it
// does with them. It ends at the first error, or when ctx does. A folder that
// cannot be read does not keep the others from being: its error is returned at
// the end.
func (s *Sweeper) scan(ctx context.Context, folders []*spool.Folder, start func(*reader) func([]spool.Entry) error) error {
	g, ctx := errgroup.WithContext(ctx)
	work := make(chan []spool.Entry, s.Workers)
	var unread error
	g.Go(func() error {
		defer close(work)
		var err error
		unread, err = feed(ctx, folders, work)
		return err
	})
	for range s.Workers {
		g.Go(func() error {
			rd := s.reader()
			defer rd.files.Close()
			visit := start(rd)
			for entries := range work {
				n := len(entries) // visit may shorten it in place
				if err := visit(entries); err != nil {
					return err
				}
				if s.Looked != nil {
					s.Looked(n)
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return unread
}

// feed sends the names of all folders to work in chunks.
func feed(ctx context.Context, folders []*spool.Folder, work chan<- []spool.Entry) (unread, err error) {
	var errs []error
	for _, f := range folders {
		entries := make([]spool.Entry, 0, chunk)
		send := func() error {
			select {
			case work <- entries:
				entries = make([]spool.Entry, 0, chunk)
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		err := f.Entries(ctx, func(e spool.Entry) error {
			if entries = append(entries, e); len(entries) == chunk {
				return send()
			}
			return nil
		})
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		errs = append(errs, err)
		if len(entries) > 0 {
			if err := send(); err != nil {
				return nil, err
			}
		}
	}
	return errors.Join(errs...), nil
}
