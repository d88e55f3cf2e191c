package config

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/backscatterd/backscatterd/queuesweep"
	"github.com/backscatterd/backscatterd/queuesweep/rule"
	"github.com/backscatterd/backscatterd/queuesweep/rule/spell"
)

// checker looks whether what was read makes sense.
type checker struct{ *decoder }

func (c *checker) check() {
	c.queue()
	c.store()
	c.absolute("audit.file", c.cfg.Audit.File)
	c.oneOf("log.level", c.cfg.Log.Level, "debug", "info", "warn", "error")
	c.oneOf("log.format", c.cfg.Log.Format, "text", "json")
	c.sweep()
	c.bounce()
	c.milter()
	c.status()
	c.digest()
	c.serve()
	c.rules()
}

func (c *checker) queue() {
	q := c.cfg.Queue
	c.absolute("queue.sendmail_cf", q.SendmailCF)
	if q.SubmitCF != "" {
		c.absolute("queue.submit_cf", q.SubmitCF)
	}
	c.absolute("queue.sendmail", q.Sendmail)
	if q.MaxControlFile < 1<<10 {
		c.fail("queue.max_control_file", `for example "32MB"`, fmt.Sprintf("%q leaves out every control file", q.MaxControlFile))
	}
	seen := make(map[string]bool)
	for i, d := range q.Directories {
		key := element("queue.directories", i)
		c.absolute(key, d)
		if strings.Contains(strings.TrimSuffix(d, "*"), "*") {
			c.fail(key, `only a * at the end is known, as in "/var/spool/mqueue/q*"`, fmt.Sprintf("%q has a * in the middle", d))
		}
		if clean := path.Clean(d); seen[clean] {
			c.fail(key, "leave one of them out", fmt.Sprintf("%q is named twice", d))
		} else {
			seen[clean] = true
		}
	}
}

func (c *checker) store() {
	s := c.cfg.Store
	if s.Directory != "" {
		c.absolute("store.directory", s.Directory)
		for _, q := range c.cfg.Queue.Directories {
			if inQueue(s.Directory, q) {
				c.fail("store.directory", `choose a folder beside the queue, such as "/var/spool/backscatterd"`, fmt.Sprintf("the removed store cannot be the queue %q or lie in it", q))
			}
		}
	}
	c.positive("store.keep", s.Keep)
	c.schedule("store.purge", s.Purge)
}

// inQueue tells whether a folder is a queue, one of a queue's own, or matched by
// a queue's wildcard.
func inQueue(folder, queue string) bool {
	folder = path.Clean(folder)
	if prefix, wild := strings.CutSuffix(queue, "*"); wild {
		return strings.HasPrefix(folder, prefix)
	}
	queue = path.Clean(queue)
	return folder == queue || strings.HasPrefix(folder, queue+"/")
}

func (c *checker) sweep() {
	s := c.cfg.Sweep
	c.schedule("sweep.schedule", s.Schedule)
	if !(s.MaxShare > 0 && s.MaxShare <= 1) {
		c.fail("sweep.max_share", "a share of the queue: 0.5 is half of it, 1 is no limit", fmt.Sprintf("max_share is %v, not above 0 and up to 1", s.MaxShare))
	}
	c.atLeast("sweep.max_messages", s.MaxMessages, 1, "a number that no sweep reaches is no limit")
	c.atLeast("sweep.workers", s.Workers, 1, "leave it out for one for each CPU")
	if s.Workers > 1024 {
		c.fail("sweep.workers", "one for each CPU is a good number", fmt.Sprintf("%d is more than 1024", s.Workers))
	}
	if s.LockWait < 0 {
		c.fail("sweep.lock_wait", `for example "30s"`, "lock_wait is negative")
	}
}

