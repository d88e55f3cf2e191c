package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/backscatterd/backscatterd/cmd/backscatterd/internal/digest"
	"github.com/backscatterd/backscatterd/milter/keyring"
	"github.com/backscatterd/backscatterd/milter/ledger"
	"github.com/backscatterd/backscatterd/queuesweep"
	"github.com/backscatterd/backscatterd/queuesweep/spool"
)

// oldKey is the age from which on a signing key should have a successor.
const oldKey = 400 * 24 * time.Hour

func (x *examination) keys() {
	const check = "keys"
	if !x.Milter.On() {
		x.notChecked(check, "the milter is off")
		return
	}
	dir := x.Milter.Keys
	advice := "Make a key, as the user that the milter runs as:\n  backscatterd key new"
	keys, err := keyring.Open(dir).List()
	switch {
	case errors.Is(err, fs.ErrNotExist):
		x.fail(check, advice, "there is no folder %s: mail goes out unsigned", dir)
		return
	case err != nil:
		x.cannot(check, "The line above says what to run; then tell the daemon by SIGHUP.", err)
		return
	}
	var signing *keyring.Key
	checking := 0
	for i := range keys {
		switch k := &keys[i]; {
		case k.Retired.IsZero() && signing == nil:
			signing = k
		case !k.Expired(x.Now, x.Milter.SignatureLife.Std()):
			checking++
		}
	}
	switch {
	case signing == nil:
		x.fail(check, advice, "no key in %s signs: mail goes out unsigned", dir)
	case x.Now.Sub(signing.Created) > oldKey:
		x.warn(check, "Make a new one; the old one goes on checking what it signed:\n  backscatterd key new", "%s: the key %s signs since %s", dir, signing.ID, signing.Created.Format(time.DateOnly))
	default:
		x.ok(check, "%s: %s signs since %s, %d more for checking", dir, signing.ID, signing.Created.Format(time.DateOnly), checking)
	}
}

// staleLedger is the age of its status from which on its writer must be gone.
const staleLedger = 5 * time.Minute

func (x *examination) ledger(ctx context.Context) {
	const check = "ledger"
	if !x.Milter.On() {
		x.notChecked(check, "the milter is off")
		return
	}
	if x.Milter.LedgerServer.On() {
		x.sharedLedger(ctx)
		return
	}
	s, err := ledger.ReadStatus(x.Milter.Ledger)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			x.warn(check, "It is made when the daemon first runs:\n  systemctl start backscatterd-milter", "%s: nothing has been recorded yet", x.Milter.Ledger)
			return
		}
		x.cannot(check, "", err)
		return
	}
	warm := s.Since.Add(x.Milter.WarmUp.Std())
	at := func(t time.Time) string { return t.In(x.Now.Location()).Format("2006-01-02 15:04 MST") }
	switch {
	case s.Error != "":
		x.fail(check, "Mend that; until then its silence proves nothing, and no bounce is called suspect for it.", "%s: %s", s.File, s.Error)
	case !s.Running || x.Now.Sub(s.At) > staleLedger:
		x.warn(check, "Start the daemon; what leaves meanwhile is a gap, and no bounce of it is called suspect:\n  systemctl start backscatterd-milter", "%s: not running, last seen %s", s.File, at(s.At))
	case x.Now.Before(warm):
		x.warn(check, "Nothing to do but wait: until then no bounce is called suspect because the ledger does not know it.", "%s: records since %s, and warms up until %s", s.File, at(s.Since), at(warm))
	default:
		x.ok(check, "%s: complete since %s, %s", s.File, at(s.Unbroken), count(len(s.Gaps), "gap"))
	}
}

// silentHost is the age of a host's report, which comes every second, from which
// on something is wrong.
const silentHost = 10 * time.Second

