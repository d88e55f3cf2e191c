package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/backscatterd/backscatterd/cmd/backscatterd/internal/confine"
	"github.com/backscatterd/backscatterd/cmd/backscatterd/internal/deputy"
	"github.com/backscatterd/backscatterd/config"
	"github.com/backscatterd/backscatterd/queuesweep"
	"github.com/backscatterd/backscatterd/queuesweep/spool"
)

// confinement is what the daemon has been confined to, and who runs sendmail for
// it. nil where it is not confined.
type confinement struct {
	rights confine.Rights
	deputy *deputy.Deputy // nil where it does not sweep
}

// confine takes from the daemon what its parts do not need. The first time it
// does not return: the program starts anew, confined, and comes here again.
func (a *app) confine(cfg *config.Config, p parts, sendmailSocket string) error {
	log := a.logger(cfg.Log)
	state, entered := confine.Entered()
	switch {
	case cfg.Serve.Confine == "off":
		log.Info("not confined", "serve.confine", "off")
		return nil
	case !a.isProgram(): // what would be confined is somebody else
		return nil
	case !entered:
		return a.enter(cfg, p, sendmailSocket)
	}
	rights, err := a.rights(cfg, p)
	if err != nil {
		return err
	}
	a.confined = &confinement{rights: rights}
	switch {
	case sendmailSocket != "":
		a.confined.deputy = deputy.At(sendmailSocket)
	case len(state.Files) > 0:
		a.confined.deputy = deputy.Reach(state.Files[0])
	}
	state.Seal(rights.Network)
	if len(state.Missing) > 0 {
		missing := strings.Join(state.Missing, "; ")
		if cfg.Serve.Confine == "require" {
			return fmt.Errorf(`serve.confine = "require", and this could not be had: %s`, missing)
		}
		log.Warn("confined in part only", "missing", missing)
	}
	log.Info("confined", "landlock", state.Landlock, "seccomp", state.Seccomp, "network", rights.Network, "sendmail", a.confined.deputy != nil)
	return nil
}

// isProgram tells whether the process is this program and no test of it.
func (a *app) isProgram() bool {
	stderr := a.stderr
	if o, ok := stderr.(overProgress); ok {
		stderr = o.w
	}
	return stderr == io.Writer(os.Stderr)
}

// enter makes the folders that would be made later, as a right can only be had
// to what is there, starts who runs sendmail, and confines the process.
func (a *app) enter(cfg *config.Config, p parts, sendmailSocket string) error {
	g, err := a.prepare(cfg, p)
	if err != nil {
		return err
	}
	if g.sweeper != nil && !cfg.Sweep.DryRun {
		var store *spool.Store
		if store, err = spool.OpenStore(spool.System{}, g.sweeper.Store); err == nil {
			err = store.Close()
		}
	}
	g.close()
	if err != nil {
		return err
	}
	if p.milter {
		if err := errors.Join(os.MkdirAll(cfg.Milter.Keys, 0o700), os.MkdirAll(filepath.Dir(cfg.Milter.Ledger), 0o750)); err != nil {
			return fmt.Errorf("milter: %w", err)
		}
	}
	rights, err := a.rights(cfg, p)
	if err != nil {
		return err
	}
	var files []int
	if p.sweep && sendmailSocket == "" {
		fd, err := a.startDeputy()
		if err != nil {
			return fmt.Errorf("the process that runs sendmail: %w", err)
		}
		defer unix.Close(fd)
		files = append(files, fd)
	}
	return fmt.Errorf(`%w (serve.confine = "off" does without)`, confine.Enter(rights, files...))
}

func (a *app) startDeputy() (fd int, err error) {
	self, err := os.Executable()
	if err != nil {
		return -1, err
	}
	args := []string{"deputy", "--standing"}
	if a.configFile != "" {
		args = append(args, "-c", a.configFile)
	}
	cmd := exec.Command(self, args...)
	cmd.Args[0], cmd.Stderr = os.Args[0], os.Stderr
	return deputy.Start(cmd)
}

