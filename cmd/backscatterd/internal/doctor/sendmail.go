package doctor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// sendmailCF is what a sendmail.cf says beside its queues.
type sendmailCF struct {
	version   string // of the DZ line
	runAs     string // RunAsUser
	filters   []string
	filterSet bool
	lines     []filterLine
}

// filterLine is an X line.
type filterLine struct {
	number             int
	name, socket, flag string
	timeouts           map[byte]time.Duration
}

const maxCF = 4 << 20

func readCF(path string) (cf sendmailCF, err error) {
	st, err := os.Stat(path)
	if err == nil && (!st.Mode().IsRegular() || st.Size() > maxCF) {
		err = fmt.Errorf("%s is no sendmail.cf", path)
	}
	if err != nil {
		return cf, err
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return cf, err
	}
	return parseCF(data), nil
}

// parseCF goes over the lines as readcf() does; one that begins with a blank
// belongs to the one before.
func parseCF(data []byte) (cf sendmailCF) {
	number, first, line := 0, 0, ""
	end := func() {
		switch {
		case strings.HasPrefix(line, "DZ"):
			cf.version = strings.TrimSpace(line[2:])
		case strings.HasPrefix(line, "X"):
			cf.lines = append(cf.lines, parseFilter(first, line[1:]))
		case strings.HasPrefix(line, "O "):
			name, value, _ := strings.Cut(line[2:], "=")
			switch strings.ToLower(strings.TrimSpace(name)) {
			case "runasuser":
				cf.runAs = strings.TrimSpace(value)
			case "inputmailfilters":
				cf.filterSet = true
				cf.filters = strings.FieldsFunc(value, func(r rune) bool { return strings.ContainsRune(" \t\n,;", r) })
			}
		}
	}
	for physical := range bytes.Lines(data) {
		number++
		text := strings.TrimRight(string(physical), "\r\n")
		if text != "" && (text[0] == ' ' || text[0] == '\t') {
			line += " " + text
			continue
		}
		end()
		line, first = text, number
	}
	end()
	return cf
}

// parseFilter takes "name, S=socket, F=T, T=C:5m;S:10s" (milter_setup).
func parseFilter(number int, text string) filterLine {
	fields := strings.Split(text, ",")
	f := filterLine{number: number, name: strings.TrimSpace(fields[0]), timeouts: map[byte]time.Duration{
		'C': 5 * time.Minute, 'S': 10 * time.Second, 'R': 10 * time.Second, 'E': 5 * time.Minute,
	}}
	for _, field := range fields[1:] {
		key, value, _ := strings.Cut(strings.TrimSpace(field), "=")
		value = strings.TrimSpace(value)
		switch strings.TrimSpace(key) {
		case "S":
			f.socket = value
		case "F":
			f.flag = value
		case "T":
			for t := range strings.SplitSeq(value, ";") {
				name, length, ok := strings.Cut(strings.TrimSpace(t), ":")
				if d, err := cfDuration(length); ok && err == nil && len(name) == 1 {
					f.timeouts[name[0]] = d
				}
			}
		}
	}
	return f
}

var cfTime = regexp.MustCompile(`^([0-9]+)([smhdw]?)`)

// cfDuration is convtime(): numbers with units, minutes where there is none.
func cfDuration(s string) (total time.Duration, err error) {
	unit := map[string]time.Duration{"s": time.Second, "m": time.Minute, "": time.Minute, "h": time.Hour, "d": 24 * time.Hour, "w": 7 * 24 * time.Hour}
	for s = strings.TrimSpace(s); s != ""; {
		m := cfTime.FindStringSubmatch(s)
		var n int64
		if m == nil || len(m[1]) > 6 {
			return 0, errors.New("no time")
		}
		fmt.Sscan(m[1], &n)
		total += time.Duration(n) * unit[m[2]]
		s = s[len(m[0]):]
	}
	return total, nil
}

func (x *examination) sendmailConfiguration() {
	const check = "sendmail.cf"
	switch {
	case x.cfErr == nil && x.cf.version != "":
		x.ok(check, "%s, of sendmail %s", x.Queue.SendmailCF, x.cf.version)
	case x.cfErr == nil:
		x.ok(check, "%s", x.Queue.SendmailCF)
	case errors.Is(x.cfErr, fs.ErrNotExist) && len(x.Queue.Directories) > 0:
		x.notChecked(check, "%s is not there; the queues are named in queue.directories", x.Queue.SendmailCF)
	default:
		x.cannot(check, "Name sendmail's configuration:\n  [queue]\n  sendmail_cf = \"/etc/mail/sendmail.cf\"\n(Find it with: find / -name sendmail.cf)", x.cfErr)
	}
}

// sendmailTime bounds how long sendmail may take to say how it was built.
const sendmailTime = 20 * time.Second

var sendmailVersion = regexp.MustCompile(`(?m)^\s*Version\s+(\S+)`)

