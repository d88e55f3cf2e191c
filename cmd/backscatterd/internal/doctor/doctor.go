// Package doctor looks at a whole setup, the configuration, sendmail, its
// queues, the filter, and tells what is wrong and what to do about it.
//
// It promises to change nothing: it reads, it runs sendmail once in its test
// mode to be told how it was built, it asks systemd what its units are, and it
// opens one connection to the filter.
// What it may not see it says, with the reason.
package doctor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/backscatterd/backscatterd/config"
	"github.com/backscatterd/backscatterd/milter/ledger"
	"github.com/backscatterd/backscatterd/queuesweep/spool"
)

// Status is how a check ended.
type Status string

// The ends of a check.
const (
	OK         Status = "ok"
	Warn       Status = "warn"
	Fail       Status = "fail"
	NotChecked Status = "not checked"
)

// Finding is what one check found.
type Finding struct {
	Check   string `json:"check"`
	Status  Status `json:"status"`
	Message string `json:"message"`          // one line
	Advice  string `json:"advice,omitempty"` // what to do, of several lines; "" where all is well
}

// Options say what to look at.
type Options struct {
	// Config is nil where it is wrong, as ConfigErr then tells.
	Config     *config.Config
	ConfigErr  error
	ConfigFile string // "" where the defaults hold
	// Places are the queue folders; PlacesErr tells of those that are not there.
	Places    []spool.Place
	PlacesErr error
	// Cron are files, and folders of files, in which calls of qtool.pl may be.
	Cron []string
	Now  time.Time
	// Systemctl is the command that asks systemd, "" where it does not run the
	// program with this configuration.
	Systemctl string
	// Ledger asks the ledger's server, where the configuration names one; nil
	// asks nobody.
	Ledger func(context.Context) (ledger.Status, error)
}

// DefaultCron is where crontabs and their scripts lie.
func DefaultCron() []string {
	return []string{"/etc/crontab", "/etc/cron.d", "/etc/cron.hourly", "/etc/cron.daily", "/etc/cron.weekly", "/etc/cron.monthly",
		"/var/spool/cron/crontabs/root", "/var/spool/cron/root", "/var/spool/cron/tabs/root", "/var/cron/tabs/root"}
}

// examination is one run of the checks.
type examination struct {
	Options
	*config.Config
	cf       sendmailCF
	cfErr    error
	findings []Finding
}

// Examine makes all checks, in the order in which mail meets what they are
// about. It waits for sendmail and for the filter, for some seconds each at
// most.
func Examine(ctx context.Context, o Options) []Finding {
	x := &examination{Options: o, Config: o.Config}
	x.configuration()
	if x.Config == nil {
		x.notChecked("everything else", "the configuration does not say where to look")
		return x.findings
	}
	x.cf, x.cfErr = readCF(x.Queue.SendmailCF)
	x.sendmailConfiguration()
	x.sendmail(ctx)
	x.queues()
	x.filterLine()
	x.socket(ctx)
	x.keys()
	x.ledger(ctx)
	x.store()
	x.audit()
	x.schedules()
	x.rules()
	x.units(ctx)
	x.leftovers()
	x.kernel()
	return x.findings
}

// Worst is the worst end of the checks: Fail, Warn or OK.
func Worst(findings []Finding) Status {
	worst := OK
	for _, f := range findings {
		if f.Status == Fail || f.Status == Warn && worst == OK {
			worst = f.Status
		}
	}
	return worst
}

func (x *examination) add(check string, s Status, advice, format string, args ...any) {
	x.findings = append(x.findings, Finding{check, s, strings.ReplaceAll(fmt.Sprintf(format, args...), "\n", "; "), advice})
}

func (x *examination) ok(check, format string, args ...any) { x.add(check, OK, "", format, args...) }

func (x *examination) warn(check, advice, format string, args ...any) {
	x.add(check, Warn, advice, format, args...)
}

func (x *examination) fail(check, advice, format string, args ...any) {
	x.add(check, Fail, advice, format, args...)
}

func (x *examination) notChecked(check, format string, args ...any) {
	x.add(check, NotChecked, "", format, args...)
}

// cannot tells of something that could not be looked at: for want of rights that
// is no fault of the setup.
func (x *examination) cannot(check, advice string, err error) {
	if errors.Is(err, fs.ErrPermission) {
		x.notChecked(check, "%v: run this as root to have it checked", err)
		return
	}
	x.fail(check, advice, "%v", err)
}

func (x *examination) configuration() {
	if x.ConfigErr != nil {
		x.fail("configuration", "Mend this; nothing can be done before:\n"+x.ConfigErr.Error(), "it cannot be used")
		return
	}
	from := x.ConfigFile
	if from == "" {
		x.warn("configuration", "Make one, so that nothing depends on the defaults of a version:\n  backscatterd config show > "+config.DefaultPath,
			"there is no %s: the built-in defaults hold, with %s", config.DefaultPath, count(len(x.Rules), "rule"))
	} else {
		x.ok("configuration", "%s, %s", from, count(len(x.Rules), "rule"))
		x.closed(from)
	}
	switch {
	case len(x.Rules) == 0:
		x.warn("dry run", "Add a [[rule]], or try one first:\n  backscatterd rule try 'status contains \"Connection timed out\"'", "there are no rules: sweeps do nothing")
	case x.Sweep.DryRun:
		x.warn("dry run", "Look at what they would do:\n  backscatterd sweep --dry-run\nThen write in "+cmp.Or(from, config.DefaultPath)+":\n  [sweep]\n  dry_run = false",
			"scheduled sweeps only say what they would do")
	default:
		x.ok("dry run", "off: scheduled sweeps act")
	}
}

// closed looks whether others than its owner may change the configuration: it
// names the program that root runs for sendmail.
func (x *examination) closed(file string) {
	var st unix.Stat_t
	if unix.Stat(file, &st) == nil && (st.Mode&0o022 != 0 || st.Uid != 0 && st.Uid != uint32(os.Geteuid())) {
		x.fail("configuration", "Who can change it can have root run any program:\n  chown root "+file+" && chmod go-w "+file,
			"%s can be changed by others (owner %s, mode %04o)", file, userName(st.Uid), st.Mode&0o7777)
	}
}

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// account is a user with its groups.
type account struct {
	name   string
	uid    uint32
	groups []uint32
}

// accountOf takes a name or a number, with ":group" behind it or without.
func accountOf(name string) (account, error) {
	name, group, _ := strings.Cut(name, ":")
	u, err := user.Lookup(name)
	if err != nil {
		if u, err = user.LookupId(name); err != nil {
			return account{}, fmt.Errorf("there is no user %q on this host", name)
		}
	}
	a := account{name: u.Username}
	ids, _ := u.GroupIds()
	if group != "" {
		if g, err := user.LookupGroup(group); err == nil {
			ids = append(ids, g.Gid)
		} else {
			ids = append(ids, group)
		}
	}
	for _, id := range append(ids, u.Gid) {
		if n, err := strconv.ParseUint(id, 10, 32); err == nil {
			a.groups = append(a.groups, uint32(n))
		}
	}
	n, err := strconv.ParseUint(u.Uid, 10, 32)
	a.uid = uint32(n)
	return a, err
}

// userName is a user as people know him.
func userName(uid uint32) string {
	if u, err := user.LookupId(fmt.Sprint(uid)); err == nil {
		return u.Username
	}
	return fmt.Sprint(uid)
}

func isRoot() bool { return os.Geteuid() == 0 }
