package doctor

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/backscatterd/backscatterd/milter/socket"
)

// ourLine finds the X line that leads to us: by its socket, or by its name.
func (x *examination) ourLine(listen socket.Address) (filterLine, bool) {
	for _, l := range x.cf.lines {
		if a, err := socket.Parse(l.socket); err == nil && a == listen {
			return l, true
		}
	}
	for _, l := range x.cf.lines {
		if strings.EqualFold(l.name, "backscatterd") {
			return l, true
		}
	}
	return filterLine{}, false
}

// mcLine is the line of sendmail.mc that makes a right X line.
func (x *examination) mcLine() string {
	return "Put this line into sendmail.mc, ahead of the MAILER lines, build sendmail.cf (make -C /etc/mail) and restart sendmail:\n" +
		"  INPUT_MAIL_FILTER(`backscatterd', `S=" + x.Milter.Listen + ", T=C:10s;S:10s;R:10s;E:1m')dnl"
}

func (x *examination) filterLine() {
	const check = "filter line"
	if x.cfErr != nil {
		x.notChecked(check, "sendmail.cf cannot be read")
		return
	}
	listen, err := x.Milter.Address()
	if err != nil {
		x.notChecked(check, "%v", err)
		return
	}
	line, found := x.ourLine(listen)
	switch {
	case !x.Milter.On() && !found:
		x.notChecked(check, "the milter is off: milter.our_domains names no domain")
		return
	case !x.Milter.On():
		x.fail(check, "Name your domains, or take the line out of sendmail.mc:\n  [milter]\n  our_domains = [\"example.com\"]", "%s:%d asks the filter %q, and the milter is off: milter.our_domains names no domain", x.Queue.SendmailCF, line.number, line.name)
		return
	case !found:
		x.fail(check, x.mcLine(), "%s has no filter line (X...) for %s: sendmail does not ask the milter", x.Queue.SendmailCF, x.Milter.Listen)
		return
	}
	x.filterSocket(check, line, listen)
	x.filterConduct(check, line)
}

func (x *examination) filterSocket(check string, line filterLine, listen socket.Address) {
	a, err := socket.Parse(line.socket)
	switch {
	case listen.Network == "systemd":
		x.notChecked(check, "milter.listen is %s: compare its socket unit with %s of %s:%d", x.Milter.Listen, line.socket, x.Queue.SendmailCF, line.number)
	case err != nil || a != listen:
		x.fail(check, "Make both the same. "+x.mcLine(), "%s:%d asks at %s, and milter.listen is %s", x.Queue.SendmailCF, line.number, line.socket, x.Milter.Listen)
	case !slices.Contains(x.cf.filters, line.name):
		x.fail(check, "MAIL_FILTER only defines a filter; use INPUT_MAIL_FILTER, or add it to confINPUT_MAIL_FILTERS. "+x.mcLine(), "%s:%d defines the filter %q, and O InputMailFilters does not name it: sendmail does not ask it", x.Queue.SendmailCF, line.number, line.name)
	default:
		place := "the only filter"
		if n := len(x.cf.filters); n > 1 {
			place = fmt.Sprintf("filter %d of %d (%s)", slices.Index(x.cf.filters, line.name)+1, n, strings.Join(x.cf.filters, ", "))
		}
		x.ok(check, "%s:%d asks at %s, %s", x.Queue.SendmailCF, line.number, line.socket, place)
	}
}

