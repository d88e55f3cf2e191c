package qf_test

import (
	"strings"
	"testing"

	"github.com/backscatterd/backscatterd/queuesweep/qf"
)

// kilobyte is a control file of about 1 kB, as a stuck bounce has one.
func kilobyte() []byte {
	return []byte("V8\nT1795481255\nK1795481255\nN1\nP31258\nI254/0/10003896\nMDeferred: 452 4.1.0 temporary failure\nFrs\n$_localhost\n$r\n$slocalhost\n${daemon_flags}\nSMAILER-DAEMON\n" +
		"MDeferred: 452 4.1.0 temporary failure\nrRFC822; spammer@forged.example\nRPF:<spammer@forged.example>\n" +
		"H?P?Return-Path: <\x81g>\nH??Received: from localhost (localhost)\n\tby mx.lab.example (8.17.1.9/8.17.1.9) id 6AO0lZlY014484;\n\tTue, 24 Nov 2026 00:47:35 GMT\n" +
		"H?D?Date: Tue, 24 Nov 2026 00:47:35 GMT\nH?F?From: Mail Delivery Subsystem <MAILER-DAEMON>\nH??To: <spammer@forged.example>\n" +
		"H??X-Filler: " + strings.Repeat("x", 250) + "\nH??Subject: Returned mail: see transcript for details\nH??Auto-Submitted: auto-generated (failure)\n.\n")
}

func BenchmarkParse(b *testing.B) {
	data := kilobyte()
	var f qf.File
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		if err := f.Reset(data); err != nil {
			b.Fatal(err)
		}
		if !f.NullSender() || f.Attempts() != 1 {
			b.Fatal("misread")
		}
	}
}

// A sweep goes over a large queue with one File: reading another message into
// it takes no memory.
func TestResetDoesNotAllocate(t *testing.T) {
	data := kilobyte()
	f := parse(t, string(data))
	if n := testing.AllocsPerRun(100, func() {
		if err := f.Reset(data); err != nil {
			t.Fatal(err)
		}
		if !f.NullSender() || f.Attempts() != 1 || f.Priority() == 0 {
			t.Fatal("misread")
		}
	}); n != 0 {
		t.Errorf("Reset of a used File allocates %v times", n)
	}
}
