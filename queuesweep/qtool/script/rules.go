package script

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/backscatterd/backscatterd/queuesweep/qtool"
	"github.com/backscatterd/backscatterd/queuesweep/rule"
)

var (
	queueFile  = lazily(`^[qhd]f[0-9A-Za-z]+$`)
	queueID    = lazily(`^[0-9A-Za-z]{12,}$`)
	likeQueue  = lazily(`(?i)mqueue|queue|slow|retry|^q[0-9]*$`)
	notAQueue  = lazily(`(?i)remov|trash|spam|junk|dead|delet|discard|taken|bad|bounce|quarant|attic|backup|backscatter`)
	quarantine = lazily(`\b(quarantine|state)\b|line\("q"\)`)
)

// resolve turns the operands of a call into folders; why says what cannot be,
// and at is the place in the source, 0 where it is the call's.
func (c *Call) resolve(args []word, cwd string) (why string, at int) {
	place := func(text string) int {
		for _, w := range args {
			if w.text == text {
				return w.offset
			}
		}
		return 0
	}
	absolute := func(p string) (string, bool) {
		if !path.IsAbs(p) {
			p = path.Join(cwd, p)
		}
		return path.Clean(p), path.IsAbs(p)
	}
	target := c.Target
	if target != "" {
		var ok bool
		if target, ok = absolute(target); !ok {
			return fmt.Sprintf("nobody knows where the folder %q is: write the whole path, from / on", c.Target), place(c.Target)
		}
		if base := path.Base(target); likeQueue().MatchString(base) && !notAQueue().MatchString(base) {
			return fmt.Sprintf("%s looks like a queue that mail is delivered from, and a rule takes mail out of delivery: leave this line to the script, or move by hand with backscatterd qtool", target), place(c.Target)
		}
		c.Target = target
	}
	for _, s := range c.Sources {
		folder, ok := absolute(s)
		if !ok {
			return fmt.Sprintf("nobody knows where %q is: write the whole path, from / on", s), place(s)
		}
		switch base := path.Base(folder); {
		case base == "qf*" || base == "hf*" || base == "df*" || base == "*f*" || base == "qf" || base == "hf" && c.Quarantined:
			folder = path.Dir(folder)
			if path.Base(folder) == "qf" {
				folder = path.Dir(folder)
			}
		case queueFile().MatchString(base) || queueID().MatchString(base) && strings.ContainsAny(base, "0123456789"):
			return fmt.Sprintf("%s is a single message, and a rule is for all: use backscatterd queue move|delete|expire %s", s, strings.TrimLeft(base, "qhd")[min(1, len(base)-1):]), place(s)
		}
		if strings.Contains(strings.TrimSuffix(folder, "*"), "*") || strings.ContainsAny(folder, "?[]{}\n") {
			return fmt.Sprintf("%q: only a * at the end of a folder's name can be taken; name the folders", s), place(s)
		}
		if !slices.Contains(c.folders, folder) {
			c.folders = append(c.folders, folder)
		}
	}
	if slices.Contains(c.folders, c.Target) {
		return "it moves messages to where they are", place(c.Target)
	}
	slices.Sort(c.folders)
	return "", 0
}

// entry is a rule that is to be written.
type entry struct {
	from     []Call
	name     string
	when     string // without the folders
	do       string
	schedule string
	folders  []string
}

