package qfdiff

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/backscatterd/backscatterd/queuesweep/qf"
	"github.com/backscatterd/backscatterd/queuesweep/spool"
)

// variant is one control file, and what is expected of both readers.
type variant struct {
	name string
	text string // %d is replaced by the time
	mode os.FileMode

	taken    bool // by sendmail
	stricter bool // sendmail takes it and we do not, on purpose
	dataIn   string
}

const (
	head = "V8\nT%d\nK0\nN0\nP30000\n"
	tail = "Fs\n$_localhost\nS<a@lab.example>\nRPFD:<u@dest.example>\nH??From: a@lab.example\nH??Subject: x\n"
	good = head + tail + ".\n"
)

func variants() []variant {
	yes := func(name, text string) variant { return variant{name: name, text: text, taken: true} }
	no := func(name, text string) variant { return variant{name: name, text: text} }
	strict := func(name, text string) variant { return variant{name: name, text: text, taken: true, stricter: true} }
	all := []variant{
		yes("plain", good),
		yes("no final newline", strings.TrimSuffix(good, "\n")),
		yes("CRLF", strings.ReplaceAll(good, "\n", "\r\n")),
		yes("version 7", strings.Replace(good, "V8", "V7", 1)),
		yes("version 1", strings.Replace(good, "V8", "V1", 1)),
		yes("version 0", "V0\nT%d\nS<a@lab.example>\nR<u@dest.example>\n.\n"),
		yes("no version", "T%d\nS<a@lab.example>\nR<u@dest.example>\n.\n"),
		no("version 9", strings.Replace(good, "V8", "V9", 1)),
		strict("version below zero", strings.Replace(good, "V8", "V-1", 1)),
		no("version below zero that wraps", strings.Replace(good, "V8", "V-4294967287", 1)),
		no("no dot", head+tail),
		no("cut in a line", head+tail[:len(tail)-8]),
		no("blank line", head+"\n"+tail+".\n"),
		no("line after the dot", good+"S<b@lab.example>\n"),
		no("dot twice", good+".\n"),
		no("newline after the dot", good+"\n"),
		strict("text behind the dot", head+tail+".x\n"),
		strict("folded dot", head+tail+".\n\tx\n"),
		yes("folded with a tab", head+tail+"H??X: a\n\tb\n.\n"),
		yes("folded with blanks", head+tail+"H??X: a\n        b\n.\n"),
		yes("folded M", head+"MDeferred: a\n b\n"+tail+".\n"),
		no("fold takes the dot", head+tail+" .\n"),
		no("fold at the start", " "+good),
		no("unknown code W", head+"Wx\n"+tail+".\n"),
		no("old code G", head+"Gx\n"+tail+".\n"),
		no("old code X", head+"Xx\n"+tail+".\n"),
		no("old code Y", head+"Yx\n"+tail+".\n"),
		no("small m", head+"mx\n"+tail+".\n"),
		no("8-bit code", head+"\xe4x\n"+tail+".\n"),
		no("NUL as a code", head+"\x00x\n"+tail+".\n"),
		yes("obsolete D E L", head+"Ddf\nEx\nL3\n"+tail+".\n"),
		no("From line", head+"From a@lab.example Tue\n"+tail+".\n"),
		yes("flags that nobody knows", head+"FxyzR\n"+tail+".\n"),
		yes("body type", head+"B8BITMIME\n"+tail+".\n"),
		yes("body type in small letters", head+"B7bit\n"+tail+".\n"),
		no("body type BINARYMIME", head+"BBINARYMIME\n"+tail+".\n"),
		no("body type empty", head+"B\n"+tail+".\n"),
		yes("AUTH", head+tail+"Aa+40b\n.\n"),
		yes("AUTH <>", head+tail+"A<>\n.\n"),
		yes("AUTH with small hex", head+tail+"Aa+2bb\n.\n"),
		no("AUTH with =", head+tail+"Aa=b\n.\n"),
		no("AUTH with a blank", head+tail+"Aa b\n.\n"),
		no("AUTH cut short", head+tail+"Aa+2\n.\n"),
		no("AUTH 8-bit", head+tail+"Aa\xe4\n.\n"),
		yes("AUTH with NUL", head+tail+"Aa\x00=\n.\n"),
		no("d empty", head+"d\n"+tail+".\n"),
		no("d unknown", head+"dnowhere\n"+tail+".\n"),
		no("d outside", head+"d../../etc\n"+tail+".\n"),
		yes("macros", head+"$rESMTP\n${auth_authen}joe\n${daemon_flags}\n"+tail+".\n"),
		yes("macro without a name", head+"$\n"+tail+".\n"),
		yes("headers that are none", head+tail+"Hno colon\nH?x no mark: y\nH??two words: z\nH\n.\n"),
		yes("header without marks", head+tail+"HX-A: b\n.\n"),
		yes("header conditions", head+tail+"H?P?Return-Path: <\x81g>\nH?$x?X-A: b\nH?${if_addr}?X-B: c\n.\n"),
		yes("8-bit header", head+tail+"H??X: \xc3\xff\x89\xff\xff\n.\n"),
		yes("NUL in a header", head+tail+"H??X: a\x00b\n.\n"),
		yes("long header", head+tail+"H??X: "+strings.Repeat("y", 70000)+"\n.\n"),
		yes("deliver by", head+tail+"!R 3600\n.\n"),
		yes("C Q r", head+tail+"Croot:0:0:x\nQrfc822;x@dest.example\nrRFC822; x@dest.example\nRPN:<v@dest.example>\n.\n"),
		yes("R without a colon", head+tail+"Rnothing\n.\n"),
		yes("null sender", strings.Replace(good, "S<a@lab.example>", "S<>", 1)),
		yes("own DSN", strings.Replace(strings.Replace(good, "S<a@lab.example>", "SMAILER-DAEMON", 1), "Fs", "Frs", 1)),
		no("no sender", head+"RPFD:<u@dest.example>\n.\n"),
		{name: "d of another group", text: head + "dother\n" + tail + ".\n", taken: true, dataIn: "other"},
		{name: "d twice, the last good", text: head + "dmain1\ndother\n" + tail + ".\n", taken: true, dataIn: "other"},
		no("d with a slash at its end", head+"dother/\n"+tail+".\n"),
		no("d with a dot before", head+"d./other\n"+tail+".\n"),
		no("d up and down again", head+"d../queues/other\n"+tail+".\n"),
		no("d over another folder", head+"dmain1/../other\n"+tail+".\n"),
		no("d absolute", head+"d/etc\n"+tail+".\n"),
		no("d folded", head+"dother\n x\n"+tail+".\n"),
		strict("d behind a NUL", head+"dother\x00x\n"+tail+".\n"),
		strict("NUL behind the dot", head+tail+".\x00\n"),
		{name: "writable for a group", text: good, mode: 0o620},
		{name: "writable for all", text: good, mode: 0o602},
		{name: "readable for all", text: good, mode: 0o644, taken: true},
	}
	return all
}

