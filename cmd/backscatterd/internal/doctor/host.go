package doctor

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// maxCronFile is how much of a file is searched.
const maxCronFile = 1 << 20

// leftovers looks for calls of qtool.pl that cron still makes.
func (x *examination) leftovers() {
	const check = "qtool.pl in cron"
	var hits, hidden []string
	for _, path := range x.Cron {
		for _, file := range filesAt(path) {
			line, err := findQtool(file)
			switch {
			case err != nil && !errors.Is(err, fs.ErrNotExist):
				hidden = append(hidden, file)
			case line > 0:
				hits = append(hits, fmt.Sprintf("%s:%d", file, line))
			}
		}
	}
	switch {
	case len(hits) > 0:
		var files []string
		for _, h := range hits {
			files = append(files, h[:strings.LastIndexByte(h, ':')])
		}
		x.warn(check, "Two that sweep one queue do no harm, but what qtool.pl takes is not in the audit log. Make rules of it, then take the lines out:\n  backscatterd import "+strings.Join(files, " "), "still called in %s", strings.Join(hits, ", "))
	case len(hidden) > 0:
		x.notChecked(check, "%s: run this as root to have it checked", strings.Join(hidden, ", "))
	default:
		x.ok(check, "none")
	}
}

func filesAt(path string) []string {
	entries, err := os.ReadDir(path)
	if err != nil {
		return []string{path}
	}
	var files []string
	for _, e := range entries {
		if !e.IsDir() {
			files = append(files, filepath.Join(path, e.Name()))
		}
	}
	return files
}

// findQtool is the line of a file that names qtool.pl outside a comment, 0 if
// there is none.
func findQtool(file string) (line int, err error) {
	f, err := os.OpenFile(file, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
		return 0, err
	}
	data, err := io.ReadAll(io.LimitReader(f, maxCronFile))
	if err != nil {
		return 0, err
	}
	n := 0
	for text := range bytes.Lines(data) {
		n++
		text = bytes.TrimSpace(text)
		if !bytes.HasPrefix(text, []byte("#")) && bytes.Contains(text, []byte("qtool.pl")) {
			return n, nil
		}
	}
	return 0, nil
}

// fewFiles is the number of open files from which on many connections and large
// queues have room.
const fewFiles = 1024

// kernel looks at what the kernel offers and allows.
func (x *examination) kernel() {
	const landlockVersion = 1 // LANDLOCK_CREATE_RULESET_VERSION
	abi, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, landlockVersion)
	if errno != 0 {
		x.notChecked("confinement", "this kernel has no landlock (%v): what the systemd units forbid holds all the same", errno)
	} else {
		x.ok("confinement", "this kernel has landlock, version %d", abi)
	}
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		x.notChecked("open files", "%v", err)
		return
	}
	need := uint64(fewFiles)
	if x.Milter.On() {
		need = uint64(x.Milter.MaxConnections) + 100
	}
	// The runtime raises the soft limit to the hard one.
	if limit.Max < need {
		x.warn("open files", "Raise it for the daemon, in its unit:\n  [Service]\n  LimitNOFILE=65536\nor lower milter.max_connections.", "at most %d may be open here, and %d connections want %d", limit.Max, x.Milter.MaxConnections, need)
		return
	}
	x.ok("open files", "up to %d", limit.Max)
}