// rights are what the parts need.
func (a *app) rights(cfg *config.Config, p parts) (confine.Rights, error) {
	path := cmp.Or(a.configFile, config.DefaultPath)
	r := confine.Rights{
		// Of /etc, all: what lies there is replaced by renaming, and a right to
		// a file ends with that file. What is secret there, its mode protects,
		// and the systemd units hide it.
		Read:   append(around(path, "/etc/resolv.conf", "/etc/localtime"), "/etc", "/usr/share/zoneinfo", "/proc/self", "/sys/fs/cgroup"),
		Change: around(cfg.Digest.State),
		Keep:   []int{unix.CAP_CHOWN, unix.CAP_DAC_OVERRIDE, unix.CAP_FOWNER},
	}
	if port := portOf(p.statusListen(cfg.Status)); port != 0 {
		r.Network, r.Bind = true, append(r.Bind, port)
	}
	if p.milter {
		if err := milterRights(&r, cfg.Milter); err != nil {
			return r, err
		}
	}
	if p.sweep {
		if err := a.sweepRights(&r, cfg); err != nil {
			return r, err
		}
	}
	for _, port := range r.Bind {
		if port < 1024 {
			r.Keep = append(r.Keep, unix.CAP_NET_BIND_SERVICE)
		}
	}
	for _, list := range []*[]string{&r.Read, &r.List, &r.Change} {
		slices.Sort(*list)
		*list = slices.Compact(*list)
	}
	return r, nil
}

// statusListen is where these parts show their state.
func (p parts) statusListen(s config.Status) string {
	if !p.sweep && s.ListenMilter != "" {
		return s.ListenMilter
	}
	return s.Listen
}

func milterRights(r *confine.Rights, m config.Milter) error {
	r.Network = true // names are looked up, and addresses listened on
	r.Connect = append(r.Connect, 53)
	r.Change = append(r.Change, append(around(m.Ledger), m.Keys)...)
	if m.LedgerServer.On() {
		ledgerRights(r, m.LedgerServer)
	}
	address, err := m.Address()
	switch {
	case err != nil:
		return err
	case address.Network == "unix":
		r.Change = append(r.Change, filepath.Dir(address.Name))
	case address.Network != "systemd":
		r.Bind = append(r.Bind, portOf(address.Name))
	}
	return nil
}

// ledgerRights are those to ask the ledger's server. The nodes of a cluster and
// the server that Sentinels name may have any port.
func ledgerRights(r *confine.Rights, l config.LedgerServer) {
	r.ConnectAny = r.ConnectAny || l.Cluster || l.SentinelMaster != "" || len(l.Addresses) > 1
	for _, address := range l.Addresses {
		r.Connect = append(r.Connect, portOf(address))
	}
	r.Read = append(r.Read, around(l.PasswordFile, l.SentinelPasswordFile, l.TLSCA, l.TLSCertificate, l.TLSKey)...)
	if l.TLS {
		r.Read = append(r.Read, "/usr/share/ca-certificates")
	}
}

// sweepRights leaves out folders that a wildcard of QueueDirectory finds later:
// the sweep reports that it cannot read them, until a restart.
func (a *app) sweepRights(r *confine.Rights, cfg *config.Config) error {
	s, err := a.sweeperOf(cfg, nil)
	if err != nil {
		return err
	}
	places, err := s.Places()
	if len(places) == 0 {
		return err
	}
	for _, place := range places {
		r.List = append(r.List, filepath.Dir(place.Path)) // where the wildcard is looked up
		for _, part := range []string{"", "qf", "df", "xf"} {
			if path := filepath.Join(place.Path, part); part == "" || isFolder(path) {
				r.Change = append(r.Change, path)
			}
		}
	}
	r.Change = append(r.Change, append(around(cfg.Audit.File), s.Store, os.TempDir())...)
	r.List = append(r.List, around(s.Store)...) // it is fsynced
	r.Read = append(r.Read, around(cfg.Queue.SendmailCF, cfg.Queue.SubmitCF, cfg.Bounce.Template)...)
	if cfg.Milter.On() { // a digest tells of the milter
		r.Read = append(r.Read, around(cfg.Milter.Ledger)...)
	}
	if addr := cfg.Bounce.SMTP(); addr != "" {
		r.Network, r.Connect = true, append(r.Connect, 53, portOf(addr))
	}
	return nil
}