// Configuration writes what calls amount to, as a configuration file that is in
// dry run: the folders, and a rule for each call, under a comment with the line
// that it came from. Rules stand in the order of the calls: qtool.pl takes a
// message at the first call that matches, as the first rule that matches
// decides. Calls that no rule can stand for are problems; taken counts the
// others.
func Configuration(calls []Call) (text string, taken int, problems []Problem) {
	entries, problems := entriesOf(calls)
	if len(entries) == 0 {
		targets := targetsOf(calls)
		for _, c := range calls {
			if c.purges(targets) {
				problems = append(problems, Problem{File: c.File, Line: c.Line, Column: 1, Source: c.Text, Message: "not taken: it clears a folder that no rule moves to; store.keep is for what rules remove"})
			}
		}
		return "", 0, problems
	}
	var b strings.Builder
	var files []string
	for _, e := range entries {
		taken += len(e.from)
		for _, c := range e.from {
			if name := oneLine(c.File); !slices.Contains(files, name) {
				files = append(files, name)
			}
		}
	}
	fmt.Fprintf(&b, `# Written by "backscatterd import" from %s.
#
# Nothing is done as long as dry_run is true: look at what "backscatterd sweep"
# says, then take that line out, and the calls of qtool.pl out of cron.
# A rule with do = "move" moves to the removed store, whatever folder qtool.pl
# moved to; "backscatterd queue restore" brings a message back from there.
`, strings.Join(files, ", "))
	all := foldersOf(entries)
	fmt.Fprintf(&b, "\n[queue]\n# The folders that the command lines name.\ndirectories = [%s]\n", quoted(all))
	for _, cf := range cfOf(entries) {
		fmt.Fprintf(&b, "sendmail_cf = %s\n", qtool.TOML(cf))
	}
	taken += keepOf(&b, calls)
	b.WriteString("\n[sweep]\ndry_run = true\n")
	for _, e := range entries {
		e.write(&b, all)
	}
	return b.String(), taken, problems
}

// entriesOf makes rules of calls: one of those that differ in their folders
// alone, where none between them looks at these folders.
func entriesOf(calls []Call) (entries []*entry, problems []Problem) {
	sources, targets := make(map[string]bool), targetsOf(calls)
	for _, c := range calls {
		for _, f := range c.folders {
			sources[f] = sources[f] || !c.purges(targets)
		}
	}
	names := make(map[string]bool)
	cf := ""
	for _, c := range calls {
		e := &entry{from: []Call{c}, do: string(c.Action), schedule: c.Schedule, folders: c.folders}
		why := ""
		switch {
		case c.purges(targets):
			continue // store.keep
		case sources[c.Target]:
			why = fmt.Sprintf("it moves to %s, from which another line takes messages, and a rule moves to the removed store only: leave both lines to the script", c.Target)
		case slices.ContainsFunc(c.folders, func(f string) bool { return targets[f] }):
			why = "it takes messages from where another line moves them, and a rule moves to the removed store only: leave both lines to the script"
		case c.CF != "" && cf != "" && c.CF != cf:
			why = fmt.Sprintf("it goes by %s, another line by %s: import them into two configurations", c.CF, cf)
		default:
			why = e.compile(c)
		}
		if why != "" {
			problems = append(problems, Problem{File: c.File, Line: c.Line, Column: 1, Source: c.Text, Message: "not taken: " + why})
			continue
		}
		cf = cmp.Or(cf, c.CF)
		if twin := twinOf(entries, e); twin != nil {
			twin.from = append(twin.from, c)
			twin.folders = union(twin.folders, e.folders)
			continue
		}
		base := e.name
		for n := 2; names[e.name]; n++ {
			e.name = fmt.Sprintf("%s-%d", base, n)
		}
		names[e.name] = true
		entries = append(entries, e)
	}
	return entries, problems
}

// targetsOf are the folders that calls move to.
func targetsOf(calls []Call) map[string]bool {
	targets := make(map[string]bool)
	for _, c := range calls {
		if c.Target != "" {
			targets[c.Target] = true
		}
	}
	return targets
}

// purges tells whether a call deletes what other calls have removed long ago, as
// the removed store does by itself.
func (c Call) purges(targets map[string]bool) bool {
	return c.Action == qtool.Delete && c.Expr == "" && c.OlderThan > 0 && !c.Quarantined &&
		!slices.ContainsFunc(c.folders, func(f string) bool { return !targets[f] })
}

// keepOf writes how long removed messages are kept, by the first call that says
// so.
func keepOf(b *strings.Builder, calls []Call) (taken int) {
	targets := targetsOf(calls)
	for _, c := range calls {
		if !c.purges(targets) {
			continue
		}
		if taken++; taken == 1 {
			fmt.Fprintf(b, "\n# %s:%d: %s\n[store]\nkeep = \"%ds\"\n", oneLine(c.File), c.Line, c.Text, int64(c.OlderThan.Seconds()))
		}
	}
	return taken
}

