package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/backscatterd/backscatterd/config"
	"github.com/backscatterd/backscatterd/queuesweep"
	"github.com/backscatterd/backscatterd/queuesweep/rule"
	"github.com/backscatterd/backscatterd/queuesweep/sendmailcf"
	"github.com/backscatterd/backscatterd/queuesweep/spool"
)

// app is what the commands share: where they read and write, and what the
// flags and the configuration say.
type app struct {
	stdin  io.Reader
	stdout io.Writer // as it came; results are written to out
	out    terminal
	stderr io.Writer

	progress *progress // nil where stderr is no terminal

	configFile string   // -c
	queues     []string // --queue
	daemon     bool     // serve: logs as configured, not only what is wrong
	watch      *watch   // of the daemon
	confined   *confinement

	cfg    *config.Config
	places func() ([]spool.Place, error)
	audit  *queuesweep.Audit
	acted  bool // something may have been changed
}

func (a *app) rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "backscatterd",
		Short: "A backscatter guard for sendmail",
		Long: "backscatterd takes stuck bounces and spam out of sendmail's queues, by rules over full header names,\n" +
			"under sendmail's own locks, with a dry run, an audit log and a way back.",
		Version:           version,
		SilenceErrors:     true,
		SilenceUsage:      true,
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: true},
	}
	root.PersistentFlags().StringVarP(&a.configFile, "config", "c", "", "configuration `file` (default "+config.DefaultPath+", if it is there)")
	root.PersistentFlags().Var(colourFlag{&a.out}, "color", "colours: auto (on a terminal, unless NO_COLOR is set), always, never")
	queue, sweep, rules := a.queueCommand(), a.sweepCommand(), a.ruleCommand()
	for _, cmd := range []*cobra.Command{queue, sweep, rules} {
		cmd.PersistentFlags().StringArrayVar(&a.queues, "queue", nil, "queue `folder`, instead of those of the configuration; may end in * and be given several times")
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return fmt.Errorf("%w (see %s --help)", err, cmd.CommandPath())
	})
	root.AddCommand(a.serveCommand(), sweep, queue, rules, a.qtoolCommand(), a.importCommand(), a.classifyCommand(), a.keyCommand(), a.ledgerCommand(), a.configCommand(), a.doctorCommand(), a.demoCommand(), a.digestCommand(), metricsCommand(), a.deputyCommand(), a.manualCommand(), a.placesCommand())
	sayUsage(root)
	return root
}

// sayUsage has what cobra says of wrong arguments end in what would be right.
func sayUsage(cmd *cobra.Command) {
	for _, below := range cmd.Commands() {
		sayUsage(below)
	}
	check := cmd.Args
	if check == nil {
		return
	}
	cmd.Args = func(c *cobra.Command, args []string) error {
		err := check(c, args)
		if err == nil {
			return nil
		}
		for _, cobras := range []string{"requires at least", "accepts", "unknown command"} {
			if strings.HasPrefix(err.Error(), cobras) {
				return fmt.Errorf("%w; write: %s (see %s --help)", err, c.UseLine(), c.CommandPath())
			}
		}
		return err
	}
}

// group makes a command that only has others below it. Left to itself, cobra
// takes a word that it does not know for an argument, and is content.
func group(use, short string, below ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{
		Use: use, Short: short, Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return cmd.Help()
			}
			hint := "see " + cmd.CommandPath() + " --help"
			if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
				hint = "did you mean " + strings.Join(near, " or ") + "?"
			}
			return fmt.Errorf("unknown command %q for %q (%s)", args[0], cmd.CommandPath(), hint)
		},
		SuggestionsMinimumDistance: 2,
	}
	cmd.AddCommand(below...)
	return cmd
}

// onlyBehind takes arguments for more values of a flag, where it is given:
// --queue q* reaches the program as several words. Without it they are refused.
func onlyBehind(flag string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 && !cmd.Flags().Changed(flag) {
			return fmt.Errorf("%s takes no arguments, and %q is one (see %s --help)", cmd.CommandPath(), args[0], cmd.CommandPath())
		}
		return nil
	}
}

