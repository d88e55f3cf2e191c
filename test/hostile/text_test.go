package hostile

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// evil is what does harm on a terminal: escape sequences of one and of two
// bytes, DEL, BEL, carriage return, marks of direction, bytes that are no UTF-8.
const evil = "\x1b[2J\x1b]0;title\x07\u009b31m\u202e\u2066\u200b\ufeff\x7f\r\b\x0e\xff\x9b\xc3(\xf4\x90\x80\x80 end"

// stuffed is a text as sendmail writes it into a control file.
func stuffed(text string) string {
	var b strings.Builder
	for i := range len(text) {
		if c := text[i]; c >= 0x80 && c <= 0x9f || c == 0xff {
			b.WriteByte(0xff)
		}
		b.WriteByte(text[i])
	}
	return b.String()
}

// evilMessage has it everywhere that a stranger can write to.
func evilMessage(more string) string {
	e := stuffed(evil)
	return "V8\nT1795557305\nK1795557305\nN2\nP1\n" + more + "MDeferred: 450 " + e + "\nFbs" + e + "\n$_" + e + "\n${" + e + "}" + e + "\nS<" + e + "@x.example>\nZ" + e +
		"\nM451 " + e + "\nC" + e + "\nQrfc822;" + e + "\nrRFC822; " + e + "\nR" + e + ":<" + e + "@y.example>\nH??Subject: " + e + "\n\t" + e + "\nH??X-" + e + ": x\nH?" + e + "?X-C: " + e + "\n.\n"
}

// What strangers write never gets to a terminal or into a log as it stands, in
// no command, in no format, by no error; and JSON stays JSON.
func TestTexts(t *testing.T) {
	for _, format := range []string{"text", "json"} {
		s := newSite(t, t.TempDir(), "")
		rules := "[[rule]]\nname = \"own\"\nwhen = 'null_sender'\n[[rule]]\nname = \"hold\"\nwhen = 'attempts == 3'\ndo = \"hold\"\nreason = \"\u202e held\"\n" + allMove
		s.configure(s.queue, "[log]\nlevel = \"debug\"\nformat = \""+format+"\"\n", rules)
		s.message("EVIL", evilMessage(""))
		s.message("HELD", evilMessage("q"+stuffed(evil)+"\n"))
		s.message("THREE", strings.Replace(evilMessage(""), "N2", "N3", 1))
		s.write(s.in("qfDAMAGED"), evilMessage(stuffed(evil)+"\n"))
		s.write(s.in("qfFOLDER"), evilMessage("d"+stuffed(evil)+"\n"))
		s.write(s.in("dfFOLDER"), "x\n")
		s.write(s.in("qf"+strings.ReplaceAll(evil, "/", "")), plainControl)
		before := s.snapshot(s.outside)
		s.looking("EVIL", "HELD", "DAMAGED", "FOLDER", "THREE", evil)
		s.run("queue", "list", "--where", "x == '"+evil+"'")
		s.run("queue", "list", "--queue", "/"+evil)
		s.run("sweep", "--rule", evil)
		s.run("qtool", "-e", evil, s.queue)
		s.run("qtool", evil, evil)
		s.run(evil)
		s.run("queue", evil)
		s.run("queue", "list", "--"+evil)
		s.run("queue", "hold", "EVIL", "FOLDER", "--reason", evil)
		s.run("queue", "list", "--json")
		s.run("queue", "release", "EVIL", "--json")
		s.run("sweep", "--json")
		s.run("queue", "list", "--removed")
		s.run("queue", "list", "--removed", "--json")
		s.run("queue", "restore", "--where", "true", "--yes", "--json")
		s.run("sweep")
		s.served()
		for _, id := range []string{"EVIL", "THREE"} {
			if !s.removed(id) && !s.queued(id) {
				t.Errorf("%s is lost", id)
			}
		}
		s.untouched(before)
	}
}

