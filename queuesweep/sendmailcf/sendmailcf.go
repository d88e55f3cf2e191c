// Package sendmailcf reads from a sendmail.cf what a tool must know to find
// that sendmail's queues: where they are and whose files are trusted in them.
//
// It is pure and total: bytes in, settings out; a line that it has no use for
// is passed over. Source: readcf(), setoption() and makequeue() of sendmail
// 8.17.
package sendmailcf

import (
	"bytes"
	"errors"
	"fmt"
	"path"
	"strconv"
	"strings"
)

// Settings are what a sendmail.cf says of queues.
type Settings struct {
	// QueueDirectory is the option's value: a path, which may end in "*".
	QueueDirectory string
	// Groups are the queue groups of the file, without the default one.
	Groups []Group
	// QueueFileMode is 0 where the file does not set it.
	QueueFileMode uint32
	// TrustedUser is a user's name or number, "" if not set.
	TrustedUser string
}

// Group is one Q line.
type Group struct {
	Name string
	Path string // "" is that of QueueDirectory; may end in "*"
}

// Parse reads a sendmail.cf. It is an error if the file names no queue
// directory, or one that sendmail would refuse.
func Parse(data []byte) (Settings, error) {
	var s Settings
	for number, line := range logicalLines(data) {
		var err error
		switch line[0] {
		case 'O':
			err = s.option(line[1:])
		case 'Q':
			err = s.group(line[1:])
		}
		if err != nil {
			return Settings{}, fmt.Errorf("line %d: %w", number, err)
		}
	}
	if s.QueueDirectory == "" {
		return Settings{}, errors.New("no O QueueDirectory line: is this a sendmail.cf?")
	}
	return s, s.check()
}

// logicalLines goes over the lines with their numbers, joined where the next
// one starts with a blank (fgetfolded), without comments and empty lines.
func logicalLines(data []byte) func(yield func(int, string) bool) {
	return func(yield func(int, string) bool) {
		number, start := 0, 0
		var line []byte
		flush := func() bool {
			return len(line) == 0 || line[0] == '#' || yield(start, string(line))
		}
		for physical := range bytes.Lines(data) {
			number++
			physical = bytes.TrimRight(physical, "\r\n")
			if len(line) > 0 && len(physical) > 0 && (physical[0] == ' ' || physical[0] == '\t') {
				line = append(append(line, '\n'), physical...)
				continue
			}
			if !flush() {
				return
			}
			line, start = append(line[:0], physical...), number
		}
		flush()
	}
}

// option takes "O Name=value" and the one-letter form "OQvalue".
func (s *Settings) option(text string) error {
	name, value := "", ""
	if strings.HasPrefix(text, " ") {
		before, after, _ := strings.Cut(text[1:], "=")
		name, value = strings.ToLower(strings.TrimSpace(before)), strings.TrimSpace(after)
	} else if strings.HasPrefix(text, "Q") {
		name, value = "queuedirectory", strings.TrimSpace(text[1:])
	}
	switch name {
	case "queuedirectory":
		s.QueueDirectory = value
	case "trusteduser":
		s.TrustedUser = value
	case "queuefilemode":
		mode, err := strconv.ParseUint(value, 8, 32)
		if err != nil {
			return fmt.Errorf("QueueFileMode=%s: not an octal number", value)
		}
		s.QueueFileMode = uint32(mode & 0o777)
	}
	return nil
}

// group takes "Qname, P=/path, F=f, ...". A later line of the same name
// overrides an earlier one.
func (s *Settings) group(text string) error {
	fields := strings.Split(text, ",")
	g := Group{Name: strings.TrimSpace(fields[0])}
	if g.Name == "" {
		return errors.New("queue group without a name")
	}
	for _, f := range fields[1:] {
		key, value, ok := strings.Cut(strings.TrimSpace(f), "=")
		if ok && strings.HasPrefix(key, "P") {
			g.Path = strings.TrimSpace(value)
		}
	}
	for i := range s.Groups {
		if s.Groups[i].Name == g.Name {
			s.Groups[i] = g
			return nil
		}
	}
	s.Groups = append(s.Groups, g)
	return nil
}

// check refuses what multiqueue_cache() refuses: relative paths, and groups
// that do not lie below the queue directory.
func (s Settings) check() error {
	if !path.IsAbs(s.QueueDirectory) {
		return fmt.Errorf("QueueDirectory=%s is no absolute path", s.QueueDirectory)
	}
	root := s.Root()
	for _, g := range s.Groups {
		if g.Path == "" {
			continue
		}
		if p := path.Clean(g.Path); p != root && !strings.HasPrefix(p, strings.TrimSuffix(root, "/")+"/") {
			return fmt.Errorf("queue group %s: path %s does not lie below the queue directory %s", g.Name, g.Path, root)
		}
	}
	return nil
}

// Root is the folder that d lines of control files are relative to: the queue
// directory, or where it ends in "*", the folder above.
func (s Settings) Root() string { return Root(s.QueueDirectory) }

// Root is the root of one queue path.
func Root(queuePath string) string {
	if strings.HasSuffix(queuePath, "*") {
		return path.Dir(queuePath)
	}
	return path.Clean(queuePath)
}

// Paths are the queue paths, each of which may end in "*": the default group's
// first, no path twice.
func (s Settings) Paths() []string {
	defaultPath := s.QueueDirectory
	for _, g := range s.Groups {
		if g.Name == "mqueue" && g.Path != "" { // the default group, redefined
			defaultPath = g.Path
		}
	}
	paths := []string{defaultPath}
	seen := map[string]bool{defaultPath: true}
	for _, g := range s.Groups {
		if g.Path != "" && !seen[g.Path] {
			seen[g.Path] = true
			paths = append(paths, g.Path)
		}
	}
	return paths
}