func isFolder(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// around are the folders of files, and those that links lead to from there:
// files are replaced by renaming.
func around(files ...string) (folders []string) {
	for _, file := range files {
		if file == "" {
			continue
		}
		folders = append(folders, filepath.Dir(file))
		if real, err := filepath.EvalSymlinks(file); err == nil {
			folders = append(folders, filepath.Dir(real))
		}
	}
	return folders
}

// portOf is the port of host:port, 0 if it has none.
func portOf(address string) uint16 {
	_, port, _ := net.SplitHostPort(address)
	n, _ := strconv.ParseUint(port, 10, 16)
	return uint16(n)
}

// covers is an error where a new configuration needs more than the daemon is
// confined to.
func (c *confinement) covers(a *app, cfg *config.Config, p parts) error {
	if c == nil {
		return nil
	}
	rights, err := a.rights(cfg, p)
	if err != nil {
		return err
	}
	if lacks := c.rights.Lacks(rights); len(lacks) > 0 {
		return fmt.Errorf("it needs rights that the daemon has given up: %s; restart it", strings.Join(lacks, ", "))
	}
	return nil
}

// handOver is how a message gets to sendmail: from this process by the command
// at path, or by the one who may.
func (a *app) handOver(path string) submission {
	if a.confined != nil && a.confined.deputy != nil {
		return a.confined.deputy.Submit
	}
	return command(path)
}

// runExpired is nil where this process may run sendmail.
func (a *app) runExpired() func(ctx context.Context, cf, id string) ([]byte, error) {
	if a.confined != nil && a.confined.deputy != nil {
		return a.confined.deputy.Expire
	}
	return nil
}

// deputyCommand is the process that runs sendmail for a confined daemon.
func (a *app) deputyCommand() *cobra.Command {
	var standing bool
	cmd := &cobra.Command{
		Use: "deputy", Hidden: true, Args: cobra.NoArgs,
		Short: "Run sendmail for the daemon, which starts this itself",
		RunE: func(cmd *cobra.Command, _ []string) error {
			stdin, ok := a.stdin.(*os.File)
			if !ok {
				return errors.New("standard input is no socket: this command is started by the daemon, or by systemd")
			}
			// Signals for the whole group are the daemon's: sendmail ends its
			// message, and the deputy ends with the daemon.
			serve := deputy.ServeConnection
			if standing {
				serve = deputy.ServeStanding
			}
			return failed(serve(context.WithoutCancel(cmd.Context()), stdin, deputy.Work{Expire: a.deputyExpire, Submit: a.deputySubmit}))
		},
	}
	cmd.Flags().BoolVar(&standing, "standing", false, "connections come over standard input, which is none itself")
	return cmd
}

// deputyExpire goes by the configuration as it is now, and takes only what can
// come of it.
func (a *app) deputyExpire(ctx context.Context, cf, id string) ([]byte, error) {
	cfg, err := a.load()
	if err != nil {
		return nil, err
	}
	if cf != "" && cf != cfg.Queue.SendmailCF && cf != cfg.Queue.SubmitCF {
		return nil, fmt.Errorf("%q is not a sendmail.cf of the configuration", cf)
	}
	if id == "" || strings.Trim(id, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz") != "" {
		return nil, fmt.Errorf("%q is no queue id", id)
	}
	return queuesweep.RunExpired(ctx, cfg.Queue.Sendmail, cf, id)
}

func (a *app) deputySubmit(ctx context.Context, to string, utf8 bool, message *os.File) error {
	cfg, err := a.load()
	if err != nil {
		return err
	}
	return command(cfg.Queue.Sendmail)(ctx, to, utf8, message)
}