// What our reader takes sendmail takes; and where it is stricter, it is so on
// purpose.
func TestAgainstSendmail(t *testing.T) {
	m := newMTA(t)
	all := variants()
	ids := make([]string, len(all))
	for i, v := range all {
		ids[i] = m.write(i, v)
	}
	ours := m.ours(ids)
	before := m.files(ids)
	out := m.run(ids)
	for i, v := range all {
		taken := m.taken(ids[i], before[i])
		if ours[i] == nil && !taken {
			t.Errorf("%s: we take it and sendmail does not", v.name)
		}
		if taken != v.taken {
			t.Errorf("%s: sendmail takes it: %v, expected %v", v.name, taken, v.taken)
		}
		if want := v.taken && !v.stricter; want != (ours[i] == nil) {
			t.Errorf("%s: we say %v, expected taken: %v", v.name, ours[i], want)
		}
	}
	if t.Failed() {
		t.Logf("sendmail said:\n%s", out)
	}
}

// The same for files damaged at random.
func TestDamagedAgainstSendmail(t *testing.T) {
	const seed, n = 20261124, 100
	m := newMTA(t)
	rnd := rand.New(rand.NewPCG(seed, 1))
	base := head + "MDeferred: x\nB7BIT\n" + tail + "Aa+40b\nZenv\nQrfc822;x@dest.example\nRPN:<v@dest.example>\nH??X: a\n\tb\n.\n"
	var ids, texts []string
	for i := range n {
		text := damage(rnd, base)
		texts = append(texts, text)
		ids = append(ids, m.write(i, variant{text: text}))
	}
	ours := m.ours(ids)
	before := m.files(ids)
	out := m.run(ids)
	both, neither, stricter := 0, 0, 0
	for i := range ids {
		switch taken := m.taken(ids[i], before[i]); {
		case ours[i] == nil && !taken:
			t.Errorf("seed %d, file %d: we take it and sendmail does not: %q", seed, i, texts[i])
		case ours[i] == nil:
			both++
		case taken:
			stricter++
		default:
			neither++
		}
	}
	t.Logf("of %d damaged files both took %d, neither %d, sendmail alone %d", n, both, neither, stricter)
	if both == 0 || neither == 0 {
		t.Error("all files were taken, or all refused: this test compares nothing")
	}
	if t.Failed() {
		t.Logf("sendmail said:\n%s", out)
	}
}