// served runs the daemon for one sweep, which a schedule would start only on the
// minute: a SIGHUP, and its end.
func (s *site) served() {
	s.t.Helper()
	s.message("EVIL2", evilMessage(""))
	text, err := os.ReadFile(s.config)
	s.ok(err)
	s.write(s.config, strings.Replace(string(text), "[sweep]\n", "[sweep]\nschedule = \"@every 1s\"\n", 1))
	cmd, wait := s.start("serve", "--only", "sweep")
	for range 300 {
		if s.removed("EVIL2") {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	s.ok(cmd.Process.Signal(unix.SIGTERM))
	if r := wait(); r.code != 0 || !s.removed("EVIL2") || !strings.Contains(r.stderr, "EVIL2") {
		s.t.Errorf("serve: exit status %d\n%s", r.code, r.all())
	}
}

// The same at a real terminal, whose width it cuts to. There are no colours,
// since NO_COLOR is set: so no escape character has any right to be there.
func TestTextsAtATerminal(t *testing.T) {
	s := newSite(t, t.TempDir(), allMove)
	s.message("EVIL", evilMessage(""))
	s.write(s.in("qf"+strings.ReplaceAll(evil, "/", "")), plainControl)
	for _, args := range [][]string{{"queue", "list"}, {"queue", "show", "EVIL"}, {"queue", "summary", "--by", "sender"}, {"sweep", "--dry-run"}, {"queue", "move", "EVIL"}, {"queue", "list", "--removed"}} {
		out := s.atTerminal(args...)
		if !strings.Contains(out, "title") {
			t.Errorf("%q: nothing of the message is shown:\n%q", args, out)
		}
		if at := harmful(strings.ReplaceAll(out, "\r\n", "\n")); at >= 0 { // the terminal's own line ends
			t.Errorf("%q: the terminal gets %q", args, out[max(at-40, 0):min(at+40, len(out))])
		}
	}
}

func (s *site) atTerminal(args ...string) string {
	s.t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	s.ok(err)
	defer master.Close()
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	s.ok(err, unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0))
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	s.ok(err, unix.IoctlSetWinsize(int(slave.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 50, Col: 200}))
	cmd, cancel := s.command(args...)
	defer cancel()
	cmd.Stdout, cmd.Stderr = slave, slave
	s.ok(cmd.Start(), slave.Close())
	out, _ := io.ReadAll(master) // EIO where the other end is closed
	_ = cmd.Wait()
	return string(out)
}

// Times of the future, of 1970, below zero and beyond all calendars.
func TestTimes(t *testing.T) {
	s := newSite(t, t.TempDir(), "[[rule]]\nname = \"old\"\nwhen = 'age > duration(\"24h\") && since_attempt > duration(\"24h\")'\n")
	times := map[string]string{
		"ZERO": "0", "ONE": "1", "BELOW": "-1", "FARBELOW": "-99999999999999", "NOW": fmt.Sprint(time.Now().Unix()), "SOON": fmt.Sprint(time.Now().Unix() + 3600),
		"Y2038": "2147483648", "Y2106": "4294967296", "Y9999": "253402300799", "Y10000": "253402300800", "HUGE": "9223372036854775807", "HUGER": "99999999999999999999999", "TEXT": "soon", "NONE": "",
	}
	for id, text := range times {
		s.message(id, strings.NewReplacer("T1795557305", "T"+text, "K1795557305", "K"+text).Replace(plainControl))
		s.message("X"+id, strings.Replace(strings.Replace(plainControl, "N2", "N"+text, 1), "P1", "P"+text, 1))
	}
	var ids []string
	for id := range times {
		ids = append(ids, id, "X"+id)
	}
	before := s.snapshot(s.outside)
	list := s.lines(s.looking(ids...).stdout)
	if len(list) != 2*len(times) {
		t.Errorf("%d messages are listed, want %d", len(list), 2*len(times))
	}
	for _, o := range s.lines(s.run("sweep", "--json").stdout) {
		if id, _ := o["id"].(string); id != "" && id != "ONE" && !strings.HasPrefix(id, "X") {
			t.Errorf("%s was swept as old", id)
		}
	}
	s.run("queue", "list", "--removed")
	s.run("queue", "list", "--removed", "--json")
	s.want(0, "0 failed", "queue", "restore", "--where", "true", "--yes")
	for _, id := range ids {
		if !s.queued(id) {
			t.Errorf("%s is not in the queue", id)
		}
	}
	// The clock of the files: a df and a store's day of long ago or ahead.
	old, ahead := time.Unix(0, 0), time.Date(2400, 1, 1, 0, 0, 0, 0, time.UTC)
	s.ok(os.Chtimes(s.in("dfZERO"), old, old), os.Chtimes(s.in("dfNOW"), ahead, ahead))
	s.looking("ZERO", "NOW")
	for _, day := range []string{"9999-12-31", "0001-01-01", "2999-01-01"} {
		s.mkdir(filepath.Join(s.store, day), 0o700)
	}
	s.want(0, "1 done", "queue", "move", "NOW")
	s.want(0, "NOW", "queue", "list", "--removed")
	s.want(0, "1 done", "queue", "restore", "NOW")
	s.untouched(before)
}
