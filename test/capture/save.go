package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
)

// A capture is a message that came to a sender, and what it has to be read as.
type capture struct {
	expected
	data []byte
}

// claim finds among the messages that came to the sender of a story the ones
// that are expected. The error says what is missing, or was not expected.
func claim(all []expected, st story, arrived [][]byte, apart bool) ([]capture, error) {
	var out []capture
	taken := make([]bool, len(arrived))
	for _, e := range all {
		found := false
		for i, data := range arrived {
			if taken[i] || apart && !bytes.Contains(data, []byte(e.expect.Recipients[0].Address)) {
				continue
			}
			e.expect.Complete = returned(st, data)
			out, taken[i], found = append(out, capture{e, data}), true, true
			break
		}
		if !found {
			return out, fmt.Errorf("%s: the notice did not come", e.name)
		}
	}
	if len(arrived) > len(all) {
		return out, fmt.Errorf("%s: %d notices came, %d are expected", st.name, len(arrived), len(all))
	}
	return out, nil
}

// returned tells whether every line of the header that was sent stands in the
// notice.
func returned(st story, data []byte) bool {
	for _, line := range st.header() {
		if !bytes.Contains(data, []byte("\n"+line+"\n")) {
			return false
		}
	}
	return true
}

// save writes captures as NN-name.eml, each with its NN-name.expect. A message
// that names the machine it was made on is not saved.
func save(folder string, all []capture, forbidden []string) error {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	for i, c := range all {
		for _, word := range forbidden {
			if word != "" && bytes.Contains(bytes.ToLower(c.data), bytes.ToLower([]byte(word))) {
				return fmt.Errorf("%s: the message names this machine: %q", c.name, word)
			}
		}
		base := filepath.Join(folder, fmt.Sprintf("%02d-%s", i+1, c.name))
		if err := os.WriteFile(base+".eml", c.data, 0o644); err != nil {
			return err
		}
		if err := os.WriteFile(base+".expect", []byte(c.expect.String()), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// discard takes the captures of an earlier time away.
func discard(folder string) error {
	for _, pattern := range []string{"*.eml", "*.expect"} {
		names, err := filepath.Glob(filepath.Join(folder, pattern))
		if err != nil {
			return err
		}
		for _, name := range names {
			if err := os.Remove(name); err != nil {
				return err
			}
		}
	}
	return nil
}