// filterConduct looks at what sendmail does while the filter is away or slow.
func (x *examination) filterConduct(check string, line filterLine) {
	const away = "filter away"
	switch line.flag {
	case "":
		x.ok(away, "no F=: mail passes unjudged while the milter is away")
	case "T":
		x.ok(away, "F=T: mail is put off (451) while the milter is away; without F= it would pass unjudged")
	case "4":
		x.ok(away, "F=4: connections are put off (421) while the milter is away; without F= mail would pass unjudged")
	case "R":
		x.warn(away, "Leave F= out, so that mail passes, or write F=T, so that it is put off. "+x.mcLine(), "F=R: mail is refused for good while the milter is away, as during each restart")
	default:
		x.fail(away, x.mcLine(), "F=%s is none that sendmail knows", line.flag)
	}
	const slow = "filter timeouts"
	least := map[byte]time.Duration{'C': 5 * time.Second, 'S': 5 * time.Second, 'R': 5 * time.Second, 'E': 30 * time.Second}
	if wait := x.Milter.DNSTimeout.Std(); x.Milter.DNSList != "" {
		least['E'] = max(least['E'], wait+30*time.Second)
	}
	var short, all []string
	for _, t := range []byte("CSRE") {
		all = append(all, fmt.Sprintf("%c:%s", t, span(line.timeouts[t])))
		if line.timeouts[t] < least[t] && line.timeouts[t] != 0 || line.timeouts[t] == 0 && t != 'C' {
			short = append(short, fmt.Sprintf("%c:%s (at least %s)", t, span(line.timeouts[t]), span(least[t])))
		}
	}
	if len(short) > 0 {
		x.warn(slow, "A loaded host answers later than that, and then mail goes by F=. "+x.mcLine(), "too short: %s", strings.Join(short, ", "))
		return
	}
	x.ok(slow, "%s", strings.Join(all, " "))
}

// span writes a duration as sendmail reads it.
func span(d time.Duration) string {
	if d%time.Minute == 0 && d > 0 {
		return fmt.Sprintf("%dm", d/time.Minute)
	}
	return fmt.Sprintf("%ds", d/time.Second)
}

// socket looks whether sendmail comes as far as the milter, then asks it.
func (x *examination) socket(ctx context.Context) {
	const check = "milter"
	if !x.Milter.On() {
		x.notChecked(check, "it is off: milter.our_domains names no domain")
		return
	}
	a, err := x.Milter.Address()
	if err != nil {
		x.notChecked(check, "%v", err)
		return
	}
	if a.Network == "systemd" {
		x.notChecked(check, "milter.listen is %s: systemctl status tells of its socket", x.Milter.Listen)
		return
	}
	if a.Network == "unix" && !x.way(a.Name) {
		return
	}
	version, err := negotiate(ctx, a)
	start := "Start it:\n  systemctl start backscatterd-milter     (or: backscatterd serve)\nIts log says why if it does not stay."
	switch {
	case errors.Is(err, fs.ErrPermission):
		x.notChecked(check, "%s: you may not connect to it: run this as root to have it checked", x.Milter.Listen)
	case errors.Is(err, unix.ECONNREFUSED), errors.Is(err, fs.ErrNotExist):
		x.fail(check, start, "nothing listens on %s", x.Milter.Listen)
	case err != nil:
		x.fail(check, "Is it another program's socket? Otherwise restart it, and look at its log.", "%s: %v", x.Milter.Listen, err)
	default:
		x.ok(check, "%s answers in the milter protocol, version %d", x.Milter.Listen, version)
	}
}