// config reads the configuration, once.
func (a *app) config() (*config.Config, error) {
	if a.cfg != nil {
		return a.cfg, nil
	}
	cfg, err := a.load()
	if err != nil {
		return nil, err
	}
	a.cfg = cfg
	return cfg, nil
}

// load reads the configuration file that was named, or the usual one if it is
// there. --queue has the last word.
func (a *app) load() (*config.Config, error) {
	path := a.configFile
	if path == "" {
		path = config.DefaultPath
	}
	cfg, err := config.Load(path)
	if a.configFile == "" && errors.Is(err, fs.ErrNotExist) {
		cfg, err = config.Default(), nil
	}
	if err != nil || len(a.queues) == 0 {
		return cfg, err
	}
	cfg.Queue.Directories = nil
	for _, q := range a.queues {
		abs, err := filepath.Abs(q)
		if err != nil {
			return nil, err
		}
		cfg.Queue.Directories = append(cfg.Queue.Directories, abs)
	}
	if a.configFile == "" {
		// A queue that is looked at out of its place has its store and its
		// audit log beside it.
		cfg.Store.Directory = spool.DefaultStorePath(sendmailcf.Root(cfg.Queue.Directories[0]))
		cfg.Audit.File = filepath.Join(cfg.Store.Directory, "audit.jsonl")
	}
	return cfg, nil
}

func (a *app) rules() (*rule.Set, error) {
	cfg, err := a.config()
	if err != nil {
		return nil, err
	}
	return rule.Compile(cfg.Rules)
}

// looking makes a sweeper that is only going to look.
func (a *app) looking() (*queuesweep.Sweeper, error) { return a.sweeper(nil) }

// acting makes a sweeper that changes queues, unless dry. Then a.close must be
// called.
func (a *app) acting(dry bool) (*queuesweep.Sweeper, error) {
	if dry {
		return a.looking()
	}
	cfg, err := a.config()
	if err != nil {
		return nil, err
	}
	if a.audit, err = openAudit(cfg); err != nil {
		return nil, err
	}
	a.acted = true
	s, err := a.sweeper(a.audit)
	if err != nil {
		a.close()
	}
	return s, err
}

// openAudit opens the audit log. Where that lies in the removed store, the store
// is made first, closed to others as it has to be.
func openAudit(cfg *config.Config) (*queuesweep.Audit, error) {
	if store := cfg.Store.Directory; store != "" && filepath.Dir(cfg.Audit.File) == filepath.Clean(store) {
		s, err := spool.OpenStore(spool.System{}, store)
		if err != nil {
			return nil, err
		}
		s.Close()
	}
	return queuesweep.OpenAudit(cfg.Audit.File)
}

func (a *app) close() {
	if a.audit == nil {
		return
	}
	if err := a.audit.Close(); err != nil {
		fmt.Fprintln(a.stderr, "the last lines of the audit log may not be there:", err)
	}
	a.audit = nil
}

// sweeper turns the configuration into the sweeper's options.
func (a *app) sweeper(audit *queuesweep.Audit) (*queuesweep.Sweeper, error) {
	cfg, err := a.config()
	if err != nil {
		return nil, err
	}
	return a.sweeperOf(cfg, audit)
}

func (a *app) sweeperOf(cfg *config.Config, audit *queuesweep.Audit) (*queuesweep.Sweeper, error) {
	places := a.placesOf(cfg)
	store := cfg.Store.Directory
	if store == "" {
		found, err := places()
		if len(found) == 0 {
			return nil, err
		}
		store = spool.DefaultStorePath(found[0].Root)
	}
	bounce, err := a.bounce(cfg)
	if err != nil {
		return nil, err
	}
	var looked func(int)
	if a.progress != nil && !a.daemon {
		looked = func(n int) { a.progress.looked.Add(int64(n)) }
	}
	return queuesweep.New(queuesweep.Options{
		Looked: looked, Places: places, Disk: spool.System{}, Store: store,
		Workers: cfg.Sweep.Workers, MaxControlFile: int64(cfg.Queue.MaxControlFile), PlainReads: !cfg.Sweep.IOUring,
		MaxShare: cfg.Sweep.MaxShare, MaxMessages: cfg.Sweep.MaxMessages, LockWait: cfg.Sweep.LockWait.Std(),
		Sendmail: cfg.Queue.Sendmail, RunExpired: a.runExpired(), Bounce: bounce, Audit: audit, Log: a.logger(cfg.Log), Now: time.Now,
	}), nil
}