// compile makes name and condition. qtool.pl looks at qf files alone, unless -Q
// says so; a rule that names quarantine would look at hf files too.
func (e *entry) compile(c Call) (why string) {
	var err error
	if e.when, err = c.Condition(); err == nil {
		e.name, err = c.Name()
	}
	if err != nil {
		return err.Error()
	}
	if !c.Quarantined && quarantine().MatchString(e.when) {
		e.when = "(" + e.when + `) && state != "held"`
	}
	if _, err := rule.Compile([]rule.Rule{{Name: e.name, When: e.within(e.folders), Do: rule.Action(e.do)}}); err != nil {
		return err.Error()
	}
	return ""
}

// twinOf finds a rule that does the same with other folders, past rules that do
// not look at those.
func twinOf(entries []*entry, e *entry) *entry {
	for _, other := range slices.Backward(entries) {
		if other.when == e.when && other.do == e.do && other.schedule == e.schedule {
			return other
		}
		if other.schedule == e.schedule && overlap(other.folders, e.folders) {
			return nil
		}
	}
	return nil
}

func overlap(a, b []string) bool {
	return slices.ContainsFunc(a, func(x string) bool {
		return slices.ContainsFunc(b, func(y string) bool {
			px, wildX := strings.CutSuffix(x, "*")
			py, wildY := strings.CutSuffix(y, "*")
			return x == y || wildX && strings.HasPrefix(py, px) || wildY && strings.HasPrefix(px, py)
		})
	})
}

func union(a, b []string) []string {
	all := append(slices.Clone(a), b...)
	slices.Sort(all)
	return slices.Compact(all)
}

func foldersOf(entries []*entry) (all []string) {
	for _, e := range entries {
		all = union(all, e.folders)
	}
	return all
}

func cfOf(entries []*entry) []string {
	for _, e := range entries {
		for _, c := range e.from {
			if path.IsAbs(c.CF) {
				return []string{c.CF}
			}
		}
	}
	return nil
}

func quoted(list []string) string {
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = qtool.TOML(s)
	}
	return strings.Join(out, ", ")
}

// within is the condition, for messages in these folders alone.
func (e *entry) within(folders []string) string {
	if len(folders) == 0 {
		return e.when
	}
	tests := make([]string, len(folders))
	for i, f := range folders {
		if prefix, wild := strings.CutSuffix(f, "*"); wild {
			tests[i] = "queue startsWith " + literal(prefix)
		} else {
			tests[i] = "queue == " + literal(f)
		}
	}
	where := strings.Join(tests, " || ")
	switch {
	case e.when == "true":
		return where
	case len(tests) > 1:
		where = "(" + where + ")"
	}
	if strings.Contains(e.when, "||") {
		return where + " && (" + e.when + ")"
	}
	return where + " && " + e.when
}

// literal writes a folder's name in a condition.
func literal(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

func (e *entry) write(b *strings.Builder, all []string) {
	b.WriteString("\n")
	moved := ""
	for _, c := range e.from {
		line := fmt.Sprintf("# %s:%d: %s\n", oneLine(c.File), c.Line, c.Text)
		if !strings.Contains(b.String()[strings.LastIndex(b.String(), "\n\n")+1:], line) {
			b.WriteString(line)
		}
		moved = cmp.Or(moved, c.Target)
	}
	if moved != "" {
		fmt.Fprintf(b, "# qtool.pl moved to %s.\n", oneLine(moved))
	}
	when := e.when
	if !slices.Equal(e.folders, all) {
		when = e.within(e.folders)
	}
	fmt.Fprintf(b, "[[rule]]\nname = %s\nwhen = %s\ndo = %s\n", qtool.TOML(e.name), qtool.TOML(when), qtool.TOML(e.do))
	if e.schedule != "" {
		fmt.Fprintf(b, "schedule = %s\n", qtool.TOML(e.schedule))
	}
}
