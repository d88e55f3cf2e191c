package status

import (
	"fmt"
	"io"
	"strings"
)

// WriteReference writes docs/metrics.md: every metric there is.
func WriteReference(w io.Writer) error {
	var b strings.Builder
	b.WriteString(`# Metrics

<!-- Made by "backscatterd metrics"; a test compares. -->

` + "`GET /metrics`" + ` on the address of ` + "`status.listen`" + ` ([status.md](status.md)), in the text
format of Prometheus. No label is taken from mail: ` + "`rule`" + ` has the names of your
configuration, all others a few values that are told below. With
` + "`serve --only`" + ` each half shows what it does. Counters begin at 0 with the daemon.

Beside these there are those of the Go runtime (` + "`go_`" + `), and of the process
(` + "`process_`" + `: memory, file descriptors, processor time).
`)
	for _, section := range []struct {
		part  part
		title string
	}{{always, "Both halves"}, {sweeps, "Sweeps, queues and the removed store"}, {filters, "The milter and its ledger"}} {
		fmt.Fprintf(&b, "\n## %s\n\n| metric | type | labels | |\n|---|---|---|---|\n", section.title)
		for _, f := range families {
			if f.part != section.part {
				continue
			}
			labels := ""
			if len(f.labels) > 0 {
				labels = "`" + strings.Join(f.labels, "` `") + "`"
			}
			fmt.Fprintf(&b, "| `%s%s` | %s | %s | %s |\n", prefix, f.name, f.kind, labels, f.help)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}
