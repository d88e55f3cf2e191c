package doctor

import (
	"context"
	"net"
	"net/netip"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/backscatterd/backscatterd/queuesweep/spool"
)

// The units that the package brings.
const (
	sweepUnit  = "backscatterd-sweep.service"
	milterUnit = "backscatterd-milter.service"
)

// unit is what systemd says of one.
type unit map[string]string

func (u unit) active() bool { return u["ActiveState"] == "active" || u["ActiveState"] == "reloading" }

func (u unit) there() bool { return u["LoadState"] == "loaded" }

// systemctlTime bounds how long systemd may take to answer.
const systemctlTime = 10 * time.Second

// readUnits asks systemd; what it does not tell is "".
func (x *examination) readUnits(ctx context.Context) (sweep, milter unit, err error) {
	ctx, cancel := context.WithTimeout(ctx, systemctlTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, x.Systemctl, "show", "--no-pager", "-p",
		"LoadState,ActiveState,UnitFileState,PrivateNetwork,RestrictAddressFamilies,IPAddressAllow,IPAddressDeny,ProtectSystem,ReadWritePaths,LogsDirectory,StateDirectory,RuntimeDirectory,User,Group,SupplementaryGroups",
		sweepUnit, milterUnit)
	cmd.WaitDelay = time.Second
	out, err := cmd.Output()
	if err != nil {
		return nil, nil, err
	}
	units := []unit{{}, {}}
	for i, block := range strings.SplitN(strings.TrimSpace(string(out)), "\n\n", 2) {
		for line := range strings.Lines(block) {
			key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
			units[i][key] = value
		}
	}
	return units[0], units[1], nil
}

// units looks at what systemd runs, and whether it lets them do what the
// configuration asks for.
func (x *examination) units(ctx context.Context) {
	const check = "units"
	if x.Systemctl == "" {
		x.notChecked(check, "systemd does not run here, or its units have another configuration than this one")
		return
	}
	sweep, milter, err := x.readUnits(ctx)
	if err != nil {
		x.notChecked(check, "%s: %v", x.Systemctl, err)
		return
	}
	if !sweep.there() && !milter.there() {
		x.notChecked(check, "there is no %s", sweepUnit)
		return
	}
	if sweep.there() {
		x.running("sweeper", sweepUnit, sweep)
		x.sweepNetwork(sweep)
		x.writes("sweeper's folders", sweepUnit, sweep, x.sweepFolders())
	}
	if milter.there() {
		x.milterUnit(milter)
	}
}

func (x *examination) milterUnit(milter unit) {
	const check = "milter's unit"
	if !x.Milter.On() {
		if milter["UnitFileState"] == "enabled" || milter.active() {
			x.warn(check, "Name your domains, [milter] our_domains = [\"example.com\"], and start it; or leave it off:\n  systemctl disable --now backscatterd-milter",
				"%s is enabled, and milter.our_domains names no domain: it ends as soon as it is started", milterUnit)
		}
		return
	}
	x.running(check, milterUnit, milter)
	x.writes("milter's folders", milterUnit, milter, x.milterFolders())
	x.readable(milter)
}

// running tells whether a unit runs, now and after a restart of the host.
func (x *examination) running(check, name string, u unit) {
	short := strings.TrimSuffix(name, ".service")
	switch {
	case u["ActiveState"] == "failed":
		x.fail(check, "See why, mend it, and start it again:\n  journalctl -u "+short+"\n  systemctl restart "+short, "%s has ended with an error", name)
	case !u.active():
		x.warn(check, "Start it, now and with the host:\n  systemctl enable --now "+short, "%s does not run", name)
	case u["UnitFileState"] != "enabled":
		x.warn(check, "systemctl enable "+short, "%s runs, and will not be started with the host", name)
	default:
		x.ok(check, "%s runs, and is started with the host", name)
	}
}

const examplesFolder = "/usr/share/doc/backscatterd/examples/"

// sweepNetwork finds what asks for a network in a unit that has none.
func (x *examination) sweepNetwork(u unit) {
	const check = "sweeper's network"
	host, _, _ := net.SplitHostPort(x.Bounce.SMTP())
	listens := x.Status.Listen != ""
	if !listens && host == "" {
		return
	}
	what, example := "status.listen", "sweep-status.conf"
	if host != "" {
		what, example = "bounce.submit", "sweep-smtp.conf"
	}
	dropIn := "A drop-in gives it one; as an example there is " + examplesFolder + example + ":\n  systemctl edit backscatterd-sweep\n" +
		"  [Service]\n  PrivateNetwork=no\n  RestrictAddressFamilies=AF_INET AF_INET6\n  IPAddressAllow=localhost"
	if host != "" && !local(host) {
		dropIn += "\n  IPAddressAllow=" + firstSet(address(host), "(the address of "+host+", and those of your name servers)")
	}
	dropIn += "\nthen: systemctl restart backscatterd-sweep"
	families := strings.Fields(u["RestrictAddressFamilies"])
	closed := len(families) > 0 && !strings.HasPrefix(families[0], "~") && !slices.Contains(families, "AF_INET") && !slices.Contains(families, "AF_INET6")
	switch {
	case u["PrivateNetwork"] == "yes" || closed:
		x.fail(check, dropIn, "%s has no network, and %s needs one", sweepUnit, what)
	case host != "" && !local(host) && !allows(u, host):
		x.fail(check, dropIn, "%s may not talk to %s, and bounce.submit needs that", sweepUnit, host)
	default:
		x.ok(check, "%s has the network that %s needs", sweepUnit, what)
	}
}