// sharedLedger asks the server of a ledger that several hosts keep.
func (x *examination) sharedLedger(ctx context.Context) {
	const check = "ledger"
	where := strings.Join(x.Milter.LedgerServer.Addresses, ", ")
	if x.Ledger == nil {
		x.notChecked(check, "it is on %s", where)
		return
	}
	s, err := x.Ledger(ctx)
	if err != nil {
		x.cannot(check, "See that the server runs, that this host may connect to it, and [milter.ledger_server];\n"+
			"until it answers, mail is not held up, and no bounce is called suspect for not being found.", err)
		return
	}
	at := func(t time.Time) string { return t.In(x.Now.Location()).Format("2006-01-02 15:04:05 MST") }
	var wrong []string
	for _, h := range s.Hosts {
		switch {
		case h.Since.IsZero():
			wrong = append(wrong, h.Name+" has never reported")
		case h.Stopped:
			wrong = append(wrong, h.Name+" was stopped "+at(h.Written))
		case s.At.Sub(h.Written) > silentHost:
			wrong = append(wrong, h.Name+" is silent since "+at(h.Written))
		}
	}
	warm := s.Since.Add(x.Milter.WarmUp.Std())
	switch {
	case s.Error != "":
		x.fail(check, "Mend that; until then its silence proves nothing, and no bounce is called suspect for it.", "%s: %s", s.Server, s.Error)
	case len(s.Hosts) == 0:
		x.warn(check, "It begins when the daemon first runs:\n  systemctl start backscatterd-milter", "%s: no host has reported yet", s.Server)
	case len(wrong) > 0:
		x.warn(check, "Start the daemon there; until it reports, no bounce is called suspect for not being found. If a host is gone for good:\n  backscatterd ledger forget HOST",
			"%s: %s", s.Server, strings.Join(wrong, ", "))
	case s.At.Before(warm):
		x.warn(check, "Nothing to do but wait: until then no bounce is called suspect because the ledger does not know it.", "%s: %s, all since %s; warms up until %s", s.Server, count(len(s.Hosts), "host"), at(s.Since), at(warm))
	default:
		x.ok(check, "%s: %s, complete since %s, %s", s.Server, count(len(s.Hosts), "host"), at(s.Unbroken), count(len(s.Gaps), "gap"))
	}
}

func (x *examination) store() {
	const check = "removed store"
	store := x.Store.Directory
	if store == "" {
		if len(x.Places) == 0 {
			x.notChecked(check, "it lies beside the first queue, and no queue is known")
			return
		}
		store = spool.DefaultStorePath(x.Places[0].Root)
	}
	var st unix.Stat_t
	made := true
	if err := unix.Stat(store, &st); errors.Is(err, fs.ErrNotExist) {
		made = false
		if err := unix.Stat(filepath.Dir(store), &st); err != nil {
			x.cannot(check, "Make the folder above it, or name another:\n  [store]\n  directory = \"/var/spool/backscatterd\"", &fs.PathError{Op: "stat", Path: filepath.Dir(store), Err: err})
			return
		}
	} else if err != nil {
		x.cannot(check, "", &fs.PathError{Op: "stat", Path: store, Err: err})
		return
	}
	switch {
	case made && st.Mode&unix.S_IFMT != unix.S_IFDIR:
		x.fail(check, "Move it away, or name another folder in store.directory.", "%s is no folder", store)
		return
	case made && st.Mode&0o077 != 0:
		x.fail(check, "It holds mail. Close it:\n  chmod 700 "+store, "%s is open to others (mode %04o)", store, st.Mode&0o7777)
		return
	case made && isRoot() && st.Uid != 0:
		x.warn(check, "If backscatterd runs as root:\n  chown root "+store, "%s belongs to %s", store, userName(st.Uid))
	}
	far := ""
	for _, p := range x.Places {
		folder := p.Path
		if sub, err := os.Stat(filepath.Join(folder, "qf")); err == nil && sub.IsDir() {
			folder = filepath.Join(folder, "qf")
		}
		var q unix.Stat_t
		if unix.Stat(folder, &q) == nil && q.Dev != st.Dev {
			far = p.Path
		}
	}
	said := store
	if !made {
		said += " (made when it is first needed)"
	}
	if far != "" {
		x.warn(check, "That works, but messages are copied. For a rename, choose a folder beside the queue:\n  [store]\n  directory = \""+spool.DefaultStorePath(x.Places[0].Root)+"\"", "%s lies on another file system than %s", said, far)
	} else {
		x.ok(check, "%s, on the file system of the queues", said)
	}
	if !made {
		store = filepath.Dir(store)
	}
	x.room(store)
}