// way looks whether the user that sendmail runs as may connect to a unix socket,
// and whether sendmail would think it safe (safefile with SFF_SAFEDIRPATH).
func (x *examination) way(path string) (goOn bool) {
	const check = "way to the milter"
	who, err := accountOf(firstSet(x.cf.runAs, "root"))
	if err != nil {
		x.fail(check, "Make the user, or mend O RunAsUser (confRUN_AS_USER in sendmail.mc).", "sendmail.cf: RunAsUser: %v", err)
		return true
	}
	open := "Let " + who.name + " in: make it a member of the socket's group, and set the group in the configuration:\n  [milter]\n  socket_group = \"" + x.groupFor(who) + "\"\n  socket_mode = \"0660\""
	for _, folder := range parents(path) {
		var st unix.Stat_t
		if err := unix.Stat(folder, &st); err != nil {
			x.cannot(check, "The milter makes its socket, not the folder:\n  install -d -m 0750 "+folder+"\n(with systemd: RuntimeDirectory=backscatterd)", &fs.PathError{Op: "stat", Path: folder, Err: err})
			return false
		}
		if !may(who, st, 1) {
			x.fail(check, open, "sendmail runs as %s, which may not pass %s (owner %s, mode %04o)", who.name, folder, userName(st.Uid), st.Mode&0o7777)
			return true
		}
		if st.Mode&unix.S_IWOTH != 0 && st.Mode&unix.S_ISVTX == 0 || st.Mode&unix.S_IWGRP != 0 && st.Gid != 0 {
			x.warn(check, "Close it, or sendmail calls the socket unsafe and does not ask:\n  chmod go-w "+folder, "%s can be written to by others than its owner (mode %04o)", folder, st.Mode&0o7777)
			return true
		}
	}
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return true // the connection tells
	}
	if st.Mode&unix.S_IFMT != unix.S_IFSOCK {
		x.fail(check, "Remove it and start the milter, or name another path in milter.listen.", "%s is no socket", path)
		return false
	}
	if !may(who, st, 2) || !may(who, st, 4) {
		x.fail(check, open, "sendmail runs as %s, which may not use the socket (owner %s, mode %04o)", who.name, userName(st.Uid), st.Mode&0o7777)
		return true
	}
	x.ok(check, "sendmail runs as %s and may use the socket", who.name)
	return true
}

func (x *examination) groupFor(who account) string {
	if group := x.Milter.SocketGroup; group != "" {
		return group
	}
	return who.name
}

func firstSet(texts ...string) string {
	for _, t := range texts {
		if t != "" {
			return t
		}
	}
	return ""
}

// parents are the folders on the way to a file, from the root on.
func parents(path string) (all []string) {
	for dir := filepath.Dir(path); ; dir = filepath.Dir(dir) {
		all = append(all, dir)
		if dir == "/" || dir == "." {
			slices.Reverse(all)
			return all
		}
	}
}

// may tells whether a user has a right (4, 2, 1) by the mode of a file.
func may(who account, st unix.Stat_t, right uint32) bool {
	switch {
	case who.uid == 0:
		return true
	case who.uid == st.Uid:
		return st.Mode&(right<<6) != 0
	case slices.Contains(who.groups, st.Gid):
		return st.Mode&(right<<3) != 0
	}
	return st.Mode&right != 0
}

// answerTime bounds the wait for the filter.
const answerTime = 5 * time.Second

// negotiate opens a connection as sendmail does, offers what sendmail 8.17
// offers, and goes again.
func negotiate(ctx context.Context, a socket.Address) (version uint32, err error) {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, a.Network, a.Name)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(answerTime)); err != nil {
		return 0, err
	}
	offer := binary.BigEndian.AppendUint32(nil, 13)
	offer = append(offer, 'O')
	for _, v := range []uint32{6, 0x1FF, 0x1FFFFF} { // version, actions, steps
		offer = binary.BigEndian.AppendUint32(offer, v)
	}
	if _, err := conn.Write(offer); err != nil {
		return 0, err
	}
	var head [5]byte
	if _, err := io.ReadFull(conn, head[:]); err != nil {
		return 0, fmt.Errorf("it does not answer as a milter: %w", err)
	}
	size := binary.BigEndian.Uint32(head[:])
	if head[4] != 'O' || size < 13 || size > 64<<10 {
		return 0, errors.New("it does not answer as a milter")
	}
	body := make([]byte, size-1)
	if _, err := io.ReadFull(conn, body); err != nil {
		return 0, fmt.Errorf("it does not answer as a milter: %w", err)
	}
	_, _ = conn.Write(append(binary.BigEndian.AppendUint32(nil, 1), 'Q')) // it may have gone already
	return binary.BigEndian.Uint32(body), nil
}
