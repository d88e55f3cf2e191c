package qf_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/backscatterd/backscatterd/queuesweep/qf"
)

const minimal = "V8\nT1795481255\nS<a@b.example>\nRPFD:<c@d.example>\n.\n"

// What readqf() takes is taken, and to the last byte.
func TestTaken(t *testing.T) {
	for name, data := range map[string]string{
		"minimal":                      minimal,
		"no final newline":             strings.TrimSuffix(minimal, "\n"),
		"CRLF":                         strings.ReplaceAll(minimal, "\n", "\r\n"),
		"no version":                   "T1\nS<a@b.example>\nR<c@d.example>\n.\n",
		"version 0":                    "V0\nS<a@b.example>\nR<c@d.example>\n.\n",
		"nothing but a sender":         "S\n.\n",
		"obsolete lines":               "V8\nDdf123\nE<x@y>\nL100\n" + minimal[3:],
		"every line":                   "V8\nT1\nK2\nN3\nP4\ndq1\nI1/2/3\nB8BITMIME\nqheld\nMDeferred\nFwrs\n$_x\n${auth_authen}u\nS<a@b>\nZe+2Bf\nAa+40b\n!R 3600\nCu:1:2:x\nQrfc822;x@y\nrRFC822; x@y\nRPFD:<x@y>\nH??A: b\n.\n",
		"small letters in xtext":       "V8\nS<a@b>\nAa+2bb\n.\n",
		"empty AUTH":                   "V8\nS<a@b>\nA\n.\n",
		"body type in small letters":   "V8\nS\nB7bit\n.\n",
		"folded with a tab":            "V8\nS\nH??A: b\n\tc\n.\n",
		"folded with blanks":           "V8\nS\nH??A: b\n        c\n.\n",
		"folded line of any code":      "V8\nMDeferred: a\n b\nS<a@b>\n.\n",
		"fold that looks like the dot": "V8\nS\nH??A: b\n .\n.\n",
		"NUL in a header":              "V8\nS\nH??A: b\x00c\n.\n",
		"NUL in a folded header":       "V8\nS\nH??A: b\x00c\n d\n.\n",
		"empty values":                 "V8\nT\nK\nN\nP\nI\nq\nM\nF\n$\nS\nZ\nC\nQ\nr\nR\nH\n!\n.\n",
		"long line":                    "V8\nS\nH??A: " + strings.Repeat("x", 1<<20) + "\n.\n",
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := qf.Parse([]byte(data)); err != nil {
				t.Errorf("refused: %v", err)
			}
		})
	}
}

// What readqf() would set aside is refused, with the line at which it is wrong.
func TestSyntaxErrors(t *testing.T) {
	for _, c := range []struct {
		name, data string
		line       int
		msg        string
	}{
		{"unknown code", "V8\nWx\n.\n", 2, "unknown line code 'W'"},
		{"old code", "V8\nY5\n.\n", 2, "unknown line code 'Y'"},
		{"NUL as a code", "V8\n\x00\n.\n", 2, "unknown line code"},
		{"8-bit code", "V8\nT1\n\xffx\n.\n", 3, "unknown line code"},
		{"blank line", "V8\n\nS<a@b>\n.\n", 2, "blank line"},
		{"blank line of CRLF", "V8\r\n\r\nS<a@b>\r\n.\r\n", 2, "blank line"},
		{"fold before any line", " V8\n.\n", 1, "unknown line code ' '"},
		{"line number after folds", "V8\nH??A: b\n\tc\n\td\nWx\n.\n", 5, "unknown line code 'W'"},
		{"text after the dot", "V8\n.\nS<a@b>\n", 3, "data after"},
		{"newline after the dot", "V8\n.\n\n", 3, "data after"},
		{"two dots", "V8\n.\n.\n", 3, "data after"},
		{"text behind the dot", "V8\n.x\n", 2, "text behind"},
		{"folded dot", "V8\n.\n x\n", 2, "text behind"},
		{"mbox From line", "V8\nFrom a@b Tue Nov 24\n.\n", 2, `"From "`},
		{"body type", "V8\nBBINARYMIME\n.\n", 2, "neither 7BIT nor 8BITMIME"},
		{"body type empty", "V8\nB\n.\n", 2, "neither"},
		{"xtext with =", "V8\nAa=b\n.\n", 2, "no xtext"},
		{"xtext cut short", "V8\nAa+2\n.\n", 2, "no xtext"},
		{"xtext without hex", "V8\nAa+zz\n.\n", 2, "no xtext"},
		{"xtext with a blank", "V8\nAa b\n.\n", 2, "no xtext"},
		{"no sender", "V8\nT1\nRPFD:<c@d>\n.\n", 4, "no S line"},
		{"nothing but the dot", ".\n", 1, "no S line"},
		{"folder of the df without a name", "V8\nd\n.\n", 2, "no name"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, err := qf.Parse([]byte(c.data))
			var se *qf.SyntaxError
			if !errors.As(err, &se) || f != nil {
				t.Fatalf("got %v, %v; want a syntax error and no file", f, err)
			}
			if se.Line != c.line || !strings.Contains(se.Error(), c.msg) {
				t.Errorf("got %q at line %d; want %q at line %d", se, se.Line, c.msg, c.line)
			}
		})
	}
}

func TestUnfinishedAndUnknown(t *testing.T) {
	for _, c := range []struct {
		name, data string
		want       error
	}{
		{"no bytes", "", qf.ErrEmpty},
		{"no dot", "V8\nS<a@b>\n", qf.ErrIncomplete},
		{"cut in a line", "V8\nS<a@", qf.ErrIncomplete},
		{"the dot belongs to a fold", "V8\nH??A: b\n .\n", qf.ErrIncomplete},
		{"newer version", "V9\nS<a@b>\n.\n", qf.ErrVersion},
		{"version that would overflow", "V99999999999999999999999\n.\n", qf.ErrVersion},
		{"version below zero", "V-1\n.\n", qf.ErrVersion},
	} {
		t.Run(c.name, func(t *testing.T) {
			if f, err := qf.Parse([]byte(c.data)); !errors.Is(err, c.want) || f != nil {
				t.Errorf("got %v, %v; want %v", f, err, c.want)
			}
		})
	}
}

// Every proper beginning of a real file is refused: a file that is being
// written is never taken for a whole one. The last newline alone may be missing.
func TestEveryBeginningIsIncomplete(t *testing.T) {
	for n := range len(minimal) - 1 {
		if _, err := qf.Parse([]byte(minimal[:n])); err == nil {
			t.Errorf("the first %d bytes were taken for a whole file: %q", n, minimal[:n])
		}
	}
}

// A File that is used again says nothing of what it held before.
func TestResetForgets(t *testing.T) {
	var f qf.File
	first := "V8\nT5\nN7\nP9\nMDeferred\nFr\nS<a@b>\nRP:<c@d>\nH??Subject: x\n.\n"
	if err := f.Reset([]byte(first)); err != nil {
		t.Fatal(err)
	}
	if err := f.Reset([]byte("S\nR<x@y>\n.\n")); err != nil {
		t.Fatal(err)
	}
	if f.Version != 0 || f.Attempts() != 0 || f.Status() != "" || f.Header("subject") != "" || !f.Created().IsZero() || f.Flags() != "" {
		t.Errorf("the second file shows values of the first: %+v", f)
	}
	if err := f.Reset([]byte("V8\nS<q@r>\nWrong\n.\n")); err == nil {
		t.Fatal("a damaged file was taken")
	}
	if got := f.Sender(); got != "q@r" {
		t.Errorf("of a damaged file, what stands before the fault is there for showing: sender %q", got)
	}
}
