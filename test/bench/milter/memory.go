package main

import "fmt"

// idleMemory tells what connections cost that have had a message and are idle.
func idleMemory(f *filter, l load, n int) error {
	before, err := f.memory()
	if err != nil {
		return err
	}
	var open []*client
	defer func() {
		for _, c := range open {
			c.Close()
		}
	}()
	for range n {
		c, err := dial(f.socket, l.client)
		if err != nil {
			return err
		}
		open = append(open, c)
		if err := l.send(c, 0); err != nil {
			return err
		}
	}
	after, err := f.memory()
	if err != nil {
		return err
	}
	fmt.Printf("%d idle connections of %s: %.1f MiB more than none (%.1f MiB in all)\n", n, f.name, mib(after.all-before.all), mib(after.all))
	return nil
}

// steadyMemory tells how much memory the filter holds at each tenth of many
// messages of all loads, of which those that it records are all different.
func steadyMemory(f *filter, loads []load, s sizes) error {
	fmt.Printf("\nmemory of %s over %d messages\n", f.name, s.steady)
	const tenths = 10
	sent := 0
	each := max(1, s.steady/(tenths*len(loads)*s.conns))
	for tenth := range tenths {
		for i, l := range loads {
			if _, err := f.together(l.client, s.conns, func(conn int, c *client) error {
				for n := range each {
					one := l
					if l.fresh != nil {
						one.messages = []message{l.fresh(fmt.Sprintf("%d.%d.%d.%d", tenth, i, conn, n))}
					}
					if err := one.send(c, n); err != nil {
						return err
					}
				}
				return nil
			}); err != nil {
				return err
			}
			sent += each * s.conns
		}
		m, err := f.memory()
		if err != nil {
			return err
		}
		fmt.Printf("  after %8d   %6.1f MiB, of which %.1f are pages of files (the program, and the ledger as far as the kernel keeps it)\n",
			sent, mib(m.all), mib(m.files))
	}
	return nil
}

func mib(bytes int64) float64 { return float64(bytes) / (1 << 20) }
