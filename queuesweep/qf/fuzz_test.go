package qf_test

import (
	"os"
	"path/filepath"
	"testing"
)

func FuzzParse(f *testing.F) {
	files, err := filepath.Glob("testdata/flat/*")
	if err != nil || len(files) == 0 {
		f.Fatalf("the files that sendmail wrote are missing: %v", err)
	}
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	for _, s := range []string{
		"", minimal, "V8\nS<a@b>", ".\n", "A8", "q\nS\n.\n", "qa\n b\nS\n.", "V8\r\nS<>\r\n.\r\n",
		"V0\nS\nRa:b\n.\n", "H?\nS\n.\n", "S\nH??A:\n\tb\n.\n", "$\n${\n${}\nS\n.\n", "V8\nS\nR\nR:\n.\n", "S\nAa+2Bb\n.\n", "\xff\n.\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) { checkAny(t, data) })
}