// sendmail runs it in its test mode, which ends at the end of its input.
func (x *examination) sendmail(ctx context.Context) {
	const check = "sendmail"
	path := x.Queue.Sendmail
	advice := "Name the command:\n  [queue]\n  sendmail = \"/usr/sbin/sendmail\""
	if st, err := os.Stat(path); err != nil {
		x.cannot(check, advice, err)
		return
	} else if st.Mode()&0o111 == 0 || st.IsDir() {
		x.fail(check, advice, "%s cannot be run", path)
		return
	}
	ctx, cancel := context.WithTimeout(ctx, sendmailTime)
	defer cancel()
	args := []string{"-d0.10", "-bt"}
	if x.cfErr == nil {
		args = append([]string{"-C" + x.Queue.SendmailCF}, args...)
	}
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	m := sendmailVersion.FindSubmatch(out)
	if m == nil {
		switch {
		case ctx.Err() != nil:
			x.warn(check, "Run it by hand and see what it waits for; mostly the name of this host has no dot (hostname -f):\n  "+path+" -d0.10 -bt < /dev/null", "%s did not say within %s how it was built", path, sendmailTime)
		case err != nil:
			x.notChecked(check, "%s -d0.10 -bt: %v: %s", path, err, firstLine(out))
		default:
			x.warn(check, "Rules that expire and bounce, and the locks, are made for sendmail; is another mail system's sendmail command installed?", "%s does not say that it is sendmail", path)
		}
		return
	}
	version := string(m[1])
	locks := "fcntl"
	if regexp.MustCompile(`\bHASFLOCK\b`).Match(out) && !bytes.Contains(out, []byte("HASFLOCK=0")) {
		locks = "flock"
	}
	if x.cfErr == nil && x.cf.version != "" && !strings.HasPrefix(x.cf.version, version) && !strings.HasPrefix(version, strings.SplitN(x.cf.version, "/", 2)[0]) {
		x.warn(check, "Build sendmail.cf again from sendmail.mc, as after each upgrade:\n  make -C /etc/mail", "version %s, but sendmail.cf is of %s; it locks by %s, and backscatterd takes both locks", version, x.cf.version, locks)
		return
	}
	x.ok(check, "version %s; it locks by %s, and backscatterd takes both locks, flock and fcntl", version, locks)
}

func firstLine(b []byte) string {
	line, _, _ := strings.Cut(strings.TrimSpace(string(b)), "\n")
	return line
}

func (x *examination) queues() {
	const check = "queues"
	if x.PlacesErr != nil {
		x.cannot(check, "Name the folders, or mend sendmail.cf:\n  [queue]\n  directories = [\"/var/spool/mqueue\"]", x.PlacesErr)
	}
	if len(x.Places) == 0 && x.PlacesErr == nil {
		x.fail(check, "Name the folders:\n  [queue]\n  directories = [\"/var/spool/mqueue\"]", "no queue is known")
	}
	for _, p := range x.Places {
		x.queue(p.Path)
	}
}

func (x *examination) queue(path string) {
	const check = "queue"
	waiting, held := 0, 0
	folders := []string{path}
	for _, part := range []string{"qf", "df"} {
		if st, err := os.Stat(filepath.Join(path, part)); err == nil && st.IsDir() {
			folders = append(folders, filepath.Join(path, part))
		}
	}
	var top unix.Stat_t
	if err := unix.Stat(path, &top); err != nil {
		x.cannot(check, "Make it as sendmail wants it, or name the right one in queue.directories.", &fs.PathError{Op: "stat", Path: path, Err: err})
		return
	}
	for _, folder := range folders {
		var st unix.Stat_t
		if unix.Stat(folder, &st) == nil && st.Mode&unix.S_IWOTH != 0 {
			x.fail(check, "Close it, then look for files in it that are not sendmail's:\n  chmod o-w "+folder, "%s: everybody may write to it (mode %04o)", folder, st.Mode&0o7777)
			return
		}
		dir, err := os.Open(folder)
		if err != nil {
			x.cannot(check, "", err)
			return
		}
		for {
			names, err := dir.Readdirnames(1024)
			for _, n := range names {
				switch {
				case strings.HasPrefix(n, "qf") && n != "qf":
					waiting++
				case strings.HasPrefix(n, "hf"):
					held++
				}
			}
			if err != nil {
				break
			}
		}
		dir.Close()
	}
	said := fmt.Sprintf("%s: %s", path, count(waiting, "message"))
	if held > 0 {
		said += fmt.Sprintf(" and %d held", held)
	}
	said += fmt.Sprintf("; owner %s, mode %04o", userName(top.Uid), top.Mode&0o7777)
	if !isRoot() && top.Uid != uint32(os.Geteuid()) {
		x.warn(check, "Run backscatterd as root, or as "+userName(top.Uid)+".", "%s; you (%s) may look, but not act", said, userName(uint32(os.Geteuid())))
		return
	}
	x.ok(check, "%s", said)
}