func address(host string) string {
	if a, err := netip.ParseAddr(host); err == nil {
		return a.String()
	}
	return ""
}

func local(host string) bool {
	a, err := netip.ParseAddr(host)
	return err == nil && a.IsLoopback() || strings.EqualFold(host, "localhost")
}

// allows tells whether a unit may talk to a host. Of one that is named, only that
// no address but those of this host may be talked to can be told.
func allows(u unit, host string) bool {
	if u["IPAddressDeny"] == "" {
		return true
	}
	a, err := netip.ParseAddr(host)
	for _, text := range strings.Fields(u["IPAddressAllow"]) {
		p, wrong := netip.ParsePrefix(text)
		if wrong != nil {
			continue
		}
		if err == nil && p.Contains(a) || err != nil && !p.Addr().IsLoopback() {
			return true
		}
	}
	return false
}

// sweepFolders are those that the sweeper writes to.
func (x *examination) sweepFolders() (folders []string) {
	for _, p := range x.Places {
		folders = append(folders, p.Path)
	}
	switch {
	case x.Store.Directory != "":
		folders = append(folders, x.Store.Directory)
	case len(x.Places) > 0:
		folders = append(folders, spool.DefaultStorePath(x.Places[0].Root))
	}
	folders = append(folders, filepath.Dir(x.Audit.File))
	if x.Digest.On() {
		folders = append(folders, filepath.Dir(x.Digest.State))
	}
	return folders
}

func (x *examination) milterFolders() (folders []string) {
	if filepath.IsAbs(x.Milter.Ledger) {
		folders = append(folders, filepath.Dir(x.Milter.Ledger))
	}
	if a, err := x.Milter.Address(); err == nil && a.Network == "unix" {
		folders = append(folders, filepath.Dir(a.Name))
	}
	return folders
}

// writes finds folders that a unit with ProtectSystem=strict may not write to.
func (x *examination) writes(check, name string, u unit, folders []string) {
	if u["ProtectSystem"] != "strict" {
		return
	}
	var open []string
	for _, path := range strings.Fields(u["ReadWritePaths"]) {
		open = append(open, strings.TrimLeft(path, "-+"))
	}
	for key, base := range map[string]string{"LogsDirectory": "/var/log", "StateDirectory": "/var/lib", "RuntimeDirectory": "/run"} {
		for _, path := range strings.Fields(u[key]) {
			path, _, _ = strings.Cut(path, ":")
			open = append(open, filepath.Join(base, path))
		}
	}
	var shut []string
	for _, folder := range folders {
		real := folder
		if r, err := filepath.EvalSymlinks(folder); err == nil {
			real = r
		}
		if !slices.ContainsFunc(open, func(o string) bool { return below(real, o) || below(folder, o) }) && !slices.Contains(shut, real) {
			shut = append(shut, real)
		}
	}
	if len(shut) > 0 {
		short := strings.TrimSuffix(name, ".service")
		x.fail(check, "A drop-in lets it:\n  systemctl edit "+short+"\n  [Service]\n  ReadWritePaths="+strings.Join(shut, " ")+"\nthen: systemctl restart "+short,
			"%s may not write to %s", name, strings.Join(shut, ", "))
		return
	}
	x.ok(check, "%s may write where it has to", name)
}

func below(path, folder string) bool {
	rel, err := filepath.Rel(folder, path)
	return err == nil && rel != ".." && !strings.HasPrefix(rel, "../")
}

// readable finds what the milter needs and its user may not read: mostly files
// that root has brought from another host.
func (x *examination) readable(u unit) {
	const check = "milter's user"
	if u["User"] == "" {
		return
	}
	who, err := accountOf(u["User"])
	if err != nil {
		x.fail(check, "Make it:\n  systemd-sysusers\nor: useradd --system --home-dir /var/lib/backscatterd --shell /usr/sbin/nologin "+u["User"], "%s runs as %v", milterUnit, err)
		return
	}
	for _, group := range strings.Fields(u["Group"] + " " + u["SupplementaryGroups"]) {
		if in, err := accountOf(u["User"] + ":" + group); err == nil {
			who.groups = append(who.groups, in.groups...)
		}
	}
	keys, _ := filepath.Glob(filepath.Join(x.Milter.Keys, "*"))
	ledgers, _ := filepath.Glob(x.Milter.Ledger + "*")
	var shut []string
	for _, path := range slices.Concat([]string{x.ConfigFile, x.Milter.Keys}, keys, ledgers) {
		var st unix.Stat_t
		if unix.Stat(path, &st) == nil && !may(who, st, 4) {
			shut = append(shut, path)
		}
	}
	if len(shut) > 0 {
		advice := "chown " + who.name + " " + strings.Join(shut, " ")
		if slices.Contains(shut, x.ConfigFile) {
			advice += "\n(of the configuration, its group is enough: chgrp " + who.name + " " + x.ConfigFile + " and chmod 640)"
		}
		x.fail(check, advice, "%s, as whom the milter runs, may not read %s", who.name, strings.Join(shut, ", "))
		return
	}
	x.ok(check, "%s may read the configuration, the keys and the ledger", who.name)
}
