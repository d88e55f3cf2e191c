package config

import (
	_ "embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/backscatterd/backscatterd/queuesweep/rule"
)

// DefaultPath is where the configuration file is looked for.
const DefaultPath = "/etc/backscatterd/backscatterd.toml"

// defaultFile documents every key. It says what holds without it.
//
//go:embed default.toml
var defaultFile []byte

// DefaultFile is a file that names every key with its default, and says what it
// does.
func DefaultFile() []byte { return slices.Clone(defaultFile) }

// maxFile bounds a configuration file.
const maxFile = 4 << 20

// Config is the whole configuration.
type Config struct {
	Queue  Queue       `toml:"queue"`
	Store  Store       `toml:"store"`
	Audit  Audit       `toml:"audit"`
	Log    Log         `toml:"log"`
	Sweep  Sweep       `toml:"sweep"`
	Bounce Bounce      `toml:"bounce"`
	Milter Milter      `toml:"milter"`
	Status Status      `toml:"status"`
	Digest Digest      `toml:"digest"`
	Serve  Serve       `toml:"serve"`
	Rules  []rule.Rule `toml:"rule"`

	name   string           // of the file, "" for the defaults
	places map[string]place // of the keys that the file sets
}

// Queue says where the queues are.
type Queue struct {
	SendmailCF     string   `toml:"sendmail_cf"`      // read for the queues of the MTA
	SubmitCF       string   `toml:"submit_cf"`        // read for the client queue; "" for none
	Directories    []string `toml:"directories"`      // the queues instead; "*" at the end is a wildcard
	Sendmail       string   `toml:"sendmail"`         // path of the command
	MaxControlFile Size     `toml:"max_control_file"` // larger ones are left alone
}

// Store is the removed store.
type Store struct {
	Directory string   `toml:"directory"` // "" for one beside the first queue
	Keep      Duration `toml:"keep"`
	Purge     string   `toml:"purge"` // schedule
}

// Audit is the log of what was done to which message.
type Audit struct {
	File string `toml:"file"`
}

// Log is what goes to stderr.
type Log struct {
	Level  string `toml:"level"`  // debug, info, warn, error
	Format string `toml:"format"` // text, json
}

// Sweep is how and when the rules are applied.
type Sweep struct {
	Schedule    string   `toml:"schedule"` // of the rules that have none
	DryRun      bool     `toml:"dry_run"`
	MaxShare    float64  `toml:"max_share"` // of the messages in the queues, above 0, to 1
	MaxMessages int      `toml:"max_messages"`
	Workers     int      `toml:"workers"`   // that read at the same time
	LockWait    Duration `toml:"lock_wait"` // for another process that has the store
	IOUring     bool     `toml:"io_uring"`  // read many control files with one system call, where the system can
}

// Default is the configuration that holds without a file.
func Default() *Config {
	c := defaults()
	rules, err := defaultRules()
	if err != nil {
		// The file is part of the program, and a test reads it.
		panic(err)
	}
	c.Rules = rules
	return c
}

func defaults() *Config {
	return &Config{
		Queue: Queue{
			SendmailCF: "/etc/mail/sendmail.cf", SubmitCF: "/etc/mail/submit.cf",
			Sendmail: "/usr/sbin/sendmail", MaxControlFile: 32 << 20,
		},
		Store:  Store{Keep: Duration(30 * 24 * time.Hour), Purge: "30 3 * * *"},
		Audit:  Audit{File: "/var/log/backscatterd/audit.jsonl"},
		Log:    Log{Level: "info", Format: "text"},
		Sweep:  Sweep{Schedule: "*/10 * * * *", MaxShare: 0.5, MaxMessages: 10000, Workers: runtime.NumCPU(), LockWait: Duration(30 * time.Second), IOUring: true},
		Bounce: defaultBounce(),
		Milter: defaultMilter(),
		Status: defaultStatus(),
		Digest: defaultDigest(),
		Serve:  defaultServe(),
	}
}

// defaultRules are the [[rule]] tables of the default file.
func defaultRules() ([]rule.Rule, error) {
	c := defaults()
	d := &decoder{name: "default.toml", data: defaultFile, cfg: c}
	d.decode()
	if len(d.problems) > 0 {
		return nil, d.problems
	}
	return c.Rules, nil
}

// Load reads a file. The error is of type Problems where the file could be
// read but is wrong.
func Load(path string) (*Config, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("configuration: %w%s", err, openHint(err))
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	if len(data) > maxFile {
		return nil, fmt.Errorf("configuration: %s is larger than %d bytes: is this the right file?", path, maxFile)
	}
	return Parse(path, data)
}

// openHint says what to do about a file that cannot be opened.
func openHint(err error) string {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return " (-c names the file; without it the defaults hold, and backscatterd config show prints them as a file)"
	case errors.Is(err, fs.ErrPermission):
		return " (run this as root, or as the user that backscatterd runs as)"
	}
	return ""
}

// Parse reads a configuration; name is the file's, for messages. The error is
// of type Problems.
func Parse(name string, data []byte) (*Config, error) {
	c := Default()
	d := &decoder{name: name, data: data, cfg: c}
	d.decode()
	c.name, c.places = name, d.places
	if !d.stopped {
		c.complete()
		(&checker{d}).check()
	}
	if len(d.problems) > 0 {
		d.problems.sort()
		return nil, d.problems
	}
	return c, nil
}

// complete fills in the defaults that depend on other keys.
func (c *Config) complete() {
	_, cf := c.places["queue.sendmail_cf"]
	_, folders := c.places["queue.directories"]
	_, submit := c.places["queue.submit_cf"]
	if (cf || folders) && !submit {
		c.Queue.SubmitCF = ""
	}
	for i := range c.Rules {
		r := &c.Rules[i]
		if r.Do == "" {
			r.Do = rule.Move
		}
		if r.Do == rule.Hold && r.Reason == "" {
			r.Reason = strings.TrimSpace("held by the rule " + r.Name)
		}
	}
}
