package queuesweep_test

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/backscatterd/backscatterd/config"
	"github.com/backscatterd/backscatterd/queuesweep"
	"github.com/backscatterd/backscatterd/queuesweep/rule"
	"github.com/backscatterd/backscatterd/queuesweep/spool"
)

// BenchmarkSweep is a dry run of the default rules over 10,000 messages, of which
// one in ten matches. make profile writes its profiles.
func BenchmarkSweep(b *testing.B) {
	const messages = 10_000
	dir := b.TempDir()
	for i := range messages {
		status := "452 4.2.2 Mailbox full"
		if i%10 == 0 {
			status = "450 4.7.1 Relay access denied"
		}
		text := fmt.Sprintf("V8\nT1795481254\nK1795485254\nN%d\nP30000\nMDeferred: %s\nFs\n$_client.example [192.0.2.1]\n$rESMTP\n"+
			"S<user%d@lab.example>\nrRFC822; rcpt@dest.example\nRPFD:<rcpt@dest.example>\n"+
			"H??Received: from client.example (client.example [192.0.2.1])\n\tby mx.lab.example with ESMTP id 1;\n\tTue, 24 Nov 2026 00:47:34 GMT\n"+
			"H??Date: Tue, 24 Nov 2026 01:00:00 +0000\nH??From: <user@lab.example>\nH??To: <rcpt@dest.example>\nH??Subject: Message %d\nH??X-Mailer: Example 1.0\n.\n",
			i%60, status, i, i)
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("qf6AO0l%08d", i)), []byte(text), 0o600); err != nil {
			b.Fatal(err)
		}
	}
	set, err := rule.Compile(config.Default().Rules)
	if err != nil {
		b.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		plain  bool
		memory bool
	}{{"ring", false, false}, {"plain", true, false}, {"again", false, true}} {
		b.Run(c.name, func(b *testing.B) {
			s := queuesweep.New(queuesweep.Options{
				Places: func() ([]spool.Place, error) { return spool.PlacesAt([]string{dir}) },
				Disk:   spool.System{}, Workers: 2, MaxControlFile: 1 << 20, PlainReads: c.plain,
				Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
				Now: func() time.Time { return time.Now().Add(time.Minute) }, // all files are settled
			})
			o := queuesweep.SweepOptions{DryRun: true}
			if c.memory {
				o.Memory = queuesweep.NewMemory(64 << 20)
			}
			sweep := func() {
				if sum, err := s.Sweep(b.Context(), set, o); err != nil || sum.Scanned != messages || sum.Matched != messages/10 {
					b.Fatal(sum, err)
				}
			}
			sweep()
			b.ReportAllocs()
			for b.Loop() {
				sweep()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/messages, "ns/message")
		})
	}
}
