package qf

import "strings"

// maxReason bounds a quarantine reason; mailq shows 100 characters of it.
const maxReason = 500

// WithQuarantine returns a copy of the file with this reason as its q line: in
// place of an old one, else before the S line, where quarantine_queue_item()
// puts it. All other bytes stay. Control characters and bytes beyond ASCII in
// the reason become blanks, since sendmail stuffs them.
func (f *File) WithQuarantine(reason string) []byte {
	q := "q" + cleanReason(reason) + "\n"
	out := make([]byte, 0, len(f.data)+len(q))
	done := false
	for i, l := range f.lines {
		switch {
		case l.code == 'q':
			if !done {
				out = append(out, q...)
			}
			done = true
			continue
		case !done && !f.Quarantined() && l.code == 'S':
			out = append(out, q...)
			done = true
		}
		out = append(out, f.physical(i)...)
	}
	return out
}

// WithoutQuarantine returns a copy of the file less its q lines.
func (f *File) WithoutQuarantine() []byte {
	out := make([]byte, 0, len(f.data))
	for i, l := range f.lines {
		if l.code != 'q' {
			out = append(out, f.physical(i)...)
		}
	}
	return out
}

// physical is line i with its code and its newline.
func (f *File) physical(i int) []byte {
	end := len(f.data)
	if i+1 < len(f.lines) {
		end = f.lines[i+1].from - 1
	}
	return f.data[f.lines[i].from-1 : end]
}

func cleanReason(s string) string {
	if len(s) > maxReason {
		s = s[:maxReason]
	}
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return ' '
		}
		return r
	}, s)
	if s = strings.TrimSpace(s); s == "" {
		return "held by backscatterd"
	}
	return s
}
