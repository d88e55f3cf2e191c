package queuesweep

import (
	"context"
	"errors"

	"golang.org/x/sync/errgroup"

	"github.com/backscatterd/backscatterd/queuesweep/spool"
)

// chunk is how many names go to a worker at once.
const chunk = 128

// scan calls visit for each control file of all folders, from several workers
// at once, each with a reader of its own that it makes by start. It ends at the
// first error, or when ctx does. A folder that cannot be read does not keep the
// others from being: its error is returned at the end.
func scan(ctx context.Context, folders []*spool.Folder, workers int, start func() func(spool.Entry) error) error {
	g, ctx := errgroup.WithContext(ctx)
	work := make(chan []spool.Entry, workers)
	var unread error
	g.Go(func() error {
		defer close(work)
		var err error
		unread, err = feed(ctx, folders, work)
		return err
	})
	for range workers {
		g.Go(func() error {
			visit := start()
			for entries := range work {
				for _, e := range entries {
					if err := visit(e); err != nil {
						return err
					}
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