func (c *checker) rules() {
	first := make(map[string]int)
	for i, r := range c.cfg.Rules {
		key := element("rule", i)
		switch before, again := first[r.Name]; {
		case r.Name == "":
			c.fail(key+".name", `add: name = "..."`, "the rule has no name")
		case strings.Trim(r.Name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") != "":
			c.fail(key+".name", "a name has letters, digits, and - _ . between them", fmt.Sprintf("%q is no name of a rule", r.Name))
		case again:
			c.fail(key+".name", fmt.Sprintf("the other one is in line %d; give each its own name", c.line(element("rule", before)+".name")), fmt.Sprintf("there are two rules %q", r.Name))
		default:
			first[r.Name] = i
		}
		c.condition(key, r)
		c.validateAction(key, r)
		if _, set := c.places[key+".schedule"]; set {
			c.schedule(key+".schedule", r.Schedule)
		}
	}
}

// validateAction checks what a rule does.
func (c *checker) validateAction(key string, r rule.Rule) {
	if !r.Do.Valid() {
		var names []string
		for _, a := range rule.Actions() {
			names = append(names, string(a))
		}
		hint := "the actions are: " + strings.Join(names, ", ")
		if near := spell.Nearest(string(r.Do), names); near != "" {
			hint = fmt.Sprintf("did you mean %q?\n%s", near, hint)
		}
		c.fail(key+".do", hint, fmt.Sprintf("unknown action %q", r.Do))
		return
	}
	if r.Reason != "" && r.Do != rule.Hold {
		c.fail(key+".reason", `leave it out, or write do = "hold"`, fmt.Sprintf("a reason is for hold, this rule does %q", r.Do))
	}
}

func (c *checker) condition(key string, r rule.Rule) {
	p, set := c.places[key+".when"]
	if !set && r.When == "" {
		c.fail(key+".when", `add: when = '...', such as 'status contains "Connection timed out"'`, "the rule has no condition")
		return
	}
	_, err := rule.Compile([]rule.Rule{{Name: r.Name, When: r.When}})
	var ce *rule.ConditionError
	if errors.As(err, &ce) {
		c.failAt(p.value+sourceOffset(p.raw, ce.Offset), ce.Hint, ce.Msg)
	}
}

func (c *checker) schedule(key, spec string) {
	const hint = `minute hour day month weekday, such as "*/10 * * * *"; or "@hourly", "@every 10m", "CRON_TZ=Europe/Paris 0 4 * * *"`
	if strings.TrimSpace(spec) == "" {
		c.fail(key, hint, "the schedule is empty")
		return
	}
	if _, err := queuesweep.ParseSchedule(spec); err != nil {
		msg, _, _ := strings.Cut(err.Error(), " (five fields") // the hint says that
		c.fail(key, hint, msg)
	}
}

func (c *checker) absolute(key, value string) {
	name := key[strings.LastIndexByte(key, '.')+1:]
	switch {
	case value == "":
		c.fail(key, "leave the key out for the default", name+" is empty")
	case !path.IsAbs(value):
		c.fail(key, "write the whole path, from / on", fmt.Sprintf("%q is no absolute path", value))
	case strings.ContainsAny(value, "\x00\n"):
		c.fail(key, "", fmt.Sprintf("%q is no path", value))
	}
}

func (c *checker) oneOf(key, value string, allowed ...string) {
	if slices.Contains(allowed, value) {
		return
	}
	hint := "write one of: " + strings.Join(allowed, ", ")
	if near := spell.Nearest(value, allowed); near != "" {
		hint = fmt.Sprintf("did you mean %q?\n%s", near, hint)
	}
	c.fail(key, hint, fmt.Sprintf("%s cannot be %q", key[strings.LastIndexByte(key, '.')+1:], value))
}

func (c *checker) atLeast(key string, value, least int, hint string) {
	if value < least {
		c.fail(key, hint, fmt.Sprintf("%s is %d, less than %d", key[strings.LastIndexByte(key, '.')+1:], value, least))
	}
}

func (c *checker) positive(key string, d Duration) {
	if d <= 0 {
		c.fail(key, `for example "30d"`, fmt.Sprintf("%s is %q: it has to be longer than nothing", key[strings.LastIndexByte(key, '.')+1:], d))
	}
}