// room looks at what is left on the file system of the store.
func (x *examination) room(path string) {
	const check = "room"
	var fs unix.Statfs_t
	if err := unix.Statfs(path, &fs); err != nil {
		x.notChecked(check, "%s: %v", path, err)
		return
	}
	free := fs.Bavail * uint64(fs.Bsize)
	said := fmt.Sprintf("%s: %d MB free", path, free>>20)
	inodes := fs.Files == 0 || fs.Ffree >= fs.Files/20 || fs.Ffree > 1_000_000
	if fs.Files > 0 {
		said += fmt.Sprintf(", %d inodes", fs.Ffree)
	}
	switch advice := "Make room; a message that cannot be moved stays in the queue. To keep less of what was removed:\n  [store]\n  keep = \"7d\""; {
	case free < 16<<20 || fs.Files > 0 && fs.Ffree < 1000:
		x.fail(check, advice, "%s", said)
	case free < 256<<20 || !inodes:
		x.warn(check, advice, "%s", said)
	default:
		x.ok(check, "%s", said)
	}
}

func (x *examination) audit() {
	const check = "audit log"
	file := x.Audit.File
	at := file
	for !present(at) && at != "/" && at != "." {
		at = filepath.Dir(at)
	}
	advice := "Nothing is done without it. Let backscatterd write there, or name another file:\n  [audit]\n  file = \"/var/log/backscatterd/audit.jsonl\""
	if st, err := os.Stat(file); err == nil && !st.Mode().IsRegular() {
		x.fail(check, advice, "%s is no file", file)
		return
	}
	switch err := unix.Access(at, unix.W_OK); {
	case err == nil && at == file:
		x.ok(check, "%s can be written to", file)
	case err == nil:
		x.ok(check, "%s is made when it is first needed", file)
	case !isRoot() && errors.Is(err, fs.ErrPermission):
		x.notChecked(check, "%s: you may not write there, root may: run this as the user that backscatterd runs as", at)
	default:
		x.fail(check, advice, "%s: %v", at, err)
	}
}

func present(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// schedules tells when what is scheduled comes next. Their zone is the daemon's,
// unless CRON_TZ names one.
func (x *examination) schedules() {
	seen := make(map[string]int)
	var order []string
	for _, r := range x.Rules {
		spec := firstSet(r.Schedule, x.Sweep.Schedule)
		if seen[spec]++; seen[spec] == 1 {
			order = append(order, spec)
		}
	}
	tell := func(check, spec, of string) {
		s, err := queuesweep.ParseSchedule(spec)
		if err != nil {
			x.fail(check, "Mend the schedule; see backscatterd config check.", "%v", err)
			return
		}
		var next []string
		for t := x.Now; len(next) < 2; {
			if t = s.Next(t); t.IsZero() {
				break
			}
			next = append(next, t.Format("2006-01-02 15:04"))
		}
		zone, _ := x.Now.Zone()
		x.ok(check, "%s %q: next %s (%s)", of, spec, strings.Join(next, ", then "), zone)
	}
	for _, spec := range order {
		tell("sweep", spec, count(seen[spec], "rule")+" at")
	}
	tell("purge", x.Store.Purge, "of what was removed more than "+x.Store.Keep.String()+" ago, at")
	if x.Digest.On() {
		tell("digest", x.Digest.Schedule, "to "+strings.Join(x.Digest.To, ", ")+" at")
		x.digest()
	}
}

// digest tells whether one waits to be taken.
func (x *examination) digest() {
	const check = "digest"
	s, err := digest.ReadState(x.Digest.State)
	if err != nil {
		x.cannot(check, "", err)
		return
	}
	for _, to := range x.Digest.To {
		if since := s.People[to].Sending; !since.IsZero() {
			x.warn(check, "The daemon tries again every ten minutes, and its log says why it was not taken. Now:\n  backscatterd digest --send", "%s has not got the one of %s", to, since.In(x.Now.Location()).Format("2006-01-02 15:04 MST"))
		}
	}
}
