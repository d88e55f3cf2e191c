package spool

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/backscatterd/backscatterd/queuesweep/sendmailcf"
)

// PlacesOf reads a sendmail.cf and finds the queue folders that it names.
func PlacesOf(cf string) ([]Place, error) {
	data, err := os.ReadFile(cf)
	if err != nil {
		return nil, fmt.Errorf("sendmail configuration: %w (name it in queue.sendmail_cf, or the folders in queue.directories)", err)
	}
	s, err := sendmailcf.Parse(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", cf, err)
	}
	trusted, err := userNumber(s.TrustedUser)
	if err != nil {
		return nil, fmt.Errorf("%s: O TrustedUser: %w", cf, err)
	}
	places, err := expand(s.Paths(), s.Root(), s.QueueFileMode)
	for i := range places {
		places[i].CF, places[i].Trusted = cf, trusted
	}
	return places, err
}

// userNumber takes a name or a number, as the option does; "" is root.
func userNumber(name string) (uint32, error) {
	if name == "" {
		return 0, nil
	}
	if n, err := strconv.ParseUint(name, 10, 32); err == nil {
		return uint32(n), nil
	}
	u, err := user.Lookup(name)
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseUint(u.Uid, 10, 32)
	return uint32(n), err
}

// PlacesAt finds the queue folders of paths as a person names them. A path may
// end in "*", as in QueueDirectory; its root is the folder above, and that of
// another path is the path itself.
func PlacesAt(paths []string) ([]Place, error) {
	var all []Place
	var errs []error
	for _, p := range paths {
		places, err := expand([]string{p}, sendmailcf.Root(p), 0)
		all = append(all, places...)
		errs = append(errs, err)
	}
	return all, errors.Join(errs...)
}

// expand follows multiqueue_cache(): a "*" at the end stands for every folder,
// or link to one, whose name begins so. No other wildcard is known. A path that
// cannot be followed does not keep the others from being found.
func expand(paths []string, root string, mode uint32) ([]Place, error) {
	var places []Place
	var problems []error
	seen := make(map[string]bool)
	add := func(path string) {
		if path = filepath.Clean(path); !seen[path] {
			seen[path] = true
			places = append(places, Place{Path: path, Root: root, FileMode: mode})
		}
	}
	for _, p := range paths {
		prefix, wild := strings.CutSuffix(p, "*")
		if !wild {
			add(p)
			continue
		}
		parent, begins := filepath.Split(prefix)
		names, err := os.ReadDir(parent)
		if err != nil {
			problems = append(problems, fmt.Errorf("queue %s: %w%s", p, err, hint(err)))
			continue
		}
		found := false
		for _, n := range names {
			if !strings.HasPrefix(n.Name(), begins) {
				continue
			}
			if st, err := os.Stat(filepath.Join(parent, n.Name())); err == nil && st.IsDir() {
				add(filepath.Join(parent, n.Name()))
				found = true
			}
		}
		if !found {
			problems = append(problems, fmt.Errorf("queue %s: no folder of that name", p))
		}
	}
	return places, errors.Join(problems...)
}