// damage changes a few lines or bytes, addresses excepted.
func damage(rnd *rand.Rand, text string) string {
	lines := strings.SplitAfter(text, "\n")
	for range 1 + rnd.IntN(2) {
		i := rnd.IntN(len(lines))
		switch line := lines[i]; rnd.IntN(6) {
		case 0:
			lines = slices.Delete(slices.Clone(lines), i, i+1)
		case 1:
			lines = slices.Insert(slices.Clone(lines), i, line)
		case 2:
			j := rnd.IntN(len(lines))
			lines[i], lines[j] = lines[j], lines[i]
		case 3:
			if len(line) > 0 && line[0] != 'R' && line[0] != 'S' {
				at := rnd.IntN(len(line))
				lines[i] = line[:at] + string([]byte{byte(rnd.IntN(256))}) + line[at+1:]
			}
		case 4:
			if len(line) > 0 && line[0] != 'R' && line[0] != 'S' {
				lines[i] = line[:rnd.IntN(len(line))]
			}
		case 5:
			lines[i] = string("VTKNPIBqMFZA!QHdDEL.$ \t\r\nGxy"[rnd.IntN(28)]) + line
		}
		if len(lines) == 0 {
			break
		}
	}
	return strings.Join(lines, "")
}

// write puts a message into the queue.
func (m *mta) write(i int, v variant) (id string) {
	m.t.Helper()
	id = fmt.Sprintf("6AO0lZlY%06d", i)
	mode := v.mode
	if mode == 0 {
		mode = 0o600
	}
	text := strings.Replace(v.text, "T%d", fmt.Sprintf("T%d", time.Now().Unix()-3600), 1)
	path := filepath.Join(m.main, "qf"+id)
	data := filepath.Join(m.main, "df"+id)
	if v.dataIn != "" {
		data = filepath.Join(filepath.Dir(m.main), v.dataIn, "df"+id)
	}
	must(m.t, os.WriteFile(data, []byte("body\n"), 0o600), os.WriteFile(path, []byte(text), 0o600), os.Chmod(path, mode))
	return id
}

// ours asks the reader, as a sweep does, about each message.
func (m *mta) ours(ids []string) (verdicts []error) {
	m.t.Helper()
	places, err := spool.PlacesOf(m.cf)
	must(m.t, err)
	sp, err := spool.Open(spool.System{}, places)
	must(m.t, err)
	defer sp.Close()
	for _, id := range ids {
		verdicts = append(verdicts, take(sp, id))
	}
	return verdicts
}

func take(sp *spool.Spool, id string) error {
	e, err := sp.Find(id)
	if err != nil {
		return err
	}
	c, err := e.Claim()
	if err != nil {
		return err
	}
	defer c.Release()
	data, err := c.Read(1 << 20)
	if err != nil {
		return err
	}
	f, err := qf.Parse(data)
	if err != nil {
		return err
	}
	if _, err := c.Body(f); err != nil {
		return err
	}
	held, err := qf.Parse(f.WithQuarantine("why"))
	if err != nil {
		return err
	}
	if back := held.WithoutQuarantine(); !f.Quarantined() && !bytes.Equal(back, data) {
		return errors.New("hold and release have changed the file")
	}
	return nil
}

// files are the control files as they are now.
func (m *mta) files(ids []string) (all []string) {
	for _, id := range ids {
		all = append(all, m.file(id))
	}
	return all
}

func (m *mta) file(id string) string {
	data, err := os.ReadFile(filepath.Join(m.main, "qf"+id))
	if err != nil {
		return ""
	}
	return string(data)
}

// taken tells from what is in the queue after a run whether sendmail took a
// file: then it has counted an attempt and written it anew, or is done with it.
// What it finds bad it renames to Qf; what it finds incomplete it leaves.
func (m *mta) taken(id, before string) bool {
	if _, err := os.Lstat(filepath.Join(m.main, "Qf"+id)); err == nil {
		return false
	}
	return m.file(id) != before
}
