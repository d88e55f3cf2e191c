package spool

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Usage counts the messages of the store, and the bytes of their files.
func (s *Store) Usage(ctx context.Context) (messages int, bytes int64, err error) {
	days, err := s.days(ctx)
	if err != nil {
		return 0, 0, err
	}
	for _, day := range days {
		d, err := s.top.sub(day)
		if errors.Is(err, unix.ENOENT) { // purged meanwhile
			continue
		}
		if err != nil {
			return messages, bytes, fmt.Errorf("removed store: %w", err)
		}
		err = d.each(ctx, func(name []byte, _ byte) error {
			if len(name) < 3 || !validID(name[2:]) {
				return nil
			}
			switch string(name[:2]) {
			case "qf", "hf", "Qf":
				messages++
			case "df", "xf":
			default:
				return nil
			}
			if st, err := s.disk.Fstatat(d.fd, string(name)); err == nil {
				bytes += st.Size
			}
			return nil
		})
		d.close()
		if err != nil {
			return messages, bytes, fmt.Errorf("removed store: %w", err)
		}
	}
	return messages, bytes, nil
}