// placesOf are the queue folders of a command.
func (a *app) placesOf(cfg *config.Config) func() ([]spool.Place, error) {
	if a.places != nil {
		return a.places
	}
	return func() ([]spool.Place, error) { return queuePlaces(cfg.Queue) }
}

// queuePlaces are the folders that the configuration names, or those of
// sendmail.cf and submit.cf. The client queue may be absent.
func queuePlaces(q config.Queue) ([]spool.Place, error) {
	if len(q.Directories) > 0 {
		places, err := spool.PlacesAt(q.Directories)
		for i := range places {
			places[i].CF = q.SendmailCF
		}
		return places, err
	}
	places, err := spool.PlacesOf(q.SendmailCF)
	if err != nil || q.SubmitCF == "" {
		return places, err
	}
	client, err := spool.PlacesOf(q.SubmitCF)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return append(places, client...), err
}

// logger writes to stderr: all that is configured for the daemon, for a command
// only what is wrong, since its results say the rest.
func (a *app) logger(l config.Log) *slog.Logger {
	level := slog.LevelWarn
	if a.daemon {
		if err := level.UnmarshalText([]byte(l.Level)); err != nil {
			level = slog.LevelInfo
		}
	}
	options := &slog.HandlerOptions{Level: level}
	if l.Format == "json" {
		return slog.New(slog.NewJSONHandler(logWriter{a.stderr}, options))
	}
	return slog.New(slog.NewTextHandler(logWriter{a.stderr}, options))
}

// logWriter makes lines of slog safe for a terminal: it leaves DEL as it is, and
// in JSON the controls from U+0080 on and marks of direction too.
type logWriter struct{ io.Writer }

func (w logWriter) Write(line []byte) (int, error) {
	if _, err := w.Writer.Write(queuesweep.Printable(line)); err != nil {
		return 0, err
	}
	return len(line), nil
}

// warnOfQueues tells of queue folders that are not there. The configuration may
// be right all the same, and meant for another machine.
func (a *app) warnOfQueues(cfg *config.Config) {
	places, err := queuePlaces(cfg.Queue)
	errs := []error{err}
	for _, p := range places {
		_, err := os.Stat(p.Path)
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		fmt.Fprintf(a.stderr, "warning: on this machine now: %s\n", cleanLines(err.Error()))
	}
}

func (a *app) configCommand() *cobra.Command {
	return group("config", "Check or print the configuration", &cobra.Command{
		Use:   "check",
		Short: "Say whether the configuration is right, and what is wrong with it",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			cfg, err := a.config()
			if err != nil {
				return err
			}
			if _, err := a.bounce(cfg); err != nil {
				return err
			}
			a.warnOfQueues(cfg)
			fmt.Fprintf(a.out, "the configuration is right: %s\n", plural(len(cfg.Rules), "rule"))
			return nil
		},
	}, &cobra.Command{
		Use:   "show",
		Short: "Print the configuration in force, defaults filled in",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			cfg, err := a.config()
			if err != nil {
				return err
			}
			return cfg.Write(a.out)
		},
	}, &cobra.Command{
		Use: "reference", Short: "Print the reference of all keys, in Markdown", Args: cobra.NoArgs, Hidden: true,
		RunE: func(cmd *cobra.Command, _ []string) error { return config.WriteReference(cmd.OutOrStdout()) },
	})
}
